"""Judges the application's own code by the rules of ``rules.toml``."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from casemate.builder.closure import ReachedModule
from casemate.builder.closure.rules import matches
from casemate.builder.lint.finding import Severity
from casemate.builder.preflight.finding import Finding
from casemate.builder.preflight.rule import Argument, Rule, Signs, data_rules
from casemate.builder.preflight.uses import ModuleUses, Use

_LESS = {
    Severity.ERROR: Severity.WARNING,
    Severity.WARNING: Severity.NOTE,
    Severity.NOTE: Severity.NOTE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnModule:
    """A module of the application, read.

    Attributes:
        module: The module.
        uses: What it calls and imports.
        top_names: First parts of the names of all modules of the application.
    """

    module: ReachedModule
    uses: ModuleUses
    top_names: frozenset[str]

    def finding(self, rule: Rule, line: int, subject: str, *, guarded: bool = False) -> Finding:
        """A finding in this module; one step less grave where the code catches the failure."""
        return Finding(
            rule=rule.id,
            severity=_LESS[rule.severity] if guarded else rule.severity,
            where=f"{self.module.file}:{line}",
            subject=subject,
            happens=rule.happens,
            mend=rule.mend,
        )

    def is_own(self, name: str) -> bool:
        """Whether a resolved name is something of the application, of which no more is known."""
        return name.partition(".")[0] in self.top_names


def check_code(own: OwnModule, reached: Collection[str]) -> Iterator[Finding]:
    """What the rules find in one module of the application.

    Args:
        own: The module.
        reached: Names of all modules of the closure; an import of any other cannot succeed.
    """
    for rule, signs in data_rules():
        for use in own.uses.uses:
            if _is_use(use, signs, own, reached) and _applies(use, signs.when, own.uses):
                subject = f"{use.name.lstrip('.')}()" if use.call is not None else use.name
                yield own.finding(rule, use.line, subject, guarded=use.guarded)
        for taken in own.uses.imports:
            known = taken.name in reached and not own.is_own(taken.name)
            if known and any(matches(pattern, taken.name) for pattern in signs.imports):
                yield own.finding(rule, taken.line, f"import {taken.name}")
        for text in own.uses.texts if signs.texts is not None else ():
            match = signs.texts.search(text.value) if signs.texts is not None else None
            if match is not None:
                yield own.finding(rule, text.line, f'"{match[0]}"')


def _is_use(use: Use, signs: Signs, own: OwnModule, reached: Collection[str]) -> bool:
    if use.name in signs.uses:
        return True
    if signs.beside and signs.beside.isdisjoint(reached):
        return False
    is_method = use.name.startswith(".") or own.is_own(use.name)
    return is_method and use.name.rpartition(".")[2] in signs.methods


def _applies(use: Use, when: tuple[Argument, ...], uses: ModuleUses) -> bool:
    """Whether an argument makes the call matter; one whose value is not known before the run does not."""
    if not when:
        return True
    return use.call is not None and any(_has(use.call, argument, uses) for argument in when)


def argument_of(call: ast.Call, keyword: str, position: int = -1) -> ast.expr | None:
    """The argument of a call by its name or its position."""
    for given in call.keywords:
        if keyword and given.arg == keyword:
            return given.value
    return call.args[position] if 0 <= position < len(call.args) else None


def _has(call: ast.Call, argument: Argument, uses: ModuleUses) -> bool:
    value = argument_of(call, argument.keyword, argument.position)
    if value is None:
        return False
    if argument.names:
        return not argument.names.isdisjoint(_named(value, uses))
    constant = value.value if isinstance(value, ast.Constant) else None
    if argument.above is not None:
        return isinstance(constant, int) and constant > argument.above
    return bool(constant)


def _named(value: ast.expr, uses: ModuleUses) -> Iterator[str]:
    """What the names in an expression stand for."""
    for node in ast.walk(value):
        name = uses.resolve(node) if isinstance(node, ast.Name | ast.Attribute) else None
        if name is not None:
            yield name
