"""The ``casemate`` program: finds the command, runs it, turns errors into messages and exit codes."""

from __future__ import annotations

import importlib
import sys

import click

from casemate import __version__
from casemate.cli.commands import SuggestingGroup
from casemate.cli.terminal import printable

#: Command name -> its line in the list of commands, in the order of a workload's life. Module
#: ``casemate.cli.NAME`` defines ``command``; the lines are kept here so that ``--help`` imports none.
COMMANDS: dict[str, str] = {
    "init": "Look at an application and write its casemate.toml.",
    "build": "Turn an application into a bundle: image, manifest, measurement.",
    "unpack": "Write the files of a bundle's image into a folder.",
    "preflight": "Say what of an application does not run in Gramine, and what to do instead.",
    "explain": "Say why a file is trusted, as a chain of reasons.",
    "lint": "Judge manifests, their templates and Dockerfiles, and mend what has one answer.",
    "measure": "Compute MRENCLAVE of a measured manifest and a platform image.",
    "key": "Make the key that signs enclaves, or look at one.",
    "sign": "Sign a bundle, or a manifest as gramine-sgx-sign does.",
    "diff": "Say which input moved MRENCLAVE from one bundle to another.",
    "rehearse": "Run a bundle here, as Gramine would, on a simulated platform.",
    "size": "Rehearse a bundle, look at what it uses, and propose the size of its enclave.",
    "verify": "Appraise a quote, a running service's RA-TLS certificate, or a bundle.",
    "push": "Send the image of a bundle to a registry.",
    "render": "Write Kubernetes objects for a bundle, or a Dockerfile that makes one.",
    "serve": "Run the key broker, or the collateral service.",
    "demo": "Show the whole flow on this machine, on a sample application.",
}


class LazyCommands(SuggestingGroup):
    """A group whose commands are modules of :mod:`casemate.cli`, imported when chosen."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which a workload's life needs them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of ``cmd_name`` and give its command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"casemate.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any of them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=LazyCommands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="casemate")
def casemate() -> None:
    """Take an ordinary Python web service to production inside Intel SGX with Gramine."""


def main() -> None:
    """Entry point of the ``casemate`` program."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code and never lets one of our errors out as a traceback."""
    from casemate_attester.errors import ExplainedError

    try:
        casemate.main(args=arguments, prog_name="casemate", standalone_mode=False)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.exceptions.Abort:
        click.echo("casemate: interrupted", err=True)
        return 130
    except click.ClickException as wrong_use:
        wrong_use.show()
        return 2
    except ExplainedError as error:
        show_error(error)
        return getattr(error, "exit_code", 1)
    return 0


def show_error(error: Exception) -> None:
    """``error: …`` and, where there is one, ``hint: …`` on standard error."""
    click.echo(f"error: {printable(str(error))}", err=True)
    hint = getattr(error, "hint", None)
    if hint:
        click.echo(f"hint: {printable(hint)}", err=True)
