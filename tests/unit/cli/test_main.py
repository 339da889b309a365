"""The program as a whole: lazy, and every error is a message with an exit code."""

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from casemate import __version__
from casemate.cli import main
from casemate.errors import RefusedError, UsageError


def casemate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "casemate", *arguments], capture_output=True, text=True, check=False
    )


def test_the_version_is_told() -> None:
    done = casemate("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"casemate, version {__version__}\n", "")


def test_help_lists_every_command_and_each_has_help_of_its_own() -> None:
    listed = casemate("--help").stdout
    for name in main.COMMANDS:
        assert f"\n  {name} " in listed
        assert casemate(name, "--help").returncode == 0


def test_help_and_version_import_no_command() -> None:
    heavy = ["cryptography", "rich", "starlette", "uvicorn", "msgspec", "yaml", "joserfc"]
    script = (
        "import sys; from casemate.cli.main import run; run(['--help']);"
        f"print(sorted(set({heavy}) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_an_unknown_command_is_wrong_use() -> None:
    done = casemate("polish")
    assert done.returncode == 2
    assert "No such command 'polish'" in done.stderr
    assert done.stdout == ""


def test_the_nearest_command_is_told() -> None:
    done = casemate("bulid", ".")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "Error: No such command 'bulid'. Did you mean 'build'?"


@pytest.mark.parametrize(
    ("group", "wrong", "right"),
    [
        ("verify", "bunlde", "bundle"),
        ("serve", "colateral", "collateral"),
        ("render", "kubernets", "kubernetes"),
        ("key", "generat", "generate"),
    ],
)
def test_groups_tell_the_nearest_command_too(
    capsys: pytest.CaptureFixture[str], group: str, wrong: str, right: str
) -> None:
    assert main.run([group, wrong]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"Error: No such command '{wrong}'. Did you mean '{right}'?"


def commands_below(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path}{name}", command
        if isinstance(command, click.Group):
            yield from commands_below(command, f"{path}{name} ")


@pytest.mark.parametrize(("name", "command"), list(commands_below(main.casemate)))
def test_help_says_the_same_in_the_same_words(name: str, command: click.Command) -> None:
    told = {option.opts[0]: getattr(option, "help", None) or "" for option in command.params}
    if not name.startswith("serve "):
        assert told.get("--json", "Print the result as JSON").startswith("Print the result as JSON")
    assert [option for option, text in told.items() if "Default:" in text] == []
    assert [option for option, text in told.items() if "[default: " in text and "  [def" not in text] == []


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        pytest.param(
            RefusedError("debug", expected="off", got="on", where="app.manifest.sgx", hint="Turn it off."),
            1,
            "error: debug: expected off, got on (app.manifest.sgx)\nhint: Turn it off.\n",
            id="refused",
        ),
        pytest.param(
            RefusedError("a\x1b[2J", got="b\nhint: forged\u2028", hint="c\x9b\x07 … \udcff"),
            1,
            "error: a\\x1b[2J: got b\\nhint: forged\\u2028\nhint: c\\x9b\\x07 … \\udcff\n",
            id="control characters",
        ),
        pytest.param(UsageError("no bundle"), 2, "error: no bundle\n", id="wrong-use"),
    ],
)
def test_our_errors_become_messages_and_exit_codes(
    error: Exception,
    code: int,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr(main.casemate, "main", fail)
    assert main.run(["anything"]) == code
    assert capsys.readouterr() == ("", shown)
