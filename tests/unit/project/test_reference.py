"""docs/reference/casemate-toml.md says what the code does."""

from __future__ import annotations

import dataclasses
import re
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from casemate.builder.enclave.manifest import format_size
from casemate.project import parse_project
from casemate.project.parse import TABLES
from casemate.project.values import App, Broker, Closure, Enclave, Kubernetes

PAGE = (Path(__file__).parents[3] / "docs/reference/casemate-toml.md").read_text()
SECTIONS = dict(re.findall(r"^## \[(\w+)\]\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def test_every_table_has_its_section() -> None:
    assert tuple(SECTIONS) == TABLES


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ("app", App),
        ("closure", Closure),
        ("enclave", Enclave),
        ("broker", Broker),
        ("kubernetes", Kubernetes),
    ],
)
def test_every_key_is_described_with_its_default(table: str, kind: Any) -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| [^|]+ \|$", SECTIONS[table], re.MULTILINE)
    assert dict(rows) == {field.name: written(field) for field in dataclasses.fields(kind)}


def written(field: Any) -> str:
    """The default of a key, as TOML has it."""
    match field.default:
        case dataclasses.MISSING:
            return "required"
        case None:
            return "none"
        case bool(value):
            return f"`{str(value).lower()}`"
        case int(value) if field.name in {"size", "stack"}:
            return f'`"{format_size(value)}"`'
        case Enum(value=value) | str(value):
            return f'`"{value}"`'
        case value:
            return f"`{value or ({} if field.name == 'cpu' else [])}`"


def test_the_example_is_one() -> None:
    example, environment = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    chosen = parse_project(f"{example.partition('[closure]')[0]}{environment}".encode(), "casemate.toml")
    assert [variable.name for variable in chosen.variables] == ["LOG_LEVEL", "REGION", "SHOP_NAME"]
    project = parse_project(example.encode(), "casemate.toml")
    assert len(project.secrets) == 3
    assert project.mounts
    assert project.closure.include
