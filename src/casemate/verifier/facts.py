"""What an appraisal has found out about a platform, besides the checks that it has passed or not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from casemate.formats.sgx.collateral import IsvLevel, TcbLevel
from casemate.formats.sgx.pck import PckExtension
from casemate.formats.sgx.report import ReportBody
from casemate.formats.sgx.td_report import TdReport
from casemate.verifier.endorsements import Endorsements
from casemate.verifier.platform import Platform
from casemate.verifier.quoting_enclave import QuotingEnclave
from casemate.verifier.tcb import Shortfall, Standing, in_order, shortfalls


@dataclass(frozen=True, slots=True, kw_only=True)
class IsvStanding:
    """How a quoting enclave or a TDX module stands.

    Attributes:
        isvsvn: Its security version.
        level: The level that it reaches; ``None`` when it reaches none.
    """

    isvsvn: int
    level: IsvLevel | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known; ``None`` is what could not be found out.

    Attributes:
        platform: What the PCK certificate says, once its chain is trusted.
        authority: Who has certified it: ``Intel SGX PCK Platform CA``, for example.
        level: The TCB level that the platform reaches.
        newest: The highest level that there is.
        too_low: What keeps the platform below the newest level.
        quoting_enclave: How the quoting enclave stands.
        tdx_module: How the TDX module stands; ``None`` for SGX, and where modules have no level.
        tcb_evaluation_data_number: Which of Intel's TCB recoveries TCB info knows.
        qe_evaluation_data_number: Which of them the QE identity knows.
        issued: When each document was issued: what Intel has said since then is not known here.
    """

    platform: PckExtension | None
    authority: str | None
    level: TcbLevel | None
    newest: TcbLevel | None
    too_low: tuple[Shortfall, ...]
    quoting_enclave: IsvStanding | None
    tdx_module: IsvStanding | None
    tcb_evaluation_data_number: int | None
    qe_evaluation_data_number: int | None
    issued: tuple[tuple[str, datetime], ...]

    @classmethod
    def of(
        cls,
        endorsements: Endorsements,
        platform: Platform | None,
        quoting_enclave: QuotingEnclave | None,
        report: ReportBody | TdReport | None,
        standing: Standing | None,
    ) -> Facts:
        """Put together what the steps of an appraisal have found.

        Args:
            endorsements: What the manufacturer says.
            platform: The platform; ``None`` unless the quote brings a certificate chain.
            quoting_enclave: The quoting enclave; ``None`` unless the platform is trusted.
            report: What the evidence says; ``None`` unless every signature up to it is right.
            standing: How the platform stands; ``None`` unless the endorsements speak of it.
        """
        info, identity = endorsements.tcb_info, endorsements.qe_identity
        extension = platform.extension if platform else None
        own_info = platform.tcb_info if platform else None
        domain = report if isinstance(report, TdReport) else None
        newest = in_order(own_info)[0] if own_info and own_info.levels else None
        too_low: list[Shortfall] = []
        if standing and extension and own_info and newest:
            too_low = shortfalls(extension, own_info, domain, newest)
        return cls(
            platform=extension,
            authority=platform.authority if platform else None,
            level=standing.level if standing else None,
            newest=newest,
            too_low=tuple(too_low),
            quoting_enclave=_quoting_enclave(quoting_enclave, standing),
            tdx_module=_module(domain, standing),
            tcb_evaluation_data_number=info.tcb_evaluation_data_number if info else None,
            qe_evaluation_data_number=identity.tcb_evaluation_data_number if identity else None,
            issued=_issued(endorsements),
        )


def _quoting_enclave(enclave: QuotingEnclave | None, standing: Standing | None) -> IsvStanding | None:
    if enclave is None or enclave.report is None or standing is None:
        return None
    return IsvStanding(isvsvn=enclave.report.isvsvn, level=standing.qe_level)


def _module(domain: TdReport | None, standing: Standing | None) -> IsvStanding | None:
    """A module of the first generation is judged with the platform and has no level of its own."""
    if domain is None or standing is None or domain.tee_tcb_svn[1] == 0:
        return None
    return IsvStanding(isvsvn=domain.tee_tcb_svn[0], level=standing.module_level)


def _issued(endorsements: Endorsements) -> tuple[tuple[str, datetime], ...]:
    lists = (("root CRL", endorsements.root_crl), ("PCK CRL", endorsements.pck_crl))
    documents = (("TCB info", endorsements.tcb_info), ("QE identity", endorsements.qe_identity))
    return (
        *((name, crl.this_update) for name, crl in lists if crl is not None),
        *((name, document.issue_date) for name, document in documents if document is not None),
    )


def facts_in_json(facts: Facts | None) -> dict[str, Any]:
    """Facts in terms of JSON; bytes in hexadecimal."""
    if facts is None:
        return {"platform": None, "tcb": None}
    return {"platform": _platform_in_json(facts), "tcb": _tcb_in_json(facts)}


def _platform_in_json(facts: Facts) -> dict[str, Any] | None:
    platform = facts.platform
    if platform is None:
        return None
    return {
        "authority": facts.authority,
        "fmspc": platform.fmspc.hex(),
        "pce_id": platform.pce_id.hex(),
        "sgx_type": platform.sgx_type.name.lower(),
        "components": list(platform.components),
        "pce_svn": platform.pce_svn,
        "dynamic_platform": platform.dynamic_platform,
        "cached_keys": platform.cached_keys,
        "smt_enabled": platform.smt_enabled,
    }


def _tcb_in_json(facts: Facts) -> dict[str, Any]:
    return {
        "level": _level_in_json(facts.level),
        "newest": _level_in_json(facts.newest),
        "too_low": [asdict(shortfall) for shortfall in facts.too_low],
        "quoting_enclave": _standing_in_json(facts.quoting_enclave),
        "tdx_module": _standing_in_json(facts.tdx_module),
        "tcb_evaluation_data_number": facts.tcb_evaluation_data_number,
        "qe_evaluation_data_number": facts.qe_evaluation_data_number,
        "issued": {name: date.isoformat() for name, date in facts.issued},
    }


def _level_in_json(level: TcbLevel | IsvLevel | None) -> dict[str, Any] | None:
    if level is None:
        return None
    return {
        "status": level.status.value,
        "date": level.tcb_date.isoformat(),
        "advisory_ids": list(level.advisory_ids),
    }


def _standing_in_json(standing: IsvStanding | None) -> dict[str, Any] | None:
    if standing is None:
        return None
    return {"isvsvn": standing.isvsvn, "level": _level_in_json(standing.level)}
