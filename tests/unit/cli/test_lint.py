"""``casemate lint``: findings as text, JSON and SARIF, exit codes, mending in place."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from casemate.cli.main import run

BAD = 'libos.entrypoint = "/a"\nfs.mounts = []\nsgx.thread_num = 8\nsgx.debug = true\n'
GOOD = """\
libos.entrypoint = "/a"
fs.mounts = []
loader.uid = 1
loader.gid = 1
sgx.remote_attestation = "dcap"
sgx.isvprodid = 1
sgx.isvsvn = 1
"""


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.manifest"
    path.write_text(BAD)
    return path


def lint(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["lint", *arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_findings_are_told_with_place_and_mend(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = lint(capsys, "x.manifest", "--select", "debug-enclave,removed-key")
    assert code == 1
    assert out == (
        "x.manifest:3:5: error[removed-key]: sgx.thread_num: expected a key that Gramine knows,"
        " got one of versions before Gramine 1.6\n"
        "    rename it to sgx.max_threads (--fix does it)\n"
        "x.manifest:4:13: error[debug-enclave]: sgx.debug: expected false, got true\n"
        "    sgx.debug = false\n"
    )
    assert (
        err == "error: findings: expected no errors, got 2 errors (x.manifest)\nhint: --fix mends 1 of them\n"
    )


def test_a_file_without_findings_ends_well(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest.write_text(GOOD)
    assert lint(capsys, "x.manifest") == (0, "", "x.manifest: nothing found\n")


def test_warnings_fail_only_when_asked(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest.write_text(GOOD + "sys.experimental__enable_flock = true\n")
    assert lint(capsys, "x.manifest")[::2] == (0, "x.manifest: 1 warning\n")
    code, _, err = lint(capsys, "x.manifest", "--strict")
    assert (code, err) == (
        1,
        "error: findings: expected neither errors nor warnings, got 1 warning (x.manifest)\n",
    )


def test_rules_can_be_ignored(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = lint(capsys, "x.manifest", "--ignore", "debug-enclave", "--ignore", "removed-key")
    assert code == 0
    assert "debug-enclave" not in out
    assert "no-attestation" in out


def test_a_rule_that_does_not_exist_is_wrong_use(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = lint(capsys, "x.manifest", "--select", "debug-enclav")
    assert code == 2
    assert "There is no rule 'debug-enclav'. Did you mean debug-enclave?" in err


def test_the_document_holds_every_field(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = lint(capsys, "x.manifest", "--json", "--select", "removed-key")
    assert code == 1
    assert json.loads(out) == {
        "version": 1,
        "findings": [
            {
                "rule": "removed-key",
                "severity": "error",
                "file": "x.manifest",
                "line": 3,
                "column": 5,
                "subject": "sgx.thread_num",
                "expected": "a key that Gramine knows",
                "found": "one of versions before Gramine 1.6",
                "mend": "rename it to sgx.max_threads",
                "fixable": True,
            }
        ],
        "fixed": [],
    }


def test_sarif_holds_the_findings_of_all_files(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("Dockerfile").write_text("FROM a\nUSER 1\n")
    code, out, _ = lint(capsys, "x.manifest", "Dockerfile", "--sarif")
    assert code == 1
    results = json.loads(out)["runs"][0]["results"]
    assert {result["ruleId"] for result in results} >= {"debug-enclave", "docker-unpinned-base"}


def test_fix_mends_the_file_and_keeps_its_mode(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest.chmod(0o640)
    code, out, err = lint(capsys, "x.manifest", "--fix", "--diff")
    assert code == 1
    assert err.startswith("Mended x.manifest: 1 line.\n")
    assert "-sgx.thread_num = 8\n+sgx.max_threads = 8\n" in out
    assert manifest.read_text() == BAD.replace("thread_num", "max_threads")
    assert stat.S_IMODE(manifest.stat().st_mode) == 0o640
    assert [path.name for path in manifest.parent.iterdir()] == ["x.manifest"]
    _, out, err = lint(capsys, "x.manifest", "--fix", "--diff")
    assert out == ""
    assert err.startswith("error: findings")


def test_diff_alone_changes_nothing(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = lint(capsys, "x.manifest", "--diff")
    assert "+sgx.max_threads = 8" in out
    assert manifest.read_text() == BAD


def test_fix_mends_what_a_link_leads_to(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("link.manifest").symlink_to(manifest)
    lint(capsys, "link.manifest", "--fix")
    assert Path("link.manifest").is_symlink()
    assert "max_threads" in manifest.read_text()


def test_standard_input_is_read(
    manifest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(BAD.encode())))
    code, out, _ = lint(capsys, "-", "--select", "debug-enclave")
    assert (code, out.splitlines()[0]) == (
        1,
        "-:4:13: error[debug-enclave]: sgx.debug: expected false, got true",
    )
    assert lint(capsys, "-", "--fix")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("nowhere",),
            "error: file to judge: expected a file that can be read, got No such file or directory (nowhere)",
        ),
        (
            (".",),
            (
                "error: file to judge: expected a file that can be read, got Is a directory (.)\n"
                "hint: name the files in it, one by one"
            ),
        ),
        (
            ("notes.txt",),
            (
                "error: kind of file: expected a manifest, a template of "
                "one, or a Dockerfile, got something else (notes.txt)"
            ),
        ),
        (("x.manifest", "--json", "--sarif"), "Error: --json, --sarif and --diff exclude each other."),
        (
            ("x.manifest", "--gramine-version", "2"),
            "error: version of Gramine: expected 1.6 or 1.7 or 1.8 or 1.9, got '2'",
        ),
    ],
)
def test_wrong_use_is_told(
    manifest: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    Path("notes.txt").write_text("hello\n")
    code, out, err = lint(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_what_a_terminal_would_obey_is_escaped(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("\x1b[31m.manifest").write_text(BAD)
    _, out, err = lint(capsys, "\x1b[31m.manifest")
    assert "\x1b" not in out + err


def test_the_severity_has_a_colour_on_a_terminal(manifest: Path) -> None:
    ours, theirs = os.openpty()
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color"}
    call = [sys.executable, "-m", "casemate", "lint", "x.manifest", "--select", "debug-enclave"]
    try:
        subprocess.run(call, stdout=theirs, stderr=subprocess.DEVNULL, env=environment, check=False)
        shown = os.read(ours, 4096).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert shown.splitlines()[0] == (
        "x.manifest:4:13: \x1b[1;31merror\x1b[0m[debug-enclave]: sgx.debug: expected false, got true"
    )
