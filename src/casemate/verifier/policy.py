"""What a relying party accepts: RFC 9334's appraisal policy for evidence, reference values included."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.report import Attributes, MrEnclave, MrSigner
from casemate.formats.sgx.td_report import MrTd


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How old what the manufacturer says may be.

    Attributes:
        expiry_grace: How long certificates, CRLs, TCB info and QE identity are accepted after their end.
        max_age: How long after their issue TCB info and QE identity are accepted, whatever their end;
            ``None``: until their end. Intel issues them for 30 days and renews them long before.
        min_evaluation_number: The least ``tcbEvaluationDataNumber`` of TCB info and QE identity: which TCB
            recovery has to be known. ``None``: any.
    """

    expiry_grace: timedelta = timedelta(0)
    max_age: timedelta | None = None
    min_evaluation_number: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppraisalPolicy:
    """Which enclaves on which platforms are accepted; everything that is named must match.

    A policy must name an enclave: by MRENCLAVE, or by MRSIGNER together with ISVPRODID, because one signer
    signs many products. A policy that does not refuses everything.

    Attributes:
        mrenclaves: Accepted measurements; empty: any that the signer vouches for.
        mrsigner: The accepted signer; ``None``: any.
        isvprodid: The accepted product; ``None``: any.
        min_isvsvn: The least security version; ``None``: any.
        attributes: Expected ATTRIBUTES under ``attributes_mask``; ``None``: any that the SDM allows.
        attributes_mask: Which bits of ``attributes`` count; ``None``: all.
        misc_select: Expected MISCSELECT, 4 bytes; ``None``: any that the SDM allows.
        mrtds: Accepted measurements of trust domains; a policy without any accepts no trust domain.
        rtmrs: Expected RTMR0 to RTMR3, 48 bytes each, ``None`` for any; ``None``: any.
        report_data: Expected report data, 64 bytes; ``None``: the caller compares what the evidence binds.
        allow_debug: Accept enclaves that the host can read and change.
        accepted_statuses: Accepted TCB statuses. Revoked is never accepted, even when it is named here.
        freshness: How old the endorsements may be.
    """

    mrenclaves: tuple[MrEnclave, ...] = ()
    mrsigner: MrSigner | None = None
    isvprodid: int | None = None
    min_isvsvn: int | None = None
    attributes: Attributes | None = None
    attributes_mask: Attributes | None = None
    misc_select: bytes | None = None
    mrtds: tuple[MrTd, ...] = ()
    rtmrs: tuple[bytes | None, bytes | None, bytes | None, bytes | None] | None = None
    report_data: bytes | None = None
    allow_debug: bool = False
    accepted_statuses: frozenset[TcbStatus] = frozenset({TcbStatus.UP_TO_DATE})
    freshness: Freshness = field(default_factory=Freshness)

    @property
    def names_an_enclave(self) -> bool:
        """Whether it says which enclave is meant."""
        by_signer = self.mrsigner is not None and self.isvprodid is not None
        return bool(self.mrenclaves) or by_signer or bool(self.mrtds)
