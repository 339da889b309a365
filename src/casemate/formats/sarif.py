"""SARIF 2.1.0: findings as code hosts and editors read them.

OASIS, "Static Analysis Results Interchange Format (SARIF) Version 2.1.0". There is no time and no path of the
machine in it: the same findings give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
VERSION: Final = "2.1.0"
#: Section 3.27.10: how grave a result is.
LEVELS: Final = ("none", "note", "warning", "error")

_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")


@dataclass(frozen=True, slots=True, kw_only=True)
class SarifRule:
    """A rule of the tool (section 3.49).

    Attributes:
        id: Its stable name.
        level: One of :data:`LEVELS`.
        reason: Why it is there.
        help: What to do about its results.
    """

    id: str
    level: str
    reason: str
    help: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SarifResult:
    """One result (section 3.27).

    Attributes:
        rule: Id of its rule, which has to be among the rules.
        message: What was found.
        path: Of the file, as it was named.
        line: From 1; ``None`` when the result is about the file as a whole.
        column: From 1, in code points; ``None`` likewise.
    """

    rule: str
    message: str
    path: str
    line: int | None
    column: int | None


def dump_sarif(rules: Sequence[SarifRule], results: Iterable[SarifResult], *, tool: str, version: str) -> str:
    """A log file with one run.

    Args:
        rules: All rules of the tool, in a fixed order.
        results: What was found.
        tool: Name of the tool.
        version: Its version.
    """
    numbers = {rule.id: number for number, rule in enumerate(rules)}
    levels = {rule.id: rule.level for rule in rules}
    document = {
        "$schema": SCHEMA,
        "version": VERSION,
        "runs": [
            {
                "tool": {
                    "driver": {"name": tool, "version": version, "rules": [_rule(rule) for rule in rules]}
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(result, numbers, levels) for result in results],
            }
        ],
    }
    return json.dumps(document, indent=2)


def _rule(rule: SarifRule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.reason},
        "help": {"text": rule.help},
        "defaultConfiguration": {"level": rule.level},
    }


def _result(result: SarifResult, numbers: Mapping[str, int], levels: Mapping[str, str]) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(result.path)}}
    if result.line is not None:
        place["region"] = {"startLine": result.line}
        if result.column is not None:
            place["region"]["startColumn"] = result.column
    return {
        "ruleId": result.rule,
        "ruleIndex": numbers[result.rule],
        "level": levels[result.rule],
        "message": {"text": result.message},
        "locations": [{"physicalLocation": place}],
    }


def _uri(path: str) -> str:
    """A path as a URI reference (RFC 3986, sections 2.3 and 4.1); absolute paths become ``file:`` URIs."""
    quoted = "".join(
        chr(byte) if byte in _UNRESERVED else f"%{byte:02X}"
        for byte in path.encode("utf-8", "surrogateescape")
    )
    return f"file://{quoted}" if path.startswith("/") else quoted
