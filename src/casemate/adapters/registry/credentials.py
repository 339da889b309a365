"""Who we are to a registry: what ``docker login`` has kept.

Read are ``config.json`` of Docker's folder (``auths``, ``credHelpers``, ``credsStore``) and the programs
``docker-credential-NAME``, as docker/docker-credential-helpers describes them. Nothing is ever written.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from casemate.errors import FormatError, ToolchainError
from casemate.formats.documents import read_document

#: Under which Docker keeps what is for its hub.
_HUB_KEY: Final = "https://index.docker.io/v1/"
_HUB_NAMES: Final = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})
_LARGEST: Final = 4 * 1024 * 1024
#: Seconds that a helper may take: some ask a person.
_HELPER_TIME: Final = 120.0
#: What a helper says when it knows nobody there; it is not an error.
_NOT_FOUND: Final = "credentials not found"
#: The user name of a helper whose secret is no password but a token that gets tokens.
_TOKEN_USER: Final = "<token>"  # noqa: S105  a mark, not a secret


class _Auth(msgspec.Struct, frozen=True):
    auth: str = ""
    username: str = ""
    password: str = ""
    token: str = msgspec.field(name="identitytoken", default="")


class _Config(msgspec.Struct, frozen=True):
    auths: dict[str, _Auth] = {}
    helpers: dict[str, str] = msgspec.field(name="credHelpers", default={})
    store: str = msgspec.field(name="credsStore", default="")


class _Kept(msgspec.Struct, frozen=True, rename="pascal"):
    username: str
    secret: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Who we are to one registry; not printed.

    Attributes:
        username: Of ``password``; empty where there is a token alone.
        password: Or whatever the registry takes for one.
        identity_token: With which tokens are to be had (OAuth 2.0 refresh token); empty for none.
    """

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an ``Authorization`` header (RFC 7617); empty where there is no password."""
        if not self.username:
            return ""
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be in a message."""
        candidates = (self.password, self.identity_token, self.basic.removeprefix("Basic "))
        return tuple(secret for secret in candidates if secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class DockerCredentials:
    """Docker's own configuration.

    Attributes:
        folder: ``~/.docker``, or what ``DOCKER_CONFIG`` names.
    """

    folder: Path

    def find(self, host: str) -> Credentials | None:
        """Who we are to the registry ``host``; ``None`` for nobody in particular.

        Raises:
            FormatError: The configuration is not what Docker writes.
            ToolchainError: It cannot be read, or a helper that it names is not there or fails.
        """
        config = self._config()
        if config is None:
            return None
        key = _HUB_KEY if host in _HUB_NAMES else host
        name = next((name for known, name in config.helpers.items() if _same(known, host)), config.store)
        if name and (kept := self._ask(name, key)) is not None:
            return kept
        found = [auth for known, auth in config.auths.items() if _same(known, host)]
        return self._credentials(found[0]) if found else None

    @property
    def _path(self) -> Path:
        return self.folder / "config.json"

    def _config(self) -> _Config | None:
        try:
            with self._path.open("rb") as file:
                data = file.read(_LARGEST + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ToolchainError(
                "Docker's configuration cannot be read", got=error.strerror, where=str(self._path)
            ) from error
        return read_document(
            data,
            _Config,
            name="Docker's configuration",
            limit=_LARGEST,
            expected="what docker login writes",
            where=str(self._path),
        )

    def _credentials(self, auth: _Auth) -> Credentials | None:
        username, password = auth.username, auth.password
        if auth.auth:
            try:
                decoded = base64.b64decode(auth.auth, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise self._wrong() from error
            username, colon, password = decoded.partition(":")
            if not colon:
                raise self._wrong()
        if not username and not auth.token:
            return None
        return Credentials(username=username, password=password.rstrip("\0"), identity_token=auth.token)

    def _wrong(self) -> FormatError:
        # Not with what was found, for it is a password, if a garbled one.
        return FormatError(
            "credentials in Docker's configuration",
            expected="base64 of USER:PASSWORD",
            got="something else",
            where=str(self._path),
            hint="log in again with: docker login",
        )

    def _ask(self, name: str, key: str) -> Credentials | None:
        """What a helper has kept; ``None`` where it knows nobody there."""
        program = f"docker-credential-{name}"
        path = shutil.which(program) if re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]*", name) else None
        if path is None:
            raise ToolchainError(
                "helper of Docker's configuration",
                expected=f"the program {ascii(program)[1:-1]} on PATH",
                got="none",
                where=str(self._path),
            )
        try:
            done = subprocess.run(
                [path, "get"], input=key.encode(), capture_output=True, timeout=_HELPER_TIME, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self._failed(program, "no answer") from error
        if done.returncode != 0:
            said = (done.stdout + done.stderr).decode(errors="replace")
            if _NOT_FOUND in said:
                return None
            raise self._failed(program, f"exit code {done.returncode}")
        return self._kept(program, done.stdout)

    def _kept(self, program: str, answer: bytes) -> Credentials | None:
        try:
            kept = msgspec.convert(json.loads(answer), _Kept)
        except (ValueError, RecursionError):
            # Not from the exception, which quotes what it could not read.
            raise self._failed(program, "something that is no credential") from None
        if kept.username == _TOKEN_USER:
            return Credentials(identity_token=kept.secret)
        return Credentials(username=kept.username, password=kept.secret) if kept.username else None

    def _failed(self, program: str, got: str) -> ToolchainError:
        return ToolchainError(
            "helper of Docker's configuration",
            expected=f"an answer from {program} get",
            got=got,
            where=str(self._path),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenCredentials:
    """Credentials in memory, by host."""

    kept: Mapping[str, Credentials]

    def find(self, host: str) -> Credentials | None:
        """Who we are to the registry ``host``."""
        return self.kept.get(host)


def _same(known: str, host: str) -> bool:
    """Whether a key of the configuration is for ``host``: old ones are URLs."""
    name = re.sub(r"\Ahttps?://", "", known).partition("/")[0]
    return name == host or (name in _HUB_NAMES and host in _HUB_NAMES)
