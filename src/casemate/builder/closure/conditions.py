"""Conditions that are known before the code runs: platform, version, type checking."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

_COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
}


class Undecidable(Exception):  # noqa: N818 - an answer, caught in this module, never an error
    """The value depends on something that is not known before the code runs."""


#: Besides what is undecidable: operations that the values do not support would raise when the code runs, too.
_UNKNOWN: Final = (Undecidable, TypeError, IndexError, KeyError, RecursionError)


class Conditions:
    """Evaluates what can be known about the enclave's interpreter: CPython on Linux, x86-64, of one version.

    Not decided: anything that comes from another module, from the environment or from a call.
    """

    def __init__(self, version: tuple[int, int, int], *, main: bool) -> None:
        self._known: dict[str, object] = {
            "sys.version_info": (*version, "final", 0),
            "sys.hexversion": (version[0] << 24) | (version[1] << 16) | (version[2] << 8) | 0xF0,
            "sys.platform": "linux",
            "os.name": "posix",
            "sys.implementation.name": "cpython",
            "sys.byteorder": "little",
            "sys.maxsize": (1 << 63) - 1,
            "platform.system()": "Linux",
            "platform.python_implementation()": "CPython",
            "platform.machine()": "x86_64",
            "typing.TYPE_CHECKING": False,
            "t.TYPE_CHECKING": False,
            "te.TYPE_CHECKING": False,
            "TYPE_CHECKING": False,
            "__debug__": True,
            "__name__": "__main__" if main else "a module",
        }
        for major, minor in (("major", 0), ("minor", 1), ("micro", 2)):
            self._known[f"sys.version_info.{major}"] = version[minor]

    def remember(self, name: str, value: ast.expr) -> None:
        """A module-level ``name = value``; known from here on when the value is."""
        if name == "TYPE_CHECKING":
            return
        try:
            self._known[name] = self._value(value)
        except _UNKNOWN:
            self._known.pop(name, None)

    def forget(self, name: str) -> None:
        """``name`` is bound again in a way that is not followed."""
        if name != "TYPE_CHECKING":
            self._known.pop(name, None)

    def decide(self, test: ast.expr) -> bool | None:
        """Whether ``test`` holds; ``None`` when that is not known."""
        try:
            return bool(self._value(test))
        except _UNKNOWN:
            return None

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant():
                result: Any = node.value
            case ast.Name() | ast.Attribute():
                result = self._look_up(dotted_name(node))
            case ast.Tuple() | ast.List() | ast.Set():
                result = tuple(self._value(item) for item in node.elts)
            case ast.UnaryOp(op=ast.Not()):
                result = not self._value(node.operand)
            case ast.BoolOp():
                result = self._boolean(node)
            case _:
                result = self._operation(node)
        return result

    def _operation(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Compare):
            return self._compare(node)
        if isinstance(node, ast.Subscript):
            return self._subscript(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        raise Undecidable

    def _look_up(self, name: str) -> object:
        if name not in self._known:
            raise Undecidable
        return self._known[name]

    def _boolean(self, node: ast.BoolOp) -> bool:
        """One side can decide alone, whatever the other one is."""
        deciding = isinstance(node.op, ast.Or)
        answers = [self.decide(value) for value in node.values]
        if deciding in answers:
            return deciding
        if None in answers:
            raise Undecidable
        return not deciding

    def _compare(self, node: ast.Compare) -> bool:
        left = self._value(node.left)
        for comparison, right_node in zip(node.ops, node.comparators, strict=True):
            right = self._value(right_node)
            if not _COMPARISONS[type(comparison)](left, right):
                return False
            left = right
        return True

    def _subscript(self, node: ast.Subscript) -> Any:
        value = self._value(node.value)
        index = node.slice
        if isinstance(index, ast.Slice):
            bounds = [None if end is None else self._value(end) for end in (index.lower, index.upper)]
            return value[bounds[0] : bounds[1]]
        return value[self._value(index)]

    def _call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "startswith" and len(node.args) == 1:
            subject, prefix = self._value(node.func.value), self._value(node.args[0])
            if isinstance(subject, str):
                return subject.startswith(prefix)
        if isinstance(node.func, ast.Attribute | ast.Name) and not node.args and not node.keywords:
            return self._look_up(f"{dotted_name(node.func)}()")
        raise Undecidable


def dotted_name(node: ast.expr) -> str:
    """``a.b.c`` of nested attributes of a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise Undecidable
    parts.append(node.id)
    return ".".join(reversed(parts))


def dotted_or_none(node: ast.expr) -> str | None:
    """``a.b.c``, or ``None`` for any other expression."""
    try:
        return dotted_name(node)
    except Undecidable:
        return None
