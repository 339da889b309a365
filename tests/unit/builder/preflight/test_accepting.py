"""What refuses a build, what is accepted, and how it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.projects import project

from casemate.builder.enclave.manifest import LibOs, make_manifest
from casemate.builder.lint.finding import Severity
from casemate.builder.preflight import (
    Finding,
    PreflightError,
    Subject,
    check_native,
    joined,
    require_acceptable,
)
from casemate.builder.preflight.rule import data_rules
from casemate.errors import ProjectError

_ERROR = Finding(
    rule="links",
    severity=Severity.ERROR,
    where="notes/store.py:12",
    subject="os.link()",
    happens="Gramine has no links",
    mend="copy the file",
)
_WARNING = replace(_ERROR, rule="moved-files", severity=Severity.WARNING)
_ELSEWHERE = replace(_ERROR, rule="subprocess", where="notes/store.py:9", subject="os.system()")


def test_an_error_refuses_and_names_every_rule_to_accept() -> None:
    with pytest.raises(PreflightError) as caught:
        require_acceptable(joined([_ERROR, _WARNING], [_ELSEWHERE]))

    assert str(caught.value) == (
        "application in Gramine: expected nothing that does not run there, got os.system() and 1 more "
        "(notes/store.py:9)"
    )
    assert caught.value.hint == (
        'mend it, or, where it is never reached, accept it: [preflight] accept = ["links", "subprocess"]'
    )
    assert caught.value.findings == (_ELSEWHERE, _ERROR, _WARNING)


def test_warnings_and_what_is_accepted_do_not_refuse() -> None:
    require_acceptable([_WARNING, replace(_ERROR, accepted=True)])


def test_findings_are_ordered_by_gravity_then_by_place_in_the_order_of_lines() -> None:
    tenth = replace(_ERROR, where="notes/store.py:10")

    assert joined([_WARNING, _ERROR, tenth, _ELSEWHERE]) == (_ELSEWHERE, tenth, _ERROR, _WARNING)


def test_what_is_found_twice_is_told_once() -> None:
    assert joined([_ERROR], [_ERROR]) == (_ERROR,)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sub-process", 'did you mean "subprocess"?'),
        ("everything", "the rules are command-processes, data-loader-processes, "),
    ],
)
def test_a_rule_that_there_is_not_cannot_be_accepted(name: str, hint: str) -> None:
    toml = f'[preflight]\naccept = ["{name}"]\n'
    subject = Subject(project=project(toml), modules=(), python="3.11.7", gramine=None)

    with pytest.raises(ProjectError) as caught:
        check_native(subject, [])
    assert str(caught.value) == (
        f'rule "{name}": expected a rule of preflight, got no such rule (casemate.toml: preflight.accept)'
    )
    assert str(caught.value.hint).startswith(hint)


def test_the_document_says_everything() -> None:
    assert _ERROR.to_json() == {
        "rule": "links",
        "severity": "error",
        "where": "notes/store.py:12",
        "subject": "os.link()",
        "happens": "Gramine has no links",
        "mend": "copy the file",
        "accepted": False,
    }


def test_what_rules_say_is_mended_is_in_the_manifest() -> None:
    manifest = make_manifest(project(), (), python="3.11", libos=LibOs.absent())
    mended = {name: value for _, signs in data_rules() for name, value in signs.mended_by.items()}

    assert mended == {"JOBLIB_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"}
    assert mended.items() <= manifest["loader"]["env"].items()
