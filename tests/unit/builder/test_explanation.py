"""Why a file is trusted, and what would take in one that is not."""

from __future__ import annotations

import pytest

from casemate.builder.bundles.explanation import LeftOut, Trusted, explain
from casemate.builder.bundles.tcb import Tcb, TcbFile
from casemate.builder.contents import Considered, Reason, Rule
from casemate.errors import UsageError

_PACKAGES = "/opt/python/lib/python3.11/site-packages"
_STDLIB = "/opt/python/lib/python3.11"


def _file(path: str, of: str | None = None) -> TcbFile:
    return TcbFile(path=path, size=1, sha256="00" * 32, reason=Reason(rule=Rule.IMPORT, of=of, detail="why"))


_TCB = Tcb(
    interpreter="3.11",
    files=(
        _file("/app/notes/__init__.pyc"),
        _file("/app/notes/store.pyc", "/app/notes/__init__.pyc"),
        _file(f"{_STDLIB}/json/__init__.pyc", "/app/notes/store.pyc"),
        _file(f"{_STDLIB}/json/decoder.pyc", f"{_STDLIB}/json/__init__.pyc"),
        _file(f"{_PACKAGES}/flask/json/__init__.pyc", "/app/notes/__init__.pyc"),
        _file(f"{_PACKAGES}/numpy/core.cpython-311-x86_64-linux-gnu.so", "/app/notes/store.pyc"),
        _file(f"{_PACKAGES}/loop/a.pyc", f"{_PACKAGES}/loop/b.pyc"),
        _file(f"{_PACKAGES}/loop/b.pyc", f"{_PACKAGES}/loop/a.pyc"),
    ),
    considered=Considered(
        files=20,
        size=20,
        left_out=(
            f"{_PACKAGES}/numpy/tests/test_core.py",
            f"{_PACKAGES}/flask/templates/page.html",
            f"{_STDLIB}/tkinter/__init__.py",
            f"{_STDLIB}/lib-dynload/_tkinter.cpython-311-x86_64-linux-gnu.so",
            "/app/plug/a.py",
        ),
    ),
)


def _chain(name: str) -> list[str]:
    answer = explain(_TCB, name)
    assert isinstance(answer, Trusted)
    return [file.path for file in answer.chain]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(f"{_STDLIB}/json/decoder.pyc", id="path"),
        pytest.param(f"/enclave{_STDLIB}/json/decoder.pyc", id="path in the image"),
        pytest.param(f"{_STDLIB}/json/decoder.py", id="path of the source"),
        pytest.param("json/decoder.py", id="end of a path"),
        pytest.param("json.decoder", id="module"),
    ],
)
def test_the_chain_leads_from_the_file_to_the_start(name: str) -> None:
    assert _chain(name) == [
        f"{_STDLIB}/json/decoder.pyc",
        f"{_STDLIB}/json/__init__.pyc",
        "/app/notes/store.pyc",
        "/app/notes/__init__.pyc",
    ]


def test_a_module_is_not_confused_with_one_of_the_same_name_in_a_package() -> None:
    assert _chain("json")[0] == f"{_STDLIB}/json/__init__.pyc"
    assert _chain("flask.json")[0] == f"{_PACKAGES}/flask/json/__init__.pyc"
    assert _chain("numpy.core")[0] == f"{_PACKAGES}/numpy/core.cpython-311-x86_64-linux-gnu.so"


def test_a_name_that_means_several_files_is_answered_with_all_of_them() -> None:
    with pytest.raises(UsageError) as refused:
        explain(_TCB, "json/__init__.pyc")
    assert str(refused.value) == (
        "file to explain: expected a name that means one file, got json/__init__.pyc, which means "
        f"{_STDLIB}/json/__init__.pyc, {_PACKAGES}/flask/json/__init__.pyc"
    )
    assert refused.value.hint == "give more of the path"


def test_a_circle_of_reasons_ends() -> None:
    assert _chain("loop.a") == [f"{_PACKAGES}/loop/a.pyc", f"{_PACKAGES}/loop/b.pyc"]


@pytest.mark.parametrize(
    ("name", "path", "line"),
    [
        pytest.param(
            "tkinter", f"{_STDLIB}/tkinter/__init__.py", 'include = ["module:tkinter"]', id="standard library"
        ),
        pytest.param(
            "_tkinter",
            f"{_STDLIB}/lib-dynload/_tkinter.cpython-311-x86_64-linux-gnu.so",
            'include = ["module:_tkinter"]',
            id="extension",
        ),
        pytest.param(
            "test_core.py",
            f"{_PACKAGES}/numpy/tests/test_core.py",
            'include = ["module:numpy.tests.test_core"]',
            id="distribution",
        ),
        pytest.param("plug.a", "/app/plug/a.py", 'include = ["module:plug.a"]', id="application"),
        pytest.param(
            "page.html", f"{_PACKAGES}/flask/templates/page.html", 'include = ["module:flask"]', id="data"
        ),
    ],
)
def test_a_file_that_was_left_out_is_answered_with_the_line_that_takes_it_in(
    name: str, path: str, line: str
) -> None:
    assert explain(_TCB, name) == LeftOut(path=path, line=line)


def test_an_unknown_file_is_refused() -> None:
    with pytest.raises(UsageError) as refused:
        explain(_TCB, "moto")
    assert str(refused.value) == (
        "file to explain: expected a file of the bundle, or one that was left out, got moto"
    )
