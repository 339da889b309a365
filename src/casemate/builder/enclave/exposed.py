"""Variables of ``[env]`` that look like secrets: the manifest shows them to everyone who has the image.

A guess by name and by value, the same that ``casemate lint`` makes; here it warns and does not refuse.
"""

from __future__ import annotations

from casemate.builder.lint.secrets import secret_reason
from casemate.project import Project


def exposed_variables(project: Project) -> tuple[str, ...]:
    """Names of the variables whose values should come from ``[secrets]``, sorted."""
    return tuple(name for name, value in project.env if secret_reason(name, value) is not None)
