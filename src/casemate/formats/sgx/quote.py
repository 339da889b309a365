"""The ECDSA quote, version 3, that Intel's quoting enclave makes of a REPORT.

Intel SGX ECDSA QuoteLibReference (DCAP API), appendix A "Quote format", version 3 with attestation key type 2
(ECDSA-256 with P-256). Versions 4 and 5, which TDX uses, are refused by name. Not checked here: signatures,
the vendor of the quoting enclave, the kind and the content of the certification data; see
:mod:`casemate.verifier`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from casemate.errors import FormatError
from casemate.formats.sgx.report import REPORT_BODY_SIZE, ReportBody

QUOTE_VERSION = 3
#: ECDSA-256-with-P-256, the only attestation key type of version 3 that Intel has issued.
ATTESTATION_KEY_TYPE = 2
#: The vendor id of Intel's quoting enclave.
INTEL_QE_VENDOR_ID = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
#: Certification data type: the PCK certificate chain, PEM, leaf first.
PCK_CHAIN = 5
#: Largest quote that is read, in bytes. A quote with Intel's certificate chain has less than 5,000.
MAX_QUOTE_SIZE = 16_384

_HEADER = struct.Struct("<HHIHH16s20s")
_SIGNED_SIZE = _HEADER.size + REPORT_BODY_SIZE
# Signature data: ISV signature, attestation key, QE report, QE report's signature, size of the authentication
# data.
_AUTH = struct.Struct(f"<64s64s{REPORT_BODY_SIZE}s64sH")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteHeader:
    """The 48 bytes before the report.

    Attributes:
        qe_svn: ISVSVN of the quoting enclave.
        pce_svn: ISVSVN of the provisioning certification enclave.
        qe_vendor_id: Who made the quoting enclave, 16 bytes.
        user_data: 20 bytes of the quoting enclave: an identifier of the platform, then zeros.
    """

    qe_svn: int
    pce_svn: int
    qe_vendor_id: bytes
    user_data: bytes

    @classmethod
    def parse(cls, data: bytes) -> QuoteHeader:
        """Read the first 48 bytes of a quote.

        Raises:
            FormatError: Too short, or of a version, key type or TEE that is not supported.
        """
        if len(data) < _HEADER.size:
            raise FormatError("quote header", expected=f"{_HEADER.size} bytes", got=f"{len(data)} bytes")
        version, key_type, tee_type, qe_svn, pce_svn, vendor, user_data = _HEADER.unpack_from(data)
        if version != QUOTE_VERSION:
            raise FormatError(
                "quote version",
                expected=str(QUOTE_VERSION),
                got=str(version),
                where="offset 0",
                hint="Versions 4 and 5, and TDX with them, are not supported yet."
                if version in (4, 5)
                else None,
            )
        if key_type != ATTESTATION_KEY_TYPE:
            raise FormatError(
                "attestation key type",
                expected=f"{ATTESTATION_KEY_TYPE} (ECDSA with P-256)",
                got=str(key_type),
                where="offset 2",
            )
        if tee_type != 0:
            raise FormatError("TEE type", expected="0 (SGX)", got=f"0x{tee_type:x}", where="offset 4")
        return cls(qe_svn=qe_svn, pce_svn=pce_svn, qe_vendor_id=vendor, user_data=user_data)

    def to_bytes(self) -> bytes:
        """The 48 bytes of the format."""
        return _HEADER.pack(
            QUOTE_VERSION,
            ATTESTATION_KEY_TYPE,
            0,
            self.qe_svn,
            self.pce_svn,
            self.qe_vendor_id,
            self.user_data,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A quote whose layout has been read and whose content nobody has judged yet.

    The two signed stretches are kept as they came, so that signatures are checked over the bytes themselves.

    Attributes:
        signed: Header and report, 432 bytes: what the attestation key signed.
        signature: The attestation key's signature over ``signed``: r and s, 64 bytes.
        attestation_key: The public attestation key, x and y, 64 bytes.
        qe_report: The report of the quoting enclave, 384 bytes: what the PCK signed.
        qe_report_signature: The PCK's signature over ``qe_report``: r and s, 64 bytes.
        qe_auth_data: Bytes of the quoting enclave's choice, bound into its report data.
        certification_type: Kind of ``certification_data``.
        certification_data: What certifies the PCK; for type 5 its certificate chain.
    """

    signed: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: bytes
    qe_report_signature: bytes
    qe_auth_data: bytes
    certification_type: int
    certification_data: bytes

    @classmethod
    def parse(cls, data: bytes) -> Quote:
        """Read a quote; every byte belongs to a field.

        Raises:
            FormatError: Cut short, followed by other bytes, larger than :data:`MAX_QUOTE_SIZE`, or of a
                version, key type or TEE that is not supported.
        """
        if len(data) > MAX_QUOTE_SIZE:
            raise FormatError(
                "quote size", expected=f"at most {MAX_QUOTE_SIZE} bytes", got=f"{len(data)} bytes"
            )
        QuoteHeader.parse(data)
        cursor = _Cursor(data=data)
        signed = cursor.take(_SIGNED_SIZE, "quote header and report")
        (size,) = struct.unpack("<I", cursor.take(4, "size of the signature data"))
        if size != len(data) - cursor.offset:
            raise FormatError(
                "signature data",
                expected=f"{size} bytes until the end of the quote",
                got=f"{len(data) - cursor.offset} bytes",
                where=f"offset {cursor.offset}",
                hint="The quote was cut, or something was added behind it.",
            )
        signature, key, qe_report, qe_signature, auth_size = _AUTH.unpack(
            cursor.take(_AUTH.size, "signatures and QE report")
        )
        auth_data = cursor.take(auth_size, "QE authentication data")
        kind, cert_size = struct.unpack("<HI", cursor.take(6, "certification data header"))
        certification = cursor.take(cert_size, "certification data")
        cursor.require_end()
        return cls(
            signed=signed,
            signature=signature,
            attestation_key=key,
            qe_report=qe_report,
            qe_report_signature=qe_signature,
            qe_auth_data=auth_data,
            certification_type=kind,
            certification_data=certification,
        )

    def to_bytes(self) -> bytes:
        """The bytes of the format."""
        auth = _AUTH.pack(
            self.signature,
            self.attestation_key,
            self.qe_report,
            self.qe_report_signature,
            len(self.qe_auth_data),
        )
        certification = struct.pack("<HI", self.certification_type, len(self.certification_data))
        signature_data = auth + self.qe_auth_data + certification + self.certification_data
        return self.signed + struct.pack("<I", len(signature_data)) + signature_data

    @property
    def header(self) -> QuoteHeader:
        """The header, read out of ``signed``."""
        return QuoteHeader.parse(self.signed)

    @property
    def report(self) -> ReportBody:
        """The report of the enclave that asks to be trusted, read out of ``signed``."""
        return ReportBody.parse(self.signed[_HEADER.size :])


@dataclass(slots=True, kw_only=True)
class _Cursor:
    """Where in the quote we are."""

    data: bytes
    offset: int = 0

    def take(self, size: int, what: str) -> bytes:
        """The next ``size`` bytes."""
        found = self.data[self.offset : self.offset + size]
        if len(found) != size:
            raise FormatError(
                what,
                expected=f"{size} bytes",
                got=f"{len(found)} bytes",
                where=f"offset {self.offset}",
                hint="The quote was cut, or a length in it is wrong.",
            )
        self.offset += size
        return found

    def require_end(self) -> None:
        """Nothing may follow."""
        if self.offset != len(self.data):
            raise FormatError(
                "quote size",
                expected=f"{self.offset} bytes",
                got=f"{len(self.data)} bytes",
                where=f"offset {self.offset}",
                hint="Bytes follow the certification data.",
            )
