"""``verify batch`` over real quotes and collateral: what Intel's library says, or a named difference."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.test_dcap_corpus import CHAIN_IN_ANOTHER_ORDER, REASONS
from tests.support.dcap_corpus import CORPUS, Row, bad_cases, matrix, needs_corpus

from casemate.adapters.dcap_qvl_opinion import SecondVerifier
from casemate.cli.shown_explanation import explanation
from casemate.cli.verify_batch_files import certificates_of
from casemate.cli.verify_batch_judge import Judge, Terms
from casemate.verifier.roots import TrustRoots

pytestmark = needs_corpus

#: What a result consists of.
MEMBERS = ["genuine", "tcb_status", "debug", "advisories", "refused_by"]


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge(
        Terms(
            roots=TrustRoots.intel(),
            certificates=certificates_of(CORPUS / "pool" / "cert"),
            folders=(str(CORPUS),),
            at=None,
        )
    )


def judged(judge: Judge, line: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(judge.judge(json.dumps(line).encode()))
    assert list(result) == MEMBERS
    return result


def line_of(row: Row) -> dict[str, Any]:
    values = row.values
    return {
        "quote": values["quote"],
        "tcb_info": values["tcb"],
        "qe_identity": values["qe"],
        "root_crl": values["root_crl"],
        "pck_crl": values["pck_crl"],
        "at": values["now"],
    }


def test_every_row_is_as_intels_library_says(judge: Judge) -> None:
    for row in matrix():
        result = judged(judge, line_of(row))
        steps = [refusal["step"] for refusal in result["refused_by"]]
        if row.quote_id in CHAIN_IN_ANOTHER_ORDER:
            assert (result["genuine"], result["tcb_status"], steps) == (False, None, ["PCK chain: format"])
            continue
        expected = row.values["expected"]
        assert result["genuine"], row.values
        if expected == "TCB_NOT_SUPPORTED":
            assert (result["tcb_status"], steps) == (None, ["TCB level of the platform"])
            continue
        assert (result["tcb_status"], steps) == (expected, []), row.values
        assert result["debug"] is ("Debug mode" in row.values["dcap_qvl_070"] or "-debug" in row.quote_id)
        if not row.values["dcap_qvl_070"].startswith("ERR"):
            assert sorted(result["advisories"]) == sorted(row.values["advisories"])


def test_every_change_is_refused_for_its_flaw(judge: Judge) -> None:
    for case in bad_cases():
        own = f"bad/{case.name}"
        quote, collateral = f"{own}/quote.bin", f"{own}/collateral.json"
        line = {
            "quote": quote if (CORPUS / quote).exists() else "bad/00-good/quote.bin",
            "collateral": collateral if (CORPUS / collateral).exists() else "bad/00-base-collateral.json",
            "at": case.at,
        }
        result = judged(judge, line)
        steps = [refusal["step"] for refusal in result["refused_by"]]
        assert steps == REASONS.get(case.name, []), case.name
        assert result["genuine"] is (case.name == "00-good")
        status = "ConfigurationAndSWHardeningNeeded" if result["genuine"] else None
        assert result["tcb_status"] == status


def test_certificates_are_found_beside_the_collateral(tmp_path: Path) -> None:
    """As somebody would keep one set: in a folder of its own, with every certificate there is."""
    row = next(row for row in matrix() if row.values["expected"] == "OutOfDate")
    line = line_of(row)
    for member in ("tcb_info", "qe_identity", "root_crl", "pck_crl"):
        (tmp_path / Path(line[member]).name).symlink_to(CORPUS / line[member])
        line[member] = str(tmp_path / Path(line[member]).name)
    judge = Judge(Terms(roots=TrustRoots.intel(), certificates=None, folders=(str(CORPUS),), at=None))
    assert not judged(judge, line)["genuine"]
    for certificate in (CORPUS / "pool" / "cert").glob("*.pem"):
        (tmp_path / certificate.name).symlink_to(certificate)
    assert (judged(judge, line)["genuine"], judged(judge, line)["tcb_status"]) == (True, "OutOfDate")


def test_a_trust_domain_is_explained_with_its_module_and_what_is_too_low() -> None:
    row = next(
        row for row in matrix() if "tdx" in row.values["quote"] and row.values["expected"] == "OutOfDate"
    )
    facts = row.appraise().facts
    assert facts is not None
    lines = list(explanation(row.appraise()))
    assert [line for line in lines if line.startswith("step ")][-1].endswith("leaves to its caller")
    assert not [line for line in lines if "not made" in line]
    assert [str(one) for one in facts.too_low]
    shown = [line.strip() for line in lines if "too low for the newest level: " in line]
    assert shown == [f"too low for the newest level: {one}" for one in facts.too_low]
    assert [one for one in shown if "Microcode Update)" in one]


@pytest.mark.parametrize(
    "row", matrix()[::7], ids=lambda row: f"{row.quote_id}-{row.values['now']}" if row else "none"
)
def test_every_appraisal_can_be_explained(row: Row) -> None:
    result = row.appraise()
    text = "\n".join(explanation(result))
    assert all(check.name in text for check in result.checks)
    assert json.loads(json.dumps(result.to_dict()))["not_checked"] == list(result.not_checked)


def test_another_verifier_disagrees_with_nothing_in_the_corpus() -> None:
    """It refuses some by rules of its own and cannot read others; each is told by name."""
    other = SecondVerifier(None)
    judge = Judge(
        Terms(
            roots=TrustRoots.intel(),
            certificates=certificates_of(CORPUS / "pool" / "cert"),
            folders=(str(CORPUS),),
            at=None,
            second=other,
        )
    )
    said: Counter[str] = Counter()
    for row in matrix():
        result = json.loads(judge.judge(json.dumps(line_of(row)).encode()))
        said[result["second_opinion"].partition(":")[0]] += 1
        assert result["genuine"] is (row.quote_id not in CHAIN_IN_ANOTHER_ORDER)
    assert said == {"agrees": 300, "no opinion": 70, "stricter": 60}
