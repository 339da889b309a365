"""A manifest or a template of one, judged by every rule; nothing is run, rendered or looked up.

Gramine 1.9, "Manifest syntax"; 1.6 to 1.8 where asked for.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from casemate.builder.lint.catalogue import BY_ID
from casemate.builder.lint.enclave_rules import enclave_problems
from casemate.builder.lint.environment_rules import environment_problems
from casemate.builder.lint.file_rules import file_problems
from casemate.builder.lint.finding import Edit, Finding, Severity
from casemate.builder.lint.form_rules import form_problems, place_of
from casemate.builder.lint.lines import Lines
from casemate.builder.lint.problem import Problem
from casemate.builder.lint.schema import LATEST
from casemate.builder.lint.settings import Settings
from casemate.builder.lint.tree import NOTHING, UNKNOWN
from casemate.errors import FormatError, UsageError
from casemate.formats.gramine_versions import VERSIONS, gramine_version
from casemate.formats.manifest import missing_for_measurement

if TYPE_CHECKING:
    from casemate.builder.lint.template import Template
    from casemate.builder.lint.toml_values import Place, Scan
    from casemate.builder.lint.tree import Path

#: Bytes of a manifest; one with a hundred thousand trusted files has fewer.
MAX_SIZE: Final = 32 << 20
#: Findings of one rule that are told one by one.
MAX_OF_A_RULE: Final = 10_000

#: A line with more dots than any key or path: tomllib takes quadratic time for keys of so many parts.
_MANY_DOTS: Final = 200


class _Request(NamedTuple):
    """What is judged, and how.

    Attributes:
        where: Name of the file.
        text: Its text.
        version: Which Gramine's keys are known.
        least: Findings less grave than this are left out.
        gsc: Whether GSC completes it.
        lines: Where its lines begin.
    """

    where: str
    text: str
    version: str
    least: Severity
    gsc: bool
    lines: Lines


class _Reading(NamedTuple):
    """One reading of the text: that of a document, or of a variant of a template."""

    scanned: Scan
    problems: tuple[Problem, ...]
    whole: bool


def lint_manifest(
    data: bytes,
    where: str,
    *,
    template: bool = False,
    gsc: bool = False,
    manifest: Mapping[str, Any] | None = None,
    version: str = LATEST,
    least: Severity = Severity.NOTE,
) -> tuple[Finding, ...]:
    """Judge a manifest.

    Args:
        data: Its bytes.
        where: Its name, for the findings; one that ends in ``.manifest.sgx`` has to be complete.
        template: Whether it is yet to be rendered by ``gramine-manifest``.
        gsc: Whether GSC completes it: what it fills in may be missing.
        manifest: What the TOML says, when the caller has read it already.
        version: Which Gramine it is for; one of :data:`VERSIONS`.
        least: Findings less grave than this are left out.

    Returns:
        The findings in the order of their places; those of what is missing come first.

    Raises:
        UsageError: A version that is not known.
        FormatError: More than :data:`MAX_SIZE` bytes.
    """
    if version not in VERSIONS:
        raise UsageError("version of Gramine", expected=" or ".join(VERSIONS), got=repr(version))
    if len(data) > MAX_SIZE:
        expected = f"at most {MAX_SIZE:,} bytes"
        raise FormatError("manifest", expected=expected, got=f"{len(data):,} bytes", where=where)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        text = data[: error.start].decode("utf-8")
        lines = Lines.of(text)
        request = _Request(where=where, text=text, version=version, least=least, gsc=gsc, lines=lines)
        return _finished(
            request, [_at(request, "toml-syntax", error.start and len(text), "UTF-8", "other bytes")]
        )
    lines = Lines.of(text)
    request = _Request(where=where, text=text, version=version, least=least, gsc=gsc, lines=lines)
    unreadable = re.search(f"[{UNKNOWN}{NOTHING}]", text) if UNKNOWN in text or NOTHING in text else None
    if unreadable is not None:
        found = f"U+{ord(unreadable[0]):04X}"
        at = unreadable.start()
        return _finished(request, [_at(request, "toml-syntax", at, "no control characters but tabs", found)])
    findings = _template(request) if template else _document(request, manifest)
    return _finished(request, findings)


def _finished(request: _Request, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    kept = {finding for finding in findings if finding.severity.rank >= request.least.rank}
    return tuple(sorted(kept, key=lambda f: (f.line or 0, f.column or 0, f.rule, f.message)))


# A rendered manifest.


def _document(request: _Request, manifest: Mapping[str, Any] | None) -> Iterator[Finding]:
    yield from _text_forms(request)
    # A byte order mark has been told; the rest is read without it.
    text = request.text.replace("\ufeff", " ", 1) if request.text.startswith("\ufeff") else request.text
    tree, refusal = (manifest, None) if manifest is not None else _load(text)
    if tree is not None:
        escapes = _unreadable(tree) if "\\" in text else ()
        yield from _placed(_told((*_rules(tree, request), *escapes), request), request, text)
        return
    scanned = _scanned(text, text)
    yield from _faults(scanned, request, text)
    if scanned.fault is None and not scanned.duplicates and refusal is not None:
        yield _foreign_fault(request, refusal)
    told = _told(_rules(scanned.tree, request), request)
    yield from _placed([problem for problem in told if problem.path or scanned.fault is None], request, text)


def _placed(problems: Collection[Problem], request: _Request, text: str) -> Iterator[Finding]:
    """``problems`` with their places, which only a second reading notes: those of all keys would be many."""
    wanted = {problem.path for problem in problems if problem.path}
    places = _scanned(text, request.text, wanted).places if wanted else {}
    return (_finding(problem, places, request, text) for problem in problems)


def _load(text: str) -> tuple[Mapping[str, Any] | None, str | None]:
    """What TOML says; when it says nothing, or would take too long to, the reason."""
    if any(line.count(".") > _MANY_DOTS for line in text.split("\n")):
        return None, None
    try:
        return tomllib.loads(text), None
    except RecursionError:
        return None, "arrays nested too deeply"
    except ValueError as error:
        return None, str(error)


def _foreign_fault(request: _Request, refusal: str) -> Finding:
    """What the standard library refuses, and our own reader did not."""
    place = re.search(r" \(at line ([0-9]+), column ([0-9]+)\)", refusal)
    line, column = (int(place[1]), int(place[2])) if place else (None, None)
    found = refusal[: place.start()] if place else refusal
    return _new(request, "toml-syntax", (line, column), "TOML", found[:100])


def _text_forms(request: _Request) -> Iterator[Finding]:
    """What Gramine's parser reads otherwise than TOML says, as far as the text shows it."""
    text = request.text
    if text.startswith("\ufeff"):
        mark = (Edit(start=0, end=1, text=""),)
        yield _at(request, "gramine-toml", 0, "no byte order mark", "one", mark)
    broken = re.search("\r", text) if "\r" in text else None  # the operator is a hundred times as fast
    if broken is not None:
        lines = re.finditer("\r\n", text)
        edits = tuple(Edit(start=found.start(), end=found.end(), text="\n") for found in lines)
        yield _at(
            request,
            "gramine-toml",
            broken.start(),
            "lines that end in a line feed",
            "carriage returns",
            edits,
        )
    long = '"""' in text or ("'" in text and "'''" in text)  # one character is found sooner than three
    quotes = re.search("\"\"\"|'''", text) if long else None
    if quotes is not None:
        expected = "strings in one pair of quotation marks"
        yield _at(request, "gramine-toml", quotes.start(), expected, f"three: {quotes[0]}")


_UNREADABLE: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


def _unreadable(tree: Mapping[str, Any]) -> Iterator[Problem]:
    """Characters behind escapes that Gramine's parser cuts off at or does not take."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), tree)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [((*path, name), item) for name, item in value.items()]
            names = [name for name in value if _UNREADABLE.search(name)]
            yield from (_escape_problem((*path, name), name) for name in names)
        elif isinstance(value, list):
            waiting += [((*path, number), item) for number, item in enumerate(value)]
        elif isinstance(value, str) and _UNREADABLE.search(value):
            yield _escape_problem(path, value)


def _escape_problem(path: tuple[str | int, ...], text: str) -> Problem:
    match = _UNREADABLE.search(text)
    found = f"U+{ord(match[0]):04X}" if match else "another"
    expected = "no control characters but tabs and line breaks"
    mend = "encode it, and decode it in the application"
    return Problem(rule="gramine-toml", path=path, expected=expected, found=found, mend=mend)


# A template.


def _template(request: _Request) -> Iterator[Finding]:
    from casemate.builder.lint.template import read_template  # noqa: PLC0415 (what is signed is none)

    template = read_template(request.text)
    readings = [_reading(variant, template, request) for variant in template.variants]
    if template.fault is not None:
        fault = template.fault
        yield _at(request, "template-syntax", fault.offset, fault.expected, fault.found)
    unread = {note.offset: note.what for note in template.unread}
    for reading, variant in zip(readings, template.variants, strict=True):
        for offset in reading.scanned.partial:
            unread.setdefault(offset, "an expression that stands for whole lines")
        yield from _faults(reading.scanned, request, variant)
        yield from _in_comments(template, reading.scanned, request)
    for offset, what in sorted(unread.items()):
        yield _at(request, "template-not-checked", offset, "what can be read without rendering", what)
    whole = all(reading.whole for reading in readings) and not unread
    # What is missing is missing only when no variant has it.
    missing = frozenset.intersection(*(frozenset(reading.problems) for reading in readings)) if whole else ()
    for reading, variant in zip(readings, template.variants, strict=True):
        told = [problem for problem in reading.problems if problem.path or problem in missing]
        yield from _placed(told, request, variant)


def _reading(variant: str, template: Template, request: _Request) -> _Reading:
    scanned = _scanned(variant, request.text)
    problems = tuple(_told(_rules(scanned.tree, request), request))
    whole = scanned.fault is None and template.fault is None and not scanned.partial
    return _Reading(scanned=scanned, problems=problems, whole=whole)


def _in_comments(template: Template, scanned: Scan, request: _Request) -> Iterator[Finding]:
    """Expressions and statements inside comments of TOML, one finding for each comment."""
    starts = [start for start, _ in template.code]
    for start, end in scanned.comments:
        first = bisect_right(starts, start)
        inside = [span for span in template.code[first : bisect_right(starts, end)] if span[1] <= end]
        if inside:
            code = request.text[inside[0][0] : inside[0][1]]
            found = " ".join(code.split())[:60]
            edits = _as_jinja_comment(request.text, start, end, inside)
            yield _at(
                request, "template-in-comment", inside[0][0], "nothing that Jinja renders", found, edits
            )


def _as_jinja_comment(text: str, start: int, end: int, code: list[tuple[int, int]]) -> tuple[Edit, ...]:
    comment = text[start:end]
    statements = any(text.startswith("{%", first) for first, _ in code)
    if statements or "\n" in comment or "#}" in comment or "{#" in comment:
        return ()
    last = start + len(comment.rstrip())
    opening = "{" if comment.startswith("# ") else "{# "
    return (Edit(start=start, end=start, text=opening), Edit(start=last, end=last, text=" #}"))


# Both.


def _scanned(text: str, source: str, wanted: Collection[Path] = frozenset()) -> Scan:
    """``text`` read with places, which of a manifest without findings nobody asks for."""
    from casemate.builder.lint.scanner import scan  # noqa: PLC0415 (as signing does not wait for it)

    return scan(text, source, wanted=wanted)


def _rules(tree: Mapping[str, Any], request: _Request) -> Iterator[Problem]:
    settings = Settings(tree, _ignored(request.least))
    yield from form_problems(tree, request.version)
    yield from enclave_problems(settings)
    yield from environment_problems(settings)
    yield from file_problems(settings)
    if request.where.endswith(".manifest.sgx"):
        yield from _unmeasured(tree, request.version)


def _ignored(least: Severity) -> frozenset[str]:
    return frozenset(name for name, rule in BY_ID.items() if rule.severity.rank < least.rank)


def _unmeasured(tree: Mapping[str, Any], version: str) -> Iterator[Problem]:
    try:
        missing = missing_for_measurement(tree, gramine_version(version))
    except FormatError:  # what is wrong has been told by the other rules
        return
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        yield Problem(rule="not-measured", path=(), expected=missing[0] + more, found="nothing")


def _told(problems: Iterable[Problem], request: _Request) -> list[Problem]:
    """Those that were asked for; of each rule :data:`MAX_OF_A_RULE` at most, and then how many more."""
    kept: list[Problem] = []
    counts: Counter[str] = Counter()
    for problem in problems:
        if BY_ID[problem.rule].severity.rank < request.least.rank:
            continue
        if request.gsc and problem.rule == "missing-key" and not problem.path:
            continue
        counts[problem.rule] += 1
        if counts[problem.rule] <= MAX_OF_A_RULE:
            kept.append(problem)
    for rule, count in counts.items():
        if count > MAX_OF_A_RULE:
            found = f"{count - MAX_OF_A_RULE:,} more of these"
            kept.append(Problem(rule=rule, path=(), expected="none", found=found))
    return kept


def _faults(scanned: Scan, request: _Request, text: str) -> Iterator[Finding]:
    if scanned.fault is not None:
        yield _at(request, "toml-syntax", scanned.fault.offset, scanned.fault.expected, scanned.fault.found)
    wanted = {duplicate.path for duplicate in scanned.duplicates}
    places = _scanned(text, request.text, wanted).places if wanted else {}
    for duplicate in scanned.duplicates:
        there = places.get(duplicate.path)
        found = (
            "one more" if there is None else f"one more than in line {request.lines.place(there.dotted)[0]}"
        )
        subject = place_of(duplicate.path)
        yield _at(request, "duplicate-key", duplicate.offset, "each key once", found, subject=subject)


def _finding(problem: Problem, places: Mapping[Any, Place], request: _Request, text: str) -> Finding:
    place = places.get(problem.path) if problem.path else None
    rule = BY_ID[problem.rule]
    span = None if place is None else place.key if problem.at_key else place.value
    line, column = (None, None) if span is None else request.lines.place(span[0])
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        file=request.where,
        line=line,
        column=column,
        subject=_one_line(problem.subject or place_of(problem.path) or "manifest"),
        expected=_one_line(problem.expected),
        found=_one_line(problem.found),
        mend=problem.mend or rule.mend,
        edits=_edits(problem, place, request.text, text),
    )


def _edits(problem: Problem, place: Place | None, source: str, text: str) -> tuple[Edit, ...]:
    """The mend as changes; none where a part of what would go renders to something else."""
    if place is None:
        return ()
    wanted = ((problem.key, place.key), (problem.value, place.value))
    edits = tuple(Edit(start=start, end=end, text=new) for new, (start, end) in wanted if new is not None)
    return (
        edits if all(source[edit.start : edit.end] == text[edit.start : edit.end] for edit in edits) else ()
    )


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:300])


def _at(
    request: _Request,
    rule: str,
    offset: int,
    expected: str,
    found: str,
    edits: tuple[Edit, ...] = (),
    subject: str = "manifest",
) -> Finding:
    return _new(request, rule, request.lines.place(offset), expected, found, edits, subject)


def _new(
    request: _Request,
    rule: str,
    place: tuple[int | None, int | None],
    expected: str,
    found: str,
    edits: tuple[Edit, ...] = (),
    subject: str = "manifest",
) -> Finding:
    return Finding(
        rule=rule,
        severity=BY_ID[rule].severity,
        file=request.where,
        line=place[0],
        column=place[1],
        subject=_one_line(subject),
        expected=expected,
        found=_one_line(found),
        mend=BY_ID[rule].mend,
        edits=edits,
    )
