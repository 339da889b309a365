"""``verify quote --explain`` and ``--second-opinion``: what a person gets to read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.sgx_world import (
    MRENCLAVE,
    PRODUCTION,
    World,
    good_world,
    with_enclave,
    with_quote,
    with_standing,
    with_tcb_info,
)

from casemate.cli.main import run
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.quote import Tee
from casemate.formats.sgx.report import DEBUG, Attributes
from casemate.verifier.procedure import PROCEDURE, Step, step_of
from casemate.verifier.requirements import Requirement

WORLD = good_world()


def arguments(world: World, folder: Path, *more: str) -> list[str]:
    (folder / "quote").write_bytes(world.evidence)
    (folder / "collateral.json").write_bytes(world.collateral.to_json())
    (folder / "root.pem").write_bytes(world.platform.root_certificate)
    collateral = ["--collateral", str(folder / "collateral.json")]
    root = ["--simulated-root", str(folder / "root.pem"), "--at", world.at.isoformat()]
    named = ["--mrenclave", MRENCLAVE.hex()]
    return ["verify", "quote", str(folder / "quote"), *collateral, *root, *named, *more]


def explained(out: str) -> dict[str, list[str]]:
    """What is printed, by title; the verdict stands under nothing."""
    parts: dict[str, list[str]] = {}
    for block in out.split("\n\n"):
        title, *lines = block.splitlines()
        parts[title] = [line.removeprefix("  ") for line in lines]
    return parts


def test_every_check_belongs_to_one_step() -> None:
    listed = [requirement for requirements in PROCEDURE.values() for requirement in requirements]
    assert sorted(listed, key=list(Requirement).index) == list(Requirement)


def test_steps_stand_in_the_order_of_intels_library() -> None:
    sections = [one.reference.removeprefix("QVL 4.1.2.4.") for one in PROCEDURE[Step.QUOTE]]
    numbers = [int(section.split(".")[0].split(" ")[0]) for section in sections]
    assert numbers == sorted(numbers)
    assert {6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17} == set(numbers)
    assert [step_of(one) for one in (Requirement.QUOTE_FORMAT, Requirement.ROOT_CRL_EXPIRY)] == [
        Step.READ,
        Step.PCK,
    ]
    assert {one.stage.value for one in PROCEDURE[Step.CALLER]} <= {"policy", "platform", "endorsements"}


def test_a_good_quote_is_explained_from_the_first_step_to_what_was_not_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(WORLD, tmp_path, "--explain")) == 0
    parts = explained(capsys.readouterr().out)
    titles = list(parts)
    assert titles[0] == "verdict: affirming"
    assert titles[1:7] == [f"step {number}: {step.value}" for number, step in enumerate(Step, start=1)]
    made = [line.removeprefix("ok").strip() for title in titles[1:7] for line in parts[title][::2]]
    expected = [
        requirement.title
        for requirements in PROCEDURE.values()
        for requirement in requirements
        if Tee.SGX in requirement.tees
    ]
    assert made == expected
    assert parts["step 1: take the quote apart (QVL 4.1.2.4.2)"][-2:] == [
        "ok        certification data type",
        "          found 5; expected 5 (certificate chain of the PCK)",
    ]
    assert {title: lines for title, lines in parts.items() if title in titles[7:]} == {
        "the platform": [
            "family: FMSPC 00606a000000, PCEID 0000",
            "certified by: Intel SGX PCK Platform CA",
            "kind of SGX: scalable",
            "simultaneous multithreading (SMT): off",
            "packages may be added later (dynamic platform): yes",
            "Intel keeps its root keys (cached keys): no",
        ],
        "its trusted computing base": [
            "status: UpToDate",
            "level reached: UpToDate, of 2026-11-20",
            "quoting enclave: ISVSVN 8, level reached: UpToDate, of 2026-11-20",
            "advisories: none",
            "TCB info is of TCB recovery 21",
            "QE identity is of TCB recovery 21",
        ],
        "time": [
            "ends first: PCK CRL, 2026-12-20T12:00:00Z",
            "root CRL: issued 2026-11-20T12:00:00Z",
            "PCK CRL: issued 2026-11-20T12:00:00Z",
            "TCB info: issued 2026-11-20T12:00:00Z",
            "QE identity: issued 2026-11-20T12:00:00Z",
        ],
        "accepted although refused otherwise": ["nothing"],
        "not checked": [
            "whether the enclave's code is any good: a measurement says which code runs, not what it does.",
            (
                "freshness, and whose key this is about: no report data was expected, so the quote may be an"
                " old one, or somebody else's."
            ),
            (
                "what the policy names no value for: enclave: MRSIGNER, enclave: ISVPRODID, enclave: ISVSVN,"
                " enclave: ATTRIBUTES, enclave: MISCSELECT."
            ),
            (
                "what Intel has revoked or found out since: root CRL of 2026-11-20T12:00:00Z, PCK CRL of"
                " 2026-11-20T12:00:00Z, TCB info of 2026-11-20T12:00:00Z, QE identity of"
                " 2026-11-20T12:00:00Z."
            ),
            (
                "whose the platform is and where it stands: a PCK certificate names neither an owner nor a"
                " place."
            ),
            (
                "attacks on the hardware: whoever has a probe in the machine is outside of what SGX and TDX"
                " promise."
            ),
        ],
    }


def test_report_data_that_were_expected_are_not_among_what_was_not_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(WORLD, tmp_path, "--explain", "--report-data", "00" * 64)) == 0
    parts = explained(capsys.readouterr().out)
    assert not [line for line in parts["not checked"] if line.startswith("freshness")]


def with_newer_level(world: World, **change: int) -> World:
    """One level more, which asks for a higher version of the second component, and names it."""

    def add(document: dict[str, list[dict[str, object]]]) -> None:
        newest = json.loads(json.dumps(document["tcbLevels"][0]))
        newest["tcbDate"] = "2027-01-01T00:00:00Z"
        component = newest["tcb"]["sgxtcbcomponents"][1]
        component.update(svn=component["svn"] + 1, category="OS/VMM", type="SGX Late Microcode Update")
        newest["tcb"]["sgxtcbcomponents"][0]["svn"] += 1
        document["tcbLevels"].insert(0, newest)

    return with_tcb_info(world, add)


def test_what_keeps_a_platform_below_the_newest_level_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(with_newer_level(WORLD), tmp_path, "--explain")) == 0
    parts = explained(capsys.readouterr().out)
    assert parts["its trusted computing base"][:5] == [
        "status: UpToDate",
        "level reached: UpToDate, of 2026-11-20",
        "newest level: UpToDate, of 2027-01-01",
        "too low for the newest level: component 1 is 14, not 15",
        "too low for the newest level: component 2 (OS/VMM: SGX Late Microcode Update) is 14, not 15",
    ]


def test_the_document_names_it_as_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments(with_newer_level(WORLD), tmp_path, "--json")) == 0
    assert json.loads(capsys.readouterr().out)["tcb"]["too_low"] == [
        {"component": "component 1", "svn": 14, "least": 15},
        {"component": "component 2 (OS/VMM: SGX Late Microcode Update)", "svn": 14, "least": 15},
    ]


def test_what_a_policy_lets_pass_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outdated = with_standing(WORLD, platform=TcbStatus.OUT_OF_DATE)
    assert run(arguments(outdated, tmp_path, "--explain", "--accept-status", "OutOfDate")) == 0
    parts = explained(capsys.readouterr().out)
    assert parts["accepted although refused otherwise"] == [
        "TCB status OutOfDate: it was named, no reason given"
    ]


def test_steps_that_could_not_be_made_are_shown_as_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(with_quote(WORLD, signature=bytes(64)), tmp_path, "--explain")) == 1
    parts = explained(capsys.readouterr().out)
    last = parts["step 5: hold the quote against them (QVL VerifyQuote, 4.1.2.4.6 to 4.1.2.4.17)"]
    assert "REFUSED   quote signature" in last
    assert "not made  TCB level of the platform" in last
    assert not [line for line in last if "TDX" in line]
    assert parts["not checked"] == ["what the quote says: its signatures do not reach up to a trusted root."]
    assert parts["its trusted computing base"][0] == "status: not determined"


def test_what_is_no_quote_is_explained_as_far_as_that_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments(replace(WORLD, evidence=b"no quote"), tmp_path, "--explain")) == 1
    parts = explained(capsys.readouterr().out)
    assert parts["step 1: take the quote apart (QVL 4.1.2.4.2)"][0] == "REFUSED   quote format"
    assert parts["the platform"] == ["not known: no certificate chain that is trusted"]


def test_a_second_opinion_stands_among_the_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments(WORLD, tmp_path, "--explain", "--second-opinion")) == 0
    parts = explained(capsys.readouterr().out)
    assert parts["step 7: ask another verifier"] == [
        "ok        second opinion: dcap-qvl",
        "          found agrees: accepts it, UpToDate; expected genuine, UpToDate, as here",
    ]


def test_a_rule_of_the_other_verifier_refuses_nothing_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    debug = with_enclave(WORLD, attributes=Attributes(flags=PRODUCTION.flags | DEBUG, xfrm=PRODUCTION.xfrm))
    assert run(arguments(debug, tmp_path, "--allow-debug", "--second-opinion", "--json")) == 0
    check = json.loads(capsys.readouterr().out)["checks"][-1]
    assert (check["passed"], check["got"]) == (
        True,
        "stricter: refuses it: Debug mode is enabled (no enclave or trust domain in debug mode)",
    )
    assert run(arguments(debug, tmp_path, "--allow-debug", "--second-opinion")) == 0
    assert "\nsecond opinion (dcap-qvl): stricter: " in capsys.readouterr().out


def test_a_disagreement_is_a_refusal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It lets bytes after the quote be; here they are refused, with and without it."""
    longer = replace(WORLD, evidence=WORLD.evidence + b"\0")
    assert run(arguments(longer, tmp_path, "--second-opinion")) == 1
    out, err = capsys.readouterr()
    assert "disagrees: accepts it, UpToDate" in out
    assert "second opinion: dcap-qvl" in err
