"""What a rehearsal has shown, as a value, as the document of ``--json`` and as text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from casemate.errors import RehearsalError
from casemate.rehearsal.findings import Finding, Frame, Kind

#: As the interpreter says it, and as the attester does, which says where in place of a traceback.
_NO_MODULE: Final = re.compile(
    r"(?:No module named '|ModuleNotFoundError for )(?P<name>[A-Za-z_][\w.]*)"
    r"(?:'| at (?P<file>\S+):(?P<line>\d+))"
)
_TRACEBACK_LINE: Final = re.compile(r'^\s*File "([^"]+)", line (\d+), in (.+)$', re.MULTILINE)
_REMEDIES: Final = {
    Kind.MISSING: "add it to [closure] include in casemate.toml and build again",
    Kind.UNTRUSTED: "add it to [closure] include in casemate.toml and build again",
    Kind.CHANGED: "it is not the file that was measured; restore it, or build again",
    Kind.READ_ONLY: "let the application write below a path in [mounts] of casemate.toml",
}
#: Exit codes with which an application that was told to stop may end: by itself, by SIGTERM, by SIGKILL.
_STOPPED: Final = (0, 128 + 15, 128 + 9)


class Stop(Enum):
    """Why a rehearsal was ended from outside. The value is the word in reports."""

    ASKED = "asked"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of one rehearsal.

    Attributes:
        exit_code: The application's; 128 and the number of the signal when it died of one.
        stop: Why it was told to stop; ``None`` when it ended by itself.
        mrenclave: What its quotes say, hexadecimal.
        mrsigner: The same; all zeros for a bundle that is not signed.
        root_sha256: SHA-256 of the DER of the simulated platform's root certificate, hexadecimal.
        opened: Number of trusted files that were opened.
        seconds: How long it ran, from the first step of its preparation.
        findings: What was refused, in the order in which it was asked for.
        notes: What was not as it will be under Gramine.
    """

    exit_code: int
    stop: Stop | None
    mrenclave: str
    mrsigner: str
    root_sha256: str
    opened: int
    seconds: float
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def failed(self) -> bool:
        """Whether the application ended otherwise than it should."""
        return self.exit_code not in (_STOPPED if self.stop is not None else (0,))

    def require_success(self) -> None:
        """Raise unless the application ended as it should.

        Raises:
            RehearsalError: It did not; the hint names the refusal that is most likely the cause.
        """
        if not self.failed:
            return
        hint = "nothing that it asked for was refused; what it printed says why it failed"
        if self.findings:
            last = self.findings[-1]
            remedy = _REMEDIES[last.kind]
            if last.kind is Kind.MISSING and last.reason is not None:
                remedy = "it was measured and this image lacks it; use the image of the bundle"
            hint = f"{last.path} ({last.kind.value}), asked for by {last.asker}: {remedy}"
        raise RehearsalError(
            "application in the rehearsal",
            expected="exit code 0",
            got=str(self.exit_code),
            where=f"requests refused: {len(self.findings)}",
            hint=hint,
        )

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        return {
            "version": 1,
            "exit_code": self.exit_code,
            "failed": self.failed,
            "stop": None if self.stop is None else self.stop.value,
            "simulated": True,
            "platform": {"root_sha256": self.root_sha256},
            "mrenclave": self.mrenclave,
            "mrsigner": self.mrsigner,
            "opened": self.opened,
            "seconds": round(self.seconds, 3),
            "findings": [finding.to_json() for finding in self.findings],
            "notes": list(self.notes),
        }


def missing_modules(printed: str, known: Iterable[str]) -> tuple[tuple[str, Frame | None], ...]:
    """Modules that the application missed and the environment had, with the line that imported each.

    The import system lists folders and never asks for a module that it does not see, so that no request names
    it. What it prints does.

    Args:
        printed: What the application wrote to its standard error, or the end of it.
        known: Paths of files that the environment had, as the application would see them.
    """
    by_stem: dict[str, str] = {}
    for path in known:
        stem, _, ending = path.rpartition("/")[2].partition(".")
        if ending in ("py", "pyc") or ending.endswith("so"):
            folder = path.rpartition("/")[0]
            by_stem[folder if stem == "__init__" else f"{folder}/{stem}"] = path
    found = {}
    for match in _NO_MODULE.finditer(printed):
        ending = "/" + match["name"].replace(".", "/")
        for stem, path in by_stem.items():
            if stem.endswith(ending):
                found[path] = _importer(match, printed[: match.start()])
    return tuple(found.items())


def _importer(match: re.Match[str], before: str) -> Frame | None:
    """The line that imported: said with the name, or the last one of the traceback ``before`` it."""
    if match["file"] is not None:
        return Frame(file=match["file"], line=int(match["line"]), function="<module>")
    lines = _TRACEBACK_LINE.findall(before)
    if not lines:
        return None
    file, line, function = lines[-1]
    return Frame(file=file, line=int(line), function=function)
