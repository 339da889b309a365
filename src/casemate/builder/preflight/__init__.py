"""What of an application does not work in Gramine, told before an image is written.

Charter: reads the modules of the closure and the files of the image; runs nothing, opens nothing else, and
needs no Gramine. It judges the application's own code, and of other people's packages only that they are
used: what they could do is not what they do. Each rule says how its facts are known. What a rule cannot see
before the run, a rehearsal sees.
"""

from casemate.builder.preflight.finding import Finding, PreflightError
from casemate.builder.preflight.preflight import (
    Subject,
    check_application,
    check_native,
    joined,
    require_acceptable,
)
from casemate.builder.preflight.rule import Rule, all_rules

__all__ = [
    "Finding",
    "PreflightError",
    "Rule",
    "Subject",
    "all_rules",
    "check_application",
    "check_native",
    "joined",
    "require_acceptable",
]
