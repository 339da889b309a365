"""``casemate verify batch``: one result for each line, in order, whatever the lines are."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote as percent_encoded

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.kept_collateral import (
    qe_identity_file,
    tcb_info_file,
    write_certificates,
    write_collateral,
)
from tests.support.sgx_world import (
    MRENCLAVE,
    PRODUCTION,
    World,
    good_world,
    with_enclave,
    with_standing,
)

from casemate.cli.main import run
from casemate.cli.verify_batch_files import MAX_FILE_SIZE, Recent, certificates_of
from casemate.cli.verify_batch_judge import MAX_LINE_SIZE, Judge, Terms
from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.report import DEBUG, Attributes

GOOD = {"genuine": True, "tcb_status": "UpToDate", "debug": False, "advisories": [], "refused_by": []}
WORLD = good_world()
AT = int(WORLD.at.timestamp())
UNDER_DEBUG = Attributes(flags=PRODUCTION.flags | DEBUG, xfrm=PRODUCTION.xfrm)


class Batch:
    """A folder with everything that a line can name, and the lines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "batch.jsonl"
        (folder / "root.pem").write_bytes(WORLD.platform.root_certificate)
        self.certs = write_certificates(WORLD.collateral, folder / "certs")
        self.files = write_collateral(WORLD.collateral, folder / "collateral")
        self.line = {"quote": self.quote(WORLD), **self.files, "at": AT}

    def quote(self, world: World, name: str = "quote") -> str:
        (self.folder / name).write_bytes(world.evidence)
        return str(self.folder / name)

    def write(self, *lines: dict[str, Any] | str) -> list[str]:
        """The arguments for these lines."""
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        self.file.write_text("".join(f"{text}\n" for text in texts))
        return [*self.options, str(self.file)]

    @property
    def options(self) -> list[str]:
        root = str(self.folder / "root.pem")
        return ["verify", "batch", "--simulated-root", root, "--certs", str(self.certs), "--jobs", "1"]


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path)


@pytest.fixture
def results(capsys: pytest.CaptureFixture[str]) -> Callable[[list[str]], list[dict[str, Any]]]:
    def run_and_read(arguments: list[str]) -> list[dict[str, Any]]:
        assert run(arguments) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return [json.loads(line) for line in out.splitlines()]

    return run_and_read


Results = Callable[[list[str]], list[dict[str, Any]]]


def refusal(step: str, expected: str, found: str) -> dict[str, Any]:
    refused = [{"step": step, "expected": expected, "found": found}]
    return {"genuine": False, "tcb_status": None, "debug": False, "advisories": [], "refused_by": refused}


def test_a_line_has_exactly_the_members_of_a_result_in_their_order(
    batch: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(batch.write(batch.line)) == 0
    assert capsys.readouterr().out == (
        '{"genuine":true,"tcb_status":"UpToDate","debug":false,"advisories":[],"refused_by":[]}\n'
    )


def test_a_batch_of_nothing_says_so(batch: Batch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(batch.write()) == 0
    assert capsys.readouterr() == ("", "0 quotes\n")


def test_collateral_may_be_one_file(batch: Batch, results: Results) -> None:
    (batch.folder / "collateral.json").write_bytes(WORLD.collateral.to_json())
    line = {"quote": batch.line["quote"], "collateral": str(batch.folder / "collateral.json"), "at": AT}
    assert results(batch.write(line)) == [GOOD]


def test_relative_paths_begin_where_the_file_lies_and_then_here(
    batch: Batch, results: Results, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    names = {member: str(Path(path).relative_to(batch.folder)) for member, path in batch.files.items()}
    line = {"quote": "quote", **names, "at": AT}
    assert results(batch.write(line)) == [GOOD]
    (here / "elsewhere").write_bytes(WORLD.evidence)
    (here / "quote").write_bytes(b"")
    assert results(batch.write(line | {"quote": "elsewhere"}, line)) == [GOOD, GOOD]


def _certificates() -> list[bytes]:
    chains = (WORLD.collateral.pck_crl_issuer_chain, WORLD.collateral.tcb_info_issuer_chain)
    return [one.public_bytes(Encoding.DER) for pem in chains for one in x509.load_pem_x509_certificates(pem)]


def test_certificates_may_be_der_and_need_no_name(batch: Batch, results: Results) -> None:
    for file in batch.certs.iterdir():
        file.unlink()
    for number, der in enumerate(_certificates()):
        (batch.certs / str(number)).write_bytes(der)
    (batch.certs / "README").write_text("certificates, and this")
    assert results(batch.write(batch.line)) == [GOOD]


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "as in a header"])
def test_certificates_may_stand_in_the_documents(batch: Batch, results: Results, encoded: bool) -> None:  # noqa: FBT001
    signer, authority = WORLD.collateral.tcb_info_issuer_chain, WORLD.collateral.pck_crl_issuer_chain
    texts = [percent_encoded(pem.decode()) if encoded else pem.decode() for pem in (signer, authority)]
    folder = batch.folder / "collateral"
    tcb_info = json.dumps({"tcb_info_issuer_chain": texts[0], "others": [texts[1]]})[1:].encode()
    (folder / "tcb.json").write_bytes(tcb_info_file(WORLD.collateral)[:-1] + b"," + tcb_info)
    arguments = batch.write(batch.line)
    at = arguments.index("--certs")
    assert results(arguments[:at] + arguments[at + 2 :]) == [GOOD]


def test_certificates_may_lie_beside_the_documents(batch: Batch, results: Results) -> None:
    arguments = batch.write(batch.line)
    at = arguments.index("--certs")
    arguments = arguments[:at] + arguments[at + 2 :]
    (without,) = results(arguments)
    assert [one["step"] for one in without["refused_by"]][:3] == [
        "PCK CRL issuer chain: format",
        "TCB info issuer chain: format",
        "QE identity issuer chain: format",
    ]
    write_certificates(WORLD.collateral, batch.folder / "collateral")
    assert results(arguments) == [GOOD]


def _pem(crl: bytes) -> bytes:
    return x509.load_der_x509_crl(crl).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    "form",
    [
        _pem,
        lambda crl: crl.hex().encode(),
        lambda crl: crl.hex().upper().encode() + b"\n",
        lambda crl: b"0x" + crl.hex().encode(),
    ],
    ids=["PEM", "hexadecimal", "digits of the other case", "with a prefix"],
)
def test_crls_have_many_forms(batch: Batch, results: Results, form: Callable[[bytes], bytes]) -> None:
    (batch.folder / "collateral/root.crl").write_bytes(form(WORLD.collateral.root_ca_crl))
    (batch.folder / "collateral/pck.crl").write_bytes(form(WORLD.collateral.pck_crl))
    assert results(batch.write(batch.line)) == [GOOD]


NO_FILE = "No such file or directory ({folder}/nowhere)"
OBJECT = "a JSON object that names files"
MOMENT = "a whole number from -62135596800 to 253402300799 as at, in seconds since 1970"
MEMBERS = "collateral: the members tcb_info, qe_identity, root_crl, pck_crl, or the member collateral"
READABLE = "a file that can be read"


@pytest.mark.parametrize(
    ("change", "expected", "found"),
    [
        ("", OBJECT, "an empty line"),
        ("{", OBJECT, "Input data was truncated"),
        ('{"quote":"a","quote":"b"}', "each member once", "one that comes twice"),
        ('{"quote":"a","\\u0071uote":"b"}', "each member once", "one that comes twice"),
        ('{"quote":"a","x":NaN}', OBJECT, "JSON is malformed: invalid character (byte 17)"),
        ("[]", OBJECT, "Expected `object`, got `array`"),
        ("\xff", OBJECT, "JSON is malformed: invalid character (byte 0)"),
        ('{"at":1}', OBJECT, "Object missing required field `quote`"),
        ({"at": "noon"}, MOMENT, "another value"),
        ({"at": 1.5}, MOMENT, "another value"),
        ({"at": 1 << 60}, MOMENT, "another value"),
        ({"quote": None}, OBJECT, "Expected `str`, got `null` - at `$.quote`"),
        ({"At": 1}, "the member at", "At"),
        ({"tcbinfo": "x"}, "the member tcb_info", "tcbinfo"),
        ({"pck_crl": None}, MEMBERS, "no pck_crl"),
        ({"tcb_info": None, "qe_identity": None}, MEMBERS, "no tcb_info, no qe_identity"),
        ({"collateral": "x"}, MEMBERS, "both"),
        ({"quote": "{folder}/nowhere"}, READABLE, NO_FILE),
        ({"quote": "nowhere"}, READABLE, "No such file or directory ({here}/nowhere)"),
        ({"tcb_info": "{folder}/nowhere"}, READABLE, NO_FILE),
        ({"quote": "{folder}"}, "a regular file", "another kind of file ({folder})"),
        ({"quote": "/dev/zero"}, "a regular file", "another kind of file (/dev/zero)"),
        ({"quote": "/a\0b"}, READABLE, "a path with a NUL (/a�b)"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_cannot_be_judged_is_a_result_that_says_why(
    batch: Batch, results: Results, change: dict[str, Any] | str, expected: str, found: str
) -> None:
    places = {"{folder}": str(batch.folder), "{here}": str(Path.cwd())}

    def placed(text: Any) -> Any:
        for name, place in places.items():
            text = text.replace(name, place) if isinstance(text, str) else text
        return text

    bad = change
    if isinstance(change, dict):
        bad = batch.line | {member: placed(value) for member, value in change.items()}
    assert results(batch.write(batch.line, bad, batch.line)) == [
        GOOD,
        refusal("input", expected, placed(found)),
        GOOD,
    ]


def test_members_of_somebody_else_are_let_be(batch: Batch, results: Results) -> None:
    assert results(batch.write(batch.line | {"host": "node-7", "id": 3})) == [GOOD]


def test_a_line_that_is_too_long_is_refused_and_not_kept(batch: Batch, results: Results) -> None:
    long = json.dumps(batch.line | {"id": "x" * (3 * MAX_LINE_SIZE)})
    padded = json.dumps(batch.line).ljust(MAX_LINE_SIZE)
    assert results(batch.write(long, padded, padded + " ")) == [
        refusal("input", f"at most {MAX_LINE_SIZE} bytes", "more"),
        GOOD,
        refusal("input", f"at most {MAX_LINE_SIZE} bytes", "more"),
    ]


def test_the_last_line_needs_no_end(batch: Batch, results: Results) -> None:
    arguments = batch.write(batch.line, batch.line)
    batch.file.write_bytes(batch.file.read_bytes()[:-1])
    assert results(arguments) == [GOOD, GOOD]


@pytest.mark.parametrize(
    ("name", "content", "step"),
    [
        ("tcb.json", b"{}", "TCB info: format"),
        ("tcb.json", qe_identity_file(WORLD.collateral), "TCB info: format"),
        ("qe.json", b"\xff", "QE identity: format"),
        ("root.crl", b"", "root CRL: format"),
        ("pck.crl", b"3082", "PCK CRL: format"),
    ],
)
def test_collateral_that_cannot_be_read_is_named(
    batch: Batch, results: Results, name: str, content: bytes, step: str
) -> None:
    (batch.folder / "collateral" / name).write_bytes(content)
    (result,) = results(batch.write(batch.line))
    assert (result["genuine"], result["tcb_status"]) == (False, None)
    assert step in [one["step"] for one in result["refused_by"]]


def test_a_document_that_was_changed_is_refused_for_its_signature(batch: Batch, results: Results) -> None:
    changed = WORLD.collateral.tcb_info.replace(b"UpToDate", b"upToDate")
    (batch.folder / "collateral/tcb.json").write_bytes(
        tcb_info_file(replace(WORLD.collateral, tcb_info=changed))
    )
    assert results(batch.write(batch.line)) == [
        refusal("TCB info: signature", "the signature of Intel SGX TCB Signing", "a wrong signature")
    ]


def test_a_quote_that_is_none_is_refused_for_its_format(batch: Batch, results: Results) -> None:
    Path(batch.line["quote"]).write_bytes(b"no quote")
    (result,) = results(batch.write(batch.line))
    assert [one["step"] for one in result["refused_by"]] == ["quote format"]


def test_what_is_not_genuine_has_neither_status_nor_advisories(batch: Batch, results: Results) -> None:
    """Beside evidence that is not genuine they would be the word of nobody."""
    outdated = with_standing(WORLD, platform=TcbStatus.OUT_OF_DATE)
    files = write_collateral(outdated.collateral, batch.folder / "outdated")
    late = AT + 40 * 86400
    genuine, expired = results(batch.write(batch.line | files, batch.line | files | {"at": late}))
    assert (genuine["tcb_status"], genuine["advisories"]) == ("OutOfDate", ["INTEL-SA-00615"])
    assert (expired["genuine"], expired["tcb_status"], expired["advisories"]) == (False, None, [])
    assert [one["step"] for one in expired["refused_by"]] == [
        "PCK CRL: not expired",
        "TCB info: not expired",
        "QE identity: not expired",
    ]


def test_what_a_policy_minds_does_not_make_a_quote_less_genuine(batch: Batch, results: Results) -> None:
    debug = with_enclave(WORLD, attributes=UNDER_DEBUG)
    assert results(batch.write(batch.line | {"quote": batch.quote(debug, "debug")})) == [
        GOOD | {"debug": True}
    ]


def test_debug_is_told_of_whatever_the_signatures_hold_for(batch: Batch, results: Results) -> None:
    debug = with_enclave(WORLD, attributes=UNDER_DEBUG)
    path = batch.quote(debug, "debug")
    late = batch.line | {"quote": path, "at": AT + 40 * 86400}
    forged = batch.folder / "forged"
    forged.write_bytes(debug.evidence[:300] + b"\1" + debug.evidence[301:])
    expired, changed = results(batch.write(late, batch.line | {"quote": str(forged)}))
    assert (expired["genuine"], expired["debug"]) == (False, True)
    assert (changed["genuine"], changed["debug"]) == (False, False)


def test_a_genuine_platform_of_no_level_has_no_status_and_the_reason(batch: Batch, results: Results) -> None:
    raised = json.loads(WORLD.collateral.tcb_info)
    for level in raised["tcbLevels"]:
        level["tcb"]["sgxtcbcomponents"][0]["svn"] = 200
    document = json.dumps(raised).encode()
    signed = replace(
        WORLD.collateral,
        tcb_info=document,
        tcb_info_signature=WORLD.platform.authorities.tcb_signer.sign(document),
    )
    files = write_collateral(signed, batch.folder / "raised")
    (result,) = results(batch.write(batch.line | files))
    (reason,) = result.pop("refused_by")
    assert result == {"genuine": True, "tcb_status": None, "debug": False, "advisories": []}
    assert reason["step"] == "TCB level of the platform"
    assert reason["found"].endswith("too low for the lowest level: component 1 is 14, not 200")


def test_revoked_is_a_status_of_what_is_genuine(batch: Batch, results: Results) -> None:
    revoked = with_standing(WORLD, platform=TcbStatus.REVOKED)
    files = write_collateral(revoked.collateral, batch.folder / "revoked")
    (result,) = results(batch.write(batch.line | files))
    assert (result["genuine"], result["tcb_status"], result["refused_by"]) == (True, "Revoked", [])


def test_lines_without_an_instant_are_judged_as_of_the_given_one_or_now(
    batch: Batch, results: Results
) -> None:
    line = {member: value for member, value in batch.line.items() if member != "at"}
    arguments = batch.write(line, line | {"at": None})
    assert results([*arguments, "--at", "2026-11-20T13:00:00Z"]) == [GOOD, GOOD]
    long_ago, _ = results([*arguments, "--at", "1969-01-01T00:00:00Z"])
    assert "TCB info: validity has begun" in [one["step"] for one in long_ago["refused_by"]]


def test_each_line_has_its_own_instant_and_the_chain_that_fits_it(batch: Batch, results: Results) -> None:
    before = batch.line | {"at": AT - 30 * 86400}
    early, good = results(batch.write(before, batch.line))
    assert [one["step"] for one in early["refused_by"]] == [
        "root CRL: validity has begun",
        "PCK CRL: validity has begun",
        "TCB info: validity has begun",
        "QE identity: validity has begun",
    ]
    assert good == GOOD


@pytest.mark.parametrize(("lines", "code"), [(1, 0), (2, 1)], ids=["all genuine", "one is not"])
def test_the_exit_code_speaks_of_the_results_only_where_that_is_asked_for(
    batch: Batch, capsys: pytest.CaptureFixture[str], lines: int, code: int
) -> None:
    arguments = batch.write(*[batch.line, "{}"][:lines])
    assert run(arguments) == 0
    capsys.readouterr()
    assert run([*arguments, "--fail"]) == code
    expected = "error: batch: expected every quote to be genuine, got 1 of 2 that are not\n"
    assert capsys.readouterr().err == (expected if code else "")


def test_a_policy_is_judged_apart(batch: Batch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    other = with_enclave(WORLD, mrenclave=type(MRENCLAVE)(bytes(32)))
    policy = tmp_path / "policy.toml"
    policy.write_text(f'version = 1\n[enclave]\nmrenclave = ["{MRENCLAVE.hex()}"]\n')
    arguments = batch.write(batch.line, batch.line | {"quote": batch.quote(other, "other")})
    assert run([*arguments, "--policy", str(policy), "--fail"]) == 1
    out, err = capsys.readouterr()
    mine, foreign = (json.loads(line) for line in out.splitlines())
    assert mine == GOOD | {"policy": {"accepted": True, "refused_by": [], "granted": []}}
    assert foreign == GOOD | {
        "policy": {
            "accepted": False,
            "refused_by": [{"step": "enclave: MRENCLAVE", "expected": MRENCLAVE.hex(), "found": "00" * 32}],
            "granted": [],
        }
    }
    assert err == "error: batch: expected every quote to be accepted, got 1 of 2 that are not\n"


def casemate(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "casemate", *arguments]


def test_many_processes_say_the_same_in_the_same_order(batch: Batch, results: Results) -> None:
    outdated = with_standing(WORLD, platform=TcbStatus.OUT_OF_DATE)
    files = write_collateral(outdated.collateral, batch.folder / "outdated")
    kinds = [batch.line, batch.line | files, "{}", batch.line | {"quote": "nowhere"}]
    arguments = batch.write(*(kinds[(number * 7) % 4] for number in range(1500)))
    alone = results(arguments)
    together = subprocess.run(
        casemate(*arguments, "--jobs", "3"), capture_output=True, text=True, check=True, timeout=120
    )
    assert [json.loads(line) for line in together.stdout.splitlines()] == alone
    assert together.stderr == ""


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_result_comes_before_the_input_ends(batch: Batch, jobs: str) -> None:
    command = casemate(*batch.options, "--jobs", jobs)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(3):
            process.stdin.write(json.dumps(batch.line).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == GOOD
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_an_interrupt_ends_all_processes_without_a_traceback(batch: Batch) -> None:
    # Where tests run in a shell's background, interrupts are ignored, and that is inherited.
    command = ["env", "--default-signal=INT", *casemate(*batch.options, "--jobs", "2")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(batch.line).encode() + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        # The end of both pipes is the end of every process that holds them.
        assert (process.stdout.read(), process.stderr.read()) == (b"", b"\ncasemate: interrupted\n")
    assert process.returncode == 130


def test_a_reader_that_leaves_ends_the_batch_quietly(batch: Batch) -> None:
    arguments = batch.write(*[batch.line] * 3000)
    command = " ".join(casemate(*arguments, "--jobs", "2")) + " | head -1"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True, timeout=120)
    assert (json.loads(done.stdout), done.stderr) == (GOOD, "")


def test_a_folder_without_certificates_is_said_to_be_one(
    batch: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in batch.certs.iterdir():
        file.unlink()
    assert run(batch.write(batch.line)) == 1
    assert capsys.readouterr().err == (
        f"error: certificates: expected at least one, PEM or DER, got none ({batch.certs})\n"
        "hint: Without --certs they are looked for beside the collateral.\n"
    )


def test_collateral_that_is_renewed_while_a_batch_runs_is_read_again(batch: Batch) -> None:
    outdated = with_standing(WORLD, platform=TcbStatus.OUT_OF_DATE)
    line = json.dumps(batch.line).encode() + b"\n"
    with subprocess.Popen(casemate(*batch.options), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        statuses = []
        for collateral in (WORLD.collateral, outdated.collateral, WORLD.collateral):
            write_collateral(collateral, batch.folder / "collateral")
            process.stdin.write(line)
            process.stdin.flush()
            statuses.append(json.loads(process.stdout.readline())["tcb_status"])
        process.stdin.close()
    assert statuses == ["UpToDate", "OutOfDate", "UpToDate"]


def test_a_terminal_sees_how_far_it_is(batch: Batch) -> None:
    terminal, end = os.openpty()
    subprocess.run(
        casemate(*batch.write(batch.line, "{}", batch.line)), stdout=subprocess.PIPE, stderr=end, check=True
    )
    os.close(end)
    shown = os.read(terminal, 10_000).decode()
    os.close(terminal)
    assert re.fullmatch(r"\r3 judged, 1 not genuine, [0-9,]+ a second +\r\n", shown)


def test_files_that_are_too_large_are_not_read(batch: Batch, results: Results) -> None:
    with Path(batch.line["quote"]).open("r+b") as file:
        file.truncate(MAX_FILE_SIZE)
        (whole,) = results(batch.write(batch.line))
        assert [one["step"] for one in whole["refused_by"]] == ["quote format"]
        file.truncate(MAX_FILE_SIZE + 1)
    found = f"more ({batch.line['quote']})"
    assert results(batch.write(batch.line)) == [refusal("input", f"at most {MAX_FILE_SIZE} bytes", found)]


def test_a_folder_of_certificates_that_cannot_be_read_is_an_error(
    batch: Batch, capsys: pytest.CaptureFixture[str]
) -> None:
    with (batch.certs / "large").open("wb") as file:
        file.truncate(MAX_FILE_SIZE + 1)
    assert run(batch.write(batch.line)) == 1
    assert capsys.readouterr().err == (
        f"error: file cannot be read: expected at most {MAX_FILE_SIZE} bytes, got more"
        f" ({batch.certs / 'large'})\n"
    )


def test_what_was_used_the_longest_ago_is_forgotten_first() -> None:
    recent: Recent[str, int] = Recent(2)
    for number, name in enumerate("ab"):
        recent.keep(name, number)
    assert recent.get("a") == 0
    recent.keep("c", 2)
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (0, None, 2)
    assert sorted(recent.values()) == [0, 2]


def test_platforms_are_bounded_over_all_sets_of_collateral(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casemate.cli.verify_batch_judge._MOST_PLATFORMS", 0)
    terms = Terms(roots=WORLD.roots, certificates=certificates_of(batch.certs), folders=("/",), at=WORLD.at)
    judge = Judge(terms)
    outdated = write_collateral(
        with_standing(WORLD, platform=TcbStatus.OUT_OF_DATE).collateral, batch.folder / "outdated"
    )
    lines = [json.dumps(batch.line | files).encode() for files in (batch.files, outdated) for _ in range(2)]
    statuses = [json.loads(judge.judge(line))["tcb_status"] for line in lines]
    assert statuses == ["UpToDate", "UpToDate", "OutOfDate", "OutOfDate"]
    assert len(judge._sets.values()) == 1
