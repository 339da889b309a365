"""How platform, quoting enclave and TDX module stand with the manufacturer, each and together.

QVL ``VerifyQuote``, sections 4.1.2.4.11, .15 (the level) and .17.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from casemate.formats.sgx.collateral import (
    EnclaveIdentity,
    IsvLevel,
    TcbInfo,
    TcbLevel,
    TcbStatus,
    TdxModule,
    TdxModuleIdentity,
)
from casemate.formats.sgx.pck import PckExtension
from casemate.formats.sgx.td_report import TdReport
from casemate.verifier.checklist import Checklist, Record
from casemate.verifier.masks import masked, under_mask
from casemate.verifier.requirements import Requirement, Stage

# What an outdated part makes of the status of the whole; others stay as they are.
_WITH_OUTDATED_PART = {
    TcbStatus.UP_TO_DATE: TcbStatus.OUT_OF_DATE,
    TcbStatus.SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE,
    TcbStatus.CONFIGURATION_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
}
_CURRENT_PLATFORM = frozenset(_WITH_OUTDATED_PART)
_OUTDATED = frozenset({TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED})
_CONFIGURATION = frozenset(
    {
        TcbStatus.CONFIGURATION_NEEDED,
        TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
        TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standing:
    """How platform, quoting enclave and TDX module stand, taken together.

    Attributes:
        status: The status; ``None`` when one of them reaches no level.
        advisory_ids: Intel's advisories for all their levels.
        level: The TCB level of the platform; ``None`` when it reaches none.
        qe_level: The level of the quoting enclave, likewise.
        module_level: The level of the TDX module, likewise; ``None`` also where modules have none.
        in_words: The status, and how each of them stands.
        records: Every check that was made.
        genuine: Whether the TDX module, where there is one, is the manufacturer's.
        complete: Whether every one of them reaches a level, and the module is genuine.
    """

    status: TcbStatus | None
    advisory_ids: tuple[str, ...]
    level: TcbLevel | None
    qe_level: IsvLevel | None
    module_level: IsvLevel | None
    in_words: str
    records: tuple[Record, ...]
    genuine: bool
    complete: bool


def stand(
    platform: PckExtension,
    info: TcbInfo,
    identity: EnclaveIdentity,
    qe_isvsvn: int,
    domain: TdReport | None,
) -> Standing:
    """Find the levels and merge them.

    Args:
        platform: What the PCK certificate says.
        info: TCB info of this platform, for the TEE of the quote.
        identity: Identity of the quoting enclave, for the TEE of the quote.
        qe_isvsvn: ISVSVN of the quoting enclave.
        domain: The report of a TDX quote; ``None`` for SGX.
    """
    checks = Checklist()
    qe_level = _qe_level(checks, identity, qe_isvsvn)
    level, sgx_level = _platform_level(checks, platform, info, domain)
    module = None if domain is None else _module_level(checks, info, domain)
    module_level = module.level if module else None
    parts = {"platform": level, "quoting enclave": qe_level, "TDX module": module_level}
    status: TcbStatus | None = None
    if level and sgx_level and qe_level and checks.passed:
        status = level.status if module_level is None else converge(level.status, module_level.status)
        if domain is not None and module_level is not None and status is not TcbStatus.REVOKED:
            status = _relaunch(checks, domain, info, sgx_level.status, status, module_level, qe_level)
        status = None if status is None else converge(status, qe_level.status)
    each = ", ".join(f"{name} {part.status.value}" for name, part in parts.items() if part)
    return Standing(
        status=status,
        advisory_ids=_advisories(level, qe_level, module_level),
        level=level,
        qe_level=qe_level,
        module_level=module_level,
        in_words=f"{status.value if status else None} ({each})",
        records=tuple(checks.records),
        genuine=all(
            passed for requirement, passed, *_ in checks.records if requirement.stage is Stage.TDX_MODULE
        ),
        complete=status is not None,
    )


def converge(whole: TcbStatus, part: TcbStatus) -> TcbStatus:
    """The status of both together: a quoting enclave or a TDX module can only make it worse."""
    match part:
        case TcbStatus.REVOKED:
            return TcbStatus.REVOKED
        case TcbStatus.OUT_OF_DATE:
            return _WITH_OUTDATED_PART.get(whole, whole)
        case _:
            return whole


def _advisories(*levels: TcbLevel | IsvLevel | None) -> tuple[str, ...]:
    """Those of all levels, each once, in their order."""
    return tuple(dict.fromkeys(advisory for level in levels if level for advisory in level.advisory_ids))


# 4.1.2.4.15: the level of the quoting enclave.


def _qe_level(checks: Checklist, identity: EnclaveIdentity, isvsvn: int) -> IsvLevel | None:
    level = _reached(identity.levels, isvsvn)
    checks.require(
        Requirement.QE_LEVEL,
        passed=level is not None,
        expected="an ISVSVN that reaches a level of the QE identity",
        got=isvsvn,
    )
    return level


def _reached(levels: Iterable[IsvLevel], isvsvn: int) -> IsvLevel | None:
    """The highest level that an enclave of this security version reaches."""
    reached = [level for level in levels if isvsvn >= level.isvsvn]
    return max(reached, key=lambda level: level.isvsvn, default=None)


# 4.1.2.4.17.1 to .3: the TCB level of the platform.


def _platform_level(
    checks: Checklist, platform: PckExtension, info: TcbInfo, domain: TdReport | None
) -> tuple[TcbLevel | None, TcbLevel | None]:
    """The highest level that the platform reaches, and the highest that it reaches leaving TDX aside."""
    ordered = in_order(info)
    reached = [level for level in ordered if _reaches(platform, level)]
    with_tdx = [level for level in reached if domain is None or _reaches_tdx(domain.tee_tcb_svn, level)]
    checks.require(
        Requirement.TCB_LEVEL,
        passed=bool(with_tdx),
        expected="security versions that reach a level of TCB info",
        got=_versions(platform, info, domain, reached or ordered),
    )
    return next(iter(with_tdx), None), next(iter(reached), None)


def in_order(info: TcbInfo) -> list[TcbLevel]:
    """The levels, highest first."""
    return sorted(
        info.levels,
        key=lambda level: (level.sgx_components, level.pce_svn, level.tdx_components or ()),
        reverse=True,
    )


def _reaches(platform: PckExtension, level: TcbLevel) -> bool:
    return platform.pce_svn >= level.pce_svn and all(
        svn >= least for svn, least in zip(platform.components, level.sgx_components, strict=True)
    )


def _reaches_tdx(versions: bytes, level: TcbLevel) -> bool:
    """Where the module has a version, it is judged by its identity, and not by the first two components."""
    first = 2 if versions[1] > 0 else 0
    least = level.tdx_components or ()
    return all(svn >= needed for svn, needed in zip(versions[first:], least[first:], strict=True))


def _versions(
    platform: PckExtension, info: TcbInfo, domain: TdReport | None, levels: list[TcbLevel]
) -> Callable[[], str]:
    """The security versions, and where they fall short of the lowest of the levels."""

    def words() -> str:
        text = f"{platform.components}, PCESVN {platform.pce_svn}"
        if domain is not None:
            text += f", TDX {tuple(domain.tee_tcb_svn)}"
        short = [str(one) for level in levels[-1:] for one in shortfalls(platform, info, domain, level)]
        return f"{text}; too low for the lowest level: {', '.join(short)}" if short else text

    return words


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """A security version that is lower than a level asks for.

    Attributes:
        component: Of what, in Intel's words where TCB info has some.
        svn: The security version.
        least: What the level asks for.
    """

    component: str
    svn: int
    least: int

    def __str__(self) -> str:
        """For a person."""
        return f"{self.component} is {self.svn}, not {self.least}"


def shortfalls(
    platform: PckExtension, info: TcbInfo, domain: TdReport | None, level: TcbLevel
) -> list[Shortfall]:
    """Each security version that a level asks for and the platform does not have."""
    compared = [
        ("component", info.sgx_component_names, 0, platform.components, level.sgx_components),
        ("PCESVN", (), 0, (platform.pce_svn,), (level.pce_svn,)),
    ]
    if domain is not None:
        first = 2 if domain.tee_tcb_svn[1] > 0 else 0
        least = level.tdx_components or ()
        compared.append(("TDX component", info.tdx_component_names, first, tuple(domain.tee_tcb_svn), least))
    return [
        Shortfall(component=_component(kind, number, names), svn=svn, least=needed)
        for kind, names, first, svns, least in compared
        for number, (svn, needed) in enumerate(zip(svns, least, strict=False))
        if number >= first and svn < needed
    ]


def _component(kind: str, number: int, names: tuple[str, ...]) -> str:
    """What to call a component: by its number, and by what it is."""
    if kind == "PCESVN":
        return kind
    name = names[number] if number < len(names) else ""
    return f"{kind} {number + 1}" + (f" ({name})" if name else "")


# 4.1.2.4.11 and .17.4: the TDX module.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Module:
    """A TDX module that the manufacturer knows; of the first generation, it has no level of its own."""

    level: IsvLevel | None


def _module_level(checks: Checklist, info: TcbInfo, domain: TdReport) -> _Module | None:
    """The TDX module's identity and level; ``None`` when it is not the manufacturer's."""
    version = domain.tee_tcb_svn[1]
    identity: TdxModule | TdxModuleIdentity | None = info.tdx_module
    if version > 0:
        identity = module_identity(info, version)
    checks.require(
        Requirement.TDX_MODULE_IDENTITY,
        passed=identity is not None,
        expected="an identity in TCB info",
        got=f"module version {version}",
    )
    if identity is None or not _is_genuine(checks, identity, domain):
        return None
    if not isinstance(identity, TdxModuleIdentity):
        return _Module(level=None)
    level = _reached(identity.levels, domain.tee_tcb_svn[0])
    checks.require(
        Requirement.TDX_MODULE_LEVEL,
        passed=level is not None,
        expected=f"an ISVSVN that reaches a level of {identity.id}",
        got=domain.tee_tcb_svn[0],
    )
    return _Module(level=level)


def module_identity(info: TcbInfo, version: int) -> TdxModuleIdentity | None:
    """The identity of TDX modules of this version, ``TDX_01`` and so on."""
    name = f"TDX_{version:02X}"
    return next((identity for identity in info.tdx_module_identities if identity.id.upper() == name), None)


def _is_genuine(checks: Checklist, identity: TdxModule | TdxModuleIdentity, domain: TdReport) -> bool:
    """4.1.2.4.11: the module's signer and attributes."""
    return all(
        (
            checks.require(
                Requirement.TDX_MODULE_SIGNER,
                passed=domain.mr_signer_seam == identity.mrsigner,
                expected=identity.mrsigner,
                got=domain.mr_signer_seam,
            ),
            checks.require(
                Requirement.TDX_MODULE_ATTRIBUTES,
                passed=masked(domain.seam_attributes, identity.attributes_mask) == identity.attributes,
                expected=under_mask(identity.attributes, identity.attributes_mask),
                got=domain.seam_attributes,
            ),
        )
    )


def _relaunch(
    checks: Checklist,
    domain: TdReport,
    info: TcbInfo,
    sgx: TcbStatus,
    tdx: TcbStatus,
    module: IsvLevel,
    quoting_enclave: IsvLevel,
) -> TcbStatus | None:
    """4.1.2.4.17.4.3: the module was updated under the running trust domain, which only has to start again.

    Args:
        checks: The record.
        domain: The report, whose second TEE_TCB_SVN is that of the module as it is now.
        info: TCB info.
        sgx: Status of the platform, leaving TDX aside.
        tdx: Status of the platform with the module that started the trust domain.
        module: Level of that module.
        quoting_enclave: Level of the quoting enclave.
    """
    now = domain.tee_tcb_svn2
    may_be = (
        now is not None
        and quoting_enclave.status is TcbStatus.UP_TO_DATE
        and sgx in _CURRENT_PLATFORM
        and tdx in _OUTDATED
        and module.status is TcbStatus.OUT_OF_DATE
    )
    if now is None or not may_be:
        return tdx
    latest = in_order(info)[0].tdx_components or ()
    least = latest[0]
    if now[1] > 0:
        identity = module_identity(info, now[1])
        if identity is None or not identity.levels:
            checks.require(
                Requirement.TDX_MODULE_IDENTITY,
                passed=False,
                expected="an identity in TCB info, with levels",
                got=f"module version {now[1]} (the module as it is now)",
            )
            return None
        least = max(level.isvsvn for level in identity.levels)
    if now[0] < least or now[2] < latest[2]:
        return tdx
    if {sgx, tdx} & _CONFIGURATION:
        return TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
    return TcbStatus.TD_RELAUNCH_ADVISED
