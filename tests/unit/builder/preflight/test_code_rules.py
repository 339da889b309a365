"""Every rule about the application's code: what it finds, and what looks like it and is none."""

from __future__ import annotations

import textwrap
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.image_files import image_file
from tests.support.projects import project

from casemate.builder.closure import ReachedModule
from casemate.builder.lint.finding import Severity
from casemate.builder.preflight import Finding, Subject, all_rules, check_application
from casemate.builder.preflight.rule import CODE_RULES, data_rules
from casemate.errors import CasemateError

_COMMAND = '[app]\nname = "notes"\ncommand = {}\n'
#: Statements from which programs are put together.
_PIECES = (
    "if True:", "try:", "except OSError:", "with open('a', 'w'):", "class A(os.PathLike):", "def f():",
    "open()", "open(*a, **b)", "mmap.mmap()", "mmap.mmap(*a)", "zoneinfo.ZoneInfo()", "os.link(*a, **b)",
    "pathlib.Path().open('w')", "pathlib.Path(a, b).mkdir()", "concurrent.futures.ThreadPoolExecutor(**a)",
    "logging.FileHandler()", "a().b.c().mkdir()", "shutil.move(shutil.copy2, f=os.link)", "lambda: os.utime",
)  # fmt: skip
#: Rules that look at libraries; they have tests of their own.
_NATIVE = {"glibc-version", "glibc-private", "foreign-libc", "libgomp"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """An application, whether the rule finds something in it, and where."""

    rule: str
    code: str = ""
    toml: str = ""
    command: str | None = None
    reached: tuple[str, ...] = ()
    found: str | None = None


def findings(
    code: str = "",
    toml: str = "",
    command: str | None = None,
    reached: tuple[str, ...] = (),
    name: str = "notes",
) -> tuple[Finding, ...]:
    """What preflight says of an application of one module."""
    app = {} if command is None else {"app": _COMMAND.format(command)}
    own = ReachedModule(
        name=name,
        is_own=True,
        file="notes.py",
        source=textwrap.dedent(code).encode(),
        is_package=False,
        asked_by=None,
        detail="",
    )
    others = [
        ReachedModule(
            name=name, is_own=False, file="", source=None, is_package=False, asked_by=None, detail=""
        )
        for name in reached
    ]
    subject = Subject(project=project(toml, **app), modules=(own, *others), python="3.11.7", gramine=None)
    files = [image_file("/usr/share/zoneinfo/UTC", b"zone"), image_file("/app/notes.pyc", b"")]
    return check_application(subject, files)


def _found(*, rule: str, where: str, code: str = "", **rest: object) -> Case:
    return Case(rule=rule, code=code, found=where, **rest)  # type: ignore[arg-type]  # names of the fields


CASES = (
    _found(
        rule="gunicorn",
        where="notes.py:1",
        code="from gunicorn.app.base import BaseApplication",
        reached=("gunicorn.app.base",),
    ),
    _found(
        rule="gunicorn",
        where="casemate.toml: app.command",
        command='["python", "-m", "gunicorn", "notes:app"]',
    ),
    Case(rule="gunicorn", code="import gunicorn.app.base"),
    _found(rule="uwsgi", where="casemate.toml: app.command", command='["python", "-m", "uwsgi"]'),
    Case(rule="uwsgi", code="import uwsgidecorators"),
    _found(
        rule="server-processes",
        where="notes.py:2",
        code="import uvicorn\nuvicorn.run('notes:app', workers=2)",
    ),
    Case(rule="server-processes", code="import uvicorn\nuvicorn.run('notes:app', workers=1)"),
    _found(
        rule="server-reload",
        where="notes.py:2",
        code="from flask import Flask\nFlask(__name__).run(debug=True)",
        reached=("flask",),
    ),
    Case(rule="server-reload", code="job.run(debug=True)"),
    Case(
        rule="server-reload",
        code="import asyncio\nasyncio.run(main(), debug=True)",
    ),
    Case(
        rule="server-reload",
        code="if __name__ == '__main__':\n    app.run(debug=True)",
    ),
    _found(rule="granian", where="notes.py:1", code="import granian", reached=("granian",)),
    Case(rule="granian", code="import granite", reached=("granite",)),
    _found(rule="trio", where="notes.py:2", code="import trio\ntrio.run(main)"),
    Case(rule="trio", code="import anyio\nanyio.run(main)"),
    _found(
        rule="task-queue-processes",
        where="casemate.toml: app.command",
        command='["python", "-m", "rq", "worker"]',
    ),
    Case(rule="task-queue-processes", command='["python", "-m", "notes"]'),
    _found(rule="multiprocessing", where="notes.py:2", code="import multiprocessing as mp\nmp.Lock()"),
    _found(
        rule="multiprocessing",
        where="notes.py:3",
        code="""\
            from multiprocessing import Process

            class Worker(Process):
                pass
            """,
    ),
    Case(rule="multiprocessing", code="import multiprocessing\nmultiprocessing.current_process()"),
    Case(
        rule="multiprocessing",
        code="from multiprocessing import Queue\ndef f(queue: Queue) -> None:\n    other: Queue",
    ),
    _found(
        rule="thread-pool-with-process-locks",
        where="notes.py:2",
        code="from multiprocessing.pool import ThreadPool\nThreadPool(2)",
    ),
    Case(
        rule="thread-pool-with-process-locks",
        code="from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor(2)",
    ),
    _found(rule="subprocess", where="notes.py:2", code="import subprocess\nsubprocess.run(['ls'])"),
    _found(rule="subprocess", where="notes.py:1", code="loop.subprocess_exec(protocol, 'ls')"),
    Case(rule="subprocess", code="import subprocess\nsubprocess.list2cmdline([])"),
    Case(
        rule="subprocess",
        code="import os, sys\nif sys.platform == 'win32':\n    os.system('cls')",
    ),
    _found(rule="process-library", where="notes.py:1", code="import pexpect", reached=("pexpect",)),
    Case(rule="process-library", code="import pexpect"),
    _found(
        rule="joblib",
        where="joblib._multiprocessing_helpers",
        reached=("joblib._multiprocessing_helpers",),
    ),
    Case(rule="joblib", reached=("joblib",)),
    _found(
        rule="data-loader-processes",
        where="notes.py:2",
        code="from torch.utils.data import DataLoader\nDataLoader(x, num_workers=4)",
    ),
    Case(
        rule="data-loader-processes",
        code="from torch.utils.data import DataLoader\nDataLoader(x, num_workers=0)",
    ),
    _found(rule="numerical-threads", where="numpy", reached=("numpy",)),
    Case(rule="numerical-threads", reached=("numpylike",)),
    _found(rule="processor-count", where="notes.py:2", code="import os\nos.cpu_count()"),
    Case(rule="processor-count", code="import os\nos.getpid()"),
    _found(rule="file-times", where="notes.py:2", code="import shutil\nshutil.copy2('a', '/tmp/b')"),
    _found(
        rule="file-times", where="notes.py:2", code="import shutil\nwalk(tree, copy_function=shutil.copy2)"
    ),
    Case(rule="file-times", code="import shutil\nshutil.copy('a', '/tmp/b')"),
    _found(rule="links", where="notes.py:2", code="from pathlib import Path\nPath('a').symlink_to('b')"),
    Case(rule="links", code="from pathlib import Path\nPath('a').is_symlink()"),
    _found(rule="moved-files", where="notes.py:2", code="import shutil\nshutil.move('/tmp/a', '/tmp/b')"),
    Case(rule="moved-files", code="import os\nos.replace('/tmp/a', '/tmp/b')"),
    _found(rule="file-locks", where="notes.py:2", code="import fcntl\nfcntl.flock(f, fcntl.LOCK_EX)"),
    Case(rule="file-locks", code="import fcntl\nfcntl.lockf(f, fcntl.LOCK_EX)"),
    _found(rule="filelock", where="notes.py:2", code="from filelock import FileLock\nFileLock('/tmp/l')"),
    Case(rule="filelock", code="from filelock import SoftFileLock\nSoftFileLock('/tmp/l')"),
    _found(
        rule="django-file-storage",
        where="notes.py:3",
        code="from django.db import models\nclass Upload(models.Model):\n    file = models.FileField()",
    ),
    Case(
        rule="django-file-storage",
        code="from django.db import models\nclass Upload(models.Model):\n    name = models.CharField()",
    ),
    _found(
        rule="extended-attributes", where="notes.py:2", code="import os\nos.setxattr('/tmp/a', 'user.b', b'')"
    ),
    Case(rule="extended-attributes", code="import os\nos.listxattr('/tmp/a')"),
    _found(
        rule="file-watching",
        where="notes.py:2",
        code="from watchdog.observers import Observer\nObserver().start()",
    ),
    Case(
        rule="file-watching",
        code="from watchdog.observers.polling import PollingObserver\nPollingObserver().start()",
    ),
    _found(rule="shared-mapping", where="notes.py:2", code="import mmap\nmmap.mmap(f.fileno(), 0)"),
    Case(rule="shared-mapping", code="import mmap\nmmap.mmap(-1, 4096)"),
    Case(rule="shared-mapping", code="import mmap\nmmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)"),
    _found(rule="memory-mapped-data", where="notes.py:2", code="import numpy as np\nnp.memmap('a')"),
    Case(rule="memory-mapped-data", code="import numpy as np\nnp.fromfile('a')"),
    _found(
        rule="memory-mapped-load",
        where="notes.py:2",
        code="import numpy as np\nnp.load('a', mmap_mode='r')",
    ),
    Case(rule="memory-mapped-load", code="import numpy as np\nnp.load('a')"),
    _found(rule="sqlite-wal", where="notes.py:1", code="db.execute('PRAGMA journal_mode=WAL')"),
    Case(
        rule="sqlite-wal", code="'''Do not set journal_mode=WAL.'''\ndb.execute('PRAGMA journal_mode=DELETE')"
    ),
    _found(rule="missing-system-call", where="notes.py:2", code="import os\nos.memfd_create('a')"),
    Case(rule="missing-system-call", code="import os\nos.eventfd(0)"),
    _found(
        rule="missing-socket",
        where="notes.py:2",
        code="import socket\nsocket.socket(socket.AF_NETLINK)",
    ),
    Case(rule="missing-socket", code="import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)"),
    _found(rule="unix-sockets", where="notes.py:2", code="import socket\nsocket.socket(socket.AF_UNIX)"),
    Case(rule="unix-sockets", code="import socket\nsocket.socketpair()"),
    _found(rule="system-log", where="notes.py:2", code="import syslog\nsyslog.syslog('a')"),
    _found(
        rule="system-log",
        where="notes.py:2",
        code="from logging.handlers import SysLogHandler\nSysLogHandler('/dev/log')",
    ),
    Case(
        rule="system-log",
        code="from logging.handlers import SysLogHandler\nSysLogHandler(('logs.internal', 514))",
    ),
    _found(
        rule="process-title", where="notes.py:2", code="import setproctitle\nsetproctitle.setproctitle('a')"
    ),
    Case(rule="process-title", code="import setproctitle\nsetproctitle.getproctitle()"),
    _found(rule="process-statistics", where="notes.py:1", code="import psutil", reached=("psutil",)),
    Case(rule="process-statistics", code="import time\ntime.process_time()", reached=("psutil",)),
    _found(
        rule="host-signals", where="notes.py:2", code="import signal\nsignal.signal(signal.SIGHUP, reload)"
    ),
    Case(rule="host-signals", code="import signal\nsignal.signal(signal.SIGTERM, stop)"),
    _found(rule="faulthandler", where="notes.py:2", code="import faulthandler\nfaulthandler.enable()"),
    Case(rule="faulthandler", code="import faulthandler\nfaulthandler.dump_traceback()"),
    _found(
        rule="prometheus-processes",
        where="casemate.toml: env.PROMETHEUS_MULTIPROC_DIR",
        toml='[env]\nPROMETHEUS_MULTIPROC_DIR = "/tmp/prometheus"\n',
    ),
    Case(rule="prometheus-processes", code="import prometheus_client\nprometheus_client.generate_latest()"),
    _found(rule="telemetry", where="notes.py:1", code="import sentry_sdk", reached=("sentry_sdk",)),
    Case(rule="telemetry", code="import opentelemetry.trace", reached=("opentelemetry.trace",)),
    _found(rule="loopback-peer", where="notes.py:1", code="connect('redis://localhost:6379/0')"),
    Case(rule="loopback-peer", code="connect('rediss://cache.internal:6379/0')"),
    _found(
        rule="command-processes",
        where="casemate.toml: app.command",
        command='["python", "-m", "uvicorn", "notes:app", "--workers", "4"]',
    ),
    _found(
        rule="command-processes",
        where="casemate.toml: app.command",
        command='["python", "-m", "celery", "-A", "notes", "worker"]',
    ),
    Case(rule="command-processes", command='["python", "-m", "uvicorn", "notes:app", "--workers=1"]'),
    Case(
        rule="command-processes",
        command='["python", "-m", "celery", "-A", "notes", "worker", "--pool=threads"]',
    ),
    _found(rule="read-only-place", where="notes.py:1", code="open('notes.log', 'a')"),
    _found(rule="read-only-place", where="notes.py:2", code="import sqlite3\nsqlite3.connect('notes.db')"),
    _found(
        rule="read-only-place",
        where="notes.py:2",
        code="from pathlib import Path\n(Path(__file__).parent / 'cache').mkdir()",
    ),
    _found(
        rule="read-only-place",
        where="notes.py:2",
        code="from pathlib import Path\nPath('/var/lib/notes/a').open('w')",
    ),
    Case(
        rule="read-only-place", code="open('notes.json')\nopen('/tmp/notes', 'w')\nopen('/dev/stdout', 'w')"
    ),
    Case(
        rule="read-only-place",
        code="from pathlib import Path\nPath('/var/lib/notes/a').open('w')",
        toml='[mounts]\n"/var/lib/notes" = "tmpfs"\n',
    ),
    Case(rule="read-only-place", code="import sqlite3\nsqlite3.connect(':memory:')\ndata['a'].open('w')"),
    _found(
        rule="time-zone",
        where="notes.py:2",
        code="from zoneinfo import ZoneInfo\nZoneInfo('Europe/Berlin')",
    ),
    Case(rule="time-zone", code="from zoneinfo import ZoneInfo\nZoneInfo('UTC')\nZoneInfo(name)"),
    _found(
        rule="more-threads-than-enclave",
        where="notes.py:2",
        code="from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor(max_workers=13)",
    ),
    Case(
        rule="more-threads-than-enclave",
        code="from concurrent.futures import ThreadPoolExecutor\nThreadPoolExecutor(max_workers=12)",
    ),
    _found(rule="small-stack", where="casemate.toml: enclave.stack", reached=("torch",)),
    Case(rule="small-stack", reached=("torch",), toml='[enclave]\nstack = "8M"\n'),
    _found(
        rule="secret-in-env",
        where="casemate.toml: env.API_TOKEN",
        toml='[env]\nAPI_TOKEN = "k3yFlx09Qp2mVn7sWd1tRb6uZc8a"\n',
    ),
    Case(rule="secret-in-env", toml='[env]\nAPI_TOKEN_FILE = "/run/secrets/token"\n'),
    _found(rule="unset-variable", where="notes.py:2", code="import os\nkey = os.environ['API_KEY']"),
    Case(rule="unset-variable", code="import os\nkey = os.environ['API_KEY']", toml='[env]\nAPI_KEY = "1"\n'),
)


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.rule} {'found' if case.found else 'not found'}"
)
def test_rule(case: Case) -> None:
    found = [
        finding
        for finding in findings(case.code, case.toml, case.command, case.reached)
        if finding.rule == case.rule
    ]

    assert [finding.where for finding in found] == ([case.found] if case.found else [])
    severities = {rule.id: rule.severity for rule in all_rules()}
    assert all(finding.severity is severities[case.rule] for finding in found)


def test_every_rule_has_a_case_that_it_finds_and_one_that_it_does_not() -> None:
    rules = {rule.id for rule in all_rules()} - _NATIVE

    assert {case.rule for case in CASES if case.found} == rules
    assert {case.rule for case in CASES if not case.found} == rules


def test_ids_are_unique_and_every_rule_says_how_its_facts_are_known() -> None:
    ids = [rule.id for rule in all_rules()]

    assert len(set(ids)) == len(ids) == len(data_rules()) + len(CODE_RULES)
    assert all(rule.source and rule.happens and rule.mend for rule in all_rules())


@pytest.mark.parametrize(
    "code",
    [
        "import os\ntry:\n    os.link('a', 'b')\nexcept OSError:\n    pass",
        "import os\ntry:\n    os.link('a', 'b')\nexcept (ValueError, NotImplementedError):\n    pass",
        "import os, contextlib\nwith contextlib.suppress(OSError):\n    os.link('a', 'b')",
        "import os\ntry:\n    os.link('a', 'b')\nexcept:\n    pass",
    ],
    ids=["OSError", "one of two", "suppress", "everything"],
)
def test_what_the_code_survives_is_one_step_less_grave(code: str) -> None:
    assert [finding.severity.value for finding in findings(code)] == ["warning"]


def test_what_is_caught_for_another_reason_stays_as_grave() -> None:
    code = "import os\ntry:\n    os.link('a', 'b')\nexcept ImportError:\n    os.link('a', 'b')"

    assert [finding.severity.value for finding in findings(code)] == ["error", "error"]


def test_methods_of_the_application_s_own_objects_count_where_they_are_imported_by_their_full_name() -> None:
    code = "from notes import app\napp.run(use_reloader=True)"
    own = findings(code, reached=("flask",))

    assert [finding.rule for finding in own] == ["server-reload"]


def test_a_mend_that_is_taken_away_is_a_warning_that_names_the_variable() -> None:
    toml = '[env]\nJOBLIB_MULTIPROCESSING = "1"\n'
    (found,) = findings("", toml, None, ("joblib._multiprocessing_helpers",))

    assert found.severity.value == "warning"
    assert found.where == "casemate.toml: env.JOBLIB_MULTIPROCESSING"
    assert found.subject == "JOBLIB_MULTIPROCESSING=1"
    assert found.mend == "leave JOBLIB_MULTIPROCESSING out of [env]: the manifest sets it to 0"


def test_a_module_of_the_application_with_the_name_of_a_package_is_its_own() -> None:
    assert findings("import statsd", reached=("statsd",)) != ()
    assert findings("import statsd", reached=("statsd",), name="statsd") == ()


@pytest.mark.parametrize(
    ("code", "toml"),
    [
        ("value = os.environ.get('API_KEY')", ""),
        ("os.environ['API_KEY'] = '1'\nvalue = os.environ['API_KEY']", ""),
        ("os.environ.setdefault('API_KEY', '1')\nvalue = os.environ['API_KEY']", ""),
        ("if 'API_KEY' in os.environ:\n    value = os.environ['API_KEY']", ""),
        ("try:\n    value = os.environ['API_KEY']\nexcept KeyError:\n    value = ''", ""),
        ("with contextlib.suppress(KeyError):\n    value = os.environ['API_KEY']", ""),
        ("value = os.environ['API_KEY']", '[env]\nAPI_KEY = "1"\n'),
        ("value = os.environ['API_KEY']", '[env]\nAPI_KEY = { pass = true, one_of = ["1"] }\n'),
        (
            "value = os.environ['API_KEY']",
            '[broker]\nurl = "https://kbs"\nca = "ca.pem"\n[secrets]\n"env:API_KEY" = "kbs:///default/notes/k"\n',
        ),
        ("value = os.environ['TMPDIR']", ""),
        ("value = settings.environ['API_KEY']", ""),
    ],
    ids=[
        "default", "set", "set by default", "asked for", "caught", "suppressed", "env", "passed", "secret",
        "manifest", "no environment",
    ],
)  # fmt: skip
def test_a_variable_that_has_a_value_or_need_not_have_one_is_not_told(code: str, toml: str) -> None:
    assert findings(f"import os, contextlib\n{code}", toml) == ()


def test_an_unset_variable_is_told_with_the_two_lines_that_mend_it() -> None:
    code = "from os import environ\ntry:\n    KEY = environ['API_KEY']\nexcept OSError:\n    pass\n"

    assert findings(code) == (
        Finding(
            rule="unset-variable",
            severity=Severity.WARNING,
            where="notes.py:3",
            subject="API_KEY",
            happens=(
                "the code needs this variable, and neither casemate.toml nor the code sets it; the host's "
                "environment does not reach the enclave: KeyError"
            ),
            mend=(
                'API_KEY = "…" in [env]; or, for a secret, "env:API_KEY" = "kbs:///default/notes/api-key" '
                "in [secrets]"
            ),
        ),
    )


def test_one_place_is_told_once() -> None:
    assert len(findings("import os\nos.link('a', 'b') or os.link('c', 'd')")) == 1


def test_where_processes_are_allowed_they_are_a_warning_and_their_locks_stay_an_error() -> None:
    code = "import subprocess, multiprocessing\nsubprocess.run(['ls'])\nmultiprocessing.Lock()"
    found = findings(code, "[enclave]\nsubprocesses = true\n")

    assert [(it.rule, it.severity.value) for it in found] == [
        ("multiprocessing", "error"),
        ("subprocess", "warning"),
    ]
    assert found[1].happens.startswith("each process is an enclave of its own, as large as this one")


@given(st.text(max_size=200))
def test_any_text_gives_findings_or_an_error_of_ours(code: str) -> None:
    with suppress(CasemateError):
        assert isinstance(findings(code), tuple)


@given(st.lists(st.sampled_from(_PIECES), max_size=30))
def test_any_calls_in_any_nesting_give_findings(pieces: list[str]) -> None:
    code = "import os, shutil, mmap, logging, zoneinfo, pathlib, concurrent.futures\n"
    for depth, piece in enumerate(pieces):
        code += "    " * depth + piece + "\n"
    try:
        found = findings(code)
    except CasemateError:
        return
    assert all(finding.where.startswith("notes.py:") for finding in found)


def test_code_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(CasemateError) as caught:
        findings("x = " + "-" * 5000 + "1")
    assert str(caught.value).endswith(" (notes.py)")
