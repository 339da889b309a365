"""Names of images in registries: ``[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:…]``.

Specification: OCI Distribution 1.1, "Pulling manifests", for repositories, tags and digests; what a name
without a host means is Docker's custom.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Final

from casemate.errors import UsageError

_PORT: Final = r"(?::[0-9]{1,5})?"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\]){_PORT}")
_COMPONENT: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
#: Of host and repository together.
_LONGEST: Final = 255
_HUB: Final = "docker.io"
#: Where Docker Hub's registry really is.
_HUB_API: Final = "registry-1.docker.io"
_LATEST: Final = "latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageReference:
    """The name of an image in a registry.

    Attributes:
        host: ``HOST`` or ``HOST:PORT``, as a user names it.
        repository: Without the host.
        tag: ``None`` where a digest stands alone.
        digest: ``sha256:…``; ``None`` where only a tag is given.
    """

    host: str
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read a name; without a host it is Docker Hub's, without tag and digest it is ``latest``.

        Raises:
            UsageError: It is none.
        """
        rest, at, digest = text.partition("@")
        first, slash, path = rest.partition("/")
        named = bool(slash) and (set(".:[") & set(first) or first == "localhost" or first != first.lower())
        host, rest = (first, path) if named else (_HUB, rest)
        repository, colon, tag = rest.partition(":")
        if not named and "/" not in repository:
            repository = f"library/{repository}"
        host = _HUB if host in {_HUB_API, "index.docker.io"} else host
        if (
            (at and _DIGEST.fullmatch(digest) is None)
            or (colon and _TAG.fullmatch(tag) is None)
            or _HOST.fullmatch(host) is None
            or _REPOSITORY.fullmatch(repository) is None
            or len(host) + len(repository) >= _LONGEST
        ):
            raise UsageError(
                "name of an image in a registry",
                expected="[HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST]",
                got=ascii(text)[1:-1][:300],
                hint="repositories are in lower case",
            )
        return cls(
            host=host,
            repository=repository,
            tag=tag if colon else None if at else _LATEST,
            digest=digest if at else None,
        )

    @property
    def api_host(self) -> str:
        """Whom to ask."""
        return _HUB_API if self.host == _HUB else self.host

    @property
    def is_local(self) -> bool:
        """Whether the registry is on this machine, so that nobody can listen on the way."""
        name = self.host.rpartition(":")[0] if re.search(r":[0-9]+\Z", self.host) else self.host
        return is_loopback(name.strip("[]"))

    @property
    def where(self) -> str:
        """What is asked for by: the digest where there is one, else the tag."""
        return self.digest or self.tag or _LATEST

    def pinned(self, digest: str) -> ImageReference:
        """The same with ``digest``: a name for exactly these bytes."""
        return replace(self, digest=digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.repository}{tag}{digest}"


def is_loopback(host: str) -> bool:
    """Whether a host, without its port, is this machine by its name alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
