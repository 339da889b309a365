"""The ECDSA quotes, versions 3, 4 and 5, that Intel's quoting enclaves make of a REPORT or a TD report.

Version 3: Intel SGX ECDSA QuoteLibReference (DCAP API), appendix A "Quote format". Versions 4 and 5: Intel
TDX DCAP Quoting Library API, appendix A "Quote format" (``sgx_quote_4.h`` and ``sgx_quote_5.h``). Attestation
key type 2 (ECDSA-256 with P-256) only. The body may be that of an enclave in every version, that of a trust
domain in versions 4 and 5. Not checked here: signatures, the vendor of the quoting enclave, reserved bytes of
the header, the kind and the content of the certification data; see :mod:`casemate.verifier`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from casemate.errors import FormatError
from casemate.formats.sgx.report import REPORT_BODY_SIZE, ReportBody
from casemate.formats.sgx.td_report import (
    TD_REPORT_10_SIZE,
    TD_REPORT_15_EX_SIZE,
    TD_REPORT_15_SIZE,
    TdReport,
)

#: ECDSA-256-with-P-256, the only attestation key type that is supported.
ATTESTATION_KEY_TYPE: Final = 2
#: The vendor id of Intel's quoting enclaves.
INTEL_QE_VENDOR_ID: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
#: Certification data type: the PCK certificate chain, PEM, leaf first.
PCK_CHAIN: Final = 5
#: Certification data type of versions 4 and 5: the quoting enclave's report, with the data that certifies it.
QE_REPORT: Final = 6
#: Largest quote that is read, in bytes. A quote with Intel's certificate chain has less than 6,000.
MAX_QUOTE_SIZE: Final = 16_384

#: Body types of version 5; the bodies of versions 3 and 4 are counted among them.
SGX_REPORT, TD_REPORT_10, TD_REPORT_15, TD_REPORT_15_EX = 1, 2, 3, 4


class Tee(Enum):
    """What kind of trusted execution environment is quoted; the value is that of the header."""

    SGX = 0x0
    TDX = 0x81

    # Members are keys where every quote is judged: identity is enough, and Enum's own hash is slow.
    __hash__ = object.__hash__


_TEE_NAMES = {Tee.SGX: "0 (SGX)", Tee.TDX: "0x81 (TDX)"}

_HEADER = struct.Struct("<HHI4s16s20s")
_SVNS = struct.Struct("<HH")
_PREFIX = struct.Struct("<HHI")
# Version 5: body type and body size, between header and body.
_DESCRIPTOR = struct.Struct("<HI")
_CERTIFICATION = struct.Struct("<HI")

_BODIES = {
    SGX_REPORT: (Tee.SGX, REPORT_BODY_SIZE, "enclave report"),
    TD_REPORT_10: (Tee.TDX, TD_REPORT_10_SIZE, "TD report 1.0"),
    TD_REPORT_15: (Tee.TDX, TD_REPORT_15_SIZE, "TD report 1.5"),
    TD_REPORT_15_EX: (Tee.TDX, TD_REPORT_15_EX_SIZE, "extended TD report 1.5"),
}
# Signature data up to the authentication data: signature, attestation key, in versions 4 and 5 type and size
# of the outer certification data, then QE report, its signature, size of the authentication data.
_AUTH = struct.Struct(f"<64s64s{REPORT_BODY_SIZE}s64sH")
_WRAPPED_AUTH = struct.Struct(f"<64s64sHI{REPORT_BODY_SIZE}s64sH")
_WRAPPED_AT = 64 + 64
_UNWRAPPED_SIZE = _WRAPPED_AT + _CERTIFICATION.size

_CUT = "The quote was cut, or a length in it is wrong."
_CUT_OR_EXTENDED = "The quote was cut, or something was added behind it."


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteHeader:
    """The 48 bytes with which every quote begins.

    Attributes:
        version: 3, 4 or 5.
        tee: What is quoted.
        qe_svn: ISVSVN of the quoting enclave; ``None`` in versions 4 and 5, which do not say it.
        pce_svn: ISVSVN of the provisioning certification enclave; ``None`` in versions 4 and 5.
        qe_vendor_id: Who made the quoting enclave, 16 bytes.
        user_data: 20 bytes of the quoting enclave: an identifier of the platform, then zeros.
        reserved: What lies in the place of the two SVNs in versions 4 and 5, 4 bytes; not used in version 3.
    """

    version: int
    tee: Tee
    qe_svn: int | None = None
    pce_svn: int | None = None
    qe_vendor_id: bytes
    user_data: bytes
    reserved: bytes = bytes(4)

    @classmethod
    def parse(cls, data: bytes) -> QuoteHeader:
        """Read the first 48 bytes of a quote.

        Raises:
            FormatError: Too short, or of a version, key type or TEE that is not supported.
        """
        tee = _require_supported_header(data)
        version, _, _, between, vendor, user_data = _HEADER.unpack_from(data)
        if version != 3:
            return cls(version=version, tee=tee, qe_vendor_id=vendor, user_data=user_data, reserved=between)
        qe_svn, pce_svn = _SVNS.unpack(between)
        return cls(
            version=version,
            tee=tee,
            qe_svn=qe_svn,
            pce_svn=pce_svn,
            qe_vendor_id=vendor,
            user_data=user_data,
        )

    def to_bytes(self) -> bytes:
        """The 48 bytes of the format."""
        between = self.reserved
        if self.qe_svn is not None and self.pce_svn is not None:
            between = _SVNS.pack(self.qe_svn, self.pce_svn)
        return _HEADER.pack(
            self.version,
            ATTESTATION_KEY_TYPE,
            self.tee.value,
            between,
            self.qe_vendor_id,
            self.user_data,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """Where things lie in quotes with one beginning.

    Attributes:
        version: The version.
        tee: What is quoted.
        body_type: Kind of the body.
        body_at: Offset of the body.
        signed_size: Bytes that the attestation key signs: all until the end of the body.
        wrapped: Whether the QE report lies within outer certification data.
        fixed: The size of the signature data and what comes first in it.
        auth_data_at: Offset of the authentication data, where the stretch of fixed layout ends.
    """

    version: int
    tee: Tee
    body_type: int
    body_at: int
    signed_size: int
    wrapped: bool
    fixed: struct.Struct
    auth_data_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A quote whose layout has been read and whose content nobody has judged yet.

    The two signed stretches are kept as they came, so that signatures are checked over the bytes themselves.

    Attributes:
        signed: Header, in version 5 the descriptor of the body, and body: what the attestation key signed.
        signature: The attestation key's signature over ``signed``: r and s, 64 bytes.
        attestation_key: The public attestation key, x and y, 64 bytes.
        qe_report: The report of the quoting enclave, 384 bytes: what the PCK signed.
        qe_report_signature: The PCK's signature over ``qe_report``: r and s, 64 bytes.
        qe_auth_data: Bytes of the quoting enclave's choice, bound into its report data.
        certification_type: Kind of ``certification_data``; in versions 4 and 5 the inner one.
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
                version, key type, TEE, kind or size of the body that is not supported; in versions 4 and 5,
                outer certification data of another type than :data:`QE_REPORT`.
        """
        # A hot path: every condition is one comparison, and its error is made elsewhere.
        size = len(data)
        layout = _find_layout(data)
        if layout is None or not layout.auth_data_at <= size <= MAX_QUOTE_SIZE:
            raise _unreadable(data)
        if layout.wrapped:
            (rest, signature, key, outer_type, outer_size, qe_report, qe_signature, auth_size) = (
                layout.fixed.unpack_from(data, layout.signed_size)
            )
            if outer_type != QE_REPORT or outer_size != rest - _UNWRAPPED_SIZE:
                raise _wrongly_wrapped(layout, data, outer_type, outer_size)
        else:
            rest, signature, key, qe_report, qe_signature, auth_size = layout.fixed.unpack_from(
                data, layout.signed_size
            )
        header_at = layout.auth_data_at + auth_size
        certification_at = header_at + _CERTIFICATION.size
        if rest != size - layout.signed_size - 4 or certification_at > size:
            raise _wrongly_sized(layout, data)
        kind, certification_size = _CERTIFICATION.unpack_from(data, header_at)
        if certification_at + certification_size != size:
            raise _wrongly_sized(layout, data)
        return cls(
            signed=data[: layout.signed_size],
            signature=signature,
            attestation_key=key,
            qe_report=qe_report,
            qe_report_signature=qe_signature,
            qe_auth_data=data[layout.auth_data_at : header_at],
            certification_type=kind,
            certification_data=data[certification_at:],
        )

    def to_bytes(self) -> bytes:
        """The bytes of the format."""
        inner = (
            self.qe_report
            + self.qe_report_signature
            + len(self.qe_auth_data).to_bytes(2, "little")
            + self.qe_auth_data
            + _CERTIFICATION.pack(self.certification_type, len(self.certification_data))
            + self.certification_data
        )
        if int.from_bytes(self.signed[:2], "little") != 3:
            inner = _CERTIFICATION.pack(QE_REPORT, len(inner)) + inner
        signature_data = self.signature + self.attestation_key + inner
        return self.signed + len(signature_data).to_bytes(4, "little") + signature_data

    @property
    def version(self) -> int:
        """The version of the format."""
        return _layout_of(self.signed).version

    @property
    def tee(self) -> Tee:
        """What is quoted."""
        return _layout_of(self.signed).tee

    @property
    def body_type(self) -> int:
        """Kind of the body, counted as version 5 counts; in versions 3 and 4 it follows from the TEE."""
        return _layout_of(self.signed).body_type

    @property
    def body(self) -> bytes:
        """The bytes of the report."""
        return self.signed[_layout_of(self.signed).body_at :]

    @property
    def header(self) -> QuoteHeader:
        """The header, read out of ``signed``."""
        return QuoteHeader.parse(self.signed)

    @property
    def report(self) -> ReportBody | TdReport:
        """The report of the enclave or the trust domain that asks to be trusted, read out of ``signed``."""
        layout = _layout_of(self.signed)
        body = self.signed[layout.body_at :]
        return ReportBody.parse(body) if layout.tee is Tee.SGX else TdReport.parse(body)


def body_descriptor(version: int, body_type: int) -> bytes:
    """What stands between header and body: in version 5 the body's type and size, before that nothing."""
    return _DESCRIPTOR.pack(body_type, _BODIES[body_type][1]) if version == 5 else b""


def _layouts() -> Mapping[bytes, _Layout]:
    """Each layout under the bytes that tell it: the first 8, and in version 5 the descriptor with them."""
    found = {}
    for version, body_type in (
        (3, SGX_REPORT),
        (4, SGX_REPORT),
        (4, TD_REPORT_10),
        *((5, body_type) for body_type in _BODIES),
    ):
        tee, size, _ = _BODIES[body_type]
        descriptor = body_descriptor(version, body_type)
        body_at = _HEADER.size + len(descriptor)
        fixed = struct.Struct("<I" + (_AUTH if version == 3 else _WRAPPED_AUTH).format[1:])
        found[_PREFIX.pack(version, ATTESTATION_KEY_TYPE, tee.value) + descriptor] = _Layout(
            version=version,
            tee=tee,
            body_type=body_type,
            body_at=body_at,
            signed_size=body_at + size,
            wrapped=version != 3,
            fixed=fixed,
            auth_data_at=body_at + size + fixed.size,
        )
    return found


_LAYOUTS: Final = _layouts()


def _find_layout(data: bytes) -> _Layout | None:
    prefix = data[:8]
    return _LAYOUTS.get(prefix) or _LAYOUTS.get(prefix + data[48:54])


def _layout_of(signed: bytes) -> _Layout:
    layout = _find_layout(signed)
    if layout is None:
        raise _unreadable(signed)
    return layout


def _require_supported_header(data: bytes) -> Tee:
    """The TEE of a header that is supported."""
    if len(data) < _HEADER.size:
        raise FormatError("quote header", expected=f"{_HEADER.size} bytes", got=f"{len(data)} bytes")
    version, key_type, tee_type = _PREFIX.unpack_from(data)
    if version not in (3, 4, 5):
        raise FormatError("quote version", expected="3, 4 or 5", got=str(version), where="offset 0")
    if key_type != ATTESTATION_KEY_TYPE:
        raise FormatError(
            "attestation key type",
            expected=f"{ATTESTATION_KEY_TYPE} (ECDSA with P-256)",
            got=str(key_type),
            where="offset 2",
        )
    possible = (Tee.SGX,) if version == 3 else (Tee.SGX, Tee.TDX)
    for tee in possible:
        if tee.value == tee_type:
            return tee
    expected = " or ".join(_TEE_NAMES[tee] for tee in possible)
    raise FormatError("TEE type", expected=expected, got=f"0x{tee_type:x}", where="offset 4")


# What is wrong with a quote, once something is. All of these return the error of the first fault.


def _unreadable(data: bytes) -> FormatError:
    """A quote too large, too short, or with an unknown beginning."""
    if len(data) > MAX_QUOTE_SIZE:
        return FormatError("quote size", expected=f"at most {MAX_QUOTE_SIZE} bytes", got=f"{len(data)} bytes")
    tee = _require_supported_header(data)
    layout = _find_layout(data)
    if layout is None:
        return _unknown_body(data, tee)
    if len(data) < layout.signed_size:
        return _short("quote header and report", layout.signed_size, len(data), 0)
    return _wrongly_sized(layout, data)


def _unknown_body(data: bytes, tee: Tee) -> FormatError:
    """A version 5 with a body that does not fit."""
    at = _HEADER.size
    if len(data) < at + _DESCRIPTOR.size:
        return _short("body descriptor", _DESCRIPTOR.size, len(data) - at, at)
    body_type, size = _DESCRIPTOR.unpack_from(data, at)
    possible = {number: name for number, (of, _, name) in _BODIES.items() if of is tee}
    if body_type not in possible:
        expected = " or ".join(f"{number} ({name})" for number, name in possible.items())
        return FormatError("quote body type", expected=expected, got=str(body_type), where=f"offset {at}")
    _, expected_size, name = _BODIES[body_type]
    return FormatError(
        "quote body size",
        expected=f"{expected_size} bytes ({name})",
        got=f"{size} bytes",
        where=f"offset {at + 2}",
    )


def _wrongly_wrapped(layout: _Layout, data: bytes, outer_type: int, outer_size: int) -> FormatError:
    """Outer certification data of another type, or not until the end of the signature data."""
    at = layout.signed_size + 4 + _WRAPPED_AT
    rest = int.from_bytes(data[layout.signed_size : layout.signed_size + 4], "little")
    if rest != len(data) - layout.signed_size - 4:
        return _wrongly_sized(layout, data)
    if outer_type != QE_REPORT:
        return FormatError(
            "outer certification data type",
            expected=f"{QE_REPORT} (report of the quoting enclave)",
            got=str(outer_type),
            where=f"offset {at}",
        )
    return FormatError(
        "outer certification data",
        expected=f"{outer_size} bytes until the end of the quote",
        got=f"{rest - _UNWRAPPED_SIZE} bytes",
        where=f"offset {at + _CERTIFICATION.size}",
        hint=_CUT_OR_EXTENDED,
    )


def _wrongly_sized(layout: _Layout, data: bytes) -> FormatError:
    """A quote with a right beginning, and a size in it that does not fit."""
    at = layout.signed_size
    left = len(data) - at
    if left < 4:
        return _short("size of the signature data", 4, left, at)
    at, left = at + 4, left - 4
    declared = int.from_bytes(data[at - 4 : at], "little")
    if declared != left:
        return FormatError(
            "signature data",
            expected=f"{declared} bytes until the end of the quote",
            got=f"{left} bytes",
            where=f"offset {at}",
            hint=_CUT_OR_EXTENDED,
        )
    least = layout.auth_data_at - at
    if left < least:
        return _short("signatures and QE report", least, left, at)
    return _wrongly_certified(data, layout.auth_data_at)


def _wrongly_certified(data: bytes, at: int) -> FormatError:
    """A quote in which the authentication data, or what follows it, has a size that does not fit."""
    left = len(data) - at
    auth_size = int.from_bytes(data[at - 2 : at], "little")
    if left < auth_size:
        return _short("QE authentication data", auth_size, left, at)
    at, left = at + auth_size, left - auth_size
    if left < _CERTIFICATION.size:
        return _short("certification data header", _CERTIFICATION.size, left, at)
    _, size = _CERTIFICATION.unpack_from(data, at)
    at, left = at + _CERTIFICATION.size, left - _CERTIFICATION.size
    if left < size:
        return _short("certification data", size, left, at)
    return FormatError(
        "quote size",
        expected=f"{at + size} bytes",
        got=f"{len(data)} bytes",
        where=f"offset {at + size}",
        hint="Bytes follow the certification data.",
    )


def _short(what: str, expected: int, got: int, at: int) -> FormatError:
    return FormatError(
        what, expected=f"{expected} bytes", got=f"{got} bytes", where=f"offset {at}", hint=_CUT
    )
