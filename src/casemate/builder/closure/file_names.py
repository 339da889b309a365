"""Constants of the application's code that may be names of files or folders."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from casemate.builder.closure.conditions import dotted_or_none
from casemate.builder.closure.nodes import all_nodes

#: Longer texts are no names of files.
_LONGEST: Final = 200
_PART: Final = r"[\w@+-][\w@+. -]*"
_NAME: Final = re.compile(rf"(?:\.{{1,2}}/)*{_PART}(?:/{_PART})*/?")
#: Functions whose arguments are paths.
_TAKES_PATH: Final = re.compile(
    r"open|join|joinpath|with_name|Path|PurePath|abspath|realpath|normpath|FileSystemLoader|StaticFiles"
    r"|Jinja2Templates|Config|send_from_directory|mount|load\w*|read_\w+"
)
#: Arguments and names that stand for paths.
_IS_PATH: Final = re.compile(
    r".*(?:path|dir|directory|directories|folder|file|filename|location|searchpath)s?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileName:
    """A constant that may be the name of a file.

    Attributes:
        text: The constant.
        line: Where it is.
        in_path: It is part of a path, so it may name a folder as well.
    """

    text: str
    line: int
    in_path: bool


def file_names(tree: ast.AST) -> tuple[FileName, ...]:
    """Constants of a module that may name files, in the order of the text."""
    found: dict[str, FileName] = {}
    in_path = {id(node) for node in _parts_of_paths(tree)}
    for node in all_nodes(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        text, part = node.value, id(node) in in_path
        if len(text) <= _LONGEST and _NAME.fullmatch(text) and (part or "." in text or "/" in text):
            known = found.get(text)
            line = known.line if known is not None else node.lineno
            part = part or (known is not None and known.in_path)
            found[text] = FileName(text=text, line=line, in_path=part)
    return tuple(found.values())


def _parts_of_paths(tree: ast.AST) -> Iterator[ast.AST]:
    """Constants below an expression that makes or takes a path."""
    for node in all_nodes(tree):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            yield node.right
        elif isinstance(node, ast.Call):
            yield from _in_call(node)
        elif isinstance(node, ast.Assign):
            names = (target.id for target in node.targets if isinstance(target, ast.Name))
            if any(_IS_PATH.fullmatch(name) for name in names):
                yield from all_nodes(node.value)


def _in_call(node: ast.Call) -> Iterator[ast.AST]:
    function = node.func.attr if isinstance(node.func, ast.Attribute) else dotted_or_none(node.func) or ""
    if _TAKES_PATH.fullmatch(function):
        yield from node.args
    for keyword in node.keywords:
        if keyword.arg is not None and _IS_PATH.fullmatch(keyword.arg):
            yield from all_nodes(keyword.value)
