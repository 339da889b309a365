"""``casemate explain``: why a file is trusted, as a chain of reasons."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.terminal import printable

if TYPE_CHECKING:
    from casemate.builder.bundles.explanation import LeftOut, Trusted
    from casemate.builder.bundles.tcb import TcbFile

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_PIPE_WIDTH = 1000


@click.command(name="explain")
@click.argument("bundle", type=_FOLDER)
@click.argument("name", metavar="PATH")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(bundle: Path, name: str, *, as_json: bool) -> None:
    """Say why PATH is trusted in BUNDLE, or what would take it in.

    PATH is a path in the enclave or the end of one, or the name of a module.
    """
    from casemate.builder.bundles.bundle import Bundle
    from casemate.builder.bundles.explanation import Trusted, explain

    answer = explain(Bundle.open(bundle).tcb, name)
    if as_json:
        click.echo(json.dumps(_document(answer), indent=2))
    elif isinstance(answer, Trusted):
        _show_chain(answer)
    else:
        click.echo(f"{answer.path} is not in the image: nothing that the application runs reaches it.")
        click.echo(f"To trust it all the same, in casemate.toml:\n\n[closure]\n{answer.line}")


def _show_chain(answer: Trusted) -> None:
    from rich.console import Console
    from rich.tree import Tree

    first, *others = answer.chain
    tree = Tree(_line(first))
    branch = tree
    for file in others:
        branch = branch.add(_line(file))
    # A pipe has no width; what reads it wants whole lines.
    Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(tree)
    click.echo(f"{first.size:,} bytes, sha256 {first.sha256}")


def _line(file: TcbFile) -> str:
    from rich.markup import escape

    reason = file.reason
    path, detail = escape(printable(file.path)), escape(printable(reason.detail))
    return f"[bold]{path}[/bold]  {reason.rule.value}: {detail}"


def _document(answer: Trusted | LeftOut) -> dict[str, Any]:
    from casemate.builder.bundles.explanation import LeftOut

    if isinstance(answer, LeftOut):
        return {"version": 1, "path": answer.path, "trusted": False, "line": answer.line}
    chain = [
        {"path": file.path, "rule": file.reason.rule.value, "detail": file.reason.detail}
        for file in answer.chain
    ]
    first = answer.chain[0]
    return {
        "version": 1,
        "path": first.path,
        "trusted": True,
        "size": first.size,
        "sha256": first.sha256,
        "chain": chain,
    }
