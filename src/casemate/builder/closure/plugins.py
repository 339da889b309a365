"""Plugins: modules that distributions offer in groups of entry points, for whoever asks for the group."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from casemate.builder.closure.distributions import Distribution
from casemate.builder.closure.finder import Owner
from casemate.builder.closure.graph import Graph, Node, Step
from casemate.builder.closure.whole import reached_distributions
from casemate.builder.contents import Rule

#: Groups from which installers make programs; nothing loads them.
_PROGRAMS: Final = frozenset({"console_scripts", "gui_scripts"})


def add_plugins(graph: Graph, distributions: tuple[Distribution, ...]) -> None:
    """Reach the plugins of every group that is asked for by a call, or named where plugins are loaded.

    The name of a group may be given to a call in another module than the one that has it. So it counts
    wherever it stands as a constant, in the application and in packages that load plugins at all.
    """
    offered: dict[str, list[tuple[Distribution, str]]] = {}
    for distribution in distributions:
        for group, module in distribution.plugins():
            if group not in _PROGRAMS:
                offered.setdefault(group, []).append((distribution, module))
    if not offered:
        return
    for name, group in list(_asked(graph, tuple(sorted(offered)))):
        for distribution, module in offered[group]:
            detail = f'entry point "{group}" of {distribution.name}'
            graph.add(module, Step(rule=Rule.HIDDEN_IMPORT, by=name, detail=detail))


def _asked(graph: Graph, groups: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Pairs of a module and a group that it asks for."""
    known = set(groups)
    words = re.compile(rb"[\"'](" + b"|".join(re.escape(group.encode()) for group in groups) + rb")[\"']")
    loading = {name.partition(".")[0] for name, node in graph.nodes.items() if node.scan.loads_plugins}
    for name, node in graph.nodes.items():
        for group in node.scan.groups:
            if group in known:
                yield name, group
        if _owner(node) is Owner.APPLICATION or (
            _owner(node) is Owner.DISTRIBUTION and name.partition(".")[0] in loading
        ):
            for word in dict.fromkeys(words.findall(graph.text(name))):
                yield name, word.decode()


def described_distributions(graph: Graph, distributions: tuple[Distribution, ...]) -> dict[Distribution, str]:
    """Those of which a module is reached, and those whose metadata a call asks for, each with who asks."""
    reached = reached_distributions(graph, distributions)
    by_name = {distribution.name: distribution for distribution in distributions}
    for name, node in graph.nodes.items():
        for asked in node.scan.described:
            distribution = by_name.get(re.sub(r"[-_.]+", "-", asked).lower())
            if distribution is not None:
                reached.setdefault(distribution, name)
    return reached


def _owner(node: Node) -> Owner | None:
    return node.found.root.owner if node.found.root is not None else None
