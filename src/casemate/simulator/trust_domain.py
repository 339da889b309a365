"""A trust domain of a simulated platform: what the TDX module and the quoting enclave would give it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from casemate.errors import FormatError
from casemate.formats.sgx.report import REPORT_DATA_SIZE
from casemate.formats.sgx.td_report import MrTd, TdAttributes, TdReport, TdReportExtension
from casemate.simulator.endorsements import TEE_TCB_SVN
from casemate.simulator.platform import SimulatedPlatform

#: A production trust domain under TDX 1.0, under TDX 1.5, and with the extended report of TDX 1.5.
TD_REPORT_10 = TdReport(
    tee_tcb_svn=TEE_TCB_SVN,
    mr_seam=hashlib.sha384(b"Casemate simulated TDX module").digest(),
    mr_signer_seam=bytes(48),
    seam_attributes=bytes(8),
    td_attributes=TdAttributes.SEPT_VE_DISABLE,
    xfam=0x618E7,
    mr_td=MrTd(hashlib.sha384(b"Casemate simulated trust domain").digest()),
    mr_config_id=bytes(48),
    mr_owner=bytes(48),
    mr_owner_config=bytes(48),
    rtmr0=bytes(48),
    rtmr1=bytes(48),
    rtmr2=bytes(48),
    rtmr3=bytes(48),
    report_data=bytes(64),
)
TD_REPORT_15 = replace(TD_REPORT_10, tee_tcb_svn2=TEE_TCB_SVN, mr_service_td=bytes(48))
TD_REPORT_15_EX = replace(
    TD_REPORT_15,
    extension=TdReportExtension(
        vmid=0,
        td_id=hashlib.sha256(b"Casemate simulated trust domain").digest(),
        dev_info=bytes(48),
        init_service_td_hash=bytes(48),
        init_service_td_attributes=bytes(8),
        init_cpu_svn=bytes(16),
        init_tee_tcb_svn=TEE_TCB_SVN,
        init_tee_fmspc=bytes(12),
        cur_service_td_hash=bytes(48),
        cur_service_td_attributes=bytes(8),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTrustDomain:
    """One trust domain.

    Attributes:
        platform: Where it runs.
        report: What it is; its report data are replaced in each quote.
    """

    platform: SimulatedPlatform
    report: TdReport = TD_REPORT_10

    def quote(self, report_data: bytes, *, version: int | None = None) -> bytes:
        """A quote over 64 bytes of the trust domain's choice.

        Args:
            report_data: The 64 bytes.
            version: Of the quote; by default 4 for a report of TDX 1.0, and 5 for the others.

        Raises:
            FormatError: Not 64 bytes, or a version that cannot carry the report.
        """
        if len(report_data) != REPORT_DATA_SIZE:
            raise FormatError(
                "report data", expected=f"{REPORT_DATA_SIZE} bytes", got=f"{len(report_data)} bytes"
            )
        return self.platform.quote(replace(self.report, report_data=report_data), version=version)
