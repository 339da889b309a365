"""``casemate demo``: shows the whole flow to a person, and writes what was shown to ``summary.json``."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from casemate.demonstration.life import Step

_MEBIBYTE = 1 << 20
#: Columns before what belongs to a step.
_INDENT = 2


@click.command(name="demo")
@click.argument("application", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-o",
    "--output",
    default=Path("build/demo"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for everything that is made; an earlier demonstration there is replaced.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, in place of the steps.")
def command(application: Path | None, output: Path, *, as_json: bool) -> None:
    """Show the whole life of a confidential workload on this machine, without SGX hardware.

    APPLICATION is a copy of the sample application examples/notes; it is taken from Casemate itself when left
    out. The processor and its keys are simulated; everything else is what production runs.
    """
    from casemate.demonstration.life import Demonstration
    from casemate.demonstration.stage import Stage
    from casemate.demonstration.summary import complaints, write_summary
    from casemate.errors import RefusedError

    show = _Display(quiet=as_json)
    stage = Stage(folder=output.resolve(), sample=application or sample_application(), say=show.command_line)
    seconds: dict[str, float] = {}
    with Demonstration(stage) as demonstration:
        steps = demonstration.steps
        for number, step in enumerate(steps, start=1):
            started = time.monotonic()
            shown = show.run(step, number, len(steps))
            seconds[step.name] = round(time.monotonic() - started, 3)
            show.outcome(shown, seconds[step.name])
            if step.name == "build":
                show.trusted_files(demonstration.facts)
    facts = {"app": stage.sample.name, **demonstration.facts, "seconds": seconds}
    write_summary(facts, stage.folder / "summary.json")
    if as_json:
        click.echo(json.dumps({"version": 1, **facts}))
    wrong = complaints(facts)
    if wrong:
        raise RefusedError("demonstration", expected="everything as it should be", got="; ".join(wrong))
    show.end(facts, stage.folder)


def sample_application() -> Path:
    """The folder of the sample: inside an installed Casemate, or beside the sources of this one."""
    installed = Path(str(files("casemate"))) / "examples" / "notes"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "examples" / "notes"


class _Display:
    """Shows a demonstration to a person: a line while a step runs, its outcome when it has ended."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console

        self._out: Console = Console(quiet=quiet, highlight=False)
        self._progress: Console = Console(stderr=True, quiet=quiet)

    def command_line(self, line: str) -> None:
        """The command that a user would type for what happens now."""
        self._out.print(f"  [dim]$ {_escape(line)}[/dim]", soft_wrap=True)

    def run(self, step: Step, number: int, count: int) -> Mapping[str, Any]:
        """Play ``step``, with a spinner on a terminal."""
        self._out.print(f"\n[bold]{number}/{count}  {_escape(step.title)}[/bold]")
        with self._progress.status(_escape(step.title)):
            return step.play()

    def outcome(self, shown: Mapping[str, Any], seconds: float) -> None:
        """What the step gave, and how long it took."""
        for label, value in shown.items():
            self._out.print(f"  {_escape(label)}: {_escape(str(value))}", soft_wrap=True)
        self._out.print(f"  [green]done[/green] in {seconds:.1f} s")

    def trusted_files(self, facts: Mapping[str, Any]) -> None:
        """What is trusted, against what a tool that converts everything would trust."""
        from rich.padding import Padding
        from rich.table import Table

        title = "Trusted computing base: files that the enclave may open"
        table = Table("", "files", "MiB", title=title, title_justify="left")
        for column in table.columns[1:]:
            column.justify = "right"
        whole = facts["image_files"], facts["image_bytes"]
        mine = facts["trusted_files"], facts["trusted_bytes"]
        table.add_row("interpreter and environment, converted whole", *_cells(whole))
        table.add_row("what the application needs", *_cells(mine))
        table.add_row("ratio", f"1 : {whole[0] / mine[0]:.1f}", f"1 : {whole[1] / mine[1]:.1f}")
        self._out.print(Padding(table, (0, 0, 0, _INDENT)))

    def end(self, facts: Mapping[str, Any], folder: Path) -> None:
        """The last word, with what was simulated said plainly."""
        total = sum(facts["seconds"].values())
        self._out.print(
            f"\n[bold green]All as it should be[/bold green] after {total:.1f} s: attested"
            f" ({facts['attestation']['status']}), secret released to the enclave, HTTPS answered"
            f" {facts['https_status']}, both attacks refused.",
            soft_wrap=True,
        )
        self._out.print(
            "The platform was simulated: its root key was made for this run and is trusted by nothing else.",
            soft_wrap=True,
        )
        self._out.print(f"Summary: {_escape(str(folder / 'summary.json'))}", soft_wrap=True)


def _cells(figures: tuple[int, int]) -> tuple[str, str]:
    count, size = figures
    return f"{count:,}", f"{size / _MEBIBYTE:.1f}"


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
