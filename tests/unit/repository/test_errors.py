"""The trees of errors that are drawn are the trees of classes."""

from __future__ import annotations

import importlib
import pkgutil
import re
from types import ModuleType

import pytest

import casemate
import casemate.errors
import casemate_attester
import casemate_attester.errors
from casemate_attester.errors import ExplainedError

_WIDTH_OF_A_LEVEL = 4


def drawn(docstring: str) -> dict[str, str]:
    """The parent of each class of a drawing but the first."""
    parents: dict[str, str] = {}
    branch: list[str] = []
    for line in docstring.splitlines():
        if match := re.match(r" {4}([ │├└─]*)(\w+Error)\b", line):
            level = len(match[1]) // _WIDTH_OF_A_LEVEL
            branch[level:] = [match[2]]
            if level:
                parents[match[2]] = branch[level - 1]
    return parents


def defined(package: ModuleType) -> dict[str, str]:
    """The parent of each class of errors that a module of ``package`` defines."""
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: dict[str, str] = {}
    waiting: list[type[ExplainedError]] = [ExplainedError]
    while waiting:
        parent = waiting.pop()
        for child in parent.__subclasses__():
            waiting.append(child)
            if child.__module__.partition(".")[0] == package.__name__:
                found[child.__name__] = parent.__name__
    return found


@pytest.mark.parametrize("package", [casemate, casemate_attester], ids=lambda package: package.__name__)
def test_the_drawn_tree_of_errors_is_the_one_of_the_classes(package: ModuleType) -> None:
    drawing = importlib.import_module(f"{package.__name__}.errors").__doc__
    assert drawing is not None
    assert drawn(drawing) == defined(package)
