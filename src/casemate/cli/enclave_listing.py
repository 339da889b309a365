"""What an enclave is made of, as ``gramine-sgx-sign`` prints it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from casemate.builder.enclave.address_space import Area, AreaKind, PageFlags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from casemate.builder.enclave.address_space import EnclaveLayout
    from casemate.formats.sgx.report import MrEnclave

_NAMES: Final = {
    AreaKind.MANIFEST: "manifest",
    AreaKind.SSA: "ssa",
    AreaKind.TCS: "tcs",
    AreaKind.THREAD_PAGE: "tls",
    AreaKind.STACK: "stack",
    AreaKind.SIGNAL_STACK: "sig_stack",
    AreaKind.HEAP: "free",
}
_ATTESTATION: Final = {"none": "None", "dcap": "DCAP/ECDSA"}


def enclave_listing(manifest: Mapping[str, Any], layout: EnclaveLayout, mrenclave: MrEnclave) -> str:
    """The lines, each with its end."""
    sgx = manifest["sgx"]
    attestation = sgx.get("remote_attestation", "none")
    lines = [
        "Attributes (required for enclave measurement):",
        f"    size:        {layout.size:#x}",
        f"    edmm:        {sgx.get('edmm_enable', False)}",
        f"    max_threads: {sgx['max_threads']}",
        "SGX remote attestation:",
        f"    {_ATTESTATION.get(str(attestation), '<unrecognized>')}",
        "Memory:",
        *_areas(layout),
        "Measurement:",
        f"    {mrenclave.hex()}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _areas(layout: EnclaveLayout) -> Iterator[str]:
    for area in layout.areas:
        kind = "TCS" if area.flags & PageFlags.TCS else "REG"
        rights = "".join(
            letter if area.flags & flag else "-"
            for letter, flag in (("R", PageFlags.READ), ("W", PageFlags.WRITE), ("X", PageFlags.EXECUTE))
        )
        measured = " measured" if area.measured else ""
        yield f"    {area.address:016x}-{area.end:016x} [{kind}:{rights}] ({_name(area)}){measured}"


def _name(area: Area) -> str:
    if area.kind is AreaKind.PLATFORM_IMAGE:
        return "code" if area.flags & PageFlags.EXECUTE else "data"
    return _NAMES[area.kind]
