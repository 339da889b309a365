"""``casemate rehearse --learn``: what the findings of runs change in a ``casemate.toml``."""

from __future__ import annotations

import difflib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from casemate.errors import ProjectError, UsageError

if TYPE_CHECKING:
    from casemate.builder.bundles.bundle import Bundle
    from casemate.rehearsal.learning import Change
    from casemate.rehearsal.report import Report

#: Builds in one rehearsal; each finds at least one thing more.
MOST_ROUNDS: Final = 10
_NAME: Final = "casemate.toml"


@dataclass(slots=True, kw_only=True)
class Learning:
    """What is learned about one project, run by run.

    Attributes:
        folder: Folder of the project.
        before: The text of its ``casemate.toml``.
        text: The text with every change so far.
        changes: Those changes.
    """

    folder: Path
    before: str
    text: str
    changes: list[Change] = field(default_factory=list)

    @classmethod
    def begin(cls, folder: Path) -> Learning:
        """Read the project's file, before anything runs.

        Raises:
            UsageError: There is none.
        """
        path = folder / _NAME
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as refusal:
            raise UsageError(
                "--learn", expected=f"the folder with the {_NAME} of the bundle", got=str(refusal.strerror),
                where=str(path),
            ) from refusal  # fmt: skip
        except UnicodeDecodeError as error:
            raise ProjectError(_NAME, expected="UTF-8", where=str(path)) from error
        return cls(folder=folder, before=text, text=text)

    def take(self, report: Report) -> bool:
        """Add what a run shows; whether that was anything new."""
        from casemate.project.parse import parse_project
        from casemate.rehearsal.learning import learn

        source = self.folder / parse_project(self.text.encode(), _NAME).app.source
        earlier = self.text
        for change in learn(report.findings, source):
            changed = change.apply(self.text, _NAME)
            if changed != self.text:
                parse_project(changed.encode(), _NAME)
                self.text = changed
                self.changes.append(change)
        return self.text != earlier

    @property
    def difference(self) -> str:
        """The changes as ``diff -u`` shows them."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True),
            self.text.splitlines(keepends=True),
            fromfile=_NAME,
            tofile=f"{_NAME} (learned)",
        )
        return "".join(lines)

    def write(self) -> None:
        """Put the changed text into the file.

        Raises:
            UsageError: The file cannot be written.
        """
        from casemate.builder.writing import write_files

        write_files({self.folder / _NAME: self.text.encode()})


def refuse_write_alone(learn: Path | None, *, write: bool) -> None:
    """``--write`` says where only together with ``--learn``."""
    if write and learn is None:
        raise UsageError("--write", expected="--learn DIR beside it", got="no --learn")


def learn_in_rounds(
    learning: Learning,
    report: Report,
    run: Callable[[Bundle], Report],
    *,
    options: Sequence[str],
    write: bool,
) -> Report:
    """Take what a run shows; when it may be written, build and run again until nothing new is missing.

    A run that a person has stopped is the last one.

    Args:
        learning: Takes it.
        report: Of the first run.
        run: Runs a bundle.
        options: What ``casemate build`` is given.
        write: Whether the file may be changed.

    Returns:
        The report of the last run.
    """
    from casemate.rehearsal.report import Stop

    for _ in range(MOST_ROUNDS):
        if not learning.take(report) or not write:
            break
        learning.write()
        if report.stop is Stop.ASKED:
            break
        with tempfile.TemporaryDirectory(prefix="casemate-learn-") as folder:
            report = run(_rebuilt(learning.folder, Path(folder) / "bundle", options))
    return report


def _rebuilt(folder: Path, path: Path, options: Sequence[str]) -> Bundle:
    """Build a project again, by this very program; what the build says goes to standard error.

    Raises:
        ProjectError: It cannot be built.
    """
    from casemate.builder.bundles.bundle import Bundle

    command = [sys.executable, "-m", "casemate", "build", str(folder), "-o", str(path), *options]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise ProjectError(
            "build of what was learned",
            got=f"exit code {done.returncode}",
            where=str(folder),
            hint=f"what it said stands above; {_NAME} holds the change",
        )
    return Bundle.open(path)
