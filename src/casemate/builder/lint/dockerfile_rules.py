"""A Dockerfile, judged by every rule; nothing is built, and nothing looked up in a registry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from posixpath import basename
from typing import Final

from casemate.builder.lint.catalogue import BY_ID
from casemate.builder.lint.dockerfile import Instruction, Word, parse_dockerfile
from casemate.builder.lint.finding import Finding, Severity
from casemate.builder.lint.lines import Lines
from casemate.builder.lint.secrets import has_secret, is_secret_name, secret_reason
from casemate.errors import FormatError

#: Bytes of a Dockerfile.
MAX_SIZE: Final = 4 << 20

_DIGEST: Final = re.compile(r".+@sha256:[0-9a-f]{64}")
#: A build argument says which digest; without one, or with anything else, there is no such image.
_DIGEST_ASKED_FOR: Final = re.compile(r".+@sha256:\$(?:\{[A-Za-z_]\w*\}|[A-Za-z_]\w*)", re.ASCII)
_VARIABLE: Final = re.compile(
    r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)(?::?([-+])([^}]*))?\}|([A-Za-z_][A-Za-z0-9_]*))"
)
_URL: Final = re.compile(r"(?:https?|ftp)://", re.IGNORECASE)
_GIT: Final = re.compile(r"(?:git@|git://|ssh://|(?:https?://[^#]+\.git(?:[#?/].*)?$))")
_COMMIT: Final = re.compile(r".*#[0-9a-f]{40}(?::.*)?")
_SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"})
_ROOT: Final = re.compile(r"(?:root|0+)(?::.*)?")
#: A word that means itself to any shell; an assignment before a command does not.
_PLAIN: Final = re.compile(r"[\w./:@%+,-]+|--?[\w./:@%+,=-]+")
_PRIVATE: Final = re.compile(
    r"(?:.*/)?(?:id_(?:rsa|dsa|ecdsa|ed25519)|\.npmrc|\.netrc|\.pypirc|\.git-credentials|\.env(?:\..*)?|[^/]*\.key"
    r"|[^/]*key\.pem|[^/]*\.p12|[^/]*\.pfx|\.aws|\.ssh|credentials)"
)
_SHOWN: Final = 80
#: Characters of a word with variables in it, before and after they are replaced.
_MAX_EXPANDED: Final = 4096


@dataclass(slots=True)
class _Stage:
    """A stage, as far as it has been read."""

    start: Instruction
    base: str
    user: tuple[str, Instruction] | None = None
    entry: Instruction | None = None
    command: Instruction | None = None
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    """A finding whose place is an offset; without a mend of its own it has that of its rule."""

    rule: str
    offset: int
    subject: str
    expected: str
    found: str
    mend: str | None = None


def lint_dockerfile(data: bytes, where: str, *, least: Severity = Severity.NOTE) -> tuple[Finding, ...]:
    """Judge a Dockerfile.

    Args:
        data: Its bytes.
        where: Its name, for the findings.
        least: Findings less grave than this are left out.

    Returns:
        The findings in the order of their places.

    Raises:
        FormatError: More than :data:`MAX_SIZE` bytes, or not UTF-8.
    """
    if len(data) > MAX_SIZE:
        expected = f"at most {MAX_SIZE:,} bytes"
        raise FormatError("Dockerfile", expected=expected, got=f"{len(data):,} bytes", where=where)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = f"{where}, offset {error.start}"
        raise FormatError("Dockerfile", expected="UTF-8", got="other bytes", where=where) from error
    lines = Lines.of(text)
    findings = {
        Finding(
            rule=mark.rule,
            severity=BY_ID[mark.rule].severity,
            file=where,
            line=lines.place(mark.offset)[0],
            column=lines.place(mark.offset)[1],
            subject=mark.subject,
            expected=mark.expected,
            found=mark.found,
            mend=mark.mend or BY_ID[mark.rule].mend,
        )
        for mark in _marks(text)
        if BY_ID[mark.rule].severity.rank >= least.rank
    }
    return tuple(sorted(findings, key=lambda f: (f.line or 0, f.column or 0, f.rule, f.message)))


def _marks(text: str) -> Iterator[_Mark]:
    dockerfile = parse_dockerfile(text)
    for fault in dockerfile.faults:
        yield _Mark(
            rule="docker-syntax",
            offset=fault.offset,
            subject=fault.subject,
            expected=fault.expected,
            found=fault.found,
        )
    build = _Build()
    for instruction in dockerfile.instructions:
        yield from build.take(instruction)
    yield from build.finish()


@dataclass(slots=True)
class _Build:
    """The stages so far; variables of build arguments that stand before the first one are of all."""

    outer: dict[str, str] = field(default_factory=dict)
    stages: list[_Stage] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)

    def take(self, instruction: Instruction) -> Iterator[_Mark]:
        """Read one instruction."""
        match instruction.name:
            case "FROM":
                yield from self._from(instruction)
            case "ARG":
                yield from self._argument(instruction)
            case "ENV":
                yield from self._environment(instruction)
            case "ADD" | "COPY":
                yield from self._files(instruction)
            case "USER" | "ENTRYPOINT" | "CMD":
                self._setting(instruction)
            case _:
                pass
        if instruction.name in ("RUN", "LABEL", "CMD", "ENTRYPOINT", "HEALTHCHECK"):
            yield from _inline_secrets(instruction)
        if instruction.name in ("RUN", "COPY"):
            yield from self._borrowed(instruction)

    def _from(self, instruction: Instruction) -> Iterator[_Mark]:
        words = instruction.words
        if not words or (len(words) != 1 and not (len(words) == 3 and words[1].text.upper() == "AS")):
            found = "nothing" if not words else f"{len(words)} words"
            expected = "IMAGE or IMAGE AS NAME"
            yield _Mark(
                rule="docker-syntax",
                offset=instruction.offset,
                subject="FROM",
                expected=expected,
                found=found,
            )
        base = self._resolved(words[0].text, self.outer) if words else None
        if base is None or base.lower() not in self.names:
            yield from self._unpinned(base, words[0] if words else None, "FROM")
        self.stages.append(_Stage(start=instruction, base=base or ""))
        if base is not None and base.lower() in self.names:
            parent = self.stages[self.names[base.lower()]]
            stage = self.stages[-1]
            stage.user, stage.entry, stage.command = parent.user, parent.entry, parent.command
            stage.base, stage.variables = parent.base, dict(parent.variables)
        if len(words) == 3:
            self.names[words[2].text.lower()] = len(self.stages) - 1

    def _unpinned(self, image: str | None, word: Word | None, subject: str) -> Iterator[_Mark]:
        if word is None or image == "scratch" or (image is not None and _DIGEST.fullmatch(image)):
            return
        if image is None and _DIGEST_ASKED_FOR.fullmatch(word.text):
            return
        found = f"{_cut(word.text)}, which a build argument decides" if image is None else _cut(image)
        expected = "an image by digest"
        yield _Mark(
            rule="docker-unpinned-base", offset=word.offset, subject=subject, expected=expected, found=found
        )

    def _resolved(self, text: str, variables: dict[str, str]) -> str | None:
        """``text`` with variables replaced by what the file says of them; ``None`` when it does not."""
        missing = False
        if len(text) > _MAX_EXPANDED:
            return None

        def value(match: re.Match[str]) -> str:
            nonlocal missing
            name = match[1] or match[4]
            if match[2] == "+":
                return match[3] if variables.get(name) else ""
            known = variables.get(name) or (match[3] if match[2] == "-" else "")
            missing = missing or not known
            return known

        resolved = _VARIABLE.sub(value, text)
        return None if missing or "$" in resolved or len(resolved) > _MAX_EXPANDED else resolved

    def _scope(self) -> dict[str, str]:
        return self.stages[-1].variables if self.stages else self.outer

    def _argument(self, instruction: Instruction) -> Iterator[_Mark]:
        for word in instruction.words:
            name, given, value = word.text.partition("=")
            default = value if given else self.outer.get(name, "")
            self._scope()[name] = self._resolved(default, self._scope()) or ""
            secret = has_secret(value)
            if secret or is_secret_name(name):
                found = "a value that looks like one" if secret else "a name that says so"
                yield _Mark(
                    rule="docker-secret-arg",
                    offset=word.offset,
                    subject=f"ARG {_cut(name)}",
                    expected="no secret",
                    found=found,
                )

    def _environment(self, instruction: Instruction) -> Iterator[_Mark]:
        for word, name, value in _pairs(instruction):
            self._scope()[name] = self._resolved(value, self._scope()) or ""
            reason = secret_reason(name, value)
            if reason is not None:
                yield _Mark(
                    rule="docker-secret-env",
                    offset=word.offset,
                    subject=f"ENV {_cut(name)}",
                    expected="no secret",
                    found=reason,
                )

    def _files(self, instruction: Instruction) -> Iterator[_Mark]:
        sources = _sources(instruction)
        for word in sources:
            private = _PRIVATE.fullmatch(word.text)
            if private is not None and instruction.flag("from") is None:
                yield _Mark(
                    rule="docker-secret-file",
                    offset=word.offset,
                    subject=instruction.name,
                    expected="no secret",
                    found=_cut(word.text),
                )
            if (
                instruction.name == "ADD"
                and instruction.flag("checksum") is None
                and _is_loose_url(word.text)
            ):
                yield _Mark(
                    rule="docker-add-url",
                    offset=word.offset,
                    subject="ADD",
                    expected="a checksum",
                    found="a URL without one",
                )

    def _setting(self, instruction: Instruction) -> None:
        if not self.stages or instruction.triggered:
            return
        stage = self.stages[-1]
        if instruction.name == "USER" and instruction.words:
            stage.user = (self._resolved(instruction.words[0].text, stage.variables) or "", instruction)
        elif instruction.name == "ENTRYPOINT":
            stage.entry = instruction
            if stage.command is not None and stage.command.offset < stage.start.offset:
                stage.command = None  # an entry point resets the command that is inherited
        elif instruction.name == "CMD":
            stage.command = instruction

    def _borrowed(self, instruction: Instruction) -> Iterator[_Mark]:
        """Images that files are taken from."""
        for flag, word in instruction.flags:
            image = word.text if flag == "from" else ""
            if flag == "mount":
                image = next((part[5:] for part in word.text.split(",") if part.startswith("from=")), "")
            if image and not image.isdecimal() and image.lower() not in self.names:
                resolved = self._resolved(image, self.outer)
                if resolved is None or resolved.lower() not in self.names:
                    source = Word(text=image, offset=word.offset)
                    yield from self._unpinned(resolved, source, f"{instruction.name} --{flag}")

    def finish(self) -> Iterator[_Mark]:
        """What is to be said of the last stage, which becomes the image."""
        if not self.stages:
            return
        stage = self.stages[-1]
        yield from _root(stage)
        for instruction in (stage.entry, stage.command):
            if instruction is not None:
                yield from _shell(instruction, stage)


def _root(stage: _Stage) -> Iterator[_Mark]:
    if stage.user is None:
        if "nonroot" not in stage.base:
            expected = "USER with a number above 0"
            yield _Mark(
                rule="docker-root",
                offset=stage.start.offset,
                subject="last stage",
                expected=expected,
                found="no USER",
            )
    elif _ROOT.fullmatch(stage.user[0]):
        found = _cut(stage.user[0])
        offset = stage.user[1].offset
        yield _Mark(
            rule="docker-root", offset=offset, subject="USER", expected="a number above 0", found=found
        )


def _shell(instruction: Instruction, stage: _Stage) -> Iterator[_Mark]:
    items = instruction.json
    found = None
    if items is None:
        found = "the shell form" if instruction.rest else None
    elif instruction is stage.entry or stage.entry is None or stage.entry.json == ():
        program = next(
            (item for item in items if basename(item) not in ("env", "tini", "dumb-init", "--", "-g")), ""
        )
        if basename(program) in _SHELLS:
            found = f"the shell {_cut(program)}"
        elif program.endswith((".sh", ".bash")):
            found = f"the script {_cut(program)}"
    if found is not None:
        yield _Mark(
            rule="docker-shell-entrypoint",
            offset=instruction.offset,
            subject=instruction.name,
            expected="a program in the JSON form",
            found=found,
            mend=f"Use the JSON form: {_json_form(instruction)}",
        )


def _json_form(instruction: Instruction) -> str:
    """The command in the JSON form, where it needs no shell; an example of that form where it may."""
    words = [word.text for word in instruction.words] if instruction.json is None else []
    plain = words and all(_PLAIN.fullmatch(word) and not has_secret(word) for word in words)
    if not plain or sum(map(len, words)) > _SHOWN or basename(words[0]) in _SHELLS:
        words = ["/path/program", "argument"]
    quoted = ", ".join(f'"{word}"' for word in words)
    return f"{instruction.name} [{quoted}]"


def _inline_secrets(instruction: Instruction) -> Iterator[_Mark]:
    for word in instruction.words:
        if has_secret(word.text):
            yield _Mark(
                rule="docker-secret-env" if instruction.name == "LABEL" else "docker-secret-run",
                offset=word.offset,
                subject=instruction.name,
                expected="no secret",
                found="what looks like one",
            )


def _pairs(instruction: Instruction) -> Iterator[tuple[Word, str, str]]:
    """Names and values of ``ENV``, in either of its forms."""
    words = instruction.words
    if words and "=" not in words[0].text:
        yield words[0], words[0].text, " ".join(word.text for word in words[1:])
        return
    for word in words:
        name, _, value = word.text.partition("=")
        yield word, name, value


def _sources(instruction: Instruction) -> Iterable[Word]:
    if instruction.json is not None:
        return [Word(text=item, offset=instruction.offset) for item in instruction.json[:-1]]
    return [word for word in instruction.words[:-1] if not word.text.startswith("<<")]


def _is_loose_url(source: str) -> bool:
    if _GIT.match(source):
        return _COMMIT.fullmatch(source) is None
    return _URL.match(source) is not None


def _cut(text: str) -> str:
    cut = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in cut)
