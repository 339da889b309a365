"""Who asked for a file, and how it is said."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from casemate.errors import RehearsalError
from casemate.rehearsal.findings import (
    MAX_FINDINGS,
    MAX_FRAMES,
    MAX_STACKS,
    Asker,
    Finding,
    Frame,
    Kind,
    Recorder,
    parse_stack,
)
from casemate.rehearsal.printed import Said, missing_files, missing_modules, said_by_attester
from casemate.rehearsal.report import Report


def recorder(reader: str | None, *, timeout: float = 5) -> Recorder:
    return Recorder(
        interpreter_home="/opt/python",
        application="/app",
        reasons={"/app/a": "import a"},
        reader=reader,
        timeout=timeout,
    )


def asker() -> Asker:
    found = Asker.find(os.getpid())
    assert found is not None
    return found


def reader(folder: Path, frames: list[str]) -> str:
    """A program that prints a stack, as ``py-spy dump --json`` does, and counts how often it was asked."""
    stack = [{"filename": file, "line": 3, "name": "f"} for file in frames]
    threads = json.dumps([{"os_thread_id": os.getpid(), "frames": stack}])
    program = folder / "reader"
    program.write_text(f"#!/bin/sh\necho x >> {folder}/asked\ncat <<'END'\n{threads}\nEND\n")
    program.chmod(0o755)
    return str(program)


def test_an_asker_is_described_by_the_kernel() -> None:
    found = asker()
    assert (found.process, found.thread, found.parent) == (os.getpid(), os.getpid(), os.getppid())
    assert found.name == Path("/proc/self/comm").read_text().strip()


def test_an_asker_that_is_gone_is_nobody() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    assert Asker.find(child) is None


def test_the_applications_own_line_is_shown_before_that_of_a_library(tmp_path: Path) -> None:
    frames = ["<frozen importlib>", "/opt/python/lib/x.py", "/opt/python/lib/site-packages/y.py", "/app/z.py"]
    kept = recorder(reader(tmp_path, frames))
    assert kept.is_new("/app/a", Kind.UNTRUSTED)
    kept.record("/app/a", Kind.UNTRUSTED, asker())
    (finding,) = kept.findings
    assert finding.asked_by == Frame(file="/app/z.py", line=3, function="f")
    assert [frame.file for frame in finding.stack] == frames
    assert finding.reason == "import a"


def test_a_library_is_shown_before_the_interpreter(tmp_path: Path) -> None:
    frames = ["/opt/python/lib/x.py", "/opt/python/lib/site-packages/y.py"]
    kept = recorder(reader(tmp_path, frames))
    kept.record("/app/a", Kind.UNTRUSTED, asker())
    assert kept.findings[0].asker == "/opt/python/lib/site-packages/y.py:3 f"


def test_without_a_stack_the_process_is_shown() -> None:
    kept = recorder(None)
    kept.record("/app/a", Kind.UNTRUSTED, asker())
    (finding,) = kept.findings
    assert (finding.stack, finding.asked_by) == ((), None)
    assert finding.asker == f"process {finding.pid} ({asker().name})"


def test_nobody_is_said_to_be_unknown() -> None:
    assert Finding(path="/x", kind=Kind.MISSING, pid=0, process="").asker == "unknown"


def test_a_reader_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    program = tmp_path / "reader"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    kept = recorder(str(program), timeout=0.2)
    before = time.monotonic()
    kept.record("/app/a", Kind.UNTRUSTED, asker())
    kept.reap()
    assert time.monotonic() - before < 10
    assert kept.findings[0].stack == ()


def test_a_reader_that_cannot_be_started_is_done_without(tmp_path: Path) -> None:
    kept = recorder(str(tmp_path / "nothing"))
    kept.record("/app/a", Kind.UNTRUSTED, asker())
    assert kept.findings[0].stack == ()


def test_stacks_are_read_so_often_and_no_more(tmp_path: Path) -> None:
    kept = recorder(reader(tmp_path, ["/app/z.py"]))
    me = asker()
    for number in range(MAX_STACKS + 1):
        kept.record(f"/app/{number}", Kind.UNTRUSTED, me)
    assert len((tmp_path / "asked").read_text().split()) == MAX_STACKS
    assert [bool(finding.stack) for finding in kept.findings[-2:]] == [True, False]


def test_findings_are_kept_once_and_so_many_and_no_more() -> None:
    kept = recorder(None)
    fresh = [kept.is_new(f"/x/{number}", Kind.MISSING) for number in range(MAX_FINDINGS + 1)]
    assert fresh == [True] * MAX_FINDINGS + [False]
    assert not kept.is_new("/x/0", Kind.MISSING)
    assert len(kept.findings) == MAX_FINDINGS


def test_what_could_not_be_made_is_not_reported_as_missing_too() -> None:
    kept = recorder(None)
    for kind in (Kind.MISSING, Kind.READ_ONLY, Kind.MISSING):
        kept.is_new("/app/shop.db", kind)
    assert [(finding.path, finding.kind) for finding in kept.findings] == [("/app/shop.db", Kind.READ_ONLY)]


def test_a_folder_is_not_reported_beside_the_file_in_it() -> None:
    kept = recorder(None)
    kept.is_new("/data", Kind.MISSING)
    kept.note("/data/table.csv", Kind.MISSING, None)
    assert [finding.path for finding in kept.findings] == ["/data/table.csv"]


def dump(*threads: int | None, frames: int = 1) -> bytes:
    stack = [{"filename": "/app/x.py", "line": number, "name": "f"} for number in range(frames)]
    return json.dumps(
        [
            {"os_thread_id": thread, "frames": [{**frame, "name": str(thread)} for frame in stack]}
            for thread in threads
        ]
    ).encode()


def test_a_thread_is_known_by_either_number_or_by_being_the_only_one() -> None:
    def chosen(output: bytes) -> str:
        (frame,) = parse_stack(output, inner_thread=1, outer_thread=100)
        return frame.function

    assert chosen(dump(1, 2)) == "1"
    assert chosen(dump(100, 2)) == "100"
    assert chosen(dump(7)) == "7"
    assert parse_stack(dump(7, 8), inner_thread=1, outer_thread=100) == ()


def test_what_is_no_dump_gives_no_frames() -> None:
    for output in (b"", b"{}", b"[]", b"[1]", b'[{"os_thread_id": 1}]', b'[{"frames": [{}]}]', b"\xff"):
        assert parse_stack(output, inner_thread=1, outer_thread=100) == ()


def test_long_stacks_are_cut_at_the_outer_end() -> None:
    frames = parse_stack(dump(1, frames=MAX_FRAMES + 5), inner_thread=1, outer_thread=1)
    assert [frame.line for frame in frames] == list(range(MAX_FRAMES))


def report_of(findings: tuple[Finding, ...], *, said: Said | None) -> Report:
    return Report(
        exit_code=1,
        stop=None,
        mrenclave="",
        mrsigner="",
        root_sha256="",
        opened=0,
        seconds=0,
        findings=findings,
        notes=(),
        said=said,
    )


def test_a_folder_that_can_be_mounted_is_proposed_for_what_is_written_there() -> None:
    finding = Finding(path="/srv/up/a", kind=Kind.READ_ONLY, pid=0, process="")
    assert report_of((finding,), said=None).remedy(finding) == (
        'add "/srv/up" = "tmpfs" to [mounts] of casemate.toml, or an encrypted folder of that name'
    )


_KNOWN = (
    "/opt/python/lib/python3.11/json/tool.py",
    "/app/notes/__init__.py",
    "/app/notes/extra.cpython-311-x86_64-linux-gnu.so",
    "/app/notes/data.txt",
)


def test_missing_modules_are_found_by_the_end_of_their_path() -> None:
    printed = (
        "Traceback (most recent call last):\n"
        '  File "/app/main.py", line 4, in start\n'
        "    import json.tool\n"
        "ModuleNotFoundError: No module named 'json.tool'\n"
        "ModuleNotFoundError: No module named 'notes'\n"
        "ModuleNotFoundError: No module named 'notes.extra'\n"
        "ModuleNotFoundError: No module named 'notes.data'\n"
    )
    importer = Frame(file="/app/main.py", line=4, function="start")
    assert missing_modules(printed, _KNOWN) == tuple((path, importer) for path in _KNOWN[:3])


def test_a_module_of_the_application_is_missed_by_its_whole_name_or_with_the_folder_that_it_is() -> None:
    known = ("/app/plug/a.py", "/app/shop/plugins/b.py", "/app/shop/plugins/__init__.py")
    importer = Frame(file="/app/main.py", line=9, function="<module>")

    def missed(name: str) -> tuple[tuple[str, Frame | None], ...]:
        return missing_modules(
            f"casemate: error: not caught: ModuleNotFoundError for {name} at /app/main.py:9\n", known
        )

    assert missed("plug.a") == (("/app/plug/a.py", importer),)
    assert missed("plug") == (("/app/plug", importer),)
    assert missed("shop.plugins") == (("/app/shop/plugins/__init__.py", importer),)
    assert missed("plugins.b") == ()


def test_a_module_that_nobody_had_is_not_found() -> None:
    assert missing_modules("No module named 'colour'", _KNOWN) == ()


def test_a_missing_module_without_a_traceback_has_no_line() -> None:
    assert missing_modules("No module named 'notes'", _KNOWN) == ((_KNOWN[1], None),)


_SAID = """\
casemate: secret placed: /var/keys/one
casemate: error: request: ValueError at /app/hello/main.py:3
casemate: error: application: expected a module hello that can be imported, got FileNotFoundError for \
{path} at /app/hello/main.py:10 (hello:app)
casemate: hint: run the application without an enclave
"""


def failed(printed: str) -> RehearsalError:
    """How a rehearsal that refused nothing but what ``printed`` names ends."""
    kept = recorder(None)
    for path, frame in missing_files(printed):
        kept.note(path, Kind.MISSING, frame)
    report = report_of(kept.findings, said=said_by_attester(printed))
    with pytest.raises(RehearsalError) as caught:
        report.require_success()
    return caught.value


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        (
            "/run/secrets/api-key",
            (
                "it is not in [secrets] of casemate.toml; "
                'add "/run/secrets/api-key" = "kbs:///default/NAME/api-key", NAME being that of [app]'
            ),
        ),
        (
            "/var/keys/two",
            (
                'it is not in [secrets] of casemate.toml; add "/var/keys/two" = "kbs:///default/NAME/two", '
                "NAME being that of [app]"
            ),
        ),
        (
            "/app/.env",
            "the image has no hidden files; in casemate.toml variables go into [env], secrets into [secrets]",
        ),
        (
            "/app/data.csv",
            (
                "add it to [closure] include in casemate.toml and build again; where [app] source has no "
                "such file, the application lacks it here as it does outside"
            ),
        ),
        (
            "/app/plug/a.py",
            (
                'add "module:plug.a" to [closure] include in casemate.toml and build again; where [app] '
                "source has no such file, the application lacks it here as it does outside"
            ),
        ),
        (
            "/srv/data.csv",
            (
                "the image has files of the application and its requirements only; keep what is read in the "
                "folder of [app] source and name it in [closure] include; to write there, name the folder of "
                'the file in [mounts], such as "/srv" = "tmpfs"'
            ),
        ),
    ],
)
def test_a_file_that_stopped_the_application_is_named_with_what_to_do(path: str, advice: str) -> None:
    error = failed(_SAID.format(path=path))
    assert (str(error), error.hint) == (
        (
            'application in the rehearsal: expected exit code 0, got 1 after "application: expected a module '
            f"hello that can be imported, got FileNotFoundError for {path} at /app/hello/main.py:10 "
            '(hello:app)" (requests refused: 1)'
        ),
        f"{path} (missing), asked for by /app/hello/main.py:10 <module>: {advice}",
    )


def test_where_nothing_was_refused_the_attesters_own_advice_is_repeated() -> None:
    error = failed("casemate: error: key broker: expected an answer\ncasemate: hint: see that it runs\n")
    assert (str(error), error.hint) == (
        (
            "application in the rehearsal: expected exit code 0, "
            'got 1 after "key broker: expected an answer" (requests refused: 0)'
        ),
        "see that it runs",
    )


@pytest.mark.parametrize(
    "said",
    [
        "not caught: KeyError at /app/settings.py:4",
        (
            "application: expected a module hello that can be imported, got ValueError at /app/hello.py:3 "
            "(hello:app)"
        ),
    ],
)
def test_where_the_text_of_an_exception_is_held_back_it_is_said_why_and_where_to_see_it(said: str) -> None:
    error = failed(f"casemate: error: {said}\ncasemate: hint: run the application without an enclave\n")
    assert (str(error), error.hint) == (
        f'application in the rehearsal: expected exit code 0, got 1 after "{said}" (requests refused: 0)',
        (
            "only the type and the line of the exception are shown: its text may hold a secret, and the host "
            "reads what an enclave prints; to see the text, run the application without an enclave, in its "
            "own environment"
        ),
    )


def test_an_error_in_a_request_is_not_what_ended_the_application() -> None:
    assert said_by_attester("casemate: error: request: ValueError at /app/a.py:3\n") is None
    assert said_by_attester("casemate: error: gone\n") == Said(error="gone", hint=None, secret_folders=())


def test_a_missing_file_in_a_traceback_was_asked_for_by_the_applications_line() -> None:
    printed = (
        "Traceback (most recent call last):\n"
        '  File "/app/main.py", line 4, in start\n'
        '  File "/opt/python/lib/python3.11/pathlib.py", line 1044, in open\n'
        '  File "<frozen codecs>", line 1, in open\n'
        "FileNotFoundError: [Errno 2] No such file or directory: '/srv/a b'\n"
    )
    assert missing_files(printed) == (("/srv/a b", Frame(file="/app/main.py", line=4, function="start")),)
