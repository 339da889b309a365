"""What looks like a secret: by the name that it goes under, by its shape, by how random it is.

A guess. No value is ever given back.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit

#: Longer values are judged by their beginning.
MAX_VALUE: Final = 4096

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_SECRET_WORDS: Final = re.compile(
    "password|passwd|passphrase|secret|token|credentials?|apikey|privatekey|accesskey"
)
_KEY_KINDS: Final = re.compile("api|private|access|secret|encryption|signing|master|account")
#: A name that ends so says where the secret is, or something about it.
_PLACES: Final = re.compile(
    "file|path|dir|folder|name|id|ur[il]|header|ttl|seconds|minutes|timeout|length|size|type|endpoint|issuer"
    "|audience|algorithm|version|prefix|enabled|expiry|lifetime"
)
_SHAPES: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{30,}"
    r"|\bgithub_pat_[A-Za-z0-9_]{30,}"
    r"|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\b[sr]k_live_[A-Za-z0-9]{16,}"
    r"|\bsk-[A-Za-z0-9_-]{20,}"
    r"|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bAIza[A-Za-z0-9_-]{35}"
    r"|\bhvs\.[A-Za-z0-9_-]{20,}"
    r"|\bpypi-[A-Za-z0-9_-]{32,}"
    r"|\bnpm_[A-Za-z0-9]{36}\b"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\."
    r"|\b(?:AccountKey|SharedAccessKey|password|pwd)=[^;\s]{4,}"
)
_PASSWORD_OPTION: Final = re.compile(
    r"--?(?:[a-z]+-)*(?:password|passwd|passphrase|secret|token|api-?key)=(?!\s*$).+"
)
_DENSE: Final = re.compile(r"[A-Za-z0-9+/_=-]{20,}")
_HEX: Final = re.compile(r"[0-9a-fA-F]+")
#: Bits of each character; English text and identifiers have less, random base64 has more.
_RANDOM_BITS: Final = 4.0
#: Random hexadecimal has nearly four; digests of public things have as much, so that a name must say more.
_HARMLESS: Final = frozenset(
    {"", "true", "false", "yes", "no", "on", "off", "none", "null", "any", "default"}
)
#: Gramine's own variables, which name places and measurements.
_GRAMINE: Final = ("RA_TLS_", "SECRET_PROVISION_")


def is_secret_name(name: str) -> bool:
    """Whether a variable of this name holds a secret rather than the place of one."""
    if name.startswith(_GRAMINE):
        return False
    words = [word.lower() for word in _WORD.findall(name[:MAX_VALUE])]
    if not words or _PLACES.fullmatch(words[-1]):
        return False
    named = any(_SECRET_WORDS.fullmatch(word) for word in words)
    return named or any(word == "key" and _KEY_KINDS.fullmatch(kind) for kind, word in pairwise(words))


def is_secret_value(value: str) -> bool:
    """Whether a value has the shape of a secret, or is random."""
    value = value[:MAX_VALUE]
    if _SHAPES.search(value) or _has_password(value):
        return True
    if _DENSE.fullmatch(value) is None or _HEX.fullmatch(value) or not re.search("[0-9]", value):
        return False
    if value.startswith("/"):
        return False
    shares = (count / len(value) for count in Counter(value).values())
    return -sum(share * math.log2(share) for share in shares) >= _RANDOM_BITS


def secret_reason(name: str, value: str) -> str | None:
    """Why ``value`` under ``name`` seems to be a secret, without the value; ``None`` when it does not."""
    if value.lower() in _HARMLESS or value.isdecimal() or name.startswith(_GRAMINE):
        return None
    if is_secret_value(value):
        return "a value that looks like one"
    places = value.startswith(("/", "file:", "kbs:///", "./", "../"))
    return "a name that says so, with a value" if is_secret_name(name) and not places else None


def has_secret(text: str) -> bool:
    """Whether an argument of a program or the like carries a secret; random text alone is not enough."""
    text = text[:MAX_VALUE]
    return bool(_SHAPES.search(text) or _has_password(text) or _PASSWORD_OPTION.fullmatch(text))


def _has_password(value: str) -> bool:
    if "://" not in value:
        return False
    try:
        return bool(urlsplit(value).password)
    except ValueError:
        return False
