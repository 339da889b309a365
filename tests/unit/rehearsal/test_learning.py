"""What findings change in a ``casemate.toml``."""

from __future__ import annotations

from pathlib import Path

import pytest

from casemate.errors import RehearsalError
from casemate.rehearsal.findings import Finding, Frame, Kind
from casemate.rehearsal.learning import Change, included, learn, writable_folder
from casemate.rehearsal.printed import Said
from casemate.rehearsal.report import Report

_STDLIB = "/opt/python/lib/python3.12"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The folder of an application."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/table.csv").touch()
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/late.py").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / ".env").touch()
    (tmp_path / "shop.sqlite3").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("path", "item"),
    [
        (f"{_STDLIB}/colorsys.py", "module:colorsys"),
        (f"{_STDLIB}/xml/dom/minidom.pyc", "module:xml.dom.minidom"),
        (f"{_STDLIB}/lib-dynload/_bz2.cpython-312-x86_64-linux-gnu.so", "module:_bz2"),
        (f"{_STDLIB}/site-packages/yaml/__init__.py", "module:yaml"),
        (f"{_STDLIB}/site-packages/numpy/core/_x.abi3.so", "module:numpy.core._x"),
        (f"{_STDLIB}/site-packages/yaml/data.json", None),
        ("/app/data", "data/**"),
        ("/app/data/table.csv", "data/table.csv"),
        ("/app/shop/late.py", "module:shop.late"),
        ("/app/nothing.csv", None),
        ("/app/.env", None),
        ("/app/shop.sqlite3", None),
        ("/app/empty", None),
        ("/lib/native/libpq.so.5", "library:libpq.so.5"),
        ("/usr/share/zoneinfo/Europe/Berlin", "zone:Europe/Berlin"),
        ("/run/secrets/key", None),
        ("/etc/passwd", None),
    ],
)
def test_a_file_that_was_missing_is_included_by_its_kind(source: Path, path: str, item: str | None) -> None:
    assert included(path, source) == item


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("/var/cache/shop/x.db", "/var/cache/shop"),
        ("/app/new.txt", None),
        ("/new.txt", None),
        ("/opt/python/lib/x", None),
    ],
)
def test_what_is_written_to_becomes_a_mount_unless_it_hides_what_is_measured(
    path: str, folder: str | None
) -> None:
    assert writable_folder(path) == folder


def finding(path: str, kind: Kind, reason: str | None = None) -> Finding:
    """A finding of one line."""
    line = Frame(file="/app/shop.py", line=3, function="load")
    return Finding(path=path, kind=kind, pid=1, process="python", asked_by=line, reason=reason)


def test_each_finding_with_one_right_answer_becomes_one_change(source: Path) -> None:
    changes = learn(
        [
            finding(f"{_STDLIB}/colorsys.py", Kind.MISSING),
            finding(f"{_STDLIB}/colorsys.py", Kind.UNTRUSTED),
            finding("/var/cache/shop/x", Kind.READ_ONLY),
            finding("more than 14 threads at once", Kind.SYSTEM_CALL),
            finding("utimensat", Kind.SYSTEM_CALL),
            finding("/app/data/table.csv", Kind.CHANGED),
            finding("/app/data/table.csv", Kind.MISSING, reason="[closure] include"),
        ],
        source,
    )
    asked = "asked for by /app/shop.py:3 load"
    assert changes == (
        Change(
            table="closure",
            key="include",
            item="module:colorsys",
            because=f"missing {_STDLIB}/colorsys.py, {asked}",
        ),
        Change(
            table="mounts",
            key="/var/cache/shop",
            value="tmpfs",
            because=f"read-only /var/cache/shop/x, {asked}",
        ),
        Change(
            table="enclave",
            key="threads",
            value=32,
            because=f"system-call more than 14 threads at once, {asked}",
        ),
    )
    text = ""
    for change in changes:
        text = change.apply(text, "casemate.toml")
    assert text == (
        '[closure]\ninclude = ["module:colorsys"]\n\n[mounts]\n"/var/cache/shop" = "tmpfs"\n\n'
        "[enclave]\nthreads = 32\n"
    )


def test_the_hint_of_a_failure_is_the_refusal_of_the_line_that_failed() -> None:
    line = Frame(file="/app/shop.py", line=3, function="load")
    other = Frame(file="/app/other.py", line=9, function="watch")
    call = Finding(
        path="utimensat", kind=Kind.SYSTEM_CALL, pid=1, process="python", asked_by=line, answer="ENOSYS"
    )
    tolerated = Finding(
        path="inotify_init1", kind=Kind.SYSTEM_CALL, pid=1, process="python", asked_by=other, answer="ENOSYS"
    )
    report = Report(
        exit_code=1,
        stop=None,
        mrenclave="00" * 32,
        mrsigner="00" * 32,
        root_sha256=None,
        opened=None,
        seconds=1.0,
        findings=(call, tolerated),
        notes=(),
        said=Said(
            error="application: expected a program that runs, got OSError at /app/shop.py:3 (shop.py)",
            hint=None,
            secret_folders=(),
        ),
    )
    with pytest.raises(RehearsalError) as caught:
        report.require_success()
    assert caught.value.hint == (
        "utimensat (system-call), asked for by /app/shop.py:3 load: "
        "Gramine cannot set times of files; copy with shutil.copyfile, which does not try"
    )
