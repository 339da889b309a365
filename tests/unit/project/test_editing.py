"""Changes of a ``casemate.toml`` by program: one place changes, comments and order stay."""

from __future__ import annotations

import contextlib
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.errors import ProjectError
from casemate.project.editing import add_to_list, set_value

WHERE = "casemate.toml"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[closure]\ninclude = ["new"]\n'),
        ("[app] # x\n", '[app] # x\n\n[closure]\ninclude = ["new"]\n'),
        ("[closure] # what\n# old\n[env]\n", '[closure] # what\ninclude = ["new"]\n# old\n[env]\n'),
        ("[closure]", '[closure]\ninclude = ["new"]\n'),
        (
            '[closure]\ninclude = ["a"]  # first\n',
            '[closure]\ninclude = ["a", "new"]  # first\n',
        ),
        ("[closure]\ninclude = []\n", '[closure]\ninclude = ["new"]\n'),
        (
            '[closure]\ninclude = [\n  "a]", # ] one\n  "b"\n]\n',
            '[closure]\ninclude = [\n  "a]", # ] one\n  "b", "new"\n]\n',
        ),
        (
            '[closure]\ninclude = [\n  "a",\n]\n',
            '[closure]\ninclude = [\n  "a", "new"\n]\n',
        ),
        ('[closure]\ninclude = ["new"]\n', '[closure]\ninclude = ["new"]\n'),
        (
            '[other]\ninclude = ["x"]\n[closure]\nmode = "module"\n',
            '[other]\ninclude = ["x"]\n[closure]\ninclude = ["new"]\nmode = "module"\n',
        ),
    ],
)
def test_an_item_is_added_to_a_list(before: str, after: str) -> None:
    assert add_to_list(before, "closure", "include", ["new"], where=WHERE) == after


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[enclave]\nthreads = 16   # many\n", "[enclave]\nthreads = 32   # many\n"),
        ('[enclave]\nsize = "1G"\n', '[enclave]\nthreads = 32\nsize = "1G"\n'),
        ("", "[enclave]\nthreads = 32\n"),
    ],
)
def test_a_number_is_set(before: str, after: str) -> None:
    assert set_value(before, "enclave", "threads", 32, where=WHERE) == after


def test_a_key_that_is_a_path_is_quoted_and_found_again() -> None:
    once = set_value("[mounts]\n", "mounts", "/var/x", "tmpfs", where=WHERE)
    assert once == '[mounts]\n"/var/x" = "tmpfs"\n'
    assert set_value(once, "mounts", "/var/x", "tmpfs", where=WHERE) == once


@pytest.mark.parametrize(
    "text",
    ["closure = { include = [] }\n", "closure.include = []\n", "[closure]\n[[closure.include]]\n"],
)
def test_a_form_that_is_not_changed_by_program_is_left_alone(text: str) -> None:
    with pytest.raises(ProjectError) as caught:
        add_to_list(text, "closure", "include", ["new"], where=WHERE)
    assert str(caught.value) == (
        "casemate.toml: expected tables and keys as casemate init writes them (casemate.toml)"
    )
    assert caught.value.hint == "change the file by hand"


def test_what_is_not_toml_is_refused() -> None:
    with pytest.raises(ProjectError, match=r"casemate\.toml: expected TOML"):
        set_value("[enclave\n", "enclave", "threads", 1, where=WHERE)


_ITEMS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=4)
_COMMENT = st.text("ab ]['\"#,", max_size=8)


@given(items=_ITEMS, more=_ITEMS, comment=_COMMENT, lines=st.booleans())
def test_any_list_with_comments_gets_any_items(
    items: list[str], more: list[str], comment: str, *, lines: bool
) -> None:
    texts = [_toml(item) for item in items]
    if lines:
        listed = "[\n" + "".join(f"  {text},  # {comment}\n" for text in texts) + "]"
    else:
        listed = "[" + ", ".join(texts) + "]"
    before = f"[app]\nname = 'x'\n[closure]\ninclude = {listed} # {comment}\n[env]\nA = '1'\n"
    after = add_to_list(before, "closure", "include", more, where=WHERE)
    new = [item for item in dict.fromkeys(more) if item not in items]
    assert tomllib.loads(after)["closure"]["include"] == [*items, *new]
    assert [line for line in before.splitlines() if line.lstrip().startswith("#")] == [
        line for line in after.splitlines() if line.lstrip().startswith("#")
    ]


def _toml(text: str) -> str:
    return '"' + "".join(f"\\U{ord(character):08x}" for character in text) + '"'


@given(st.text())
def test_any_text_is_changed_or_refused(text: str) -> None:
    with contextlib.suppress(ProjectError):
        tomllib.loads(add_to_list(text, "closure", "include", ["new"], where=WHERE))
    with contextlib.suppress(ProjectError):
        tomllib.loads(set_value(text, "enclave", "threads", 32, where=WHERE))
