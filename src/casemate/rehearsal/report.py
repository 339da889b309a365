"""What a rehearsal has shown, as a value, as the document of ``--json`` and as text."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from casemate.builder.layout import APPLICATION_ROOT, PYTHON_HOME
from casemate.errors import RehearsalError
from casemate.rehearsal.advice import advice
from casemate.rehearsal.findings import Finding, Kind
from casemate.rehearsal.learning import own_module, writable_folder
from casemate.rehearsal.printed import Said

_INCLUDE: Final = "add it to [closure] include in casemate.toml and build again"
_OWN: Final = (
    f"{_INCLUDE}; where [app] source has no such file, the application lacks it here as it does outside"
)
_HIDDEN: Final = (
    "the image has no hidden files; in casemate.toml variables go into [env], secrets into [secrets]"
)
_REMEDIES: Final = {
    Kind.UNTRUSTED: _INCLUDE,
    Kind.CHANGED: "it is not the file that was measured; restore it, or build again",
}
#: Folder that programs look for secrets in, whether one has been placed there or not.
_SECRETS: Final = "/run/secrets"
#: How the attester describes an exception: its class, what file or module it is about, its place.
_HELD_BACK: Final = re.compile(r"\b[A-Za-z_]\w*(?: for \S+)? at /\S+:\d+(?=$| \()")
_WITHOUT_TEXT: Final = (
    "only the type and the line of the exception are shown: its text may hold a secret, and the host reads "
    "what an enclave prints; to see the text, run the application without an enclave, in its own environment"
)
#: Exit codes with which an application that was told to stop may end: by itself, by SIGTERM, by SIGKILL.
_STOPPED: Final = (0, 128 + 15, 128 + 9)


def _elsewhere(path: str) -> str:
    """What to do about a file of the image that the application wants to write."""
    folder = writable_folder(path)
    if folder is not None:
        return f'add "{folder}" = "tmpfs" to [mounts] of casemate.toml, or an encrypted folder of that name'
    return (
        "the image is read-only, the application's own folder too; let it write below /tmp, or in another "
        'folder that [mounts] of casemate.toml names: "/var/lib/NAME" = "tmpfs"'
    )


def _outside(path: str) -> str:
    """What to do about a file that no build would take in, or about a folder at the top."""
    text = (
        "the image has files of the application and its requirements only; keep what is read in the folder "
        "of [app] source and name it in [closure] include"
    )
    folder = path if posixpath.dirname(path) == "/" else writable_folder(path)
    if folder is None:
        return text
    return f'{text}; to write there, name the folder of the file in [mounts], such as "{folder}" = "tmpfs"'


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
        root_sha256: SHA-256 of the DER of the simulated platform's root certificate, hexadecimal; ``None``
            without a platform.
        opened: Number of trusted files that were opened; ``None`` where nobody counts.
        seconds: How long it ran, from the first step of its preparation.
        findings: What was refused, in the order in which it was asked for.
        notes: What was not as it will be under Gramine.
        said: What the attester said of the end of the application.
        runtime: What stood for Gramine, as ``--runtime`` names it.
        asked: Trusted files that were opened or looked at, as the application sees them, sorted.
    """

    exit_code: int
    stop: Stop | None
    mrenclave: str
    mrsigner: str
    root_sha256: str | None
    opened: int | None
    seconds: float
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    said: Said | None = None
    runtime: str = "sandbox"
    asked: tuple[str, ...] = ()

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
        raise RehearsalError(
            "application in the rehearsal",
            expected="exit code 0",
            got=str(self.exit_code) if self.said is None else f'{self.exit_code} after "{self.said.error}"',
            where=f"requests refused: {len(self.findings)}",
            hint=self._hint(),
        )

    def remedy(self, finding: Finding) -> str:
        """What to do about a finding."""
        if finding.kind is Kind.SYSTEM_CALL:
            return advice(finding.path, finding.answer)
        if finding.kind is not Kind.MISSING:
            return _REMEDIES.get(finding.kind) or _elsewhere(finding.path)
        return self._remedy_of_missing(finding)

    def _remedy_of_missing(self, finding: Finding) -> str:
        path = finding.path
        if finding.reason is not None:
            return "it was measured and this image lacks it; use the image of the bundle"
        folder = posixpath.dirname(path)
        if folder in (_SECRETS, *(self.said.secret_folders if self.said is not None else ())):
            line = f'"{path}" = "kbs:///default/NAME/{posixpath.basename(path)}"'
            return f"it is not in [secrets] of casemate.toml; add {line}, NAME being that of [app]"
        if posixpath.basename(path).startswith("."):
            return _HIDDEN
        if path.startswith(f"{APPLICATION_ROOT}/"):
            item = own_module(path.removeprefix(f"{APPLICATION_ROOT}/"))
            return _OWN if item is None else _OWN.replace("add it to", f'add "{item}" to', 1)
        if path.startswith(f"{PYTHON_HOME}/"):
            return _INCLUDE
        return _outside(path)

    def _is_named(self, finding: Finding) -> bool:
        """Whether the attester's error names what was refused, or the line that asked for it."""
        if self.said is None:
            return False
        frame = finding.asked_by
        place = None if frame is None else f" at {frame.file}:{frame.line} "
        return finding.path in self.said.error or (place is not None and place in f"{self.said.error} ")

    def _hint(self) -> str:
        if self.findings:
            named = [it for it in self.findings if self._is_named(it)]
            last = (named or self.findings)[-1]
            return f"{last.path} ({last.kind.value}), asked for by {last.asker}: {self.remedy(last)}"
        if self.said is not None and _HELD_BACK.search(self.said.error):
            return _WITHOUT_TEXT
        if self.said is not None and self.said.hint is not None:
            return self.said.hint
        return "nothing that it asked for was refused; what it printed says why it failed"

    def to_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        return {
            "version": 1,
            "exit_code": self.exit_code,
            "failed": self.failed,
            "stop": None if self.stop is None else self.stop.value,
            "runtime": self.runtime,
            "simulated": True,
            "platform": None if self.root_sha256 is None else {"root_sha256": self.root_sha256},
            "mrenclave": self.mrenclave,
            "mrsigner": self.mrsigner,
            "opened": self.opened,
            "seconds": round(self.seconds, 3),
            "error": None if self.said is None else self.said.error,
            "findings": [{**it.to_json(), "remedy": self.remedy(it)} for it in self.findings],
            "notes": list(self.notes),
        }
