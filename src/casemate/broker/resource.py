"""Names of resources and the secrets behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from casemate.errors import FormatError

#: One segment of a name, as Trustee allows it: no leading dot, so neither ``.`` nor ``..``.
_SEGMENT = re.compile(r"[a-zA-Z0-9_-][a-zA-Z0-9_.-]*", re.ASCII)
#: Characters of a whole name: three segments of 255, as the attester's configuration allows.
MAX_NAME_LENGTH = 3 * 255 + 2
#: Bytes of a secret.
MAX_SECRET_SIZE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ResourceName:
    """``repository/type/tag``, the three segments of ``kbs:///repository/type/tag``."""

    repository: str
    type: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> ResourceName:
        """Read a name.

        Raises:
            FormatError: There are not three segments, or one is not as Trustee's broker allows it.
        """
        if len(text) > MAX_NAME_LENGTH:
            raise FormatError(
                "resource name",
                expected=f"at most {MAX_NAME_LENGTH} characters",
                got=str(len(text)),
            )
        segments = text.split("/")
        if len(segments) != 3:
            raise FormatError(
                "resource name",
                expected="three segments, repository/type/tag",
                got=f"{len(segments)} in {text!r}",
            )
        for segment in segments:
            if _SEGMENT.fullmatch(segment) is None:
                raise FormatError(
                    "resource name",
                    expected="segments of letters, digits, '_', '-' and '.', the first not a '.'",
                    got=f"{segment!r} in {text!r}",
                )
        repository, kind, tag = segments
        return cls(repository=repository, type=kind, tag=tag)

    def __str__(self) -> str:
        return f"{self.repository}/{self.type}/{self.tag}"


@dataclass(frozen=True, slots=True)
class Secret:
    """Bytes that are released to attested workloads only; they print as ``<redacted>``."""

    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.value) <= MAX_SECRET_SIZE:
            raise FormatError("secret", expected=f"1 to {MAX_SECRET_SIZE} bytes", got=str(len(self.value)))

    def __repr__(self) -> str:
        return "<redacted>"
