"""A registry over real HTTP, in memory, that does wrong what a test tells it to do wrong."""

from __future__ import annotations

import base64
import re
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.foreign_images import digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Asked:
    """One request that came."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


@dataclass
class Fault:
    """What to do in place of the right thing, to requests of ``method`` whose path matches ``path``.

    Attributes:
        path: A regular expression that occurs in the path.
        method: Of the request.
        times: How often; afterwards it is forgotten.
        status: Of the answer; 0 does the right thing, but for what follows.
        headers: Of the answer.
        body: Of the answer.
        cut: Bytes of the body after which the connection ends; ``None`` for none.
        pause: Seconds before each byte of the body.
        hang: Seconds before the answer.
        swap: What the right body becomes.
        ignore_range: Whether a range is not looked at.
    """

    path: str
    method: str = "GET"
    times: int = 1
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    pause: float = 0.0
    hang: float = 0.0
    swap: bytes | None = None
    ignore_range: bool = False


@dataclass
class FaultyRegistry:
    """One registry.

    Attributes:
        host: ``HOST:PORT``.
        blobs: By digest; documents too.
        tags: Digests by tag.
        faults: What goes wrong next.
        asked: What was asked, in order.
        user: ``USER:PASSWORD`` that it wants; empty for none.
        token: That it wants in place of a password; it gives it out itself, at :attr:`realm`.
        realm: Where tokens are said to be; ``{host}`` stands for its own address.
    """

    host: str = ""
    scheme: str = "http"
    blobs: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    user: str = ""
    token: str = ""
    realm: str = "{scheme}://{host}/token"
    uploads: dict[str, bytearray] = field(default_factory=dict)
    mountable: set[str] = field(default_factory=set)

    def add(self, blobs: Mapping[str, bytes]) -> None:
        self.blobs.update(blobs)

    def paths(self, method: str) -> list[str]:
        return [one.path for one in self.asked if one.method == method]

    @classmethod
    @contextmanager
    def running(cls, context: ssl.SSLContext | None = None, **more: Any) -> Iterator[FaultyRegistry]:
        """A registry until the end of the block."""
        registry = cls(**more)
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"registry": registry}))
        server.daemon_threads = True
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            registry.scheme = "https"
        registry.host = f"localhost:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    registry: FaultyRegistry
    protocol_version = "HTTP/1.1"
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name in the base class
        """Nothing on the terminal."""

    def handle_one_request(self) -> None:
        # Clients that give up are what the tests are about.
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length)
        self.registry.asked.append(Asked(self.command, parts.path, parts.query, dict(self.headers)))
        fault = self._fault(parts.path)
        time.sleep(fault.hang)
        if fault.status:
            self._answer(fault.status, fault.body, fault.headers, fault)
        elif parts.path == "/token":
            self._answer(200, b'{"token": "%s"}' % self.registry.token.encode(), {}, fault)
        elif self._is_let_in():
            self._route(parts.path, parse_qs(parts.query), sent, fault)

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = _serve  # noqa: N815  names of the base class

    def _fault(self, path: str) -> Fault:
        for fault in self.registry.faults:
            if fault.times > 0 and fault.method == self.command and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return Fault("")

    def _is_let_in(self) -> bool:
        registry = self.registry
        said = self.headers.get("Authorization", "")
        if registry.token:
            wanted = f"Bearer {registry.token}"
            realm = registry.realm.format(host=registry.host, scheme=registry.scheme)
            challenge = f'Bearer realm="{realm}",service="test",scope="repository:app:pull"'
        elif registry.user:
            wanted = f"Basic {base64.b64encode(registry.user.encode()).decode()}"
            challenge = 'Basic realm="test"'
        else:
            return True
        if said == wanted:
            return True
        self._answer(
            401, b'{"errors": [{"code": "UNAUTHORIZED"}]}', {"WWW-Authenticate": challenge}, Fault("")
        )
        return False

    def _route(self, path: str, query: Mapping[str, list[str]], sent: bytes, fault: Fault) -> None:
        if path == "/v2/":
            self._answer(200, b"{}", {}, fault)
        elif "/blobs/uploads/" in path:
            self._upload(path, query, sent, fault)
        elif self.command == "PUT":
            self._manifest(path, sent, fault)
        else:
            name = path.rpartition("/")[2]
            data = self.registry.blobs.get(self.registry.tags.get(name, name))
            if data is None:
                self._answer(404, b'{"errors": [{"code": "UNKNOWN", "message": "not here"}]}', {}, fault)
            else:
                self._give(data, fault)

    def _give(self, data: bytes, fault: Fault) -> None:
        if fault.swap is not None:
            data = fault.swap
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted is None or fault.ignore_range:
            self._answer(200, data, fault.headers, fault)
        elif int(wanted[1]) >= len(data):
            self._answer(416, b"", fault.headers, fault)
        else:
            start = int(wanted[1])
            headers = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}", **fault.headers}
            self._answer(206, data[start:], headers, fault)

    def _upload(self, path: str, query: Mapping[str, list[str]], sent: bytes, fault: Fault) -> None:
        uploads = self.registry.uploads
        name = path.rpartition("/")[2]
        if self.command == "POST":
            if query.get("mount", [""])[0] in self.registry.mountable:
                self._answer(201, b"", {}, fault)
                return
            name = str(len(uploads))
            uploads[name] = bytearray()
        upload = uploads.get(name)
        start = int(self.headers.get("Content-Range", "0-").partition("-")[0])
        if upload is None or (self.command == "PATCH" and start != len(upload)):
            self._answer(404 if upload is None else 416, b"", {}, fault)
            return
        upload += sent if fault.cut is None else sent[: fault.cut]
        if fault.cut is not None:
            self.close_connection = True
        elif self.command == "PUT":
            self._finish(query["digest"][0], bytes(upload), fault)
        else:
            place = f"/v2/app/blobs/uploads/{name}?state=1"
            headers = {"Location": place, "Range": f"0-{max(len(upload) - 1, 0)}", **fault.headers}
            self._answer(204 if self.command == "GET" else 202, b"", headers, fault)

    def _finish(self, wanted: str, data: bytes, fault: Fault) -> None:
        right = digest(data) == wanted
        if right:
            self.registry.blobs[wanted] = data
        self._answer(201 if right else 400, b"", {}, fault)

    def _manifest(self, path: str, sent: bytes, fault: Fault) -> None:
        name = digest(sent)
        self.registry.blobs[name] = sent
        self.registry.tags[path.rpartition("/")[2]] = name
        self._answer(201, b"", {"Docker-Content-Digest": name, **fault.headers}, fault)

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str], fault: Fault) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not {"Content-Length", "Transfer-Encoding"} & set(headers) and status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault.pause:
            for byte in body:
                time.sleep(fault.pause)
                self.wfile.write(bytes([byte]))
        else:
            self.wfile.write(body if fault.cut is None else body[: fault.cut])
        if fault.cut is not None or "Transfer-Encoding" in headers:
            self.close_connection = True
