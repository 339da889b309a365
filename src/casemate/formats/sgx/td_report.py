"""The TD report in a quote: what a trust domain is, as the TDX module and the processor say it.

Intel TDX DCAP Quoting Library API, appendix A, "TD quote body" (``sgx_report2_body_t``, ``…_v1_5_t`` and
``…_v1_5_ex_t`` of ``sgx_quote_4.h`` and ``sgx_quote_5.h``); bits of the attributes from the Intel TDX Module
ABI Reference Specification, table "ATTRIBUTES". Not checked here: reserved bits and every rule about values
(the verifier judges those).
"""

from __future__ import annotations

import struct
from dataclasses import astuple, dataclass
from enum import IntFlag
from typing import Final, NewType

from casemate.errors import FormatError

#: Measurement of a trust domain's initial content, SHA-384, 48 bytes.
MrTd = NewType("MrTd", bytes)

#: Bytes of the report of TDX 1.0, of TDX 1.5, and of the extended one of TDX 1.5.
TD_REPORT_10_SIZE: Final = 584
TD_REPORT_15_SIZE: Final = 648
TD_REPORT_15_EX_SIZE: Final = 885

_BASE = struct.Struct("<16s48s48s8sQQ48s48s48s48s48s48s48s48s64s")
_VERSION_15 = struct.Struct("<16s48s")
_EXTENSION = struct.Struct("<B32s48s48s8s16s16s12s48s8s")


class TdAttributes(IntFlag):
    """The bits of a trust domain's ATTRIBUTES that have names; unknown bits are kept."""

    #: The host sees and changes everything.
    DEBUG = 1 << 0
    #: The host profiles the trust domain, with HGS+, with performance counters, or out of band.
    HGS_PLUS_PROF = 1 << 4
    PERF_PROF = 1 << 5
    PMT_PROF = 1 << 6
    ICSSD = 1 << 16
    #: Service trust domains of other kinds may be bound.
    SERVTD_EXT = 1 << 17
    LASS = 1 << 27
    #: The host cannot make the trust domain take a #VE by removing a page.
    SEPT_VE_DISABLE = 1 << 28
    #: A migration service may move it to another platform.
    MIGRATABLE = 1 << 29
    #: Protection keys of supervisor pages are used.
    PKS = 1 << 30
    #: Key Locker is used.
    KL = 1 << 31
    TPA = 1 << 62
    #: The trust domain uses performance counters itself.
    PERFMON = 1 << 63


#: Bits 0 to 3 (TUD): any of them puts a trust domain under debug; those without a name are reserved.
UNDER_DEBUG: Final = 0xF
#: Bits 4 to 6: any of them lets the host profile a trust domain.
UNDER_PROFILING: Final = TdAttributes.HGS_PLUS_PROF | TdAttributes.PERF_PROF | TdAttributes.PMT_PROF
#: The bits that are reserved and have to be zero: 1 to 3, 7 to 15, 23 to 26 and 32 to 61. Bits 18 to 22 have
#: no name yet and may be one: a future module will say by them that a trust domain is safer.
RESERVED_ATTRIBUTES: Final = 0x3FFF_FFFF_0780_FF8E


@dataclass(frozen=True, slots=True, kw_only=True)
class TdReportExtension:
    """What the extended report of TDX 1.5 adds, for trust domains that migrate and that have devices.

    Attributes:
        vmid: Number of the virtual machine within an L1 partition.
        td_id: Identity of the trust domain, 32 bytes.
        dev_info: Digest of the devices, 48 bytes.
        init_service_td_hash: Digest of the service trust domains at the start, 48 bytes.
        init_service_td_attributes: Their attributes at the start, 8 bytes.
        init_cpu_svn: CPUSVN of the platform of the start, 16 bytes.
        init_tee_tcb_svn: TEE_TCB_SVN of the platform of the start, 16 bytes.
        init_tee_fmspc: Family of the platform of the start, 12 bytes.
        cur_service_td_hash: Digest of the service trust domains now, 48 bytes.
        cur_service_td_attributes: Their attributes now, 8 bytes.
    """

    vmid: int
    td_id: bytes
    dev_info: bytes
    init_service_td_hash: bytes
    init_service_td_attributes: bytes
    init_cpu_svn: bytes
    init_tee_tcb_svn: bytes
    init_tee_fmspc: bytes
    cur_service_td_hash: bytes
    cur_service_td_attributes: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TdReport:
    """A TD report, as it stands in a quote: the signed statement about one trust domain.

    Attributes:
        tee_tcb_svn: Security versions of the TDX components when the TDX module started, 16 bytes.
        mr_seam: Measurement of the TDX module, 48 bytes.
        mr_signer_seam: Signer of the TDX module, 48 bytes; zero for Intel.
        seam_attributes: Attributes of the TDX module, 8 bytes as they lie.
        td_attributes: ATTRIBUTES of the trust domain.
        xfam: XFAM, the processor state components that it uses.
        mr_td: Measurement of its initial content.
        mr_config_id: Identity of its configuration, chosen by its owner, 48 bytes.
        mr_owner: Identity of its owner, 48 bytes.
        mr_owner_config: Identity of its owner's configuration, 48 bytes.
        rtmr0: The measurements that it extended while running, 48 bytes each.
        rtmr1: As ``rtmr0``.
        rtmr2: As ``rtmr0``.
        rtmr3: As ``rtmr0``.
        report_data: REPORTDATA, 64 bytes that the trust domain chose.
        tee_tcb_svn2: Security versions of the TDX components now, after updates of the running TDX module, 16
            bytes; ``None`` in a report of TDX 1.0.
        mr_service_td: Digest of the service trust domains that are bound, 48 bytes, zero for none; ``None``
            in a report of TDX 1.0.
        extension: ``None`` unless the report is extended.
    """

    tee_tcb_svn: bytes
    mr_seam: bytes
    mr_signer_seam: bytes
    seam_attributes: bytes
    td_attributes: TdAttributes
    xfam: int
    mr_td: MrTd
    mr_config_id: bytes
    mr_owner: bytes
    mr_owner_config: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    report_data: bytes
    tee_tcb_svn2: bytes | None = None
    mr_service_td: bytes | None = None
    extension: TdReportExtension | None = None

    @classmethod
    def parse(cls, data: bytes) -> TdReport:
        """Read a report of TDX 1.0, of TDX 1.5, or an extended one; the size tells which.

        Raises:
            FormatError: Another size.
        """
        if len(data) not in (TD_REPORT_10_SIZE, TD_REPORT_15_SIZE, TD_REPORT_15_EX_SIZE):
            raise FormatError(
                "TD report",
                expected=f"{TD_REPORT_10_SIZE}, {TD_REPORT_15_SIZE} or {TD_REPORT_15_EX_SIZE} bytes",
                got=f"{len(data)} bytes",
            )
        (
            tcb_svn, seam, signer_seam, seam_attributes, attributes, xfam, mr_td, config_id, owner,
            owner_config, rtmr0, rtmr1, rtmr2, rtmr3, report_data,
        ) = _BASE.unpack_from(data)  # fmt: skip
        tcb_svn2 = service_td = None
        if len(data) != TD_REPORT_10_SIZE:
            tcb_svn2, service_td = _VERSION_15.unpack_from(data, TD_REPORT_10_SIZE)
        return cls(
            tee_tcb_svn=tcb_svn,
            mr_seam=seam,
            mr_signer_seam=signer_seam,
            seam_attributes=seam_attributes,
            td_attributes=TdAttributes(attributes),
            xfam=xfam,
            mr_td=MrTd(mr_td),
            mr_config_id=config_id,
            mr_owner=owner,
            mr_owner_config=owner_config,
            rtmr0=rtmr0,
            rtmr1=rtmr1,
            rtmr2=rtmr2,
            rtmr3=rtmr3,
            report_data=report_data,
            tee_tcb_svn2=tcb_svn2,
            mr_service_td=service_td,
            extension=_extension(data) if len(data) == TD_REPORT_15_EX_SIZE else None,
        )

    def to_bytes(self) -> bytes:
        """The bytes of the format: of the smallest report that holds the fields that are not ``None``."""
        base = _BASE.pack(
            self.tee_tcb_svn,
            self.mr_seam,
            self.mr_signer_seam,
            self.seam_attributes,
            self.td_attributes,
            self.xfam,
            self.mr_td,
            self.mr_config_id,
            self.mr_owner,
            self.mr_owner_config,
            self.rtmr0,
            self.rtmr1,
            self.rtmr2,
            self.rtmr3,
            self.report_data,
        )
        if self.tee_tcb_svn2 is None or self.mr_service_td is None:
            return base
        of_15 = base + _VERSION_15.pack(self.tee_tcb_svn2, self.mr_service_td)
        return of_15 if self.extension is None else of_15 + _EXTENSION.pack(*astuple(self.extension))


def _extension(data: bytes) -> TdReportExtension:
    (
        vmid, td_id, dev_info, init_hash, init_attributes, init_cpu_svn, init_tcb_svn, init_fmspc, cur_hash,
        cur_attributes,
    ) = _EXTENSION.unpack_from(data, TD_REPORT_15_SIZE)  # fmt: skip
    return TdReportExtension(
        vmid=vmid,
        td_id=td_id,
        dev_info=dev_info,
        init_service_td_hash=init_hash,
        init_service_td_attributes=init_attributes,
        init_cpu_svn=init_cpu_svn,
        init_tee_tcb_svn=init_tcb_svn,
        init_tee_fmspc=init_fmspc,
        cur_service_td_hash=cur_hash,
        cur_service_td_attributes=cur_attributes,
    )
