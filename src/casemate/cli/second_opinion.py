"""``--second-opinion``: ask another verifier as well, and refuse when the two disagree."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from casemate.adapters.dcap_qvl_opinion import SecondOpinion, SecondVerifier
    from casemate.formats.sgx.collateral import Collateral
    from casemate.verifier.result import AttestationResult

#: Under which name it stands among the checks.
SECOND_OPINION: Final = "second opinion: dcap-qvl"

second_opinion_option = click.option(
    "--second-opinion",
    is_flag=True,
    help="Also ask dcap-qvl, another verifier, and refuse when the two disagree. Wants the extra "
    "casemate[second-opinion].",
)


def second_verifier(simulated_root: Path | None) -> SecondVerifier:
    """The other verifier, which trusts the root in that file, of a simulated platform, or Intel's.

    Raises:
        FormatError: It is not one certificate.
        ToolchainError: It cannot be read, or the package is not installed.
    """
    from casemate.adapters.dcap_qvl_opinion import SecondVerifier
    from casemate.cli.reading import read_file
    from casemate.cli.verify_trust import simulated_roots
    from casemate.formats.pem import parse_certificates

    if simulated_root is None:
        return SecondVerifier(None)
    # One certificate of a root, or refused in the words of the option.
    simulated_roots(simulated_root)
    return SecondVerifier(parse_certificates(read_file(simulated_root), where=str(simulated_root))[0])


def with_second_opinion(
    result: AttestationResult,
    verifier: SecondVerifier,
    evidence: bytes,
    collateral: Collateral,
    at: datetime,
) -> AttestationResult:
    """The result with one check more; no longer affirming when the two disagree."""
    from casemate.verifier.result import Check, Verdict

    opinion = verifier.about(evidence, collateral, at, result)
    check = Check(
        name=SECOND_OPINION,
        passed=agrees(opinion),
        expected=opinion.expected,
        got=f"{opinion.agreement.value}: {opinion.words}",
        reference="dcap-qvl",
    )
    return replace(
        result,
        verdict=result.verdict if check.passed else Verdict.CONTRAINDICATED,
        checks=(*result.checks, check),
    )


def agrees(opinion: SecondOpinion) -> bool:
    """Whether it does not contradict."""
    from casemate.adapters.dcap_qvl_opinion import Agreement

    return opinion.agreement is not Agreement.DISAGREES
