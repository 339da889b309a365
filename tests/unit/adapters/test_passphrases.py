"""Where passphrases come from; none is ever shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from casemate.adapters.passphrases import (
    MAX_SIZE,
    from_descriptor,
    from_file,
    from_variables,
)
from casemate.errors import UsageError
from casemate.keys import AskPassphrase, Passphrase

HINT = "it is typed on a terminal, or comes with --passphrase-fd N or --passphrase-env NAME"


@contextmanager
def pipe(content: bytes) -> Iterator[int]:
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    yield reading
    os.close(reading)


def refusal_of(ask: AskPassphrase) -> str:
    with pytest.raises(UsageError) as refused:
        ask("PIN of token t")
    assert refused.value.hint == HINT
    return str(refused.value)


def test_a_passphrase_shows_nowhere() -> None:
    secret = Passphrase(b"open sesame")
    assert repr(secret) == str(secret) == f"{secret}" == "<redacted>"


def test_each_key_gets_the_next_line() -> None:
    with pipe("first line\nzweite ä\r\nlast".encode()) as descriptor:
        ask = from_descriptor(descriptor)
        assert [ask("x").value for _ in range(3)] == [b"first line", "zweite ä\r".encode(), b"last"]
        assert refusal_of(ask) == (
            f"PIN of token t: expected one, got an empty line (file descriptor {descriptor})"
        )


def test_a_passphrase_has_a_longest_length() -> None:
    with pipe(b"x" * MAX_SIZE + b"\n") as descriptor:
        assert len(from_descriptor(descriptor)("x").value) == MAX_SIZE
    with pipe(b"x" * (MAX_SIZE + 1)) as descriptor:
        assert "got a line of more than 1024 bytes" in refusal_of(from_descriptor(descriptor))


def test_a_descriptor_that_is_not_open_is_named() -> None:
    assert refusal_of(from_descriptor(1_000_000)) == (
        "PIN of token t: expected one, got Bad file descriptor (file descriptor 1000000)"
    )


def test_a_variable_is_taken_whole() -> None:
    assert from_variables({"PIN": " 12\n"}, "PIN")("x").value == b" 12\n"


def test_a_missing_or_empty_variable_is_named() -> None:
    assert refusal_of(from_variables({}, "PIN")) == (
        "PIN of token t: expected one, got none of that name (environment variable PIN)"
    )
    assert refusal_of(from_variables({"PIN": ""}, "PIN")) == (
        "PIN of token t: expected one, got an empty one (environment variable PIN)"
    )


def test_a_variable_is_for_one_key() -> None:
    ask = from_variables({"PIN": "4711"}, "PIN")
    assert ask("PIN of token other").value == ask("PIN of token other").value == b"4711"

    with pytest.raises(UsageError) as refused:
        ask("PIN of token t")

    assert str(refused.value) == (
        "PIN of token t: expected one of its own, got a variable that was for the PIN of token other "
        "(environment variable PIN)"
    )
    assert refused.value.hint == (
        "two keys take theirs from --passphrase-fd N, a line each, that of --key first; the PIN of a token "
        "may also lie in a file, with pin-source in its URI"
    )


def test_a_file_gives_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "pin"
    path.write_bytes(b"4711\nnot this\n")
    path.chmod(0o400)
    assert from_file(path)("x").value == b"4711"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal_of(from_file(tmp_path / "pin")) == (
        f"PIN of token t: expected one, got No such file or directory ({tmp_path}/pin)"
    )
