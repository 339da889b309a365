"""``casemate lint``: what is wrong with manifests, their templates and Dockerfiles."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.terminal import printable

if TYPE_CHECKING:
    from casemate.builder.lint import Finding
    from casemate.builder.lint.kinds import FileKind

#: Reads standard input.
_STANDARD_INPUT = "-"
_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """A file with what was found in it, after mending where that was asked for.

    Attributes:
        name: As it was given.
        before: Its bytes.
        after: Its bytes with what could be mended.
        findings: What is to be shown.
    """

    name: str
    before: bytes
    after: bytes
    findings: tuple[Finding, ...]


@click.command(name="lint")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--sarif", "as_sarif", is_flag=True, help="Print the result as SARIF 2.1.0.")
@click.option("--fix", is_flag=True, help="Mend what has one right answer, in the files.")
@click.option("--diff", "show_diff", is_flag=True, help="Show what --fix changes; alone, change nothing.")
@click.option("--select", multiple=True, metavar="RULE,…", help="Only these rules.")
@click.option("--ignore", multiple=True, metavar="RULE,…", help="All rules but these.")
@click.option("--strict", is_flag=True, help="Fail on warnings, too.")
@click.option(
    "--gramine-version",
    "version",
    metavar="VERSION",
    default="1.9",
    show_default=True,
    help="1.6, 1.7, 1.8 or 1.9.",
)
@click.option(
    "--as",
    "kind_name",
    type=click.Choice(["manifest", "template", "gsc", "dockerfile"]),
    help="Kind of the files; found out by name and content if left out.",
)
def command(**options: Any) -> None:
    """Judge Gramine manifests, their Jinja templates, and Dockerfiles.

    FILE may be - for standard input. Nothing is rendered or run, and no Gramine is needed. The exit code is 1
    when there is a finding of severity error.
    """
    names, as_json, as_sarif = options["files"], options["as_json"], options["as_sarif"]
    if as_json + as_sarif + options["show_diff"] > 1:
        raise click.UsageError("--json, --sarif and --diff exclude each other.")
    mends = options["fix"] or options["show_diff"]
    if options["fix"] and _STANDARD_INPUT in names:
        raise click.UsageError("--fix needs a file; --diff shows what it would change.")
    rules = _rules(options["select"], options["ignore"])
    judged = [_judge(name, options["kind_name"], options["version"], rules, mend=mends) for name in names]
    if options["fix"]:
        _write(judged)
    _show(judged, options)
    _conclude(judged, strict=options["strict"], can_mend=not mends)


def _rules(select: Sequence[str], ignore: Sequence[str]) -> frozenset[str]:
    from casemate.builder.lint import BY_ID

    chosen = _named(select) or frozenset(BY_ID)
    return chosen - _named(ignore)


def _named(lists: Sequence[str]) -> frozenset[str]:
    import difflib

    from casemate.builder.lint import BY_ID

    names = frozenset(name.strip() for text in lists for name in text.split(",") if name.strip())
    for name in sorted(names - BY_ID.keys()):
        near = difflib.get_close_matches(name, BY_ID, n=1)
        suggestion = f" Did you mean {near[0]}?" if near else " See docs/reference/lint.md."
        raise click.UsageError(f"There is no rule {name!r}.{suggestion}")
    return names


def _judge(name: str, kind_name: str | None, version: str, rules: frozenset[str], *, mend: bool) -> _Judged:
    from casemate.builder.lint.fix import fixed
    from casemate.builder.lint.kinds import FileKind, kind_of

    data = _read(name)
    kind = FileKind(kind_name) if kind_name is not None else kind_of(data, name)
    lint = partial(_lint, name=name, kind=kind, version=version, rules=rules)
    after = fixed(data, lint) if mend else data
    return _Judged(name=name, before=data, after=after, findings=lint(after))


def _lint(
    data: bytes, *, name: str, kind: FileKind, version: str, rules: frozenset[str]
) -> tuple[Finding, ...]:
    from casemate.builder.lint import lint_manifest
    from casemate.builder.lint.dockerfile_rules import lint_dockerfile
    from casemate.builder.lint.kinds import FileKind

    if kind is FileKind.DOCKERFILE:
        findings = lint_dockerfile(data, name)
    else:
        is_template, is_gsc = kind is FileKind.TEMPLATE, kind is FileKind.GSC
        findings = lint_manifest(data, name, template=is_template, gsc=is_gsc, version=version)
    return tuple(finding for finding in findings if finding.rule in rules)


def _read(name: str) -> bytes:
    from casemate.builder.lint.manifest import MAX_SIZE
    from casemate.errors import UsageError

    if name == _STANDARD_INPUT:
        return sys.stdin.buffer.read(MAX_SIZE + 1)
    try:
        with Path(name).open("rb") as file:
            return file.read(MAX_SIZE + 1)
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or "a name that no file has"
        hint = "name the files in it, one by one" if isinstance(error, IsADirectoryError) else None
        raise UsageError(
            "file to judge", expected="a file that can be read", got=got, where=name, hint=hint
        ) from error


def _write(judged: Iterable[_Judged]) -> None:
    """Put each mended file into the place of the one before, with its permissions."""
    from casemate.errors import ToolchainError

    for file in judged:
        if file.after == file.before:
            continue
        path = Path(file.name).resolve()
        try:
            with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as draft:
                beside = Path(draft.name)
                try:
                    draft.write(file.after)
                    draft.flush()
                    os.fchmod(draft.fileno(), stat.S_IMODE(path.stat().st_mode))
                    beside.replace(path)
                except BaseException:
                    beside.unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise ToolchainError("file cannot be written", got=error.strerror, where=file.name) from error
        click.echo(printable(f"Mended {file.name}: {_changed_lines(file)}."), err=True)


def _changed_lines(file: _Judged) -> str:
    from casemate.builder.lint.fix import difference

    _, _, *lines = difference(file.before, file.after, file.name).splitlines()
    signs = Counter(line[0] for line in lines)
    return _count(max(signs["+"], signs["-"]), "line")


def _show(judged: Sequence[_Judged], options: dict[str, Any]) -> None:
    findings = [finding for file in judged for finding in file.findings]
    if options["as_json"]:
        fixed = [file.name for file in judged if options["fix"] and file.after != file.before]
        click.echo(json.dumps(_document(findings, fixed), indent=2))
    elif options["as_sarif"]:
        click.echo(_sarif(findings))
    elif options["show_diff"]:
        _show_diff(judged)
    else:
        _show_findings(findings)


def _document(findings: Iterable[Finding], fixed: Sequence[str]) -> dict[str, Any]:
    listed = [
        {
            "rule": finding.rule,
            "severity": finding.severity.value,
            "file": finding.file,
            "line": finding.line,
            "column": finding.column,
            "subject": finding.subject,
            "expected": finding.expected,
            "found": finding.found,
            "mend": finding.mend,
            "fixable": finding.fixable,
        }
        for finding in findings
    ]
    return {"version": 1, "findings": listed, "fixed": list(fixed)}


def _sarif(findings: Iterable[Finding]) -> str:
    from casemate import __version__
    from casemate.builder.lint import RULES
    from casemate.formats.sarif import SarifResult, SarifRule, dump_sarif

    rules = [
        SarifRule(id=rule.id, level=rule.severity.value, reason=rule.reason, help=rule.mend) for rule in RULES
    ]
    results = [
        SarifResult(
            rule=finding.rule,
            message=f"{finding.message}. Mend: {finding.mend}",
            path="stdin" if finding.file == _STANDARD_INPUT else finding.file,
            line=finding.line,
            column=finding.column,
        )
        for finding in findings
    ]
    return dump_sarif(rules, results, tool="casemate lint", version=__version__)


def _show_diff(judged: Iterable[_Judged]) -> None:
    from casemate.builder.lint.fix import difference

    for file in judged:
        for line in difference(file.before, file.after, file.name).splitlines():
            click.echo(printable(line.replace("\t", "    ")))


def _show_findings(findings: Sequence[Finding]) -> None:
    paint = _painter() if findings else _plain
    for finding in findings:
        place = ":".join(
            str(part) for part in (finding.file, finding.line, finding.column) if part is not None
        )
        severity = paint(finding.severity.value, _STYLES[finding.severity.value])
        click.echo(f"{printable(place)}: {severity}[{finding.rule}]: {printable(finding.message)}")
        fixable = " (--fix does it)" if finding.fixable else ""
        click.echo(f"    {printable(finding.mend)}{fixable}")


def _plain(word: str, style: str) -> str:
    del style
    return word


def _painter() -> Callable[[str, str], str]:
    """Colours a word when standard output is a terminal that has colours."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal or console.no_color or console.color_system is None:
        return _plain

    def paint(word: str, style: str) -> str:
        with console.capture() as painted:
            console.print(word, style=style, end="")
        return painted.get()

    return paint


def _conclude(judged: Sequence[_Judged], *, strict: bool, can_mend: bool) -> None:
    """Say on standard error how many findings there are, and fail where they are grave."""
    from casemate.builder.lint import Severity
    from casemate.errors import RefusedError

    findings = [finding for file in judged for finding in file.findings]
    counts = Counter(finding.severity for finding in findings)
    told = ", ".join(_count(counts[severity], severity.value) for severity in Severity if counts[severity])
    mendable = sum(finding.fixable for finding in findings) if can_mend else 0
    hint = f"--fix mends {mendable} of them" if mendable else None
    files = judged[0].name if len(judged) == 1 else f"{len(judged)} files"
    if counts[Severity.ERROR] or (strict and counts[Severity.WARNING]):
        expected = "neither errors nor warnings" if strict else "no errors"
        raise RefusedError("findings", expected=expected, got=told, where=files, hint=hint)
    click.echo(printable(f"{files}: {told or 'nothing found'}"), err=True)
    if hint:
        click.echo(f"hint: {hint}", err=True)


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
