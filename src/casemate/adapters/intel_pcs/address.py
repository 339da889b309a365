"""Where an upstream service and a proxy are, as URLs say it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

from casemate.errors import UsageError

#: What clients of a cache are told to name, and what its paths begin with; here it is part of the path.
_API = re.compile(r"/(?:sgx|tdx)/certification(?:/v[0-9]+)?\Z")
_HOST = re.compile(r"[A-Za-z0-9_.:-]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamAddress:
    """Where a service is.

    Attributes:
        host: Its name or address.
        port: Its port.
        path: What comes before the paths of the API; empty or from a slash to no slash.
    """

    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str) -> UpstreamAddress:
        """Read a URL; the paths of the API at its end may be there or not.

        Raises:
            UsageError: Not ``https``, or more than host, port and path.
        """
        parts = _split(url)
        if parts is None or parts.scheme != "https" or parts.username is not None or parts.query:
            raise UsageError(
                "URL of the upstream service",
                expected="https://HOST, https://HOST:PORT or the same with a path",
                got="something else",
                hint="begin it with https://: requests name keys and platforms, which are not public",
            )
        path = _API.sub("", parts.path.rstrip("/"))
        return cls(host=parts.hostname or "", port=parts.port or 443, path=path)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"https://{host}{'' if self.port == 443 else f':{self.port}'}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAddress:
    """Where a proxy is that gives tunnels (RFC 9110, section 9.3.6).

    Attributes:
        host: Its name or address.
        port: Its port.
        credentials: ``USER:PASSWORD``; empty for none. Never printed.
    """

    host: str
    port: int
    credentials: str = field(default="", repr=False)


def proxy_address(url: str) -> ProxyAddress:
    """Read the URL of a proxy.

    Raises:
        UsageError: Not ``http``, or more than user, password, host and port.
    """
    parts = _split(url)
    if parts is None or parts.scheme != "http" or parts.path not in {"", "/"} or parts.query:
        # Not with what was given: there may be a password in it.
        raise UsageError(
            "URL of the proxy",
            expected="http://HOST:PORT or http://USER:PASSWORD@HOST:PORT",
            got="something else",
            hint="the connection to the service itself is TLS from end to end, through whatever proxy",
        )
    named = parts.username is not None
    credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}" if named else ""
    return ProxyAddress(host=parts.hostname or "", port=parts.port or 80, credentials=credentials)


def _split(url: str) -> SplitResult | None:
    """The parts of a URL with a host and no fragment, and nothing in it that is not visible ASCII."""
    if re.fullmatch(r"[!-~]{1,2048}", url) is None:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    usable = host is not None and _HOST.match(host) is not None and port != 0 and not parts.fragment
    return parts if usable else None
