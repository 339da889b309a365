"""The quoting enclaves of a simulated platform: they sign what the simulated processor reports.

The reports of the quoting enclaves carry the identities of Intel's own ones (MRSIGNER, ISVPRODID,
ATTRIBUTES), because a verifier compares them with the enclave identities, and both are Intel's but for the
root.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from casemate.errors import FormatError
from casemate.formats.pem import encode_certificates
from casemate.formats.sgx.quote import (
    INTEL_QE_VENDOR_ID,
    PCK_CHAIN,
    SGX_REPORT,
    TD_REPORT_10,
    TD_REPORT_15,
    TD_REPORT_15_EX,
    Quote,
    QuoteHeader,
    Tee,
    body_descriptor,
)
from casemate.formats.sgx.report import (
    INIT,
    MODE64BIT,
    PROVISION_KEY,
    Attributes,
    MrEnclave,
    MrSigner,
    ReportBody,
)
from casemate.formats.sgx.td_report import TdReport
from casemate.simulator.pki import Identity, public_point, raw_signature

#: Authentication data of Intel's quoting enclave: the bytes 0 to 31.
QE_AUTH_DATA = bytes(range(32))

#: The quoting enclave of SGX itself, before it binds an attestation key.
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
#: The same of TDX.
TD_QUOTING_ENCLAVE = QUOTING_ENCLAVE._replace(
    mrenclave=MrEnclave(hashlib.sha256(b"Casemate simulated quoting enclave of TDX").digest()),
    mrsigner=MrSigner(bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")),
    isvprodid=2,
    isvsvn=4,
)

#: Versions of quotes that can carry each kind of body; the first is what Intel's libraries make.
_VERSIONS = {
    SGX_REPORT: (3, 4, 5),
    TD_REPORT_10: (4, 5),
    TD_REPORT_15: (5,),
    TD_REPORT_15_EX: (5,),
}


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

    def quote(self, report: ReportBody | TdReport, *, version: int | None = None) -> bytes:
        """A quote over ``report``.

        Args:
            report: Of an enclave or of a trust domain.
            version: Of the quote; by default the one in which Intel's libraries quote such a report.

        Raises:
            FormatError: The version cannot carry the report.
        """
        key = public_point(self.attestation_key)
        binding = hashlib.sha256(key + self.auth_data).digest() + bytes(32)
        qe_report = self.body._replace(report_data=binding).to_bytes()
        signed = self._signed(report, version)
        return Quote(
            signed=signed,
            signature=raw_signature(self.attestation_key, signed),
            attestation_key=key,
            qe_report=qe_report,
            qe_report_signature=self.pck.certify(qe_report),
            qe_auth_data=self.auth_data,
            certification_type=PCK_CHAIN,
            # Intel's library counts the NUL of the C string that the chain is.
            certification_data=encode_certificates((self.pck.certificate, *self.pck_chain)) + b"\x00",
        ).to_bytes()

    def _signed(self, report: ReportBody | TdReport, version: int | None) -> bytes:
        """Header, descriptor and body."""
        body_type = _body_type(report)
        possible = _VERSIONS[body_type]
        chosen = possible[0] if version is None else version
        if chosen not in possible:
            raise FormatError(
                "quote version", expected=" or ".join(str(one) for one in possible), got=str(version)
            )
        header = QuoteHeader(
            version=chosen,
            tee=Tee.SGX if body_type == SGX_REPORT else Tee.TDX,
            qe_svn=self.body.isvsvn if chosen == 3 else None,
            pce_svn=self.pce_svn if chosen == 3 else None,
            qe_vendor_id=INTEL_QE_VENDOR_ID,
            user_data=self.platform_id + bytes(4),
        )
        return header.to_bytes() + body_descriptor(chosen, body_type) + report.to_bytes()


def _body_type(report: ReportBody | TdReport) -> int:
    if isinstance(report, ReportBody):
        return SGX_REPORT
    if report.extension is not None:
        return TD_REPORT_15_EX
    return TD_REPORT_10 if report.tee_tcb_svn2 is None else TD_REPORT_15
