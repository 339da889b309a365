"""What a registry says about who may ask: the ``WWW-Authenticate`` header (RFC 9110, section 11.6.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from casemate.errors import RegistryError
from casemate.formats.image_reference import is_loopback

_SCHEME: Final = re.compile(r"\s*,?\s*(Bearer|Basic)(?:\s+|\Z)", re.IGNORECASE)
_PARAMETER: Final = re.compile(r'\s*,?\s*([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_LONGEST: Final = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class BearerChallenge:
    """A token is wanted, and there is one at ``realm``.

    Attributes:
        realm: URL.
        service: For whom; empty where nothing is said.
        scope: What for; empty where nothing is said.
    """

    realm: str
    service: str
    scope: str


@dataclass(frozen=True, slots=True)
class BasicChallenge:
    """A user and a password are wanted."""


def read_challenges(headers: list[str]) -> BearerChallenge | BasicChallenge | None:
    """What is wanted; a token before a password, and ``None`` for neither."""
    found: dict[str, dict[str, str]] = {}
    for header in headers:
        text, at = header[:_LONGEST], 0
        scheme: dict[str, str] | None = None
        while at < len(text):
            if match := _PARAMETER.match(text, at):
                if scheme is not None:
                    quoted, plain = match[2], match[3]
                    value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
                    scheme.setdefault(match[1].lower(), value)
            elif match := _SCHEME.match(text, at):
                scheme = found.setdefault(match[1].lower(), {})
            else:
                break
            at = match.end()
    bearer = found.get("bearer")
    if bearer is not None and bearer.get("realm"):
        return BearerChallenge(
            realm=bearer["realm"], service=bearer.get("service", ""), scope=bearer.get("scope", "")
        )
    return BasicChallenge() if "basic" in found else None


def require_safe_realm(realm: str, *, plain: bool, host: str) -> None:
    """See that credentials may go to where a registry sends us for a token.

    Args:
        realm: URL.
        plain: Whether the registry itself is asked without TLS, which it is only on this machine or where
            somebody wanted it.
        host: The registry, with its port where it has one.

    Raises:
        RegistryError: No TLS on the way, but for a registry that is asked so itself, on the same host.
    """
    try:
        parts = urlsplit(realm)
        name, _ = parts.hostname or "", parts.port
    except ValueError:
        parts, name = urlsplit(""), ""
    visible = re.fullmatch("[!-~]+", realm) is not None
    same = name == _name(host) or (is_loopback(name) and is_loopback(_name(host)))
    allowed = parts.scheme == "https" or (parts.scheme == "http" and plain and same)
    if not (visible and name and allowed and parts.username is None and not parts.fragment):
        raise RegistryError(
            "place for tokens",
            expected="an https URL",
            got=ascii(realm)[1:-1][:200],
            where=host,
            hint="credentials are not sent there: the registry is set up wrongly, or is none",
        )


def _name(host: str) -> str:
    return re.sub(r":[0-9]+\Z", "", host).strip("[]")
