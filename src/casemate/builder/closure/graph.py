"""The import graph: every module that can be reached, and through which import."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from encodings.aliases import aliases as codec_aliases
from typing import Final

from casemate.builder.closure.families import expand
from casemate.builder.closure.finder import Finder, Found, Kind, Owner
from casemate.builder.closure.frontier import Frontier
from casemate.builder.closure.lazy_names import names_in_stub
from casemate.builder.closure.reader import ModuleFile, ModuleReader
from casemate.builder.closure.rules import Companion, Rules, matches
from casemate.builder.closure.scan import Import, Scan
from casemate.builder.contents import Rule
from casemate.errors import ClosureError

#: What is found in other ways than by a statement: it runs when somebody calls it, and may fail.
_FOUND: Final = Import(module="", lazy=True, guarded=True, sure=False, hidden=True)
#: Modules that another module puts into ``sys.modules`` under a second name.
_SECOND_NAMES: Final = {"os.path": "posixpath"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Why a module is reached: which module asked, and how."""

    rule: Rule
    by: str | None
    detail: str


@dataclass(slots=True, kw_only=True)
class Node:
    """A module that is reached."""

    found: Found
    step: Step
    scan: Scan
    needs: list[tuple[str, Import]] = field(default_factory=list)


class Graph:
    """Grows from roots by :meth:`add` and :meth:`grow`.

    Attributes:
        nodes: What is reached, by name.
        missing: Imports that find nothing, each with who imports.
        by_path: Modules that are loaded from a path, so that their source has to be there.

    Args:
        finder: Finds modules.
        rules: Hidden imports and cuts.
        version: Version of the interpreter that will run the code.
        reader: Reads modules.
    """

    def __init__(
        self, finder: Finder, rules: Rules, version: tuple[int, int, int], reader: ModuleReader
    ) -> None:
        self.finder = finder
        self.nodes: dict[str, Node] = {}
        self.missing: list[tuple[str, Import]] = []
        self.rules = rules
        self._version = version
        self._reader = reader
        self._loadable: dict[str, bool] = {}
        self._binders: dict[str, set[str]] = {}
        self._pairs: dict[str, frozenset[tuple[str, str]]] = {}
        self._queue: deque[str] = deque()
        self._frontier = Frontier(self)
        self._scans: dict[str, Scan | None] = {}
        self._sources: dict[str, bytes] = {}
        self._waiting: list[tuple[str, Import]] = []
        self._asked: set[tuple[str, str]] = set()
        self._main: set[str] = set()
        self.by_path: set[str] = set()

    def add(self, name: str, step: Step, *, main: bool = False) -> bool:
        """Reach ``name``, its parent packages first; whether it was found."""
        name = _SECOND_NAMES.get(name, name)
        if main:
            self._main.add(name)
        found = self.finder.find(name)
        if found is None:
            return False
        parent = name.rpartition(".")[0]
        if parent:
            self.add(parent, Step(rule=step.rule, by=step.by, detail=f"package of {name}: {step.detail}"))
        if name not in self.nodes:
            scan = self.scan(found)
            if scan is None:
                return False
            self.nodes[name] = Node(found=found, step=step, scan=scan)
            self._queue.append(name)
        return True

    def grow(self) -> None:
        """Follow every import of every module until nothing new is reached."""
        while self._queue or self._wake():
            while self._queue:
                self._read_ahead()
                for _ in range(len(self._queue)):
                    self._follow(self._queue.popleft())

    def _read_ahead(self) -> None:
        """Have what the modules of the queue import read together; in which order changes nothing."""
        asked = (self._module_file(found) for found in self._frontier.beyond(self._queue))
        self._reader.ahead(module for module in asked if module is not None)

    def text(self, name: str) -> bytes:
        """The source of a module that was read; empty for any other."""
        return self._sources.get(name, b"")

    def scan(self, found: Found) -> Scan | None:
        """What ``found`` asks for, read once; ``None`` for a file that is not Python."""
        if found.name not in self._scans:
            self._scans[found.name] = self._scan(found)
        return self._scans[found.name]

    def _module_file(self, found: Found) -> ModuleFile | None:
        """How ``found`` would be read; ``None`` where there is nothing to read, or it was read."""
        if found.file is None or found.kind is Kind.BYTECODE or found.name in self._scans:
            return None
        return ModuleFile(
            file=str(found.file),
            name=found.name,
            is_package=found.is_package,
            version=self._version,
            own=_is_applications(found) or found.name in self.rules.texts,
            main=found.name in self._main,
            tops=self._tops(found) if found.kind is Kind.EXTENSION else None,
        )

    def _scan(self, found: Found) -> Scan | None:
        if found.file is None or found.kind is Kind.BYTECODE:
            return Scan(imports=())
        if found.kind is Kind.EXTENSION:
            return self._scan_extension(found)
        source = found.file.read_bytes()
        own = _is_applications(found)
        try:
            scan = self._reader.scan(
                source,
                name=found.name,
                is_package=found.is_package,
                version=self._version,
                own=own or found.name in self.rules.texts,
                main=found.name in self._main,
            )
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if own:
                raise ClosureError(
                    "application's code",
                    expected="valid Python",
                    got=str(error) if isinstance(error, (SyntaxError, ValueError)) else "too deep a nesting",
                    where=found.path,
                    hint="mend it, or run Casemate with the Python version that it is written for",
                ) from error
            return None
        self._sources[found.name] = source
        return scan

    def _scan_extension(self, found: Found) -> Scan:
        assert found.file is not None  # noqa: S101 - an extension is a file
        imports = []
        for candidate in self._reader.names(found.file.read_bytes(), self._tops(found)):
            name = self._longest_module(candidate)
            if name is not None and name != found.name:
                detail = f"name in the data of {found.file.name}: {name}"
                imports.append(Import(module=name, lazy=True, sure=False, hidden=True, detail=detail))
        return Scan(imports=tuple(imports))

    def _tops(self, found: Found) -> tuple[str, ...]:
        """The top-level package of ``found``, then all others that distributions have brought."""
        own = found.name.partition(".")[0]
        return (own, *(top for top in self.finder.tops() if top != own))

    def _longest_module(self, text: str) -> str | None:
        """The module that ``text`` names or, where texts have no end marks, begins with."""
        if self.finder.find(text) is not None:
            return text
        name, *parts = text.split(".")
        for part in parts:
            package = self.finder.find(name)
            if package is None or not package.is_package:
                return None
            if self.finder.find(f"{name}.{part}") is None:
                leaves = [module.rpartition(".")[2] for module in self.finder.submodules(package)]
                leaf = max((leaf for leaf in leaves if part.startswith(leaf)), key=len, default=None)
                return None if leaf is None else f"{name}.{leaf}"
            name = f"{name}.{part}"
        return None

    def _follow(self, name: str) -> None:
        node = self.nodes[name]
        for wanted in node.scan.imports:
            if wanted.triggers:
                self._waiting.append((name, wanted))
            else:
                self._import(name, wanted)
        self._follow_patterns(name, node)
        self._follow_tables(name, node)
        for codec in node.scan.codecs:
            self._codec(name, codec)
        hidden = self.rules.hidden.get(name)
        for module in hidden.imports if hidden else ():
            self._hidden(name, module, hidden.reason if hidden else "")
        for text, line in node.scan.strings:
            self._named_by_text(name, text, line)

    def _follow_patterns(self, name: str, node: Node) -> None:
        """Modules of which a part of the name is known; for the standard library there are rules."""
        if node.found.root is not None and node.found.root.owner is Owner.STANDARD_LIBRARY:
            return
        for pattern in node.scan.patterns:
            for module in expand(pattern.name, self.finder):
                wanted = replace(_FOUND, module=module, line=pattern.line, detail=pattern.call)
                if pattern.answers:
                    triggers = frozenset({module.rpartition(".")[2]})
                    self._waiting.append((name, replace(wanted, triggers=triggers)))
                elif module != name:
                    self._import(name, wanted)

    def _follow_tables(self, name: str, node: Node) -> None:
        """Modules that the package loads when one of its names is asked for."""
        tables = node.scan.lazy
        stub = node.found.file.with_suffix(".pyi") if node.found.file is not None else None
        if node.scan.has_stub and stub is not None and stub.is_file():
            with suppress(
                SyntaxError, ValueError, RecursionError, MemoryError
            ):  # then the package does not work either
                tables += names_in_stub(stub.read_bytes())
        for entry in tables:
            own = f"{name}.{entry.text.lstrip('.')}"
            for module in (own, entry.text):
                if self.finder.find(module) is not None:
                    detail = f"loaded when {name} is asked for {min(entry.triggers)}"
                    wanted = replace(_FOUND, module=module, triggers=entry.triggers, detail=detail)
                    self._waiting.append((name, wanted))
                    break

    def accompany(self) -> None:
        """Reach what frameworks look for in the packages that are reached."""
        for rule in self.rules.companions:
            if rule.when in self.nodes:
                for name, node in list(self.nodes.items()):
                    if node.found.is_package and any(matches(pattern, name) for pattern in rule.of):
                        self._accompany(name, node, rule)

    def _accompany(self, name: str, node: Node, rule: Companion) -> None:
        if node.found.root is not None and node.found.root.owner is Owner.STANDARD_LIBRARY:
            return
        for pattern in rule.modules:
            for module in expand(f"{name}.{pattern}", self.finder):
                self.add(module, Step(rule=Rule.HIDDEN_IMPORT, by=name, detail=rule.reason))

    def _import(self, importer: str, wanted: Import) -> None:
        if wanted.unless and all(self._succeeds(other) for other in wanted.unless):
            return
        if self.cuts(importer, wanted, wanted.module):
            return
        step = self.step(importer, wanted)
        module = _SECOND_NAMES.get(wanted.module, wanted.module)
        if not self.add(module, step):
            self.missing.append((importer, wanted))
            self._add_parents(module, step)
            return
        self.nodes[importer].needs.append((module, wanted))
        self._bind(importer, module)
        for name in self._submodules_among(module, wanted.names):
            if not self.cuts(importer, wanted, f"{module}.{name}"):
                self.add(f"{module}.{name}", step)
                self.nodes[importer].needs.append((f"{module}.{name}", wanted))
                self._bind(importer, f"{module}.{name}")

    def cuts(self, importer: str, wanted: Import, module: str) -> bool:
        """Whether a rule says that ``importer`` can do without ``module``."""
        if not (wanted.lazy or wanted.guarded) or self._is_own(importer):
            return False
        return self.rules.cut(importer, module)

    def _is_own(self, name: str) -> bool:
        return _is_applications(self.nodes[name].found)

    def _add_parents(self, module: str, step: Step) -> None:
        """``import six.moves.urllib``: the parent puts the rest into ``sys.modules``."""
        while "." in module:
            module = module.rpartition(".")[0]
            if self.add(module, step):
                return

    def _submodules_among(self, module: str, names: tuple[str, ...]) -> Iterator[str]:
        """Those of ``names`` that ``from module import names`` loads as modules."""
        found = self.finder.find(module)
        scan = self.nodes[module].scan
        for name in scan.exported if names == ("*",) else names:
            if found is not None and found.is_package and self.finder.find(f"{module}.{name}") is not None:
                yield name
            elif name not in scan.bound and scan.answers_any_name:
                self._asked.add((module, name))

    def _succeeds(self, wanted: Import) -> bool:
        """Whether an import is known to succeed."""
        module = _SECOND_NAMES.get(wanted.module, wanted.module)
        found = self.finder.find(module)
        if found is None or not self._loads(module):
            return False
        if not wanted.names or wanted.names == ("*",) or found.kind is Kind.EXTENSION or found.file is None:
            return True
        scan = self.scan(found)
        return scan is not None and all(
            name in scan.bound or self.finder.find(f"{found.name}.{name}") is not None
            for name in wanted.names
        )

    def _loads(self, name: str) -> bool:
        """Whether nothing is missing that ``name`` needs while it is loaded, its parent packages included."""
        if name not in self._loadable:
            self._loadable[name] = True  # for imports in a circle
            found = self.finder.find(name)
            scan = self.scan(found) if found is not None else None
            parent = name.rpartition(".")[0]
            self._loadable[name] = (
                scan is not None
                and (not parent or self._loads(parent))
                and all(self._succeeds(other) for other in scan.imports if other.sure and not other.unless)
            )
        return self._loadable[name]

    def step(self, importer: str, wanted: Import) -> Step:
        """Why ``wanted`` reaches a module: who asked, in which words, and where."""
        file = self.nodes[importer].found.file
        place = self._place(importer, wanted.line) if file is not None else importer
        if wanted.hidden:
            detail = f"{wanted.detail} ({place})" if wanted.line else wanted.detail
            return Step(rule=Rule.HIDDEN_IMPORT, by=importer, detail=detail)
        text = f"from {wanted.module} import {', '.join(wanted.names)}" if wanted.names else wanted.module
        text = text if wanted.names else f"import {text}"
        return Step(rule=Rule.IMPORT, by=importer, detail=f"{text} ({place})")

    def _place(self, importer: str, line: int) -> str:
        found = self.nodes[importer].found
        if found.root is None or found.file is None:
            return importer
        return f"{found.file.relative_to(found.root.host).as_posix()}:{line}"

    def _hidden(self, importer: str, module: str, reason: str) -> None:
        step = Step(rule=Rule.HIDDEN_IMPORT, by=importer, detail=reason)
        for name in expand(module, self.finder):
            self.add(name, step)

    def _codec(self, importer: str, codec: str) -> None:
        step = Step(rule=Rule.HIDDEN_IMPORT, by=importer, detail=f'codec "{codec}"')
        self.add(codec_module(codec), step)

    def _named_by_text(self, importer: str, text: str, line: int) -> None:
        """A text in the application's code that names a module, or something in one."""
        detail = f'"{text}" ({self._place(importer, line)})'
        text, colon, _ = text.partition(":")
        module = text
        if self.finder.find(text) is None and not colon:
            module, _, attribute = text.rpartition(".")
            found = self.finder.find(module)
            scan = self.scan(found) if found is not None else None
            if scan is None or attribute not in scan.bound or "." not in module:
                return
        self.add(module, Step(rule=Rule.HIDDEN_IMPORT, by=importer, detail=detail))

    def _wake(self) -> bool:
        """Follow the imports that wait for an attribute which a module that is reached asks for."""
        asleep = []
        for package, wanted in self._waiting:
            if any(self._is_asked(package, name) for name in wanted.triggers):
                self._import(package, wanted)
            else:
                asleep.append((package, wanted))
        self._waiting = asleep
        return bool(self._queue)

    def _is_asked(self, package: str, attribute: str) -> bool:
        if (package, attribute) in self._asked:
            return True
        word = attribute.encode()
        for name in self._binders.get(package, set()) - {package}:
            if name not in self._pairs and word in self._sources.get(name, b""):
                self._pairs[name] = self._reader.attributes(self._sources[name])
            if (package, attribute) in self._pairs.get(name, ()):
                self._asked.add((package, attribute))
                return True
        return False

    def _bind(self, importer: str, module: str) -> None:
        """``importer`` has a name for ``module``, and for the packages around it."""
        while module:
            self._binders.setdefault(module, set()).add(importer)
            module = module.rpartition(".")[0]


def _is_applications(found: Found) -> bool:
    return found.root is not None and found.root.owner is Owner.APPLICATION


def codec_module(codec: str) -> str:
    """The module that holds the codec of this name, if there is one (:mod:`encodings`)."""
    normal = "".join(c if c.isalnum() or c == "." else "_" for c in codec.lower())
    return f"encodings.{codec_aliases.get(normal, normal)}"
