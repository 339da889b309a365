"""The quoting enclave of a simulated platform: it signs what the simulated processor reports.

The report of the quoting enclave carries the identity of Intel's own one (MRSIGNER, ISVPRODID, ATTRIBUTES),
because a verifier compares it with the QE identity, and both are Intel's but for the root.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric import ec

from casemate.formats.pem import encode_certificates
from casemate.formats.sgx.quote import INTEL_QE_VENDOR_ID, PCK_CHAIN, Quote, QuoteHeader, Tee
from casemate.formats.sgx.report import (
    INIT,
    MODE64BIT,
    PROVISION_KEY,
    Attributes,
    MrEnclave,
    MrSigner,
    ReportBody,
)
from casemate.simulator.pki import Identity, public_point, raw_signature

#: Authentication data of Intel's quoting enclave: the bytes 0 to 31.
QE_AUTH_DATA = bytes(range(32))

#: The quoting enclave itself, before it binds an attestation key.
QUOTING_ENCLAVE = ReportBody(
    cpu_svn=bytes(16),
    misc_select=bytes(4),
    attributes=Attributes(flags=INIT | MODE64BIT | PROVISION_KEY, xfrm=0xE7),
    mrenclave=MrEnclave(hashlib.sha256(b"Casemate simulated quoting enclave").digest()),
    mrsigner=MrSigner(bytes.fromhex("8c4f5775d796503e96137f77c68a829a0056ac8ded70140b081b094490c57bff")),
    isvprodid=1,
    isvsvn=8,
    report_data=bytes(64),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotingEnclave:
    """What makes quotes.

    Attributes:
        body: Its own report, but for the report data.
        attestation_key: Signs quotes; never printed.
        pck: Signs the report of the quoting enclave.
        pck_chain: Certificates above the PCK's, DER, the root last.
        pce_svn: For the quote's header.
        platform_id: For the quote's header, 16 bytes.
        auth_data: Authentication data.
    """

    body: ReportBody
    attestation_key: ec.EllipticCurvePrivateKey = field(repr=False)
    pck: Identity
    pck_chain: tuple[bytes, ...]
    pce_svn: int
    platform_id: bytes
    auth_data: bytes = QE_AUTH_DATA

    def quote(self, report: ReportBody) -> bytes:
        """A quote, version 3, over ``report``."""
        header = QuoteHeader(
            version=3,
            tee=Tee.SGX,
            qe_svn=self.body.isvsvn,
            pce_svn=self.pce_svn,
            qe_vendor_id=INTEL_QE_VENDOR_ID,
            user_data=self.platform_id + bytes(4),
        )
        key = public_point(self.attestation_key)
        binding = hashlib.sha256(key + self.auth_data).digest() + bytes(32)
        qe_report = replace(self.body, report_data=binding).to_bytes()
        signed = header.to_bytes() + report.to_bytes()
        return Quote(
            signed=signed,
            signature=raw_signature(self.attestation_key, signed),
            attestation_key=key,
            qe_report=qe_report,
            qe_report_signature=self.pck.sign(qe_report),
            qe_auth_data=self.auth_data,
            certification_type=PCK_CHAIN,
            # Intel's library counts the NUL of the C string that the chain is.
            certification_data=encode_certificates((self.pck.certificate, *self.pck_chain)) + b"\x00",
        ).to_bytes()
