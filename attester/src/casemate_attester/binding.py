"""What ties evidence to a session and to a key: the report data of a quote.

The attester computes it before it asks for a quote, the broker computes it again from what it has received;
the quote is only worth something when both are equal.
"""

import hashlib
from typing import NewType

from casemate_attester.messages import HashAlgorithm, Nonce, TeePublicKey
from casemate_attester.strict_json import canonical_json

__all__ = ["REPORT_DATA_BYTES", "ReportData", "report_data", "runtime_data"]

REPORT_DATA_BYTES = 64

#: The 64 bytes that an enclave chooses and the platform signs (SDM volume 3, REPORT structure, REPORTDATA).
ReportData = NewType("ReportData", bytes)


def runtime_data(key: TeePublicKey, nonce: Nonce) -> bytes:
    """The bytes that are hashed: RFC 8785 JSON of the three keys that protocol 0.4.0 binds."""
    return canonical_json({"tee-pubkey": key.document(), "nonce": nonce, "additional-evidence": ""})


def report_data(
    key: TeePublicKey, nonce: Nonce, algorithm: HashAlgorithm = HashAlgorithm.SHA384
) -> ReportData:
    """The report data for a session: the digest of the runtime data, padded with zeros.

    Args:
        key: The key to which the broker will wrap secrets.
        nonce: The broker's nonce, which makes the evidence fresh.
        algorithm: What the broker has selected; SHA-384 is what SGX has when it selects nothing.
    """
    digest = hashlib.new(algorithm.value, runtime_data(key, nonce)).digest()
    return ReportData(digest.ljust(REPORT_DATA_BYTES, b"\0"))
