"""An attestation result explained to a person: every step, what was compared, what was not looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from casemate.cli.second_opinion import SECOND_OPINION
from casemate.cli.terminal import printable

if TYPE_CHECKING:
    from casemate.formats.sgx.collateral import IsvLevel, TcbLevel
    from casemate.verifier.facts import Facts, IsvStanding
    from casemate.verifier.result import AttestationResult, Check

_SILENT = "the certificate does not say"
_EXPIRY = ": not expired"


def explanation(result: AttestationResult) -> Iterator[str]:
    """The lines that follow the verdict; a title begins at the margin, what belongs to it two places in."""
    for title, lines in _parts(result):
        yield ""
        yield title
        yield from (f"  {printable(line)}" for line in lines)


def _parts(result: AttestationResult) -> Iterator[tuple[str, list[str]]]:
    yield from _steps(result)
    facts = result.facts
    if facts is not None:
        yield "the platform", list(_platform(facts))
        yield "its trusted computing base", list(_tcb(result, facts))
    yield "time", list(_time(result))
    granted = [f"{grant.what}: {grant.reason}" for grant in result.grants]
    yield "accepted although refused otherwise", granted or ["nothing"]
    yield "not checked", [f"{line}." for line in result.not_checked]


def _steps(result: AttestationResult) -> Iterator[tuple[str, list[str]]]:
    """Every check that was made, and those that could not be made, by step."""
    from casemate.formats.sgx.quote import Tee
    from casemate.formats.sgx.td_report import TdReport
    from casemate.verifier.procedure import PROCEDURE
    from casemate.verifier.requirements import Requirement

    kinds = {Tee.TDX} if isinstance(result.report, TdReport) else {Tee.SGX}
    kinds = kinds if result.report is not None else set(Tee)
    # A result with a status lacks only what does not concern it: a TDX module of the first kind has no level.
    missing = "n/a       " if result.genuine and result.tcb_status else "not made  "
    made: dict[str, list[Check]] = {}
    for check in result.checks:
        made.setdefault(check.name, []).append(check)
    titles = {requirement.title for requirement in Requirement}
    others = [check for check in result.checks if check.name not in titles]
    carried = [check for check in others if check.name != SECOND_OPINION]
    if carried:
        yield "step 0: read the certificate that carries the quote", _lines(carried)
    for number, (step, requirements) in enumerate(PROCEDURE.items(), start=1):
        lines: list[str] = []
        for requirement in requirements:
            checks = made.get(requirement.title)
            if checks is not None:
                lines += _lines(checks)
            elif kinds.issubset(requirement.tees):
                lines.append(f"{missing}{requirement.title}")
        yield f"step {number}: {step.value}", lines
    asked = [check for check in others if check.name == SECOND_OPINION]
    if asked:
        yield f"step {len(PROCEDURE) + 1}: ask another verifier", _lines(asked)


def _lines(checks: Iterable[Check]) -> list[str]:
    return [line for check in checks for line in _compared(check)]


def _compared(check: Check) -> tuple[str, str]:
    return (
        f"{'ok' if check.passed else 'REFUSED':<10}{check.name}",
        f"{'':<10}found {check.got}; expected {check.expected}",
    )


def _platform(facts: Facts) -> Iterator[str]:
    platform = facts.platform
    if platform is None:
        yield "not known: no certificate chain that is trusted"
        return
    yield f"family: FMSPC {platform.fmspc.hex()}, PCEID {platform.pce_id.hex()}"
    yield f"certified by: {facts.authority}"
    yield f"kind of SGX: {platform.sgx_type.name.lower().replace('_', ' ')}"
    yield f"simultaneous multithreading (SMT): {_yes(platform.smt_enabled, 'on', 'off')}"
    yield f"packages may be added later (dynamic platform): {_yes(platform.dynamic_platform)}"
    yield f"Intel keeps its root keys (cached keys): {_yes(platform.cached_keys)}"


def _yes(value: bool | None, yes: str = "yes", no: str = "no") -> str:  # noqa: FBT001 - what a flag says
    return _SILENT if value is None else yes if value else no


def _tcb(result: AttestationResult, facts: Facts) -> Iterator[str]:
    yield f"status: {result.tcb_status.value if result.tcb_status else 'not determined'}"
    if facts.newest is not None:
        yield f"level reached: {_level(facts.level)}"
        if facts.level is not facts.newest:
            yield f"newest level: {_level(facts.newest)}"
    yield from (f"too low for the newest level: {shortfall}" for shortfall in facts.too_low)
    yield from _part("quoting enclave", facts.quoting_enclave)
    yield from _part("TDX module", facts.tdx_module)
    yield f"advisories: {', '.join(result.advisory_ids) or 'none'}"
    for document, number in (
        ("TCB info", facts.tcb_evaluation_data_number),
        ("QE identity", facts.qe_evaluation_data_number),
    ):
        if number is not None:
            yield f"{document} is of TCB recovery {number}"


def _part(name: str, standing: IsvStanding | None) -> Iterator[str]:
    if standing is not None:
        yield f"{name}: ISVSVN {standing.isvsvn}, level reached: {_level(standing.level)}"


def _level(level: TcbLevel | IsvLevel | None) -> str:
    if level is None:
        return "none"
    return f"{level.status.value}, of {level.tcb_date.date().isoformat()}"


def _time(result: AttestationResult) -> Iterator[str]:
    """Which document ends first; the words of a moment sort as moments do."""
    ends = [(check.got, check.name) for check in result.checks if check.name.endswith(_EXPIRY)]
    if ends:
        end, name = min(ends)
        yield f"ends first: {name.removesuffix(_EXPIRY)}, {end}"
    else:
        yield "nothing that ends could be read"
    for name, issued in result.facts.issued if result.facts else ():
        yield f"{name}: issued {issued:%Y-%m-%dT%H:%M:%SZ}"
