"""``casemate.toml``: from its bytes to a frozen value.

Charter: pure. No file is opened, no name is looked up; whether a path exists or an application imports is
found out by those who read it. Every key has its default here; unknown keys are refused with the nearest one.
"""

from casemate.project.parse import parse_project
from casemate.project.values import (
    PROJECT_FILE,
    App,
    Broker,
    Closure,
    ClosureMode,
    Destination,
    Enclave,
    EncryptedMount,
    Interface,
    Kubernetes,
    Mount,
    Preflight,
    Project,
    Secret,
    TmpfsMount,
)

__all__ = [
    "PROJECT_FILE",
    "App",
    "Broker",
    "Closure",
    "ClosureMode",
    "Destination",
    "Enclave",
    "EncryptedMount",
    "Interface",
    "Kubernetes",
    "Mount",
    "Preflight",
    "Project",
    "Secret",
    "TmpfsMount",
    "parse_project",
]
