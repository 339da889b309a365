"""What one version of Gramine builds into every enclave: sizes, and where fields lie in its pages.

These are constants of Gramine's build. They can change from one version to the next, and with them
MRENCLAVE, so a version that is not in the table is refused rather than measured by another one's rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from casemate.formats.gramine_versions import VERSIONS, gramine_version


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadPageOffsets:
    """Where Gramine's per-thread page (``pal_enclave_tcb``) keeps what is known before the enclave runs.

    Attributes:
        self_address: Its own address.
        canary: Of the stack protector.
        enclave_size: Bytes of the enclave's address space.
        tcs: Address of the thread control structure.
        initial_stack: Top of the thread's stack.
        signal_stack_low: Bottom of the stack for exceptions.
        signal_stack_high: Top of the stack for exceptions.
        ssa: Address of the first state save area.
        gpr: Address of the general registers in it.
        manifest_size: Bytes of the manifest, with its terminating NUL.
        heap_min: First address of the heap.
        heap_max: First address after the heap.
    """

    self_address: int
    canary: int
    enclave_size: int
    tcs: int
    initial_stack: int
    signal_stack_low: int
    signal_stack_high: int
    ssa: int
    gpr: int
    manifest_size: int
    heap_min: int
    heap_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveConstants:
    """What a version of Gramine builds into every enclave; sizes in bytes.

    Attributes:
        ssa_frame_size: Of one state save area.
        ssa_frames: State save areas of a thread.
        stack_size: Stack of a thread inside the platform image.
        signal_stack_size: Stack of a thread for exceptions.
        heap_min: First address of the heap.
        canary: Of the stack protector, before it is drawn at random.
        gpr_size: General registers at the end of a state save area.
        thread_page: Offsets in the per-thread page.
    """

    ssa_frame_size: int
    ssa_frames: int
    stack_size: int
    signal_stack_size: int
    heap_min: int
    canary: int
    gpr_size: int
    thread_page: ThreadPageOffsets

    @property
    def ssa_size(self) -> int:
        """Bytes of all state save areas of a thread."""
        return self.ssa_frame_size * self.ssa_frames


_SINCE_1_6: Final = EnclaveConstants(
    ssa_frame_size=0x4000,
    ssa_frames=2,
    stack_size=0x40000,
    signal_stack_size=0x10000,
    heap_min=0x10000,
    canary=0xBADBADBADBAD,
    gpr_size=0xB8,
    thread_page=ThreadPageOffsets(
        self_address=0x0,
        canary=0x8,
        enclave_size=0x110,
        tcs=0x118,
        initial_stack=0x120,
        signal_stack_low=0x130,
        signal_stack_high=0x138,
        ssa=0x148,
        gpr=0x150,
        manifest_size=0x1A0,
        heap_min=0x1A8,
        heap_max=0x1B0,
    ),
)

#: Version -> its constants. Those of 1.6 to 1.9 were read out of the table that Gramine's build prints of
#: itself (``pal/src/host/linux-sgx/generated_offsets.c``), compiled from their tags: the tables are
#: the same. So are, line by line, what decides the rest of a measurement in ``host_main.c`` and
#: ``sgx_sign.py``: the order of the areas, and what is measured of them. What differs is in the manifest, and
#: is said by :mod:`casemate.formats.gramine_versions`.
_CONSTANTS: Final = dict.fromkeys(VERSIONS, _SINCE_1_6)

#: The oldest release that is fit for production: in those before it, trusted files are not checked in a child
#: process (Gramine's commit d82e885cb, "Fix Trusted Files degenerating to Allowed Files on fork").
OLDEST_SECURE: Final = (1, 6, 2)


def enclave_constants(version: str) -> EnclaveConstants:
    """The constants of the Gramine ``version``, which is major and minor number: ``"1.9"``.

    Raises:
        ToolchainError: A version whose constants are not known.
    """
    return _CONSTANTS[gramine_version(version).name]
