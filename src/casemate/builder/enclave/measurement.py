"""MRENCLAVE: SHA-256 over the pages of an enclave in the order in which they are loaded.

Intel SDM volume 3D, section 37.4.1 (MRENCLAVE) and the leaf functions ECREATE, EADD and EEXTEND. Which
pages there are is said by :mod:`casemate.builder.enclave.address_space`.

Building one record per page in Python costs several times what hashing it does. So the records of a whole
span of addresses are kept in one buffer: the low bytes of the offsets are the same in every span, and a
higher byte is the same in all records of one span and is written by a strided assignment when it changes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from casemate.builder.enclave.address_space import Area, EnclaveLayout, PageFlags, round_up
from casemate.builder.enclave.gramine import enclave_constants
from casemate.errors import FormatError
from casemate.formats.elf import PAGE_SIZE, ElfImage
from casemate.formats.gramine_versions import gramine_version as known_version
from casemate.formats.manifest import EnclaveSettings, MeasuredManifest
from casemate.formats.sgx.report import MrEnclave

#: The version of Gramine whose rules hold when none is named.
DEFAULT_GRAMINE_VERSION: Final = "1.9"
#: EEXTEND measures this many bytes at a time.
CHUNK_SIZE: Final = 256

_ECREATE: Final = struct.Struct("<8sIQ44x")
_EADD: Final = struct.Struct("<8sQQ40x")
_EEXTEND: Final = struct.Struct("<8sQ48x")
#: Where an EADD or EEXTEND record keeps its 64-bit offset.
_OFFSET_FIELD: Final = 8
#: What one chunk adds to the stream, and what one measured page does.
_CHUNK_RECORD: Final = _EEXTEND.size + CHUNK_SIZE
_PAGE_RECORD: Final = _EADD.size + PAGE_SIZE // CHUNK_SIZE * _CHUNK_RECORD
#: Bytes of address space that one batch of records spans. Powers of 256, so that the low bytes of the
#: offsets are the same in every span, and small enough to keep a batch in a processor's second-level cache.
_MEASURED_SPAN: Final = 1 << 16
_ADDED_SPAN: Final = 1 << 24


def measure(
    manifest: bytes | MeasuredManifest, platform_image: bytes, gramine_version: str = DEFAULT_GRAMINE_VERSION
) -> MrEnclave:
    """MRENCLAVE of the enclave that Gramine loads for a measured manifest, byte for byte as it stands.

    Args:
        manifest: ``….manifest.sgx``: its bytes, or what was read from them.
        platform_image: Bytes of ``libpal.so`` of the Gramine that will run.
        gramine_version: Its version: ``"1.9"``.

    Raises:
        FormatError: A manifest that is no TOML, ambiguous, incomplete or contradictory; an image that is
            not a loadable ELF file; an enclave that is too small.
        ToolchainError: A version of Gramine whose constants are not known.
    """
    return measure_layout(layout_of(manifest, platform_image, gramine_version))


def layout_of(
    manifest: bytes | MeasuredManifest, platform_image: bytes, gramine_version: str = DEFAULT_GRAMINE_VERSION
) -> EnclaveLayout:
    """The layout that :func:`measure` measures; arguments and errors are the same."""
    version = known_version(gramine_version)
    constants = enclave_constants(gramine_version)
    measured = MeasuredManifest.parse(manifest, version) if isinstance(manifest, bytes) else manifest
    missing = measured.missing
    if missing:
        raise FormatError(
            "manifest that is not yet complete",
            expected="every default filled in and every trusted file hashed",
            got=f"no {missing[0]}" + (f" and {len(missing) - 1} more missing" if missing[1:] else ""),
            hint="expand it first: casemate sign --manifest M --pal P --key URI --output M.sgx --sigfile SIG",
        )
    settings = EnclaveSettings.from_manifest(measured.value, version)
    return EnclaveLayout.of(
        measured.data, settings, ElfImage.parse(platform_image), platform_image, constants
    )


def measure_layout(layout: EnclaveLayout) -> MrEnclave:
    """SHA-256 over the records of ECREATE, then of EADD and EEXTEND of every page."""
    digest = hashlib.sha256(_ECREATE.pack(b"ECREATE", layout.ssa_frame_pages, layout.size))
    for area in layout.areas:
        for records in _measured_records(area) if area.measured else _added_records(area):
            digest.update(records)
    return MrEnclave(digest.digest())


def _added_records(area: Area) -> Iterator[memoryview]:
    """The records of an area whose content is not measured: one EADD per page."""
    batch = bytearray(_added_template(area.flags))
    view = memoryview(batch)
    high_bytes = _HighBytes(batch, span=_ADDED_SPAN, fields=(slice(_OFFSET_FIELD, None, _EADD.size),))
    for base, start, end in _spans(area.address, area.end, _ADDED_SPAN):
        high_bytes.write(base)
        yield view[(start - base) // PAGE_SIZE * _EADD.size : (end - base) // PAGE_SIZE * _EADD.size]


def _measured_records(area: Area) -> Iterator[memoryview]:
    """The records of an area whose content is measured: per page one EADD, then its chunks in EEXTEND."""
    filled = round_up(len(area.content))
    content = memoryview(area.content.ljust(filled, b"\0"))
    boundary = area.address + filled
    for start, end, held in ((area.address, boundary, content), (boundary, area.end, None)):
        batch = bytearray(_measured_template(area.flags))
        view = memoryview(batch)
        high_bytes = _HighBytes(batch, span=_MEASURED_SPAN, fields=_measured_offset_fields())
        for base, low, high in _spans(start, end, _MEASURED_SPAN):
            high_bytes.write(base)
            first, last = (low - base) // PAGE_SIZE, (high - base) // PAGE_SIZE
            if held is not None:
                _place_content(view, first, held[low - start : high - start])
            yield view[first * _PAGE_RECORD : last * _PAGE_RECORD]


def _place_content(view: memoryview, first_page: int, content: memoryview) -> None:
    """Write whole pages of content behind their EEXTEND records, from page ``first_page`` of the batch on."""
    for page_start in range(0, len(content), PAGE_SIZE):
        place = (first_page + page_start // PAGE_SIZE) * _PAGE_RECORD + _EADD.size + _EEXTEND.size
        for chunk in range(page_start, page_start + PAGE_SIZE, CHUNK_SIZE):
            view[place : place + CHUNK_SIZE] = content[chunk : chunk + CHUNK_SIZE]
            place += _CHUNK_RECORD


def _spans(start: int, end: int, span: int) -> Iterator[tuple[int, int, int]]:
    """The aligned spans that ``start`` to ``end`` touches, each with the part of it that is inside."""
    for base in range(start // span * span, end, span):
        yield base, max(start, base), min(end, base + span)


class _HighBytes:
    """Writes the bytes of the offsets that are the same in all records of a span.

    Args:
        batch: The records of one span.
        span: Bytes of address space, a power of 256.
        fields: Each selects the lowest byte of the offsets of some records.
    """

    def __init__(self, batch: bytearray, *, span: int, fields: tuple[slice, ...]) -> None:
        self._batch = batch
        self._low = (span.bit_length() - 1) // 8
        self._fields = fields
        self._written = bytes(8)

    def write(self, base: int) -> None:
        """Make the records those of the span that begins at ``base``."""
        wanted = base.to_bytes(8, "little")
        for byte in range(self._low, 8):
            if wanted[byte] != self._written[byte]:
                for field in self._fields:
                    place = slice(field.start + byte, field.stop, field.step)
                    self._batch[place] = wanted[byte : byte + 1] * len(
                        range(*place.indices(len(self._batch)))
                    )
        self._written = wanted


@lru_cache
def _added_template(flags: PageFlags) -> bytes:
    """The EADD records of the span of addresses that begins at zero."""
    return b"".join(_EADD.pack(b"EADD", offset, flags) for offset in range(0, _ADDED_SPAN, PAGE_SIZE))


@lru_cache
def _measured_template(flags: PageFlags) -> bytes:
    """The EADD and EEXTEND records of zero pages of the span of addresses that begins at zero."""
    return b"".join(
        _EADD.pack(b"EADD", page, flags)
        + b"".join(
            _EEXTEND.pack(b"EEXTEND", offset) + bytes(CHUNK_SIZE)
            for offset in range(page, page + PAGE_SIZE, CHUNK_SIZE)
        )
        for page in range(0, _MEASURED_SPAN, PAGE_SIZE)
    )


@lru_cache
def _measured_offset_fields() -> tuple[slice, ...]:
    """Where the template of measured pages keeps offsets: of EADD, then page by page of EEXTEND."""
    pages = range(0, _MEASURED_SPAN // PAGE_SIZE * _PAGE_RECORD, _PAGE_RECORD)
    return (
        slice(_OFFSET_FIELD, None, _PAGE_RECORD),
        *(slice(page + _EADD.size + _OFFSET_FIELD, page + _PAGE_RECORD, _CHUNK_RECORD) for page in pages),
    )
