"""The layout of a Gramine enclave as a value: which pages there are, in which order, and what they hold.

Gramine's host loader decides it; the structures of SGX in it are those of the Intel SDM, volume 3D, chapter
37. What would be loaded follows from the bytes of the manifest and of the platform image alone: nothing
here runs the image or reads a file.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntFlag
from typing import Final

from casemate.builder.enclave.gramine import EnclaveConstants
from casemate.errors import FormatError
from casemate.formats.elf import PAGE_SIZE, ElfImage, Segment
from casemate.formats.manifest import EnclaveSettings


class PageFlags(IntFlag):
    """``SECINFO.FLAGS``: what a page is and what it allows."""

    READ = 0x1
    WRITE = 0x2
    EXECUTE = 0x4
    TCS = 0x100
    REGULAR = 0x200


_DATA: Final = PageFlags.REGULAR | PageFlags.READ | PageFlags.WRITE


class AreaKind(Enum):
    """What a range of pages is for."""

    MANIFEST = "manifest"
    SSA = "state save areas"
    TCS = "thread control structures"
    THREAD_PAGE = "thread pages"
    STACK = "stack"
    SIGNAL_STACK = "signal stack"
    PLATFORM_IMAGE = "platform image"
    HEAP = "heap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A range of pages that are loaded one after the other.

    Attributes:
        kind: What it is for.
        address: First address, a multiple of the page size.
        size: Bytes, a multiple of the page size.
        flags: Of every page.
        content: What it holds from its first byte on; the rest is zero.
        measured: Whether the content is measured, or only that the pages are there.
    """

    kind: AreaKind
    address: int
    size: int
    flags: PageFlags
    content: bytes = b""
    measured: bool = True

    @property
    def end(self) -> int:
        """The first address after it."""
        return self.address + self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveLayout:
    """Everything that MRENCLAVE depends on.

    Attributes:
        size: Bytes of address space.
        ssa_frame_pages: Pages of one state save area.
        areas: In the order in which they are loaded.
    """

    size: int
    ssa_frame_pages: int
    areas: tuple[Area, ...]

    @classmethod
    def of(
        cls,
        manifest: bytes,
        settings: EnclaveSettings,
        image: ElfImage,
        image_bytes: bytes,
        constants: EnclaveConstants,
    ) -> EnclaveLayout:
        """Lay out the enclave that Gramine's host loader builds.

        Args:
            manifest: The measured manifest, without a terminating NUL.
            settings: What ``manifest`` says of the enclave.
            image: The platform image (``libpal.so``).
            image_bytes: Its file.
            constants: Of the version of Gramine to which the image belongs.

        Raises:
            FormatError: An enclave that is too small for its parts, or an image without anything to load.
        """
        places = _Places.of(len(manifest) + 1, settings, _image_span(image), constants)
        areas = [
            Area(
                kind=AreaKind.MANIFEST,
                address=places.manifest,
                size=round_up(len(manifest) + 1),
                flags=PageFlags.REGULAR | PageFlags.READ,
                content=manifest,
            ),
            *_thread_areas(places, image.entry, settings, constants),
            *_image_areas(image, image_bytes, places.image_bias),
        ]
        if not settings.edmm:  # with EDMM the heap is added at run time
            areas += _heap_areas(places, constants)
        return cls(
            size=settings.size, ssa_frame_pages=constants.ssa_frame_size // PAGE_SIZE, areas=tuple(areas)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ImageSpan:
    """The pages that the segments of the platform image lie in, relative to its base."""

    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where each part lies; allocated from the end of the address space downwards, as the fields follow.

    Attributes:
        manifest_size: Bytes of the manifest with its NUL.
        manifest: Address of the manifest.
        ssa: Address of the first thread's state save areas; the other threads' follow upwards.
        tcs: Address of the first thread control structure; likewise.
        thread_pages: Address of the first per-thread page; likewise.
        stacks_end: First address after the first thread's stack; the other threads' lie below it.
        signal_stacks_end: The same of the stacks for exceptions.
        image: Address of the platform image.
        image_end: First address after it.
        image_bias: What is added to an address of the image to get the address in the enclave.
        free_end: First address after the free memory above a platform image that has its own fixed place.
    """

    manifest_size: int
    manifest: int
    ssa: int
    tcs: int
    thread_pages: int
    stacks_end: int
    signal_stacks_end: int
    image: int
    image_end: int
    image_bias: int
    free_end: int

    @classmethod
    def of(
        cls, manifest_size: int, settings: EnclaveSettings, span: _ImageSpan, constants: EnclaveConstants
    ) -> _Places:
        threads = settings.threads
        manifest = settings.size - round_up(manifest_size)
        ssa = manifest - threads * constants.ssa_size
        tcs = ssa - threads * PAGE_SIZE
        thread_pages = tcs - threads * PAGE_SIZE
        signal_stacks_end = thread_pages - threads * constants.stack_size
        free_end = signal_stacks_end - threads * constants.signal_stack_size
        image = span.start or free_end - span.size
        if image < constants.heap_min or image + span.size > free_end:
            raise _too_small(settings, span, needed=settings.size - free_end + span.size + constants.heap_min)
        return cls(
            manifest_size=manifest_size,
            manifest=manifest,
            ssa=ssa,
            tcs=tcs,
            thread_pages=thread_pages,
            stacks_end=thread_pages,
            signal_stacks_end=signal_stacks_end,
            image=image,
            image_end=image + span.size,
            image_bias=image - span.start,
            free_end=free_end,
        )


def _too_small(settings: EnclaveSettings, span: _ImageSpan, *, needed: int) -> FormatError:
    if span.start:
        return FormatError(
            "place of the platform image in the enclave",
            expected="free addresses between the first pages and the stacks",
            got=f"a fixed base of {span.start:#x} in an enclave of {settings.size:#x} bytes",
            hint="a platform image of Gramine can lie anywhere; is this one?",
        )
    return FormatError(
        "enclave size",
        expected=f"at least {needed} bytes for {settings.threads} threads, manifest and platform image",
        got=f"{settings.size}",
        where="sgx.enclave_size",
        hint="choose a larger power of two, or fewer threads",
    )


def round_up(size: int) -> int:
    """``size`` in whole pages, in bytes."""
    return -(-size // PAGE_SIZE) * PAGE_SIZE


def _round_down(address: int) -> int:
    return address // PAGE_SIZE * PAGE_SIZE


def _image_span(image: ElfImage) -> _ImageSpan:
    """Where the segments lie, each of which must have pages of its own."""
    segments = image.segments
    if not segments or any(segment.memory_size == 0 for segment in segments):
        raise FormatError(
            "platform image",
            expected="segments with bytes to load",
            got="none" if not segments else "an empty one",
            hint="--pal takes libpal.so of Gramine's lib/gramine/sgx",
        )
    for before, after in itertools.pairwise(segments):
        if _round_down(after.address) < round_up(before.end):
            raise FormatError(
                "platform image",
                expected="segments on pages of their own",
                got=f"a page shared at {_round_down(after.address):#x}",
            )
    start = _round_down(segments[0].address)
    return _ImageSpan(start=start, size=round_up(segments[-1].end) - start)


def _thread_areas(
    places: _Places, entry: int, settings: EnclaveSettings, constants: EnclaveConstants
) -> Iterator[Area]:
    threads = range(settings.threads)
    yield Area(kind=AreaKind.SSA, address=places.ssa, size=settings.threads * constants.ssa_size, flags=_DATA)
    yield Area(
        kind=AreaKind.TCS,
        address=places.tcs,
        size=settings.threads * PAGE_SIZE,
        flags=PageFlags.TCS,
        content=b"".join(_tcs(places, thread, places.image + entry, constants) for thread in threads),
    )
    yield Area(
        kind=AreaKind.THREAD_PAGE,
        address=places.thread_pages,
        size=settings.threads * PAGE_SIZE,
        flags=_DATA,
        content=b"".join(_thread_page(places, thread, settings.size, constants) for thread in threads),
    )
    for kind, end, size in (
        (AreaKind.STACK, places.stacks_end, constants.stack_size),
        (AreaKind.SIGNAL_STACK, places.signal_stacks_end, constants.signal_stack_size),
    ):
        for thread in threads:
            yield Area(kind=kind, address=end - (thread + 1) * size, size=size, flags=_DATA)


def _tcs(places: _Places, thread: int, entry: int, constants: EnclaveConstants) -> bytes:
    """One thread control structure (Intel SDM volume 3D, section 37.8); all other fields are zero."""
    page = bytearray(PAGE_SIZE)
    struct.pack_into("<Q", page, 16, places.ssa + thread * constants.ssa_size)  # OSSA
    struct.pack_into("<I", page, 28, constants.ssa_frames)  # NSSA
    struct.pack_into("<Q", page, 32, entry)  # OENTRY
    struct.pack_into("<Q", page, 56, places.thread_pages + thread * PAGE_SIZE)  # OGSBASE
    struct.pack_into("<II", page, 64, PAGE_SIZE - 1, PAGE_SIZE - 1)  # FSLIMIT, GSLIMIT
    return bytes(page)


def _thread_page(places: _Places, thread: int, enclave_size: int, constants: EnclaveConstants) -> bytes:
    """One per-thread page of Gramine."""
    offsets = constants.thread_page
    ssa = places.ssa + thread * constants.ssa_size
    signal_stack_high = places.signal_stacks_end - thread * constants.signal_stack_size
    fields = {
        offsets.self_address: places.thread_pages + thread * PAGE_SIZE,
        offsets.canary: constants.canary,
        offsets.enclave_size: enclave_size,
        offsets.tcs: places.tcs + thread * PAGE_SIZE,
        offsets.initial_stack: places.stacks_end - thread * constants.stack_size,
        offsets.signal_stack_low: signal_stack_high - constants.signal_stack_size,
        offsets.signal_stack_high: signal_stack_high,
        offsets.ssa: ssa,
        offsets.gpr: ssa + constants.ssa_frame_size - constants.gpr_size,
        offsets.manifest_size: places.manifest_size,
        offsets.heap_min: constants.heap_min,
        offsets.heap_max: places.image,
    }
    page = bytearray(PAGE_SIZE)
    for offset, value in fields.items():
        struct.pack_into("<Q", page, offset, value)
    return bytes(page)


def _image_areas(image: ElfImage, image_bytes: bytes, bias: int) -> Iterator[Area]:
    for segment in image.segments:
        start = _round_down(segment.address)
        file_bytes = image_bytes[segment.offset : segment.offset + segment.file_size]
        yield Area(
            kind=AreaKind.PLATFORM_IMAGE,
            address=bias + start,
            size=round_up(segment.end) - start,
            flags=_segment_flags(segment),
            # Zeros, not what the file happens to hold before the segment.
            content=bytes(segment.address - start) + file_bytes,
        )


def _segment_flags(segment: Segment) -> PageFlags:
    flags = PageFlags.REGULAR
    if segment.readable:
        flags |= PageFlags.READ
    if segment.writable:
        flags |= PageFlags.WRITE
    if segment.executable:
        flags |= PageFlags.EXECUTE
    return flags


def _heap_areas(places: _Places, constants: EnclaveConstants) -> Iterator[Area]:
    """What is left; above the platform image too, when that has a fixed place."""
    for start, end in ((places.image_end, places.free_end), (constants.heap_min, places.image)):
        if start < end:
            yield Area(
                kind=AreaKind.HEAP,
                address=start,
                size=end - start,
                flags=_DATA | PageFlags.EXECUTE,
                measured=False,
            )
