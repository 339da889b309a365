"""A repository of a registry: who asks, how often, and which redirects are followed."""

from __future__ import annotations

import email.utils
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Final, Protocol, TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

from casemate.adapters.registry.challenge import (
    BasicChallenge,
    BearerChallenge,
    read_challenges,
    require_safe_realm,
)
from casemate.adapters.registry.connection import Broken, Connections, Reply, Request
from casemate.adapters.registry.credentials import Credentials
from casemate.adapters.registry.limits import RegistryLimits, RegistryMeans
from casemate.errors import RegistryError
from casemate.formats.image_reference import ImageReference
from casemate.formats.one_line import one_line

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_TRANSIENT: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
#: Bytes that are read of an answer that says no.
_REFUSAL: Final = 4096
_LONGEST_MESSAGE: Final = 200
_REDACTED: Final = "<redacted>"
_TOKEN: Final = re.compile("[!-~]+")
_CLIENT: Final = "casemate"


class CredentialSource(Protocol):
    """Where it is kept who we are."""

    def find(self, host: str) -> Credentials | None:
        """Who we are to the registry ``host``; ``None`` for nobody in particular."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How registries are reached.

    Attributes:
        plain_http: Without TLS, wherever the registry is; somebody has to have asked for it.
        ca: File with the authorities that certify it, PEM; ``None`` for the system's, or ``SSL_CERT_FILE``.
        proxy: URL of a proxy; ``None`` for none.
    """

    plain_http: bool = False
    ca: Path | None = None
    proxy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer.

    Attributes:
        status: The status.
        headers: By name in lower case.
        body: Its bytes.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Refusal(Exception):  # noqa: N818  caught before it leaves the package; what leaves is a RegistryError
    """An answer that says no.

    Attributes:
        status: The status.
        what: In words, for ``got``.
        retry_after: Seconds after which the registry wants to be asked again, where it says so.
    """

    def __init__(self, status: int, what: str, retry_after: float | None) -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.retry_after = retry_after


_Result = TypeVar("_Result")


class Registry:
    """One repository.

    On this machine it is asked without TLS if it answers so; elsewhere only where ``way`` says so.

    Args:
        reference: The repository.
        credentials: Where it is kept who we are.
        way: How to reach it.
        limits: What it may cost.
        means: What asking takes of the world.

    Raises:
        UsageError: A file or URL of ``way`` cannot be used.
    """

    def __init__(
        self,
        reference: ImageReference,
        credentials: CredentialSource,
        *,
        way: Way | None = None,
        limits: RegistryLimits | None = None,
        means: RegistryMeans | None = None,
    ) -> None:
        self.reference = reference
        self.limits = limits or RegistryLimits()
        self.means = means or RegistryMeans()
        self._credentials = credentials
        self._way = way or Way()
        self._connections = Connections(self.limits, self.means, ca=self._way.ca, proxy=self._way.proxy)
        self._origin: str | None = None
        self._authorization = ""
        self._secrets: tuple[str, ...] = ()

    def url(self, path: str) -> str:
        """The URL of something in the repository, ``path`` from ``/v2/NAME/`` on."""
        return f"{self._base()}/v2/{self.reference.repository}/{path}"

    def location(self, answer: Answer, url: str) -> str:
        """Where an answer to a question about ``url`` says that an upload goes on.

        Raises:
            RegistryError: Nowhere, or somewhere else than on the registry itself.
        """
        said = answer.headers.get("location", "")
        found = _joined(url, said)
        if found is None or not self._is_ours(found):
            raise RegistryError(
                "place for an upload",
                expected=f"one on {self._base()}",
                got=self._shown(found or said) if said else "none",
                where=self._shown(url),
                hint="nothing was sent there; a registry behind a proxy has to be told its own URL",
            )
        return found

    def ask(
        self, request: Request, *, accept: frozenset[int], subject: str, most: int | None = None
    ) -> Answer:
        """A whole answer with one of the statuses ``accept``, asked for until there is one or no hope.

        Args:
            request: What to ask; its body, if there is one, is bytes.
            accept: Statuses that are answers.
            subject: What it is about, for errors.
            most: Bytes of the answer; as many as a document has where nothing is said.

        Raises:
            RegistryError: There is none.
        """
        return self.repeat(lambda: self.once(request, accept=accept, most=most), request.url, subject)

    def once(self, request: Request, *, accept: frozenset[int], most: int | None = None) -> Answer:
        """A whole answer with one of the statuses ``accept``, asked for once.

        Raises:
            Broken: There is none.
            Refusal: It has another status.
        """
        with self.open(request, accept=accept) as reply:
            names = ("Location", "Range", "Docker-Content-Digest", "Content-Type", "OCI-Chunk-Min-Length")
            headers = {name.lower(): value for name in names if (value := reply.header(name)) is not None}
            body = b"" if request.method == "HEAD" else reply.document(most or self.limits.document)
            return Answer(status=reply.status, headers=headers, body=body)

    @contextmanager
    def open(self, request: Request, *, accept: frozenset[int]) -> Iterator[Reply]:
        """An answer whose body is still to be read.

        Who we are is said when the registry itself asks for it, once; redirects are followed for what is only
        read.

        Raises:
            Broken: There is none.
            Refusal: It has another status than ``accept`` has.
        """
        for last in (False, True):
            with self._redirected(request) as (reply, place):
                if reply.status in accept:
                    yield reply
                    return
                if reply.status != HTTPStatus.UNAUTHORIZED or last:
                    raise self._refusal(reply)
                # Another to whom the registry has sent us could name a place for our password.
                asked = reply.headers("WWW-Authenticate") if self._is_ours(place) else []
                challenge = read_challenges(asked)
                refusal = self._refusal(reply)
            if not self._authorise(challenge):
                raise refusal

    def repeat(self, attempt: Callable[[], _Result], url: str, subject: str) -> _Result:
        """What ``attempt`` gives, tried again after what may have been an accident.

        Raises:
            RegistryError: It gives nothing.
        """
        count = 1
        while True:
            try:
                return attempt()
            except (Broken, Refusal) as trouble:
                self.pause(trouble, count, url, subject)
            count += 1

    def pause(self, trouble: Broken | Refusal, count: int, url: str, subject: str) -> None:
        """Wait before the next attempt, the ``count``-th having failed.

        Raises:
            RegistryError: There is to be none.
        """
        limits = self.limits
        if isinstance(trouble, Broken):
            transient, asked = trouble.transient, None
        else:
            transient, asked = trouble.status in _TRANSIENT, trouble.retry_after
        pause = limits.pause * 2.0 ** (count - 1) * (1 - self.means.chance() / 2)
        if asked is not None:
            pause = max(asked, pause)
        if not transient or count >= limits.attempts or pause > limits.patience:
            raise self.error(trouble, count, url, subject) from trouble
        self.means.sleep(pause)

    def error(self, trouble: Broken | Refusal, count: int, url: str, subject: str) -> RegistryError:
        """The error that ends all attempts."""
        return RegistryError(
            subject,
            expected="an answer",
            got=self._fit(trouble.what) + (f", {count} times" if count > 1 else ""),
            where=self._shown(url),
            hint=self._hint(trouble),
        )

    def _hint(self, trouble: Broken | Refusal) -> str:
        host = self.reference.host
        if isinstance(trouble, Broken) and trouble.hint is not None:
            return trouble.hint
        match trouble.status if isinstance(trouble, Refusal) else None:
            case 401 | 403:
                return f"log in with: docker login {host}"
            case 404:
                return "see that the name is right; some registries say this also to those who may not see it"
            case 429:
                return "try again later, or log in: registries give more to those they know"
            case _:
                return f"see that {host} is a registry, can be reached from here, and is well"

    @contextmanager
    def _redirected(self, request: Request) -> Iterator[tuple[Reply, str]]:
        """An answer that is no redirect, if those that are may be followed, and the URL that gave it."""
        url, count = request.url, 0
        while True:
            with self._connections.open(self._signed(request, url)) as reply:
                if reply.status not in _REDIRECTS or request.method not in {"GET", "HEAD"}:
                    yield reply, url
                    return
                said = reply.header("Location") or ""
            count += 1
            if count > self.limits.redirects:
                raise Broken(f"more than {self.limits.redirects} redirects", transient=False)
            target = _joined(url, said)
            if target is None or not self._may_follow(target):
                raise Broken(f"a redirect to {self._shown(target or said)}", transient=False)
            url = target

    def _may_follow(self, url: str) -> bool:
        """Only with TLS, unless the registry itself is asked without and is meant."""
        return urlsplit(url).scheme == "https" or self._is_ours(url)

    def _signed(self, request: Request, url: str) -> Request:
        """With who we are, for the registry alone."""
        headers = dict(request.headers)
        if self._authorization and self._is_ours(url):
            headers["Authorization"] = self._authorization
        return replace(request, url=url, headers=headers)

    def _is_ours(self, url: str) -> bool:
        return _origin(url) == _origin(self._base())

    def _base(self) -> str:
        if self._origin is None:
            self._origin = f"{'http' if self._is_plain() else 'https'}://{self.reference.api_host}"
        return self._origin

    def _is_plain(self) -> bool:
        if self._way.plain_http:
            return True
        if not self.reference.is_local or self._way.ca is not None:
            return False
        try:
            with self._connections.open(
                Request(method="GET", url=f"http://{self.reference.api_host}/v2/")
            ) as reply:
                # What a server with TLS says to those who come without.
                return reply.status != HTTPStatus.BAD_REQUEST
        except Broken:
            return False

    def _authorise(self, challenge: BearerChallenge | BasicChallenge | None) -> bool:
        """Whether there is something to be said that has not been said."""
        credentials = self._credentials.find(self.reference.host)
        if credentials is not None:
            self._secrets = (*self._secrets, *credentials.secrets)
        former = self._authorization
        match challenge:
            case BearerChallenge():
                self._authorization = f"Bearer {self._token(challenge, credentials or Credentials())}"
            case BasicChallenge() if credentials is not None:
                self._authorization = credentials.basic
            case _:
                return False
        return self._authorization not in {"", former}

    def _token(self, challenge: BearerChallenge, credentials: Credentials) -> str:
        """A token from where the registry sends us (Docker's token authentication; OAuth 2.0)."""
        base = self._base()
        require_safe_realm(challenge.realm, plain=base.startswith("http:"), host=self.reference.api_host)
        wanted = {"service": challenge.service, "scope": challenge.scope}
        question = {name: value for name, value in wanted.items() if value}
        request = _token_request(challenge.realm, question, credentials)

        def attempt() -> bytes:
            with self._connections.open(request) as reply:
                if reply.status != HTTPStatus.OK:
                    raise self._refusal(reply)
                return reply.document(self.limits.document)

        answer = self.repeat(attempt, challenge.realm, f"token for {self.reference.host}")
        token = _read_token(answer)
        if token is None:
            raise RegistryError(
                f"token for {self.reference.host}",
                expected="a token",
                got="something else",
                where=self._shown(challenge.realm),
            )
        self._secrets = (*self._secrets, token)
        return token

    def _refusal(self, reply: Reply) -> Refusal:
        said = _spoken(reply.beginning(_REFUSAL))
        retry_after = self._retry_after(reply.header("Retry-After") or "")
        what = f"status {reply.status}" + (f" ({said})" if said else "")
        return Refusal(reply.status, what, retry_after)

    def _retry_after(self, text: str) -> float | None:
        """RFC 9110, section 10.2.3: seconds or a date."""
        if re.fullmatch("[0-9]{1,9}", text.strip()):
            return float(text)
        try:
            date = email.utils.parsedate_to_datetime(text)
            return max((date - self.means.now()).total_seconds(), 0.0)
        except (ValueError, TypeError, OverflowError):
            return None

    def _fit(self, text: str) -> str:
        """Nothing in a message that the registry could make us print."""
        for secret in self._secrets:
            text = text.replace(secret, _REDACTED)
        return one_line(" ".join(text.split()), _LONGEST_MESSAGE)

    def _shown(self, url: str) -> str:
        """A URL without its query and whoever is named in it: both may be secrets."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return "no URL"
        return self._fit(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    if parts.username is not None or parts.scheme not in {"http", "https"}:
        raise ValueError(url)
    return parts.scheme, parts.hostname or "", port


def _joined(url: str, said: str) -> str | None:
    """The URL that a ``Location`` header means (RFC 9110, section 10.2.2); ``None`` for none."""
    try:
        joined = urljoin(url, said)
        _origin(joined)
    except ValueError:
        return None
    return joined if _TOKEN.fullmatch(said) else None


def _token_request(realm: str, question: dict[str, str], credentials: Credentials) -> Request:
    if credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.identity_token,
            "client_id": _CLIENT,
            **question,
        }
        body = urlencode(form).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return Request(method="POST", url=realm, headers=headers, body=body, length=len(body))
    separator = "&" if "?" in realm else "?"
    url = f"{realm}{separator}{urlencode(question)}" if question else realm
    headers = {"Authorization": credentials.basic} if credentials.basic else {}
    return Request(method="GET", url=url, headers=headers)


def _read_token(data: bytes) -> str | None:
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    token = answer.get("token") or answer.get("access_token")
    return token if isinstance(token, str) and _TOKEN.fullmatch(token) else None


def _spoken(body: bytes) -> str:
    """What a registry says about its status: codes and messages of its first errors."""
    try:
        errors = json.loads(body)["errors"]
        said = [f"{error['code']}: {error.get('message', '')}".rstrip(": ") for error in errors[:3]]
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return ""
    return "; ".join(said)
