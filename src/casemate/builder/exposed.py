"""Variables of ``[env]`` that look like secrets: the manifest shows them to everyone who has the image.

A guess by name and by value, so it warns and does not refuse.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import Final
from urllib.parse import urlsplit

from casemate.project import Project

_NAME: Final = re.compile(r"passw|secret|token|credential|api_?key|private_?key|access_?key", re.IGNORECASE)
#: Such a variable names a place and not the secret.
_PLACE: Final = re.compile(r"_(FILE|PATH|DIR|FOLDER|NAME|ID|URL|HEADER|TTL|SECONDS)$", re.IGNORECASE)
_DENSE: Final = re.compile(r"[A-Za-z0-9+/_=-]{20,}")
#: Bits of each character; English text and identifiers have less, random base64 has more.
_RANDOM_BITS: Final = 4.0


def exposed_variables(project: Project) -> tuple[str, ...]:
    """Names of the variables whose values should come from ``[secrets]``, sorted."""
    return tuple(name for name, value in project.env if value and _looks_secret(name, value))


def _looks_secret(name: str, value: str) -> bool:
    if value.startswith(("/", "kbs:///")):
        return False
    named = _NAME.search(name) is not None and _PLACE.search(name) is None
    return named or _has_password(value) or _is_random(value)


def _has_password(value: str) -> bool:
    try:
        return urlsplit(value).password is not None
    except ValueError:
        return False


def _is_random(value: str) -> bool:
    if _DENSE.fullmatch(value) is None or not re.search("[0-9]", value):
        return False
    shares = (count / len(value) for count in Counter(value).values())
    return -sum(share * math.log2(share) for share in shares) >= _RANDOM_BITS
