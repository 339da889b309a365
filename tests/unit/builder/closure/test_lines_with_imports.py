"""Functions without the word ``import`` are passed over, and no import is lost by it."""

from __future__ import annotations

import ast

from hypothesis import given
from hypothesis import strategies as st

from casemate.builder.closure.scan import lines_with_imports, scan_module

PIECES = (
    "import a",
    "from b import c",
    "from . import \\\n{indent}    d",
    "x = 1",
    "'''import in a text\n{indent}over two lines'''",
    "def f():\n{indent}    y = 2",
    "def g():\n{indent}    import e",
    "async def h():\n{indent}    if unknown:\n{indent}        from f import (\n{indent}g,\n{indent})",
    "class C:\n{indent}    def m(self):\n{indent}        import k",
    "def one(): import l; z = 3",
    "try:\n{indent}    import m\n{indent}except ImportError:\n{indent}    import n",
    "\x0c",
)


def imported(source: str) -> list[str]:
    scan = scan_module(
        source.encode(), name="pkg.mod", is_package=False, version=(3, 11, 0), own=False, main=False
    )
    return sorted(each.module for each in scan.imports)


def by_walking(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append("pkg" if node.level else str(node.module))
    return sorted(found)


@given(st.lists(st.tuples(st.sampled_from(PIECES), st.integers(0, 2)), max_size=8), st.sampled_from("\n\r"))
def test_every_import_is_found(pieces: list[tuple[str, int]], end: str) -> None:
    lines = ["x = 0"]
    for number, (piece, depth) in enumerate(pieces):
        indent = "    " * depth
        lines += [f"{'    ' * level}def outer_{number}_{level}():" for level in range(depth)]
        lines.append(indent + piece.replace("{indent}", indent))
        lines.append(f"{indent}pass")
    source = "\n".join(lines).replace("\n", "\r\n" if end == "\r" else "\n")
    assert imported(source) == by_walking(source)


def test_lines_are_counted_as_the_parser_counts_them() -> None:
    assert lines_with_imports(b"\nimport a\r\n\rfrom b import c\n") == (2, 4)


def test_nothing_is_passed_over_in_an_encoding_that_may_write_the_word_otherwise() -> None:
    assert lines_with_imports(b"#!/usr/bin/python\n# -*- coding: utf-7 -*-\n") is None
    assert lines_with_imports(b"# coding: Latin-1\nimport a\n") == (2,)
    assert lines_with_imports(b"x = 1\n\n# coding: utf-7\n") == ()
