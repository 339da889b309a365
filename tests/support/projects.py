"""Projects as ``casemate.toml`` would give them."""

from __future__ import annotations

from casemate.project import Project, parse_project

APP = '[app]\nname = "notes"\nserve = "notes:app"\n'


def project(text: str = "", *, app: str = APP) -> Project:
    """The project of ``app`` and ``text``."""
    return parse_project((app + text).encode(), "casemate.toml")
