"""A second opinion: what agrees, what is a rule of the other's, and what is a disagreement."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime

import pytest
from tests.support.sgx_world import (
    PRODUCTION,
    World,
    enclave,
    good_world,
    with_enclave,
    with_quote,
    with_standing,
)

from casemate.adapters.dcap_qvl_opinion import Agreement, SecondOpinion, SecondVerifier
from casemate.errors import ToolchainError
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.report import DEBUG, Attributes
from casemate.verifier.result import AttestationResult, Verdict

WORLD = good_world()
OTHER = SecondVerifier(WORLD.platform.authorities.root.certificate)


def opinion(world: World, ours: AttestationResult | None = None, at: datetime | None = None) -> SecondOpinion:
    moment = at or world.at
    asked = world if at is None else replace(world, at=at)
    return OTHER.about(world.evidence, world.collateral, moment, ours or asked.appraise())


def said(agreement: Agreement, expected: str, words: str) -> SecondOpinion:
    return SecondOpinion(agreement=agreement, expected=expected, words=words)


def test_both_accept() -> None:
    assert opinion(WORLD) == said(Agreement.AGREES, "genuine, UpToDate, as here", "accepts it, UpToDate")


def test_both_refuse() -> None:
    forged = with_quote(WORLD, signature=bytes(64))
    assert opinion(forged) == said(
        Agreement.AGREES,
        "a refusal, as here",
        "refuses it: ISV enclave report signature is invalid",
    )


def test_both_say_that_a_platform_is_revoked() -> None:
    found = opinion(with_standing(WORLD, platform=TcbStatus.REVOKED))
    assert (found.agreement, found.expected) == (Agreement.AGREES, "genuine, Revoked, as here")


def test_a_debug_enclave_is_refused_by_a_rule_of_its_own() -> None:
    debug = with_enclave(WORLD, attributes=Attributes(flags=PRODUCTION.flags | DEBUG, xfrm=PRODUCTION.xfrm))
    assert opinion(debug) == said(
        Agreement.STRICTER,
        "genuine, UpToDate, as here",
        "refuses it: Debug mode is enabled (no enclave or trust domain in debug mode)",
    )


def test_what_it_cannot_read_is_no_opinion() -> None:
    other = replace(WORLD, evidence=enclave(WORLD.platform).quote(bytes(64), version=4))
    assert other.appraise().genuine
    assert opinion(other) == said(
        Agreement.NO_OPINION,
        "genuine, UpToDate, as here",
        "refuses it: SGX TEE quote must have version 3 (it reads no enclave reports in quotes of versions 4"
        " and 5)",
    )


def test_bytes_after_a_quote_are_a_disagreement_because_it_lets_them_be() -> None:
    longer = replace(WORLD, evidence=WORLD.evidence + b"\0")
    assert opinion(longer) == said(Agreement.DISAGREES, "a refusal, as here", "accepts it, UpToDate")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"tcb_status": TcbStatus.OUT_OF_DATE}, "genuine, OutOfDate, as here"),
        ({"tcb_status": None}, "genuine, of no TCB level, as here"),
        ({"genuine": False}, "a refusal, as here"),
    ],
    ids=["another status", "no status", "not genuine"],
)
def test_another_answer_is_a_disagreement(change: dict[str, object], expected: str) -> None:
    ours = replace(WORLD.appraise(), **change)  # type: ignore[arg-type]  # fields of the result
    assert opinion(WORLD, ours) == said(Agreement.DISAGREES, expected, "accepts it, UpToDate")


def test_accepting_what_it_refuses_for_no_rule_is_a_disagreement() -> None:
    forged = with_quote(WORLD, signature=bytes(64))
    found = opinion(forged, WORLD.appraise())
    assert found == said(
        Agreement.DISAGREES,
        "genuine, UpToDate, as here",
        "refuses it: ISV enclave report signature is invalid",
    )


def test_before_1970_it_refuses_like_us() -> None:
    found = opinion(WORLD, at=datetime.fromisoformat("1960-01-01T00:00:00+00:00"))
    assert (found.agreement, found.expected) == (Agreement.AGREES, "a refusal, as here")
    assert found.words.startswith("refuses it: ")


def test_intels_root_is_its_own() -> None:
    ours = WORLD.appraise()
    assert ours.verdict is Verdict.AFFIRMING
    found = SecondVerifier(None).about(WORLD.evidence, WORLD.collateral, WORLD.at, ours)
    assert found.agreement is Agreement.DISAGREES


def test_where_the_package_is_missing_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dcap_qvl", None)
    with pytest.raises(ToolchainError) as caught:
        SecondVerifier(None)
    assert str(caught.value) == "second opinion: expected the package dcap-qvl, got no such package"
    assert caught.value.hint == "Install it with: pip install 'casemate[second-opinion]'"
