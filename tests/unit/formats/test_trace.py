"""Records of runs: what is refused, and in which words."""

from __future__ import annotations

import pytest

from casemate.errors import FormatError, ProjectError
from casemate.formats.trace import Trace

HEAD = "casemate-trace 1\npython 3.11.7\n"
AGAIN = "record it again: casemate rehearse BUNDLE --record FILE"


def test_a_record_is_a_sorted_text() -> None:
    trace = Trace(
        python="3.11.7",
        distributions=(("flask", "3.0.3"), ("certifi", "2024.1")),
        data=("certifi/cacert.pem",),
        modules=("json", "flask.app", "json"),
    ).in_order()
    assert trace.to_bytes().decode() == (
        "casemate-trace 1\npython 3.11.7\ndistribution certifi 2024.1\ndistribution flask 3.0.3\n"
        "data certifi/cacert.pem\nmodule flask.app\nmodule json\n"
    )


LINE = "distribution, data or module, and a name"
ORDER = "sorted lines, none of them twice, distribution before data before module"


@pytest.mark.parametrize(
    ("text", "expected", "got", "place"),
    [
        ("", "casemate-trace 1", "nothing", ":1"),
        ("casemate-trace 2\n", "casemate-trace 1", "casemate-trace 2", ":1"),
        ("casemate-trace 1\n", "python 3.X.Y", "nothing", ":2"),
        ("casemate-trace 1\npython 3.11\n", "python 3.X.Y", "python 3.11", ":2"),
        (HEAD + "module json", "a line feed at the end", "none", ""),
        (HEAD + "data ../../etc/passwd\n", LINE, "data ../../etc/passwd", ":3"),
        (HEAD + "data /etc/passwd\n", LINE, "data /etc/passwd", ":3"),
        (HEAD + "data a\x1b\n", LINE, "data a\\x1b", ":3"),
        (HEAD + "module json\nmodule a/b\n", LINE, "module a/b", ":4"),
        (HEAD + "module json\nmodule ast\n", ORDER, None, ""),
        (HEAD + "distribution x 1\ndistribution x 2\n", ORDER, None, ""),
    ],
)
def test_anything_else_is_refused_with_its_place(
    text: str, expected: str, got: str | None, place: str
) -> None:
    with pytest.raises(FormatError) as caught:
        Trace.parse(text.encode(), "runs.trace")
    found = "" if got is None else f", got {got}"
    assert str(caught.value) == f"record of a run: expected {expected}{found} (runs.trace{place})"
    assert caught.value.hint == AGAIN


def test_a_record_that_is_not_utf_8_or_too_large_is_refused() -> None:
    for data in (b"\xff", b"x" * ((16 << 20) + 1)):
        with pytest.raises(FormatError):
            Trace.parse(data, "runs.trace")


def test_runs_of_other_environments_do_not_unite() -> None:
    one = Trace(python="3.11.7", distributions=(("flask", "3.0"),), data=(), modules=())
    for other, message in (
        (
            Trace(python="3.12.1", distributions=(), data=(), modules=()),
            "record of another Python: expected Python 3.12.1, got Python 3.11.7 (runs.trace)",
        ),
        (
            Trace(python="3.11.7", distributions=(("flask", "3.1"),), data=(), modules=()),
            "record of other requirements: expected flask 3.1, got flask 3.0 (runs.trace)",
        ),
    ):
        with pytest.raises(ProjectError) as caught:
            one.united(other, "runs.trace")
        assert str(caught.value) == message
        assert caught.value.hint == "begin a new record: remove the file, or name another one"
