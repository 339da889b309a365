"""Signing keys in Azure Key Vault and Managed HSM: ``azurekv://VAULT/KEY[/VERSION]``.

Two requests of the service's REST interface, version 7.4: get key, and sign with RS256 over the SHA-256 of
the data, which is all that leaves this machine. Who signs is proved by azure-identity.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from typing import Final, TypeAlias, TypeVar

import msgspec

from casemate.errors import KeyUnfitError, UsageError
from casemate.formats.one_line import one_line
from casemate.keys import AskPassphrase, RsaPublicKey, require_signature

API_VERSION: Final = "7.4"
#: Seconds that each answer may take.
TIMEOUT: Final = 30.0
#: Bytes of an answer.
MAX_ANSWER: Final = 1 << 16
#: Domains of the service in Azure's clouds: what a token is asked for is derived from them.
DOMAINS: Final = tuple(
    f"{service}.{cloud}"
    for cloud in ("azure.net", "azure.cn", "usgovcloudapi.net")
    for service in ("vault", "managedhsm")
)

_URI: Final = re.compile(
    r"//(?P<vault>[a-z0-9.-]+)/(?P<key>[0-9A-Za-z-]{1,127})(?:/(?P<version>[0-9a-f]{32}))?"
)
_KEY_ID: Final = re.compile(r"https://[^/]+/keys/(?P<key>[0-9A-Za-z-]+)/(?P<version>[0-9a-f]{32})")
_LONGEST_MESSAGE: Final = 300

#: Gives an access token for a scope.
AskToken: TypeAlias = Callable[[str], str]
#: Gives a connection to a host.
Connect: TypeAlias = Callable[[str], HTTPSConnection]

_Answer = TypeVar("_Answer")


class _Jwk(msgspec.Struct, frozen=True):
    kid: str
    kty: str
    n: str = ""
    e: str = ""


class _Attributes(msgspec.Struct, frozen=True):
    enabled: bool = True


class _KeyBundle(msgspec.Struct, frozen=True):
    key: _Jwk
    attributes: _Attributes = _Attributes()


class _Signature(msgspec.Struct, frozen=True):
    kid: str
    value: str


class _Error(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _ErrorAnswer(msgspec.Struct, frozen=True):
    error: _Error


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyName:
    """A key of a vault.

    Attributes:
        host: Name of the vault in the DNS.
        key: Name of the key.
        version: Its version; ``None`` is the newest.
    """

    host: str
    key: str
    version: str | None

    @classmethod
    def parse(cls, rest: str) -> KeyName:
        """Read a URI from behind its scheme.

        Raises:
            UsageError: Not such a URI, or a vault in no cloud that is known.
        """
        found = _URI.fullmatch(rest)
        if found is None:
            raise _wrong_uri("something else")
        vault = found["vault"]
        host = vault if "." in vault else f"{vault}.{DOMAINS[0]}"
        name, _, domain = host.partition(".")
        if domain not in DOMAINS or not name:
            raise _wrong_uri(f"a vault in {domain}")
        return cls(host=host, key=found["key"], version=found["version"])

    @property
    def scope(self) -> str:
        """What an access token has to be good for."""
        return f"https://{self.host.partition('.')[2]}/.default"


def open_key(rest: str, ask: AskPassphrase) -> AzureSigner:
    """The key of the URI ``azurekv:`` and ``rest``.

    Raises:
        UsageError: Not such a URI.
        KeyUnfitError: As for :meth:`AzureSigner.open`.
    """
    del ask  # azure-identity finds what proves who signs
    return AzureSigner.open(KeyName.parse(rest), ask_token=_ask_azure_identity, connect=_connect)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class AzureSigner:
    """A :class:`~casemate.keys.Signer` whose key stays in its vault."""

    name: KeyName
    public_key: RsaPublicKey
    ask_token: AskToken
    connect: Connect

    @classmethod
    def open(cls, name: KeyName, *, ask_token: AskToken, connect: Connect) -> AzureSigner:
        """Ask the vault for the public key; the version that it names is the one that signs.

        Raises:
            KeyUnfitError: The vault cannot be reached or refuses; the key is disabled or not RSA. Length and
                exponent are not looked at.
        """
        vault = _Vault(name=name, ask_token=ask_token, connect=connect)
        bundle = vault.ask("GET", f"/keys/{name.key}/{name.version or ''}", None, _KeyBundle)
        if bundle.key.kty not in {"RSA", "RSA-HSM"}:
            raise KeyUnfitError(
                "key in the vault", expected="an RSA key", got="another kind", where=str(vault)
            )
        if not bundle.attributes.enabled:
            raise KeyUnfitError("key in the vault", expected="enabled", got="disabled", where=str(vault))
        identity = _KEY_ID.fullmatch(bundle.key.kid)
        if identity is None or identity["key"] != name.key or name.version not in {None, identity["version"]}:
            raise KeyUnfitError(
                "key in the vault", expected="the one that was asked for", got="another", where=str(vault)
            )
        return cls(
            name=KeyName(host=name.host, key=name.key, version=identity["version"]),
            public_key=RsaPublicKey(
                modulus=int.from_bytes(_decoded(bundle.key.n, str(vault))),
                exponent=int.from_bytes(_decoded(bundle.key.e, str(vault))),
            ),
            ask_token=ask_token,
            connect=connect,
        )

    def sign(self, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256; what the vault answers is verified.

        Raises:
            KeyUnfitError: The vault cannot be reached, refuses, or answers something else.
        """
        vault = _Vault(name=self.name, ask_token=self.ask_token, connect=self.connect)
        request = json.dumps({"alg": "RS256", "value": _encoded(hashlib.sha256(data).digest())}).encode()
        path = f"/keys/{self.name.key}/{self.name.version}/sign"
        signature = _decoded(vault.ask("POST", path, request, _Signature).value, str(vault))
        require_signature(data, signature, self.public_key)
        return signature


@dataclass(frozen=True, slots=True, kw_only=True)
class _Vault:
    name: KeyName
    ask_token: AskToken
    connect: Connect

    def __str__(self) -> str:
        return f"{self.name.host}, key {self.name.key}"

    def ask(self, method: str, path: str, body: bytes | None, kind: type[_Answer]) -> _Answer:
        """One request; nothing is repeated and no redirection is followed."""
        status, answer = self._exchange(method, path, body)
        if status != 200:
            raise self._refusal(status, answer)
        try:
            return msgspec.json.decode(answer, type=kind)
        except msgspec.DecodeError as error:
            raise KeyUnfitError(
                "answer of the vault",
                expected=f"that of version {API_VERSION}",
                got="another",
                where=str(self),
            ) from error

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {
            "Authorization": f"Bearer {self.ask_token(self.name.scope)}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        connection = self.connect(self.name.host)
        try:
            connection.request(method, f"{path}?api-version={API_VERSION}", body=body, headers=headers)
            response = connection.getresponse()
            return response.status, response.read(MAX_ANSWER)
        except (OSError, HTTPException) as error:
            got = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
            raise KeyUnfitError("vault cannot be reached", got=got, where=str(self)) from error
        finally:
            connection.close()

    def _refusal(self, status: int, answer: bytes) -> KeyUnfitError:
        said = f"status {status}"
        try:
            told = msgspec.json.decode(answer, type=_ErrorAnswer).error
            said += one_line(f", {told.code}: {told.message}", _LONGEST_MESSAGE)
        except msgspec.DecodeError:
            pass
        hint = {
            401: "the access token does not hold for this vault's tenant",
            403: "who signs needs the permissions keys/get and keys/sign (role Key Vault Crypto User, "
            "or Managed HSM Crypto User)",
            404: "the vault has no such key, or no such version of it",
            429: "the vault has too much to do; give the command again later",
        }.get(status)
        return KeyUnfitError("vault", expected="an answer", got=said, where=str(self), hint=hint)


def _connect(host: str) -> HTTPSConnection:
    return HTTPSConnection(host, timeout=TIMEOUT, context=ssl.create_default_context())


def _ask_azure_identity(scope: str) -> str:
    from azure.core.exceptions import AzureError  # noqa: PLC0415  # half a second, and tests do without
    from azure.identity import DefaultAzureCredential  # noqa: PLC0415  # same

    try:
        with DefaultAzureCredential() as credential:
            return credential.get_token(scope).token
    except (AzureError, ValueError) as error:
        raise KeyUnfitError(
            "proof for Azure who signs",
            expected="one",
            got="none",
            where=scope,
            hint="log in with: az login; or give the machine a managed or workload identity",
        ) from error


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str, where: str) -> bytes:
    """Base64url without padding, RFC 7515, section 2."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyUnfitError(
            "answer of the vault", expected="base64url", got="something else", where=where
        ) from error


def _wrong_uri(got: str) -> UsageError:
    return UsageError(
        "key URI",
        expected="azurekv://VAULT/KEY or azurekv://VAULT/KEY/VERSION",
        got=got,
        hint="VAULT is the vault's name, or its host name in one of: " + ", ".join(DOMAINS),
    )
