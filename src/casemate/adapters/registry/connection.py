"""Requests over urllib3's connections, one answer each, bounded in time and size."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    IncompleteRead,
    LocationParseError,
    NameResolutionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
)

from casemate.adapters.registry.limits import RegistryLimits, RegistryMeans
from casemate.errors import UsageError

#: Bytes that are read or sent at once.
_AT_ONCE: Final = 1 << 18
#: Bytes that are read of an answer nobody needs, so that its connection can be used again.
_LEFTOVER: Final = 1 << 14
_USER_AGENT: Final = "casemate"
_NO_TLS: Final = "no TLS"
_WANT_PLAIN: Final = "a registry without TLS has to be wanted, with --plain-http"
_NAME_AUTHORITY: Final = "name who certifies the registry, with --ca PEM"
_WORDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ReadTimeoutError, "nothing in time"),
    (NameResolutionError, "no host of this name"),
    (ProxyError, "no tunnel from the proxy"),
    (IncompleteRead, "an answer that is cut off"),
)
#: Said only where the operating system has nothing to say: urllib3 counts every connection among the first
#: that does not come about.
_LESS_EXACT: Final[tuple[tuple[type[Exception], str], ...]] = (
    (ConnectTimeoutError, "no connection in time"),
    (TimeoutError, "nothing in time"),
    (ProtocolError, "the end of the connection instead of an answer"),
)


class Broken(Exception):  # noqa: N818  caught before it leaves the package; what leaves is a RegistryError
    """There is no whole answer.

    Attributes:
        what: In words, for ``got``.
        transient: Another attempt may do better.
        hint: What to do, where that is plain.
    """

    def __init__(self, what: str, *, transient: bool, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.transient = transient
        self.hint = hint


class Body(Protocol):
    """What is sent, always from its beginning: a file."""

    def read(self, size: int = -1, /) -> bytes:
        """At most ``size`` further bytes; none only at the end."""
        ...

    def seek(self, offset: int, /) -> int:
        """Go to a place in it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to ask.

    Attributes:
        method: GET, HEAD, POST, PATCH or PUT.
        url: Of whom, complete.
        headers: Beside those that every request has.
        body: What to send.
        length: Bytes of ``body``.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body | None = None
    length: int = 0


class Reply:
    """An answer whose body is still to be read; used once, and closed by :meth:`Connections.open`.

    Args:
        response: urllib3's answer.
        limits: What it may cost.
        means: What reading takes of the world.
    """

    def __init__(
        self, response: urllib3.BaseHTTPResponse, limits: RegistryLimits, means: RegistryMeans
    ) -> None:
        self._response = response
        self._limits = limits
        self._means = means

    @property
    def status(self) -> int:
        """The status."""
        return self._response.status

    def header(self, name: str) -> str | None:
        """A header, several of one name joined by commas."""
        return self._response.headers.get(name)

    def headers(self, name: str) -> list[str]:
        """All headers of a name."""
        return list(self._response.headers.getlist(name))

    def document(self, most: int) -> bytes:
        """The whole body, of at most ``most`` bytes.

        Raises:
            Broken: It is larger, is cut off, or does not come in time.
        """
        data = b"".join(self.parts(most, self._limits.answer))
        self._require_plain()
        return data

    def beginning(self, most: int) -> bytes:
        """At most the first ``most`` bytes; whatever goes wrong ends them."""
        data = b""
        try:
            for part in self.parts(most, self._limits.answer):
                data += part
        except Broken:
            return data
        return data

    def parts(self, most: int, seconds: float) -> Iterator[bytes]:
        """The body as it comes, of at most ``most`` bytes.

        Raises:
            Broken: It is larger, is cut off, or does not come in time.
        """
        end = self._means.monotonic() + seconds
        count = 0
        while True:
            with _conversion():
                part = self._response.read1(_AT_ONCE, decode_content=False)
            if not part:
                return
            count += len(part)
            if count > most:
                raise Broken(f"an answer of more than {most} bytes", transient=False)
            if self._means.monotonic() > end:
                raise Broken(f"no whole answer in {seconds:.0f} seconds", transient=True)
            yield part

    def require_length(self, most: int) -> None:
        """See that the answer does not say that it is larger.

        Raises:
            Broken: It does.
        """
        said = self.header("Content-Length") or ""
        if said.isdecimal() and (len(said) > 18 or int(said) > most):
            raise Broken(f"an answer of {said[:40]} bytes", transient=False)

    def _require_plain(self) -> None:
        coding = (self.header("Content-Encoding") or "identity").strip().lower()
        if coding != "identity":
            raise Broken(f"the content coding {coding[:50]!a}", transient=False)


class Connections:
    """Connections to registries and to those to whom they send us.

    Args:
        limits: What they may cost.
        means: What they take of the world.
        ca: File with the authorities that certify registries, PEM, in the place of the system's.
        proxy: URL of a proxy; ``None`` for none.

    Raises:
        UsageError: The file or the URL cannot be used.
    """

    def __init__(
        self, limits: RegistryLimits, means: RegistryMeans, *, ca: Path | None, proxy: str | None
    ) -> None:
        self._limits = limits
        self._means = means
        context = _context(ca)
        timeout = urllib3.Timeout(connect=limits.connect, read=limits.read)
        self._pool = _pool(context, timeout, proxy)

    @contextmanager
    def open(self, request: Request) -> Iterator[Reply]:
        """Ask once; no redirect is followed, nothing is asked twice.

        Raises:
            Broken: There is no answer.
        """
        headers = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **request.headers}
        if request.body is not None or request.method in {"POST", "PUT", "PATCH"}:
            headers["Content-Length"] = str(request.length)
        if request.body is not None and not isinstance(request.body, bytes):
            request.body.seek(0)
        with _conversion():
            response = self._pool.urlopen(
                request.method,
                request.url,
                body=request.body,
                headers=headers,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        reply = Reply(response, self._limits, self._means)
        try:
            yield reply
            reply.beginning(_LEFTOVER)
        finally:
            # Ends the connection, unless the answer was read to its end: then it is back in the pool.
            response.close()


def _pool(
    context: ssl.SSLContext, timeout: urllib3.Timeout, proxy: str | None
) -> urllib3.PoolManager | urllib3.ProxyManager:
    if proxy is None:
        return urllib3.PoolManager(ssl_context=context, timeout=timeout, blocksize=_AT_ONCE)
    try:
        parsed = urllib3.util.parse_url(proxy)
        headers = urllib3.make_headers(proxy_basic_auth=parsed.auth) if parsed.auth else None
        return urllib3.ProxyManager(
            parsed._replace(auth=None).url,
            proxy_headers=headers,
            ssl_context=context,
            timeout=timeout,
            blocksize=_AT_ONCE,
        )
    except (HTTPError, ValueError) as error:
        # Not with what was given: there may be a password in it.
        raise UsageError(
            "URL of the proxy", expected="http://[USER:PASSWORD@]HOST:PORT", got="something else"
        ) from error


@contextmanager
def _conversion() -> Iterator[None]:
    """What goes wrong on the way, in our words, without what the other side sent."""
    try:
        yield
    except (HTTPError, OSError, ValueError) as error:
        causes = tuple(_causes(error))
        certificate = next((one for one in causes if isinstance(one, ssl.SSLCertVerificationError)), None)
        if certificate is not None:
            what = f"a certificate that is refused: {certificate.verify_message}"
            raise Broken(what, transient=False, hint=_NAME_AUTHORITY) from error
        what = _described(causes)
        hint = _WANT_PLAIN if what == _NO_TLS else None
        raise Broken(what, transient=not any(map(_is_lasting, causes)), hint=hint) from error


def _is_lasting(error: BaseException) -> bool:
    """Whether another attempt would end the same way."""
    ended = isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
    return isinstance(error, (LocationParseError, ssl.SSLError)) and not ended


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it, also where urllib3 keeps one as an argument."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return
        yield seen
        kept = next((one for one in seen.args if isinstance(one, BaseException)), None)
        seen = kept or seen.__cause__ or seen.__context__


def _described(causes: tuple[BaseException, ...]) -> str:
    system = tuple(_system(cause) for cause in causes if isinstance(cause, OSError))
    found = (
        *_words(_WORDS, causes),
        *(words for words in system if words),
        *_words(_LESS_EXACT, causes),
        f"a broken answer ({type(causes[0]).__name__})",
    )
    return found[0]


def _system(error: OSError) -> str:
    # OpenSSL's own words name its functions.
    return _NO_TLS if isinstance(error, ssl.SSLError) else error.strerror or ""


def _words(
    table: tuple[tuple[type[Exception], str], ...], causes: tuple[BaseException, ...]
) -> Iterator[str]:
    for kind, words in table:
        if any(isinstance(cause, kind) for cause in causes):
            yield words


def _context(ca: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            "authorities of the registry",
            expected="a PEM file of certificates",
            got="no certificate" if isinstance(error, ssl.SSLError) else error.strerror,
            where=str(ca),
            hint="name a file with the certificates of those who certify the registry's",
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
