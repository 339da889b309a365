"""Changes of a ``casemate.toml`` that keep its comments and its order.

The text is changed at one place, and read again: unless it then says what it said before and the change, it
is left alone.
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Callable, Sequence
from typing import Any, Final

from casemate.errors import ProjectError

_HEADER: Final = r"^[ \t]*\[[ \t]*{table}[ \t]*\][ \t]*(?:#[^\n]*)?(?:\n|\Z)"
_KEY: Final = r"^[ \t]*(?:{key}|\"{key}\")[ \t]*=[ \t]*"
_ANY_HEADER: Final = re.compile(r"^[ \t]*\[", re.MULTILINE)
#: What is skipped as a whole in a value: texts of either kind, and comments.
_SKIPPED: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*')
_BY_HAND: Final = "change the file by hand"


def add_to_list(text: str, table: str, key: str, items: Sequence[str], *, where: str) -> str:
    """The text with ``items`` at the end of the list ``table.key``, which is made where there is none.

    Raises:
        ProjectError: The file is not TOML, or is written in a way that this function does not change.
    """
    data = _read(text, where)
    present = data.get(table, {}).get(key, [])
    new = [item for item in dict.fromkeys(items) if item not in present]
    if not new:
        return text

    def change(value: dict[str, Any]) -> None:
        value.setdefault(table, {}).setdefault(key, []).extend(new)

    written = ", ".join(map(_quoted, new))
    found = _find_value(text, table, key)
    if found is None:
        changed = _new_line(text, table, f"{key} = [{written}]")
    else:
        end = _closing_bracket(text, found)
        begin = text[found:end].rstrip()
        last = _without_comments(begin).rstrip()[-1:]
        comma = "" if last in (",", "[") else ","
        space = "" if last == "[" else " "
        # Behind a comment at the end of a line nothing more is read: the bracket's own line then.
        place = end if "#" in begin.rpartition("\n")[2] else found + len(begin)
        changed = text[:place] + f"{comma}{space}{written}" + text[place:]
    return _checked(text, changed, change, where)


def set_value(text: str, table: str, key: str, value: str | int, *, where: str) -> str:
    """The text with ``table.key`` set to ``value``, which takes the place of one that is there.

    Raises:
        ProjectError: As for :func:`add_to_list`.
    """
    _read(text, where)

    def change(data: dict[str, Any]) -> None:
        data.setdefault(table, {})[key] = value

    written = _quoted(value) if isinstance(value, str) else str(value)
    found = _find_value(text, table, key)
    if found is None:
        name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _quoted(key)
        changed = _new_line(text, table, f"{name} = {written}")
    else:
        old = re.match(r"\"(?:[^\"\\\n]|\\.)*\"|[^\s#,]+", text[found:])
        end = found + (old.end() if old is not None else 0)
        changed = text[:found] + written + text[end:]
    return _checked(text, changed, change, where)


def _quoted(text: str) -> str:
    """A basic string of TOML, which takes what JSON's writer writes."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProjectError("casemate.toml", expected="TOML", got=str(error), where=where) from error


def _find_value(text: str, table: str, key: str) -> int | None:
    """Where the value of a key of a table begins."""
    header = re.search(_HEADER.format(table=re.escape(table)), text, re.MULTILINE)
    if header is None:
        return None
    following = _ANY_HEADER.search(text, header.end())
    end = len(text) if following is None else following.start()
    pattern = re.compile(_KEY.format(key=re.escape(key)), re.MULTILINE)
    found = pattern.search(text, header.end(), end)
    return None if found is None else found.end()


def _closing_bracket(text: str, begin: int) -> int:
    """Where the list that begins at ``begin`` ends; ``begin`` itself when it is none."""
    place, depth = begin, 0
    while place < len(text):
        skipped = _SKIPPED.match(text, place)
        if skipped is not None:
            place = skipped.end()
            continue
        depth += {"[": 1, "]": -1}.get(text[place], 0)
        if depth == 0:
            return place
        place += 1
    return begin


def _without_comments(text: str) -> str:
    return _SKIPPED.sub(lambda found: "" if found[0].startswith("#") else found[0], text)


def _new_line(text: str, table: str, line: str) -> str:
    """A line at the begin of a table, which is made at the end of the file where there is none."""
    header = re.search(_HEADER.format(table=re.escape(table)), text, re.MULTILINE)
    if header is None:
        return f"{text.rstrip()}\n\n[{table}]\n{line}\n".lstrip("\n")
    before = text[: header.end()]
    newline = "" if before.endswith("\n") else "\n"
    return f"{before}{newline}{line}\n{text[header.end() :]}"


def _checked(text: str, changed: str, change: Callable[[dict[str, Any]], None], where: str) -> str:
    expected = copy.deepcopy(tomllib.loads(text))
    try:
        change(expected)
        right = tomllib.loads(changed) == expected
    except (tomllib.TOMLDecodeError, AttributeError, TypeError):
        right = False
    if not right:
        raise ProjectError(
            "casemate.toml",
            expected="tables and keys as casemate init writes them",
            where=where,
            hint=_BY_HAND,
        )
    return changed
