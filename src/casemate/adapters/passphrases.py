"""Where the passphrase of a key, or the PIN of a token, comes from. Never the command line.

What is read here goes to the library that opens the key and nowhere else: it is in no message, no log and no
argument of a process.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from casemate.errors import UsageError
from casemate.keys import AskPassphrase, Passphrase

#: Bytes of a passphrase; what is longer is some other file.
MAX_SIZE: Final = 1024


def from_descriptor(descriptor: int) -> AskPassphrase:
    """One line of an open file for each key that is asked for, in the order in which they are opened."""

    def ask(what: str) -> Passphrase:
        return _line(descriptor, what, where=f"file descriptor {descriptor}")

    return ask


def from_variables(values: Mapping[str, str], name: str) -> AskPassphrase:
    """The variable ``name`` out of ``values``, for one key: a second one is refused before it is tried.

    What opens one token is a wrong PIN for another, and tokens count those.
    """
    first: list[str] = []

    def ask(what: str) -> Passphrase:
        if what not in (first or [what]):
            raise UsageError(
                what,
                expected="one of its own",
                got=f"a variable that was for the {first[0]}",
                where=f"environment variable {name}",
                hint="two keys take theirs from --passphrase-fd N, a line each, that of --key first; the PIN "
                "of a token may also lie in a file, with pin-source in its URI",
            )
        first.append(what)
        value = values.get(name)
        if not value:
            got = "an empty one" if value == "" else "none of that name"
            raise _missing(what, got=got, where=f"environment variable {name}")
        return Passphrase(os.fsencode(value))

    return ask


def from_file(path: Path) -> AskPassphrase:
    """The first line of a file that only its owner can read."""

    def ask(what: str) -> Passphrase:
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                if mode & 0o077:
                    raise UsageError(
                        what,
                        expected="a file with permissions 0600",
                        got=f"{mode:04o}",
                        where=str(path),
                        hint=f"chmod 600 {path}, and ask who has read it",
                    )
                return _line(file.fileno(), what, where=str(path))
        except OSError as error:
            raise _missing(what, got=error.strerror or "an error", where=str(path)) from error

    return ask


def from_terminal(*, twice: bool = False) -> AskPassphrase:
    """A prompt that shows nothing of what is typed.

    Args:
        twice: Whether it has to be typed twice, as for a new one.
    """

    def ask(what: str) -> Passphrase:
        if not sys.stdin.isatty():
            raise _missing(what, got="no terminal to ask on", where="standard input")
        typed: str = click.prompt(
            f"{what[0].upper()}{what[1:]}",
            hide_input=True,
            confirmation_prompt=twice,
            err=True,
            show_default=False,
        )
        return Passphrase(os.fsencode(typed))

    return ask


def _line(descriptor: int, what: str, *, where: str) -> Passphrase:
    """One line, byte by byte: the next one may be meant for another key."""
    line = bytearray()
    try:
        while (byte := os.read(descriptor, 1)) not in (b"", b"\n"):
            line += byte
            if len(line) > MAX_SIZE:
                raise _missing(what, got=f"a line of more than {MAX_SIZE} bytes", where=where)
    except OSError as error:
        raise _missing(what, got=error.strerror or "an error", where=where) from error
    if not line:
        raise _missing(what, got="an empty line", where=where)
    return Passphrase(bytes(line))


def _missing(what: str, *, got: str, where: str) -> UsageError:
    return UsageError(
        what,
        expected="one",
        got=got,
        where=where,
        hint="it is typed on a terminal, or comes with --passphrase-fd N or --passphrase-env NAME",
    )
