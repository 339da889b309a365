"""``casemate verify quote``: appraise a quote that somebody handed over, with every reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.hexadecimal import hex_bytes
from casemate.cli.second_opinion import second_opinion_option, second_verifier, with_second_opinion
from casemate.cli.shown_checks import show_result
from casemate.cli.verify_ear import EarFile, ear_options
from casemate.cli.verify_policy import policy_option, read_policy
from casemate.cli.verify_trust import Trust, all_option, explain_option, trust_options

if TYPE_CHECKING:
    from casemate.verifier.policy import AppraisalPolicy, Policy

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("quote")
@click.argument("file", type=_FILE)
@click.option(
    "--mrenclave",
    "mrenclaves",
    multiple=True,
    type=hex_bytes(32),
    metavar="HEX",
    help="An accepted measurement; repeatable.",
)
@click.option("--mrsigner", type=hex_bytes(32), metavar="HEX", help="The accepted signer.")
@click.option("--isvprodid", type=click.IntRange(0, 0xFFFF), help="The accepted product of that signer.")
@click.option("--min-isvsvn", type=click.IntRange(0, 0xFFFF), help="The least security version.")
@click.option(
    "--report-data",
    type=hex_bytes(64),
    metavar="HEX",
    help="What the enclave must have bound into the quote.",
)
@click.option("--allow-debug", is_flag=True, help="Accept an enclave that the host can read.")
@policy_option
@ear_options
@all_option
@explain_option
@second_opinion_option
@trust_options
def command(  # noqa: PLR0913 - one argument for each option
    file: Path,
    *,
    trust: Trust,
    report_data: bytes | None,
    ear: EarFile | None,
    as_json: bool,
    everything: bool,
    explain: bool,
    second_opinion: bool,
    **accepted: Any,
) -> None:
    """Appraise the quote in FILE.

    Name the enclave by --mrenclave, or by --mrsigner with --isvprodid, or say in a --policy what is accepted;
    trust domains need one. The verdict is "affirming" when every check has passed, and the exit code 0;
    otherwise "contraindicated": do not rely on that enclave. A check that was refused is shown with what was
    expected and what was found; --explain shows every step, and what was not looked at.
    """
    from casemate.cli.reading import read_file
    from casemate.verifier.appraisal import appraise
    from casemate.verifier.result import require_affirming

    other = second_verifier(trust.simulated_root) if second_opinion else None
    evidence, policy = read_file(file), _policy(trust, **accepted)
    collateral = trust.endorsements(evidence)
    result = appraise(
        evidence,
        endorsements=collateral,
        trust_roots=trust.roots(),
        policy=policy,
        at=trust.at,
        report_data=report_data,
        pck_chain=collateral.pck_certificate_chain,
    )
    if other is not None:
        result = with_second_opinion(result, other, evidence, collateral, trust.at)
    if ear is not None:
        ear.write(result, policy, trust.at)
    if as_json:
        click.echo(json.dumps(result.to_dict(), indent=2))
    else:
        show_result(result, everything=everything, explain=explain)
    require_affirming(result)


def _policy(trust: Trust, *, policy_file: Path | None, **accepted: Any) -> Policy:
    """What is accepted: the policy in the file, or what the options name."""
    if policy_file is None:
        return _named(trust, **accepted)
    given = accepted.values()
    if trust.statuses or any(value is not None and value is not False and value != () for value in given):
        raise click.UsageError("Beside --policy no other option but --report-data may say what is accepted.")
    return read_policy(policy_file, trust.simulated_root)


def _named(
    trust: Trust,
    *,
    mrenclaves: tuple[Any, ...],
    mrsigner: Any,
    isvprodid: int | None,
    min_isvsvn: int | None,
    allow_debug: bool,
) -> AppraisalPolicy:
    from casemate.verifier.policy import AppraisalPolicy

    return AppraisalPolicy(
        mrenclaves=mrenclaves,
        mrsigner=mrsigner,
        isvprodid=isvprodid,
        min_isvsvn=min_isvsvn,
        allow_debug=allow_debug,
        accepted_statuses=trust.accepted(),
    )
