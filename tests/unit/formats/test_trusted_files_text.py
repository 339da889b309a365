"""Long lists of trusted files: what is known of them as a whole, and what is cut out of a text."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from casemate.formats.trusted_files_text import all_hashed, cut, put_back

DIGEST = "0123456789abcdefABCDEF" + "0" * 42
WELL = {"uri": "file:/usr/lib/a b=ü.so", "sha256": DIGEST}
HEAD = "a = 1\n[sgx]\ndebug = false\n"
TABLES = "".join(
    f'\n[[sgx.trusted_files]]\nuri = "file:/{number}"\nsha256 = "{DIGEST}"\n' for number in range(3)
)


@pytest.mark.parametrize("entries", [[], [WELL], [WELL] * 3], ids=["none", "one", "three"])
def test_plain_files_with_digests_are_known_as_such(entries: list[Any]) -> None:
    assert all_hashed(entries)


@pytest.mark.parametrize(
    "entry",
    [
        "file:/a",
        "ab",
        ["uri", "sha256"],
        1,
        {"uri": "file:/a"},
        {"uri": "file:/a", "digest": DIGEST},
        WELL | {"more": ""},
        WELL | {"uri": 1},
        WELL | {"sha256": 1},
        WELL | {"uri": "file:"},
        WELL | {"uri": "dev:/a"},
        WELL | {"uri": "/a", "sha256": DIGEST},
        WELL | {"uri": 'file:/a""file:/b'},
        WELL | {"uri": 'file:/a"'},
        WELL | {"uri": "file:/a'"},
        WELL | {"uri": "file:/a\\"},
        WELL | {"uri": f"file:/a\n{DIGEST}\nfile:/b"},
        WELL | {"uri": "file:/a\t"},
        WELL | {"uri": "file:/a\0"},
        WELL | {"uri": "file:/\udc80"},
        WELL | {"uri": "file:/\ufffe"},
        WELL | {"sha256": DIGEST[1:]},
        WELL | {"sha256": DIGEST + "0"},
        WELL | {"sha256": DIGEST[2:] + "  "},
        WELL | {"sha256": " " + DIGEST[2:] + " "},
        WELL | {"sha256": DIGEST[1:] + "g"},
        WELL | {"sha256": DIGEST[1:] + "\N{FULLWIDTH DIGIT ONE}"},
        WELL | {"sha256": ""},
    ],
    ids=ascii,
)
def test_of_anything_else_nothing_is_known(entry: object) -> None:
    assert not all_hashed([entry])
    assert not all_hashed([WELL, entry])
    assert not all_hashed([entry, WELL])


def test_digests_whose_lengths_only_add_up_are_none() -> None:
    assert not all_hashed([WELL | {"sha256": DIGEST + "00"}, WELL | {"sha256": DIGEST[2:]}])


@pytest.mark.parametrize("after", ["", "\n[loader]\nb = 2\n", "# the end"])
def test_what_is_cut_out_and_put_back_is_what_the_parser_reads(after: str) -> None:
    text = HEAD + TABLES + after
    short = cut(text)
    assert short is not None
    assert len(short.entries) == 3
    assert put_back(tomllib.loads(short.text), short.entries) == tomllib.loads(text)


def test_what_goes_on_behind_the_list_is_left_to_the_parser() -> None:
    short = cut(HEAD + TABLES + "more = 1\n")
    assert short is not None
    assert put_back(tomllib.loads(short.text), short.entries) is None


@pytest.mark.parametrize(
    "text",
    [
        HEAD,
        f'{HEAD}b = """{TABLES}"""\n',
        f"{HEAD}b = '''{TABLES}'''\n",
        f'{HEAD}{TABLES}b = """\n"""\n',
        (HEAD + TABLES).replace("\n", "\r\n"),
        f"{HEAD}{TABLES}# \r\n",
    ],
    ids=["no list", "basic string", "literal string", "string behind it", "other lines", "one other line"],
)
def test_nothing_is_cut_out_where_it_could_be_inside_a_string(text: str) -> None:
    assert cut(text) is None
