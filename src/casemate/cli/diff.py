"""``casemate diff``: which input has moved MRENCLAVE."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from casemate.builder.bundles.difference import Difference, Moved

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
#: Characters of a value that a stranger may have had a hand in.
_LINE_LIMIT = 1000


@click.command(name="diff")
@click.argument("old", metavar="A", type=_FOLDER)
@click.argument("new", metavar="B", type=_FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(old: Path, new: Path, *, as_json: bool) -> None:
    """Say what differs between the bundles A and B, and which of it has moved MRENCLAVE.

    The documents are believed: verify bundle says whether they may be. The exit code is 0 whether there are
    differences or none.
    """
    from casemate.builder.bundles.bundle import Bundle
    from casemate.builder.bundles.difference import compare

    difference = compare(Bundle.open(old).documents(), Bundle.open(new).documents())
    if as_json:
        click.echo(json.dumps(difference.to_dict(), indent=2))
        return
    for line in _lines(difference):
        click.echo(line)


def _lines(difference: Difference) -> Iterator[str]:
    if difference.old == difference.new:
        yield f"MRENCLAVE is the same: {difference.new}"
    else:
        yield f"MRENCLAVE {difference.old} became {difference.new}"
    if difference.measured:
        yield ""
        yield "measured, and so the reason:" if difference.old != difference.new else "measured:"
        for moved in difference.measured:
            yield from _moved(moved)
    if difference.unmeasured:
        yield ""
        yield "not measured:"
        for moved in difference.unmeasured:
            yield from _moved(moved)


def _moved(moved: Moved) -> Iterator[str]:
    from casemate.formats.one_line import one_line

    values = " became ".join(value for value in (moved.old, moved.new) if value is not None)
    yield one_line(f"  {moved.kind.value} {moved.name} {moved.change}: {values}", _LINE_LIMIT)
    for depth, file in enumerate(moved.chain):
        lead = "    " + ("   " * (depth - 1) + "└── " + file.path + "  " if depth else "")
        yield one_line(f"{lead}{file.reason.rule.value}: {file.reason.detail}", _LINE_LIMIT)
