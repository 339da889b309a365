"""REPORT and TARGETINFO: what an enclave is, as the processor says it.

Intel SDM volume 3D, sections "REPORT" and "REPORT TARGET INFO" (sgx_report_t, sgx_target_info_t of Intel's
SDK). Not checked here: that reserved fields are zero (the verifier judges that), and the MAC, which only the
target enclave can check.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple, NewType

from casemate.errors import FormatError

#: Measurement of an enclave's initial content, 32 bytes.
MrEnclave = NewType("MrEnclave", bytes)
#: SHA-256 of the modulus of the key that signed an enclave, 32 bytes.
MrSigner = NewType("MrSigner", bytes)

REPORT_BODY_SIZE = 384
REPORT_SIZE = 432
TARGET_INFO_SIZE = 512
REPORT_DATA_SIZE = 64

# ATTRIBUTES.FLAGS, SDM volume 3D, section "ATTRIBUTES". The bits between and above these are reserved.
INIT = 1 << 0
DEBUG = 1 << 1
MODE64BIT = 1 << 2
PROVISION_KEY = 1 << 4
EINITTOKEN_KEY = 1 << 5
CET = 1 << 6
KSS = 1 << 7
AEX_NOTIFY = 1 << 10
_KNOWN_FLAGS = INIT | DEBUG | MODE64BIT | PROVISION_KEY | EINITTOKEN_KEY | CET | KSS | AEX_NOTIFY
# MISCSELECT, SDM volume 3D, section "EXTENDED SSA CONTENT": EXINFO and CPINFO.
_KNOWN_MISC = 0b11

_BODY = struct.Struct("<16s4s12s16sQQ32s32s32s32s64sHHH42s16s64s")
_TARGET = struct.Struct("<32s16s2sH4s8s64s384s")


class Attributes(NamedTuple):
    """ATTRIBUTES: the enclave's flags, and XFRM, the processor state components that it uses."""

    flags: int
    xfrm: int

    @classmethod
    def parse(cls, data: bytes) -> Attributes:
        """Read 16 bytes.

        Raises:
            FormatError: Another size.
        """
        _require_size("ATTRIBUTES", data, 16)
        flags, xfrm = struct.unpack("<QQ", data)
        return cls(flags=flags, xfrm=xfrm)

    def to_bytes(self) -> bytes:
        """The 16 bytes of the architecture."""
        return struct.pack("<QQ", self.flags, self.xfrm)

    @property
    def reserved_flags(self) -> int:
        """The set bits of FLAGS that the SDM reserves."""
        return self.flags & ~_KNOWN_FLAGS


class ReportBody(NamedTuple):
    """The 384 bytes of a REPORT that its MAC, or a quote's signature, covers.

    A tuple, because two of them are read for each quote that is judged, and a dataclass with as many fields
    takes several times as long; ``_replace`` makes a changed one.

    Attributes:
        cpu_svn: CPUSVN, 16 bytes.
        misc_select: MISCSELECT, 4 bytes as they lie in memory.
        attributes: ATTRIBUTES.
        mrenclave: MRENCLAVE.
        mrsigner: MRSIGNER.
        isvprodid: ISVPRODID.
        isvsvn: ISVSVN.
        report_data: REPORTDATA, 64 bytes that the enclave chose.
        isvextprodid: ISVEXTPRODID, 16 bytes (KSS).
        isvfamilyid: ISVFAMILYID, 16 bytes (KSS).
        configid: CONFIGID, 64 bytes (KSS).
        configsvn: CONFIGSVN (KSS).
        reserved: The four reserved fields, 118 bytes in their order.
    """

    cpu_svn: bytes
    misc_select: bytes
    attributes: Attributes
    mrenclave: MrEnclave
    mrsigner: MrSigner
    isvprodid: int
    isvsvn: int
    report_data: bytes
    isvextprodid: bytes = bytes(16)
    isvfamilyid: bytes = bytes(16)
    configid: bytes = bytes(64)
    configsvn: int = 0
    reserved: bytes = bytes(118)

    @classmethod
    def parse(cls, data: bytes) -> ReportBody:
        """Read 384 bytes.

        Raises:
            FormatError: Another size.
        """
        _require_size("report body", data, REPORT_BODY_SIZE)
        (
            cpu_svn, misc_select, r0, isvextprodid, flags, xfrm, mrenclave, r1, mrsigner, r2, configid,
            isvprodid, isvsvn, configsvn, r3, isvfamilyid, report_data,
        ) = _BODY.unpack(data)  # fmt: skip
        attributes = Attributes(flags, xfrm)
        return cls._make((
            cpu_svn, misc_select, attributes, mrenclave, mrsigner, isvprodid, isvsvn, report_data,
            isvextprodid, isvfamilyid, configid, configsvn, r0 + r1 + r2 + r3,
        ))  # fmt: skip

    def to_bytes(self) -> bytes:
        """The 384 bytes of the architecture."""
        return _BODY.pack(
            self.cpu_svn,
            self.misc_select,
            self.reserved[:12],
            self.isvextprodid,
            self.attributes.flags,
            self.attributes.xfrm,
            self.mrenclave,
            self.reserved[12:44],
            self.mrsigner,
            self.reserved[44:76],
            self.configid,
            self.isvprodid,
            self.isvsvn,
            self.configsvn,
            self.reserved[76:],
            self.isvfamilyid,
            self.report_data,
        )

    @property
    def reserved_misc_select(self) -> int:
        """The set bits of MISCSELECT that the SDM reserves."""
        return int.from_bytes(self.misc_select, "little") & ~_KNOWN_MISC


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A REPORT: what EREPORT writes for one target enclave on the same platform.

    Attributes:
        body: What the MAC covers.
        key_id: KEYID, 32 bytes.
        mac: AES-CMAC under the target's report key, 16 bytes.
    """

    body: ReportBody
    key_id: bytes
    mac: bytes

    @classmethod
    def parse(cls, data: bytes) -> Report:
        """Read 432 bytes.

        Raises:
            FormatError: Another size.
        """
        _require_size("report", data, REPORT_SIZE)
        return cls(
            body=ReportBody.parse(data[:REPORT_BODY_SIZE]),
            key_id=data[REPORT_BODY_SIZE : REPORT_BODY_SIZE + 32],
            mac=data[REPORT_BODY_SIZE + 32 :],
        )

    def to_bytes(self) -> bytes:
        """The 432 bytes of the architecture."""
        return self.body.to_bytes() + self.key_id + self.mac


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetInfo:
    """A TARGETINFO: for which enclave a REPORT is made.

    Attributes:
        mrenclave: The target's measurement.
        attributes: The target's ATTRIBUTES.
        misc_select: The target's MISCSELECT, 4 bytes.
        configid: The target's CONFIGID, 64 bytes.
        configsvn: The target's CONFIGSVN.
    """

    mrenclave: MrEnclave
    attributes: Attributes
    misc_select: bytes
    configid: bytes = bytes(64)
    configsvn: int = 0

    @classmethod
    def parse(cls, data: bytes) -> TargetInfo:
        """Read 512 bytes.

        Raises:
            FormatError: Another size, or a reserved field is not zero.
        """
        _require_size("target information", data, TARGET_INFO_SIZE)
        mrenclave, attributes, r0, config_svn, misc, r1, config, r2 = _TARGET.unpack(data)
        if any(r0 + r1 + r2):
            raise FormatError(
                "target information", expected="reserved fields that are zero", got="other bytes"
            )
        return cls(
            mrenclave=MrEnclave(mrenclave),
            attributes=Attributes.parse(attributes),
            misc_select=misc,
            configid=config,
            configsvn=config_svn,
        )

    def to_bytes(self) -> bytes:
        """The 512 bytes of the architecture."""
        return _TARGET.pack(
            self.mrenclave,
            self.attributes.to_bytes(),
            bytes(2),
            self.configsvn,
            self.misc_select,
            bytes(8),
            self.configid,
            bytes(384),
        )


def _require_size(subject: str, data: bytes, size: int) -> None:
    if len(data) != size:
        raise FormatError(subject, expected=f"{size} bytes", got=f"{len(data)} bytes")
