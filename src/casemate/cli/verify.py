"""``casemate verify``: judge evidence from outside, with every reason."""

from __future__ import annotations

import importlib

import click

from casemate.cli.commands import SuggestingGroup

#: Name -> its line in the list. Module ``casemate.cli.verify_NAME`` defines ``command``.
_COMMANDS: dict[str, str] = {
    "quote": "Appraise the quote in FILE.",
    "batch": "Judge the quotes that FILE or standard input names, one result for each line.",
    "server": "Appraise the RA-TLS certificate of the service at URL.",
    "bundle": "Check everything in BUNDLE against everything else, offline.",
}


class _Judgements(SuggestingGroup):
    """The commands; each is a module of its own, imported when chosen."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order in which they are explained."""
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of ``cmd_name`` and give its command."""
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"casemate.cli.verify_{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(name="verify", cls=_Judgements)
def command() -> None:
    """Appraise evidence or a bundle, and say every reason."""
