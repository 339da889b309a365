"""What Gramine's log says, in words that tell what to do.

Gramine logs at its level ``warning`` what it refused, by the last part of the path only; its errors are often
a number or the name of a function. Lines that are not known are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from casemate.rehearsal.findings import Kind
from casemate.rehearsal.system_calls import done_without

#: ``[P1:T1:python3.11] warning: …``; what comes before a process has a name is without it.
_LINE: Final = re.compile(r"^(?:\[[^\]]*\] )?(?P<level>error|warning): (?P<text>.*)$", re.MULTILINE)
_REFUSED: Final = (
    (re.compile(r"Disallowing access to file '(.+)'; file is not"), Kind.UNTRUSTED, "EACCES"),
    (re.compile(r"Disallowing creating (?:a trusted )?file '(.+?)'"), Kind.READ_ONLY, "EACCES"),
    (re.compile(r"Disallowing write/append to a trusted file '(.+)'"), Kind.READ_ONLY, "EACCES"),
    (re.compile(r"Unsupported system call (\w+)"), Kind.SYSTEM_CALL, "ENOSYS"),
    (re.compile(r"The app tried to use (flock)"), Kind.SYSTEM_CALL, "ENOSYS"),
    (re.compile(r"The app tried to create (a )?subprocess"), Kind.SYSTEM_CALL, "EAGAIN"),
    (re.compile(r"(unsupported socket \w+ \d+)"), Kind.SYSTEM_CALL, "EAFNOSUPPORT"),
    (re.compile(r"(fallocate) only supported"), Kind.SYSTEM_CALL, "ENOSYS"),
)
_EXPLAINED: Final = (
    (
        re.compile(r"(?:memory fault|Internal memory fault|Out-of-memory|failed allocating)"),
        "memory ended, or native code is wrong: raise [enclave] size, and run with MALLOC_ARENA_MAX = 1",
    ),
    (
        re.compile(r"There are no available TCS pages"),
        "every thread of the enclave is in use: raise [enclave] threads",
    ),
    (
        re.compile(r"(?:does not match|mismatch|failed to verify|corrupted).*"),
        "a trusted file is not what was measured: use the image of the bundle",
    ),
    (
        re.compile(r"libos_init\(\) failed in (\w+): (.*)"),
        "Gramine did not start: the image and the manifest have to be of one build and of this Gramine",
    ),
    (
        re.compile(r"(?:Cannot parse|Invalid|Unknown value)"),
        "the manifest does not fit this version of Gramine: build with --gramine and this prefix",
    ),
    (
        re.compile(r"requires .* CPU instruction"),
        "this processor lacks what Gramine needs; no rehearsal with it here",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refusal that Gramine logged.

    Attributes:
        name: Of the file, often without its folder, or of the system call.
        kind: How it failed.
        answer: Name of the error.
    """

    name: str
    kind: Kind
    answer: str


def refusals(log: str) -> tuple[Refusal, ...]:
    """What Gramine said that it refused, each once, in order; without what programs do without."""
    found: dict[Refusal, None] = {}
    for line in _LINE.finditer(log):
        for pattern, kind, answer in _REFUSED:
            match = pattern.search(line["text"])
            if match is not None:
                name = "a new process" if "subprocess" in match[0] else match[1]
                # The log does not say which prctl: nearly always a name of a thread, for people.
                if kind is not Kind.SYSTEM_CALL or not (done_without(name) or name == "prctl"):
                    found[Refusal(name=name, kind=kind, answer=answer)] = None
    return tuple(found)


def explanations(log: str) -> tuple[str, ...]:
    """What Gramine's errors mean, each with Gramine's own words first."""
    texts = (line["text"] for line in _LINE.finditer(log) if line["level"] == "error")
    return tuple(dict.fromkeys(_explain(texts)))


def _explain(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        for pattern, meaning in _EXPLAINED:
            if pattern.search(text):
                yield f"Gramine says {text!r}: {meaning}"
                break
