"""``casemate preflight`` and what ``casemate build`` says of its findings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from casemate.cli.main import run

_TOML = '[app]\nname = "n"\ncommand = ["python", "main.py"]\nrequirements = ""\n'
_CODE = "import os\nos.link('/tmp/a', '/tmp/b')\nos.cpu_count()\nos.symlink('/tmp/a', '/tmp/c')\n"
_SHOWN = (
    "main.py:2: error[links]: os.link()\n"
    "    Gramine has neither symbolic nor hard links: OSError ENOSYS\n"
    "    copy the file, or keep its name in your own data\n"
    "main.py:4: error[links]: os.symlink()\n"
    "main.py:3: warning[processor-count]: os.cpu_count()\n"
    "    the host's processors are counted, whatever a cgroup allows and however many threads the enclave "
    "has room for\n"
    "    give pools a number of your own, below threads in [enclave]\n"
)
_REFUSED = (
    "error: application in Gramine: expected nothing that does not run there, got os.link() and 1 more "
    "(main.py:2)\n"
    'hint: mend it, or, where it is never reached, accept it: [preflight] accept = ["links"]\n'
)


@pytest.fixture
def application(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "casemate.toml").write_text(_TOML)
    (folder / "main.py").write_text(_CODE)
    return folder


def test_findings_are_printed_and_an_error_is_the_exit_code(
    application: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["preflight", str(application)]) == 1
    captured = capsys.readouterr()
    assert captured.out == _SHOWN
    assert captured.err == _REFUSED


def test_build_lists_everything_and_writes_nothing(
    application: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(["build", str(application), "-o", str(tmp_path / "bundle")]) == 1
    assert capsys.readouterr().err.endswith(_SHOWN + _REFUSED)
    assert not (tmp_path / "bundle").exists()


def test_what_is_accepted_is_in_the_document_only(
    application: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (application / "casemate.toml").write_text(_TOML + '[preflight]\naccept = ["links"]\n')

    assert run(["preflight", str(application), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == 1
    assert [(it["rule"], it["where"], it["accepted"]) for it in document["findings"]] == [
        ("links", "main.py:2", True),
        ("links", "main.py:4", True),
        ("processor-count", "main.py:3", False),
    ]
    assert run(["preflight", str(application)]) == 0
    assert capsys.readouterr().out == _SHOWN.partition("symlink()\n")[2]


def test_an_application_with_nothing_to_find_is_told_so(
    application: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (application / "main.py").write_text("print('hello')\n")

    assert run(["preflight", str(application)]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith("nothing found\n")


def test_a_rule_that_there_is_not_is_refused(application: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (application / "casemate.toml").write_text(_TOML + '[preflight]\naccept = ["link"]\n')

    assert run(["preflight", str(application)]) == 1
    assert capsys.readouterr().err.endswith(
        'error: rule "link": expected a rule of preflight, got no such rule '
        '(casemate.toml: preflight.accept)\nhint: did you mean "links"?\n'
    )
