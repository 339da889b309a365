"""How large an enclave has to be for what a profiled run used: a model, and where its numbers are from.

Without EDMM the whole enclave is committed when it is loaded, and every mapping of the application takes
addresses in it, touched or not: what counts is the peak of the address space, not the resident memory. File
mappings count whole, because Gramine reads them into memory of the enclave. None of this was measured on SGX.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from casemate.builder.enclave.address_space import AreaKind, EnclaveLayout
from casemate.builder.enclave.gramine import enclave_constants
from casemate.builder.enclave.manifest import format_size
from casemate.builder.native.system_files import HELPER_THREADS
from casemate.errors import FormatError
from casemate.formats.elf import ElfImage
from casemate.formats.manifest import EnclaveSettings

_KIBIBYTE: Final = 1 << 10
_MEBIBYTE: Final = 1 << 20
_GIBIBYTE: Final = 1 << 30
#: Memory of Gramine's LibOS and platform layer beside the application's, and of each entry of the manifest.
#: Measured under gramine-direct 1.9: what the LibOS counts at its peak, less what the same program mapped in
#: a rehearsal; rounded up, for what the platform layer keeps on SGX is not counted there.
GRAMINE_MEMORY: Final = 32 * _MEBIBYTE
ENTRY_MEMORY: Final = 2 * _KIBIBYTE
#: A file on tmpfs is a buffer that is copied when it grows: both are there for a moment. Measured likewise.
TEMPORARY_FACTOR: Final = 2
#: Smallest proposals.
_SMALLEST_SIZE: Final = 64 * _MEBIBYTE
_SMALLEST_STACK: Final = 2 * _MEBIBYTE
_FEWEST_THREADS: Final = 8
_FEWEST_FILES: Final = 1024
_MOST_THREADS: Final = 4096
#: Bytes per second at which an enclave is loaded (gramine#1079: 64 GiB in 64 s).
LOADING_RATE: Final = _GIBIBYTE
#: The same for files that are read and hashed.
HASHING_RATE: Final = _GIBIBYTE
#: Seconds of Gramine's own start: constant, for each trusted file, for its square. Fitted to five starts of
#: gramine-direct 1.9 with 1,461 to 41,461 files, 0.26 s to 21.4 s; the worst is off by a tenth.
START: Final = (0.2, 1.5e-5, 1.22e-8)
#: Seconds of loading from which EDMM is worth its price.
_LONG_LOADING: Final = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a run used, measured.

    Attributes:
        seconds: How long it was looked at.
        looks: How often.
        address_space: Most bytes of address space at once, of the largest process.
        resident: Most bytes in memory at once.
        libraries: Most bytes of mapped files with code at once.
        mapped: The same of other mapped files.
        threads: Most threads at once.
        stack: Most bytes that one thread has touched of its stack.
        stack_size: Bytes of stack that each thread had.
        descriptors: Most files and connections open at once.
        temporary: Most bytes in folders that are memory of the enclave.
        processes: Most processes at once.
        ready: Seconds until the application listened; ``None`` when it was not seen to.
    """

    seconds: float
    looks: int
    address_space: int
    resident: int
    libraries: int
    mapped: int
    threads: int
    stack: int
    stack_size: int
    descriptors: int
    temporary: int
    processes: int
    ready: float | None

    def to_json(self) -> dict[str, Any]:
        """The part ``measured`` of the document of ``--json``."""
        return {
            "seconds": round(self.seconds, 3),
            "looks": self.looks,
            "address_space": self.address_space,
            "resident": self.resident,
            "libraries": self.libraries,
            "mapped_files": self.mapped,
            "threads": self.threads,
            "stack": self.stack,
            "stack_size": self.stack_size,
            "descriptors": self.descriptors,
            "temporary": self.temporary,
            "processes": self.processes,
            "ready": None if self.ready is None else round(self.ready, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosure:
    """What is measured around the application.

    Attributes:
        manifest: Bytes of the measured manifest.
        settings: What it says of the enclave.
        platform_image: Bytes of Gramine's platform image, or of its simulation.
        gramine: Major and minor number of Gramine.
        files: Number of trusted files.
        bytes: Their size altogether.
    """

    manifest: bytes
    settings: EnclaveSettings
    platform_image: bytes
    gramine: str
    files: int
    bytes: int

    def overhead(self, *, size: int, threads: int) -> int:
        """Bytes of an enclave that are not left for Gramine's memory and the application's."""
        layout = EnclaveLayout.of(
            self.manifest,
            replace(self.settings, size=size, threads=threads, edmm=False),
            ElfImage.parse(self.platform_image),
            self.platform_image,
            enclave_constants(self.gramine),
        )
        return size - sum(area.size for area in layout.areas if area.kind is AreaKind.HEAP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """What is proposed.

    Attributes:
        size: Bytes of the enclave, a power of two.
        threads: Threads of the enclave, Gramine's own among them.
        stack: Bytes of stack of each thread.
        files: Most files and connections that are open at once.
        edmm: Whether memory is better added while running.
        edmm_reason: Why, in words.
        parts: What the size is made of: names and bytes.
        headroom: What was added to what the application used, in hundredths.
        loading: Seconds of loading the enclave; a model.
        starting: Seconds of Gramine's own start; a model.
        hashing: Seconds of reading the trusted files; a model.
    """

    size: int
    threads: int
    stack: int
    files: int
    edmm: bool
    edmm_reason: str
    parts: tuple[tuple[str, int], ...]
    headroom: int
    loading: float
    starting: float
    hashing: float

    @property
    def needed(self) -> int:
        """Bytes that the size has to hold."""
        return sum(size for _, size in self.parts)

    def lines(self) -> str:
        """The proposal as lines for ``casemate.toml``."""
        lines = ["[enclave]", f'size = "{format_size(self.size)}"', f"threads = {self.threads}"]
        lines += [f'stack = "{format_size(self.stack)}"', f"files = {self.files}"]
        lines += ["edmm = true"] if self.edmm else []
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The parts ``proposal`` and ``modelled`` of the document of ``--json``."""
        return {
            "proposal": {
                "size": format_size(self.size),
                "threads": self.threads,
                "stack": format_size(self.stack),
                "files": self.files,
                "edmm": self.edmm,
                "edmm_reason": self.edmm_reason,
                "lines": self.lines(),
            },
            "modelled": {
                "needed": self.needed,
                "parts": dict(self.parts),
                "headroom_percent": self.headroom,
                "seconds": {
                    "loading": round(self.loading, 2),
                    "gramine": round(self.starting, 2),
                    "trusted_files": round(self.hashing, 2),
                },
            },
        }


def propose(usage: Usage, enclosure: Enclosure, *, headroom: int) -> Proposal:
    """The smallest enclave that has room for ``usage``.

    Args:
        usage: What the application used under the traffic that it will see.
        enclosure: What is measured around it.
        headroom: What is added to memory, threads, stack and descriptors, in hundredths of what was used.

    Raises:
        FormatError: The platform image cannot be read.
    """
    threads = max(_FEWEST_THREADS, _more(usage.threads, headroom) + HELPER_THREADS)
    threads = min(threads, _MOST_THREADS)
    stack = max(_SMALLEST_STACK, _power(2 * usage.stack))
    # Every thread that was counted had a stack of the old size; the ones of the proposal have the new one.
    stacks = max(0, stack - usage.stack_size) * usage.threads
    # Linux lets the main thread's stack grow; Gramine makes all of it at start.
    application = usage.address_space + stacks + stack
    parts = {
        "application": application,
        "headroom": _more(application, headroom) - application,
        "temporary files": usage.temporary * TEMPORARY_FACTOR,
        "Gramine": GRAMINE_MEMORY + ENTRY_MEMORY * enclosure.files,
    }
    size = _size(sum(parts.values()), enclosure, threads)
    parts["threads and measured files"] = enclosure.overhead(size=size, threads=threads)
    loading = size / LOADING_RATE
    edmm, reason = _edmm(usage, size, loading)
    constant, each, square = START
    return Proposal(
        size=size,
        threads=threads,
        stack=stack,
        files=max(_FEWEST_FILES, _power(_more(usage.descriptors, headroom))),
        edmm=edmm,
        edmm_reason=reason,
        parts=tuple(parts.items()),
        headroom=headroom,
        loading=loading,
        starting=constant + each * enclosure.files + square * enclosure.files**2,
        hashing=enclosure.bytes / HASHING_RATE,
    )


def _more(amount: int, headroom: int) -> int:
    """``amount`` and ``headroom`` hundredths of it, rounded up."""
    return amount + -(-amount * headroom // 100)


def _power(amount: int) -> int:
    """The smallest power of two that is not below ``amount``."""
    return 1 << max(0, amount - 1).bit_length()


def _size(needed: int, enclosure: Enclosure, threads: int) -> int:
    size = max(_SMALLEST_SIZE, _power(needed))
    while not _fits(needed, size, enclosure, threads):
        size *= 2
    return size


def _fits(needed: int, size: int, enclosure: Enclosure, threads: int) -> bool:
    try:
        return needed + enclosure.overhead(size=size, threads=threads) <= size
    except FormatError:
        # Too small for its own parts; an image that cannot be read fails at every size.
        if size > _GIBIBYTE:
            raise
        return False


def _edmm(usage: Usage, size: int, loading: float) -> tuple[bool, str]:
    cost = "with EDMM each page is added when it is first used, and Python ran two to five times slower"
    if loading < _LONG_LOADING:
        return False, f"loading all of it takes about {loading:.1f} s, once; {cost}"
    if usage.resident * 2 < size:
        return True, (
            f"loading all of it would take about {loading:.0f} s, and less than half of it was used; "
            "it needs SGX2 and Linux 6.0"
        )
    return False, f"most of it is used, so that it has to be added in any case; {cost}"
