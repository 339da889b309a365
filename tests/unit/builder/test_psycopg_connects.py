"""Psycopg's way to connect in an enclave, with a psycopg that says what was asked of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.image_files import image_file

from casemate.builder.contents import Rule
from casemate.builder.native.psycopg_connects import with_psycopg_that_waits

LIB = "/opt/python/lib/python3.11"
GENERATORS = f"{LIB}/site-packages/psycopg/generators.pyc"
PATH = f"{LIB}/sitecustomize.py"
PACKAGE = {
    "__init__.py": "",
    "generators.py": "def connect(conninfo): raise AssertionError('the old one')",
    "waiting.py": "class Wait:\n    R, W = 'R', 'W'",
    "errors.py": "class OperationalError(Exception): ...\nclass ConnectionTimeout(OperationalError): ...",
    "pq.py": (
        "class PollingStatus:\n    FAILED, READING, WRITING, OK = range(4)\n"
        "class ConnStatus:\n    OK, BAD = range(2)\n"
        "class PGconn:\n"
        "    socket, status, error_message, finish = 7, 0, b'refused\\n', lambda self: None\n"
        "    script = [PollingStatus.READING, PollingStatus.OK]\n"
        "    @classmethod\n    def connect_start(cls, conninfo):\n"
        "        print('start', conninfo)\n        return cls()\n"
        "    def connect_poll(self):\n        print('poll')\n        return self.script.pop(0)\n"
    ),
}


def _run(folder: Path, code: str) -> str:
    files = with_psycopg_that_waits((image_file(GENERATORS, b""),), "3.11")
    (text,) = (file.read().decode() for file in files if file.path == PATH)
    for name, content in PACKAGE.items():
        (folder / "psycopg").mkdir(exist_ok=True)
        (folder / "psycopg" / name).write_text(content)
    (folder / "run.py").write_text(f"{text}\nfrom psycopg import generators, pq, errors\n{code}")
    done = subprocess.run([sys.executable, "run.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_images_without_psycopg_stay_as_they_are() -> None:
    files = (image_file(f"{LIB}/os.pyc", b""),)
    assert with_psycopg_that_waits(files, "3.11") == files


def test_the_socket_is_waited_for_before_the_first_question(tmp_path: Path) -> None:
    code = (
        "steps = generators.connect('host=x', timeout=60)\n"
        "print(next(steps)); print(steps.send(False)); print(steps.send(True))\n"
        "try:\n    steps.send(True)\nexcept StopIteration as end:\n    print(end.value.nonblocking)"
    )
    assert _run(tmp_path, code).splitlines() == [
        "start b'host=x'",
        "(7, 'W')",
        "(7, 'W')",
        "poll",
        "(7, 'R')",
        "poll",
        "1",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("pq.PGconn.script = [0]", "OperationalError connection failed: refused"),
        ("pq.PGconn.status = 1", "OperationalError connection failed: refused"),
        (
            "import time; time.monotonic = iter((0, 99)).__next__",
            "ConnectionTimeout connection timeout expired",
        ),
    ],
    ids=["refused", "bad from the start", "too late"],
)
def test_a_connection_that_fails_says_so(tmp_path: Path, change: str, expected: str) -> None:
    code = (
        f"{change}\nsteps = generators.connect('x', timeout=5)\n"
        "try:\n    next(steps)\n    [steps.send(answer) for answer in (False, True)]\n"
        "except errors.OperationalError as error:\n    print(type(error).__name__, error)"
    )
    assert _run(tmp_path, code).splitlines()[-1] == expected


def test_what_stands_in_the_file_already_stays() -> None:
    files = (image_file(GENERATORS, b""), image_file(PATH, b"import site\n"))
    (file,) = (file for file in with_psycopg_that_waits(files, "3.11") if file.path == PATH)
    assert file.read().startswith(b"import site\n\nimport sys\n")
    assert file.reason.detail.endswith(
        "; and lets psycopg wait for a connection before it asks what became of it"
    )


def test_the_reason_leads_to_psycopg() -> None:
    files = with_psycopg_that_waits((image_file(GENERATORS, b""),), "3.11")
    (file,) = (file for file in files if file.path == PATH)
    assert (file.reason.rule, file.reason.of) == (Rule.INTERPRETER, GENERATORS)
