"""Every rule: its id, how grave it is, why it is there and what to do.

``docs/reference/lint.md`` is held against this list by a test. A rule that can be mended in one way only says
so; ``--fix`` then does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from casemate.builder.lint.dockerfile_catalogue import DOCKERFILE_RULES
from casemate.builder.lint.manifest_catalogue import MANIFEST_RULES
from casemate.builder.lint.rule import Rule

RULES: Final[tuple[Rule, ...]] = (*MANIFEST_RULES, *DOCKERFILE_RULES)
BY_ID: Final[Mapping[str, Rule]] = {rule.id: rule for rule in RULES}
