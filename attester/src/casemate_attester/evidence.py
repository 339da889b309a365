"""Evidence from the platform, through Gramine's ``/dev/attestation``.

Two files make a quote: report data goes into ``user_report_data``, then reading ``quote`` has the platform
sign it. Both belong to the whole process, so nothing else may ask for a quote in between; the attester does
so before any other code runs. The quote is opaque here: a verifier outside judges it.
"""

import os
from pathlib import Path

from casemate_attester.binding import REPORT_DATA_BYTES, ReportData
from casemate_attester.errors import EvidenceError
from casemate_attester.messages import MAX_QUOTE_BYTES

__all__ = ["DEVICE", "fetch_quote"]

DEVICE = Path("/dev/attestation")

_TYPE = "dcap"
_MANIFEST_HINT = (
    'set sgx.remote_attestation = "dcap" in the manifest and run in gramine-sgx or in a rehearsal'
)
_QUOTING_HINT = "see that AESM answers at /var/run/aesmd/aesm.socket and that the platform is provisioned"


def fetch_quote(report_data: ReportData, device: Path = DEVICE) -> bytes:
    """A DCAP quote that carries ``report_data``.

    Args:
        report_data: 64 bytes.
        device: Gramine's folder of attestation files.

    Raises:
        EvidenceError: When there is no platform that signs, which includes ``gramine-direct``: without
            evidence nothing runs.
    """
    kind = _read(device / "attestation_type", 64, _MANIFEST_HINT).decode("ascii", "replace").strip()
    if kind != _TYPE:
        raise EvidenceError(
            "attestation type",
            expected=_TYPE,
            got=ascii(kind),
            where=str(device / "attestation_type"),
            hint=_MANIFEST_HINT,
        )
    _write(device / "user_report_data", report_data)
    quote = _read(device / "quote", MAX_QUOTE_BYTES, _QUOTING_HINT)
    if not quote:
        raise EvidenceError(
            "quote", expected="a quote", got="an empty file", where=str(device / "quote"), hint=_QUOTING_HINT
        )
    return quote


def _read(path: Path, limit: int, hint: str) -> bytes:
    """The whole of a pseudo file, which has no length of its own."""
    try:
        with path.open("rb", buffering=0) as file:
            chunks = []
            size = 0
            while size <= limit and (chunk := file.read(limit + 1 - size)):
                chunks.append(chunk)
                size += len(chunk)
    except OSError as error:
        raise EvidenceError(
            path.name,
            expected="a readable file",
            got=os.strerror(error.errno or 0),
            where=str(path),
            hint=hint,
        ) from error
    if size > limit:
        raise EvidenceError(
            path.name, expected=f"at most {limit} bytes", got="more", where=str(path), hint=hint
        )
    return b"".join(chunks)


def _write(path: Path, report_data: ReportData) -> None:
    """Hands over report data in the one write that Gramine allows."""
    try:
        descriptor = os.open(path, os.O_WRONLY)
        try:
            written = os.write(descriptor, report_data)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise EvidenceError(
            path.name,
            expected="a writable file",
            got=os.strerror(error.errno or 0),
            where=str(path),
            hint=_MANIFEST_HINT,
        ) from error
    if written != REPORT_DATA_BYTES:
        raise EvidenceError(
            path.name,
            expected=f"{REPORT_DATA_BYTES} bytes to be taken",
            got=f"{written}",
            where=str(path),
            hint=_MANIFEST_HINT,
        )
