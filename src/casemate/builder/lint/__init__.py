"""What is wrong with a manifest, a template of one, or a Dockerfile, with place and mend.

Charter: reads bytes that it is given and gives findings. It runs nothing, renders nothing, opens no file and
needs no Gramine. Every rule is in :mod:`~casemate.builder.lint.catalogue`; a place is exact or absent.
Signing waits for the judging of manifests only; :mod:`~casemate.builder.lint.dockerfile_rules` judges
Dockerfiles, :mod:`~casemate.builder.lint.kinds` tells files apart,
:mod:`~casemate.builder.lint.fix` mends them.
"""

from casemate.builder.lint.catalogue import BY_ID, RULES
from casemate.builder.lint.finding import Edit, Finding, Severity
from casemate.builder.lint.manifest import lint_manifest
from casemate.builder.lint.rule import Rule

__all__ = [
    "BY_ID",
    "RULES",
    "Edit",
    "Finding",
    "Rule",
    "Severity",
    "lint_manifest",
]
