"""The rules of ``rules.toml`` as values."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True, kw_only=True)
class Hidden:
    """Imports that no statement shows.

    Attributes:
        imports: Names of modules; ``*`` for anything in a part of one: ``package.*``, ``package.*.part``.
        reason: Why, in words.
    """

    imports: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Imports that are left out.

    Attributes:
        by: Which module imports.
        of: Which modules.
        reason: Why, in words.
    """

    by: str
    of: tuple[str, ...]
    reason: str

    def applies(self, importer: str, imported: str) -> bool:
        """Whether this cut leaves out the import of ``imported`` by ``importer``.

        Never inside what is cut: a part of it that is reached all the same needs its other parts.
        """
        return matches(self.by, importer) and any(
            matches(pattern, imported) and not matches(pattern, importer)
            for pattern in self.of
            if pattern != "*"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """Modules that a framework looks for in packages.

    Attributes:
        when: The module of the framework that looks for them; reached, or the rule does not apply.
        of: In which packages: those that are reached and match one of these.
        modules: Names relative to the package; ``*`` for anything.
        reason: Why, in words.
    """

    when: str
    of: tuple[str, ...]
    modules: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All rules.

    Attributes:
        hidden: By name of module.
        cuts: In the order of the file.
        companions: In the order of the file.
        texts: Modules whose constants name modules, as those of the application may.
    """

    hidden: dict[str, Hidden]
    cuts: tuple[Cut, ...]
    companions: tuple[Companion, ...] = ()
    texts: frozenset[str] = frozenset()

    def cut(self, importer: str, imported: str) -> bool:
        """Whether an import that can be missed is left out."""
        return any(cut.applies(importer, imported) for cut in self.cuts)


def matches(pattern: str, module: str) -> bool:
    """``a.b`` matches itself, ``a.b*`` also everything below it, ``*`` everything."""
    if pattern == "*":
        return True
    if pattern.endswith("*"):
        return module == pattern[:-1] or module.startswith(pattern[:-1] + ".")
    return module == pattern


@cache
def load_rules() -> Rules:
    """The rules that come with Casemate."""
    document = tomllib.loads((files(__package__) / "rules.toml").read_text("utf-8"))
    return Rules(
        hidden={
            entry["module"]: Hidden(imports=tuple(entry["imports"]), reason=entry["reason"])
            for entry in document["hidden"]
        },
        cuts=tuple(
            Cut(by=entry["by"], of=tuple(entry["of"]), reason=entry["reason"]) for entry in document["cut"]
        ),
        companions=tuple(
            Companion(
                when=entry["when"],
                of=tuple(entry["of"]),
                modules=tuple(entry["modules"]),
                reason=entry["reason"],
            )
            for entry in document["companion"]
        ),
        texts=frozenset(module for entry in document["texts"] for module in entry["modules"]),
    )
