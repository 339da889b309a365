"""Closure mode trace: what was recorded, and what must never be missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.builder.closure.conftest import LIB, SITE, write

from casemate.builder.closure.trace import trace_of
from casemate.builder.contents import Reason, Rule
from casemate.errors import ProjectError
from casemate.formats.trace import Trace

TRACED = '[closure]\nmode = "trace"\ntrace = "runs.trace"'
_OPENED = "opened in a recorded run"


def _trace(*modules: str, data: tuple[str, ...] = (), **versions: str) -> Trace:
    installed = tuple(sorted({"cheroot": "1.0", **versions}.items()))
    return Trace(python="3.11.7", distributions=installed, data=data, modules=tuple(sorted(modules)))


@pytest.fixture
def application(world: Any) -> Any:
    """An application of which one part is used and another is not."""
    write(world.root / "stdlib", {"traceback.py": "import linecache", "linecache.py": "", "lzma.py": ""})
    world.app(
        {
            "web/__init__.py": (
                "import json\nimport web.always\ndef part(name):\n"
                " if name == 'a':\n  from web import one\n else:\n  from web import two\napp = 1"
            ),
            "web/always.py": "try:\n import pkg.maybe\nexcept ImportError:\n pass",
            "web/one.py": "import pkg",
            "web/two.py": "import heavy",
            "web/templates/page.html": "",
        }
    )
    world.distribution(
        "pkg-1.0",
        {
            "pkg/__init__.py": "from pkg import inner\ndef f():\n import lzma",
            "pkg/inner.py": "",
            "pkg/maybe.py": "",
            "pkg/a.bin": "",
            "pkg/b.bin": "",
        },
    )
    world.distribution("heavy-1.0", {"heavy/__init__.py": "import json.tool", "heavy/x.bin": ""})
    return world


def _files(world: Any, trace: Trace, more: str = "") -> dict[str, Any]:
    return {file.path: file for file in world.closure(TRACED + more, trace=trace).files}


def test_a_part_that_no_run_used_is_absent(application: Any) -> None:
    files = _files(application, _trace("pkg", "web.one", data=("pkg/a.bin",), pkg="1.0"))
    assert {path for path in files if path.startswith(("/app", f"{SITE}/pkg", f"{SITE}/heavy"))} == {
        "/app/web/__init__.pyc",
        "/app/web/always.pyc",
        "/app/web/one.pyc",
        "/app/web/templates/page.html",
        f"{SITE}/pkg/__init__.pyc",
        f"{SITE}/pkg/inner.pyc",
        f"{SITE}/pkg/a.bin",
        f"{SITE}/pkg-1.0.dist-info/METADATA",
    }
    assert f"{LIB}/lzma.pyc" not in files
    assert files["/app/web/one.pyc"].reason == Reason(rule=Rule.RECORDED, of=None, detail=_OPENED)
    assert files[f"{SITE}/pkg/a.bin"].reason == Reason(rule=Rule.RECORDED, of=None, detail=_OPENED)


def test_what_is_always_imported_and_what_reports_errors_needs_no_record(application: Any) -> None:
    files = _files(application, _trace())
    assert files["/app/web/always.pyc"].reason.detail == "import web.always (web/__init__.py:2)"
    for name in ("json/decoder", "traceback", "linecache", "encodings/__init__", "runpy"):
        assert f"{LIB}/{name}.pyc" in files
    assert f"{SITE}/cheroot/__init__.pyc" in files  # the server, although no run is recorded
    assert f"{SITE}/pkg/maybe.pyc" not in files  # in a try: only a run shows whether it is used


def test_every_reason_leads_to_a_file_of_the_image(application: Any) -> None:
    files = _files(application, _trace("pkg", "pkg.maybe", "web.one", pkg="1.0"))
    assert {file.reason.of for file in files.values()} <= {*files, None}


def test_names_that_are_no_longer_there_are_passed_over(application: Any) -> None:
    files = _files(application, _trace("web.gone", "gone", data=("pkg/gone.bin",)))
    assert not any("gone" in path for path in files)


def test_included_modules_are_taken_with_what_they_always_import(application: Any) -> None:
    include = '\ninclude = ["module:web.two"]'
    files = _files(application, _trace(heavy="1.0"), include)
    assert f"{LIB}/json/tool.pyc" in files
    assert files["/app/web/two.pyc"].reason.rule is Rule.INCLUDED


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        (
            replace(_trace(), python="3.11.6"),
            (
                "Python of the recorded runs: expected 3.11.7, with which the image is built, got 3.11.6 "
                "(runs.trace)"
            ),
        ),
        (
            _trace("pkg", pkg="0.9"),
            "pkg of the recorded runs: expected 1.0, which is installed, got 0.9 (runs.trace)",
        ),
        (
            _trace("pkg"),
            "pkg of the recorded runs: expected 1.0, which is installed, got none (runs.trace)",
        ),
    ],
)
def test_a_record_of_another_environment_is_refused(application: Any, trace: Trace, message: str) -> None:
    with pytest.raises(ProjectError) as caught:
        application.closure(TRACED, trace=trace)
    assert str(caught.value) == message
    assert caught.value.hint == (
        'build in mode "module", and record again: casemate rehearse BUNDLE --record FILE'
    )


def test_a_record_names_modules_whatever_their_files_are_called() -> None:
    paths = (
        "/app/web/__init__.pyc",
        f"{LIB}/json/decoder.pyc",
        f"{LIB}/_sysconfigdata__linux_x86_64-linux-gnu.pyc",
        f"{LIB}/lib-dynload/_json.cpython-311-x86_64-linux-gnu.so",
        f"{SITE}/numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so",
        f"{SITE}/cryptography/hazmat/bindings/_rust.abi3.so",
        f"{SITE}/six.py",
        f"{SITE}/numpy.libs/libopenblas-1.so",
        f"{SITE}/certifi/cacert.pem",
        f"{SITE}/six-1.16.0.dist-info/METADATA",
        "/etc/hosts",
        "/lib/native/libz.so.1",
    )
    trace = trace_of(paths, (*paths, f"{SITE}/Flask_Cors-4.0.dist-info/METADATA"), "3.11.7")
    assert trace == Trace(
        python="3.11.7",
        distributions=(("flask-cors", "4.0"), ("six", "1.16.0")),
        data=("certifi/cacert.pem",),
        modules=(
            "_json",
            "_sysconfigdata__linux_x86_64-linux-gnu",
            "cryptography.hazmat.bindings._rust",
            "json.decoder",
            "numpy._core._multiarray_umath",
            "six",
            "web",
        ),
    )
