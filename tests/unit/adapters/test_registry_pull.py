"""Images from a registry that is slow, broken, lying, or sends us elsewhere."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trustme
from tests.support.faulty_registry import Fault, FaultyRegistry
from tests.support.foreign_images import Blobs, digest, file, layer

from casemate.adapters.registry import (
    BlobCache,
    Credentials,
    Registry,
    RegistryLimits,
    RegistryMeans,
    Way,
    pull,
    resolve,
)
from casemate.adapters.registry.credentials import GivenCredentials
from casemate.errors import CasemateError, FormatError, RegistryError, UsageError
from casemate.formats.image_reference import ImageReference
from casemate.sources import SourceImage, unpack

#: Too large for one read, and not to be compressed.
LARGE = os.urandom(3 << 20)
LIMITS = RegistryLimits(read=2.0, answer=2.0, blob=5.0, attempts=3, pause=0.01, patience=1.0)


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with FaultyRegistry.running() as registry:
        yield registry


class _World:
    """A client, and what it waited for."""

    def __init__(self, server: FaultyRegistry, folder: Path) -> None:
        self.server = server
        self.cache = BlobCache(folder=folder / "cache")
        self.folder = folder
        self.slept: list[float] = []
        self.limits = LIMITS
        self.credentials: dict[str, Credentials] = {}
        self.way = Way()
        blobs = Blobs()
        self.data = layer(file("large", LARGE))
        self.pointer = blobs.image(self.data, compression="")
        server.add(blobs.content)
        server.tags["1"] = self.pointer["digest"]

    @property
    def layer(self) -> str:
        return digest(self.data)

    def registry(self, name: str = "app:1") -> Registry:
        return Registry(
            ImageReference.parse(f"{self.server.host}/{name}"),
            GivenCredentials(kept=self.credentials),
            way=self.way,
            limits=self.limits,
            means=RegistryMeans(
                sleep=self.slept.append, chance=lambda: 0.0, now=lambda: datetime(2026, 1, 1, tzinfo=UTC)
            ),
        )

    def pull(self) -> SourceImage:
        return pull(self.registry(f"app@{self.pointer['digest']}"), self.cache)

    def refused(self) -> CasemateError:
        with pytest.raises(CasemateError) as refused:
            self.pull()
        return refused.value

    def url(self, path: str) -> str:
        return f"{self.server.scheme}://{self.server.host}/v2/app/{path}"


@pytest.fixture
def world(server: FaultyRegistry, tmp_path: Path) -> _World:
    return _World(server, tmp_path)


def test_an_image_is_fetched_and_unpacked(world: _World) -> None:
    image = world.pull()

    assert image.reference == f"docker://{world.server.host}/app@{image.digest}"
    assert (unpack(image, world.folder / "root").root / "large").read_bytes() == LARGE


def test_what_was_fetched_is_not_asked_for_again(world: _World) -> None:
    world.pull()
    world.server.asked.clear()

    world.pull()

    assert world.server.asked == []


def test_what_has_changed_in_the_cache_is_fetched_again(world: _World) -> None:
    path = world.pull().layers[0].path
    path.write_bytes(b"x" * path.stat().st_size)

    world.pull()

    assert path.read_bytes() == world.data


def test_a_tag_has_a_digest(world: _World) -> None:
    assert resolve(world.registry()) == world.pointer["digest"]


def test_progress_ends_with_all_bytes(world: _World) -> None:
    seen: list[tuple[int, int]] = []

    pull(world.registry(f"app@{world.pointer['digest']}"), world.cache, progress=lambda *it: seen.append(it))

    assert seen == sorted(seen)
    assert seen[-1] == (len(world.data), len(world.data))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_is_tried_again_with_growing_pauses(world: _World, status: int) -> None:
    world.server.faults = [Fault("manifests", status=status, times=2)]

    world.pull()

    assert world.slept == [0.01, 0.02]


def test_what_does_not_pass_ends(world: _World) -> None:
    world.server.faults = [Fault("manifests", status=503, times=9, body=b"<html>")]

    error = world.refused()

    assert isinstance(error, RegistryError)
    assert str(error) == (
        "image in the registry: expected an answer, got status 503, 3 times "
        f"({world.url('manifests/')}{world.pointer['digest']})"
    )
    assert error.hint == f"see that {world.server.host} is a registry, can be reached from here, and is well"


def test_a_registry_says_how_long_to_wait(world: _World) -> None:
    world.server.faults = [
        Fault("manifests", status=429, headers={"Retry-After": "1"}),
        Fault("manifests", status=503, headers={"Retry-After": "Thu, 01 Jan 2026 00:00:01 GMT"}),
    ]

    world.pull()

    assert world.slept == [1.0, 1.0]


def test_a_registry_that_wants_too_long_a_wait_is_the_end(world: _World) -> None:
    body = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "You have reached\\nyour limit"}]}'
    world.server.faults = [Fault("manifests", status=429, headers={"Retry-After": "21600"}, body=body)]

    error = world.refused()

    assert "got status 429 (TOOMANYREQUESTS: You have reached your limit) (" in str(error)
    assert error.hint == "try again later, or log in: registries give more to those they know"
    assert world.slept == []


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (404, "see that the name is right; some registries say this also to those who may not see it"),
        (403, "log in with: docker login {host}"),
    ],
)
def test_an_answer_that_stands_is_not_asked_for_again(world: _World, status: int, hint: str) -> None:
    world.server.faults = [Fault("manifests", status=status, times=9)]

    error = world.refused()

    assert error.hint == hint.format(host=world.server.host)
    assert len(world.server.paths("GET")) == 2  # with the question whether it speaks plain HTTP


@pytest.mark.parametrize("cut", [0, 1, 2 << 20], ids=["nothing", "a byte", "most"])
def test_a_layer_that_is_cut_off_is_continued_where_it_ended(world: _World, cut: int) -> None:
    world.server.faults = [Fault("blobs/" + world.layer, cut=cut)]

    image = world.pull()

    ranges = [one.headers.get("Range") for one in world.server.asked if world.layer in one.path]
    assert ranges == [None, f"bytes={cut}-" if cut else None]
    assert image.layers[0].path.read_bytes() == world.data


def test_a_layer_that_gets_on_is_tried_for_more_often(world: _World) -> None:
    world.server.faults = [Fault("blobs/" + world.layer, cut=(1 << 20) + 10, times=2)]
    world.limits = replace(LIMITS, attempts=2)

    assert world.pull().layers[0].path.read_bytes() == world.data


def test_a_layer_that_does_not_get_on_ends(world: _World) -> None:
    world.server.faults = [Fault("blobs/" + world.layer, cut=1, times=99)]

    error = world.refused()

    assert str(error).startswith(
        f"layer {world.layer}: expected an answer, got an answer that is cut off, 3 times ("
    )


def test_an_earlier_run_is_continued(world: _World) -> None:
    world.server.faults = [Fault("blobs/" + world.layer, cut=1 << 19, times=99)]
    world.limits = replace(LIMITS, attempts=1)
    world.refused()
    world.server.faults.clear()
    world.server.asked.clear()

    world.pull()

    assert [one.headers.get("Range") for one in world.server.asked if world.layer in one.path] == [
        f"bytes={1 << 19}-"
    ]


def test_an_earlier_run_of_something_else_is_begun_anew(world: _World) -> None:
    part = Path(f"{world.cache.path(world.layer)}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"something else")

    assert world.pull().layers[0].path.read_bytes() == world.data


def test_a_registry_that_knows_no_ranges_is_asked_for_all(world: _World) -> None:
    world.server.faults = [
        Fault("blobs/" + world.layer, cut=1 << 20),
        Fault("blobs/" + world.layer, ignore_range=True),
    ]

    assert world.pull().layers[0].path.read_bytes() == world.data


def test_who_comes_second_waits_and_finds_the_layer_there(world: _World) -> None:
    world.server.faults = [Fault("blobs/" + world.layer, hang=0.3)]

    with ThreadPoolExecutor(2) as pool:
        images = [future.result() for future in [pool.submit(world.pull), pool.submit(world.pull)]]

    assert images[0] == images[1]
    assert len([path for path in world.server.paths("GET") if world.layer in path]) == 1


def test_another_layer_is_refused_and_not_kept(world: _World) -> None:
    other = world.data[:-1] + b"x"
    world.server.faults = [Fault("blobs/" + world.layer, swap=other, times=9)]

    error = world.refused()

    assert isinstance(error, FormatError)
    assert str(error) == (
        f"layer of the image: expected {world.layer} of {len(other)} bytes, "
        f"got {digest(other)} of {len(other)} bytes "
        f"(docker://{world.server.host}/app@{world.pointer['digest']})"
    )
    assert not world.cache.path(world.layer).exists()


@pytest.mark.parametrize("said", [{}, {"Transfer-Encoding": "identity"}], ids=["said", "not said"])
def test_a_layer_that_is_larger_than_it_should_be_is_refused(world: _World, said: dict[str, str]) -> None:
    world.server.faults = [Fault("blobs/" + world.layer, swap=world.data + b"x", headers=said, times=9)]

    error = world.refused()

    size = len(world.data)
    assert f"got an answer of {f'more than {size}' if said else size + 1} bytes" in str(error)


@pytest.mark.parametrize("which", ["manifest", "config"])
def test_another_document_is_refused(world: _World, which: str) -> None:
    pattern = "manifests" if which == "manifest" else f"blobs/(?!{world.layer})"
    world.server.faults = [Fault(pattern, swap=b"{}")]

    error = world.refused()

    assert isinstance(error, FormatError)
    assert str(error).startswith("document of the image: expected sha256:")
    assert f"got {digest(b'{}')} of 2 bytes" in str(error)


def test_a_document_that_never_ends_is_refused(world: _World) -> None:
    world.server.faults = [
        Fault("manifests", swap=b" " * (5 << 20), headers={"Transfer-Encoding": "identity"})
    ]

    assert "got an answer of more than 4194304 bytes" in str(world.refused())


def test_a_document_that_comes_byte_by_byte_is_not_waited_for(world: _World) -> None:
    world.limits = replace(LIMITS, answer=0.2, attempts=1)
    world.server.faults = [Fault("manifests", pause=0.02)]

    assert "got no whole answer in 0 seconds" in str(world.refused())


def test_an_answer_that_does_not_come_is_not_waited_for(world: _World) -> None:
    world.limits = replace(LIMITS, read=0.2, attempts=1)
    world.server.faults = [Fault("manifests", hang=1.0)]

    assert "got nothing in time" in str(world.refused())


def test_a_registry_that_is_not_there_is_said(world: _World) -> None:
    world.server.host = "localhost:1"

    assert "got Connection refused, 3 times" in str(world.refused())


def test_layers_that_are_too_large_together_are_not_asked_for(world: _World) -> None:
    world.limits = replace(LIMITS, image_size=1000)

    assert str(world.refused()) == (
        f"size of all layers: expected at most 1000 bytes, got {len(world.data)} "
        f"(docker://{world.server.host}/app@{world.pointer['digest']})"
    )
    assert not [path for path in world.server.paths("GET") if world.layer in path]


def test_a_layer_that_is_too_large_is_not_asked_for(world: _World) -> None:
    world.limits = replace(LIMITS, blob_size=1000)

    assert str(world.refused()).startswith(
        f"size of a layer: expected at most 1000 bytes, got {len(world.data)}"
    )
    assert not [path for path in world.server.paths("GET") if world.layer in path]


class TestWhoWeAre:
    def test_a_password_is_said_when_it_is_asked_for(self, world: _World) -> None:
        world.server.user = "me:secret"
        world.credentials = {world.server.host: Credentials(username="me", password="secret")}

        world.pull()

        first, second = [one for one in world.server.asked if "manifests" in one.path]
        assert "Authorization" not in first.headers
        assert "Authorization" in second.headers

    def test_a_wrong_password_is_said_once_and_never_printed(self, world: _World) -> None:
        world.server.user = "me:secret"
        world.credentials = {world.server.host: Credentials(username="me", password="wrong-one")}

        error = world.refused()

        assert "got status 401 (UNAUTHORIZED)" in str(error)
        assert error.hint == f"log in with: docker login {world.server.host}"
        assert len([one for one in world.server.asked if "manifests" in one.path]) == 2

    def test_a_registry_that_repeats_a_password_does_not_make_us_print_it(self, world: _World) -> None:
        world.server.user = "me:secret"
        world.credentials = {world.server.host: Credentials(username="me", password="my-secret")}
        body = b'{"errors": [{"code": "DENIED", "message": "not my-secret"}]}'
        world.server.faults = [Fault("manifests", status=0), Fault("manifests", status=403, body=body)]

        assert "DENIED: not <redacted>" in str(world.refused())

    def test_a_token_is_fetched_where_the_registry_says(self, world: _World) -> None:
        world.server.token = "token-1"
        world.credentials = {world.server.host: Credentials(username="me", password="secret")}

        world.pull()

        (asked,) = [one for one in world.server.asked if one.path == "/token"]
        assert asked.query == "service=test&scope=repository%3Aapp%3Apull"
        assert asked.headers["Authorization"].startswith("Basic ")

    def test_a_token_is_fetched_by_nobody_too(self, world: _World) -> None:
        world.server.token = "token-1"

        world.pull()

        (asked,) = [one for one in world.server.asked if one.path == "/token"]
        assert "Authorization" not in asked.headers

    def test_an_identity_token_gets_tokens(self, world: _World) -> None:
        world.server.token = "token-1"
        world.credentials = {world.server.host: Credentials(identity_token="refresh")}

        world.pull()

        assert world.server.paths("POST") == ["/token"]

    def test_a_token_that_has_ended_is_fetched_again(self, world: _World) -> None:
        world.server.token = "token-1"
        registry = world.registry(f"app@{world.pointer['digest']}")
        resolve(registry)
        world.server.token = "token-2"

        pull(registry, world.cache)

        assert len([path for path in world.server.paths("GET") if path == "/token"]) == 2

    @pytest.mark.parametrize(
        "realm",
        [
            "http://169.254.169.254/latest",
            "http://tokens.example/token",
            "https://user@tokens.example/",
            "file:///etc/passwd",
            "https://[bad/",
            "nothing",
        ],
    )
    def test_credentials_go_nowhere_without_tls(self, world: _World, realm: str) -> None:
        world.server.token = "token-1"
        world.server.realm = realm
        world.credentials = {world.server.host: Credentials(username="me", password="secret")}

        error = world.refused()

        assert str(error) == f"place for tokens: expected an https URL, got {realm} ({world.server.host})"

    @pytest.mark.parametrize(
        "answer", [b"[]", b"{", b'{"token": 5}', b'{"token": "a b"}', b'{"token": "a\\nb"}']
    )
    def test_an_answer_that_is_no_token_is_refused(self, world: _World, answer: bytes) -> None:
        world.server.token = "token-1"
        world.server.faults = [Fault("token", status=200, body=answer)]

        assert str(world.refused()).startswith(
            f"token for {world.server.host}: expected a token, got something else ("
        )


class TestRedirects:
    def test_a_redirect_to_the_registry_itself_is_followed_with_who_we_are(self, world: _World) -> None:
        world.server.user = "me:secret"
        world.credentials = {world.server.host: Credentials(username="me", password="secret")}
        world.server.add({"elsewhere": world.data})
        target = {"Location": f"http://{world.server.host}/v2/app/blobs/elsewhere"}
        world.server.faults = [Fault("blobs/" + world.layer, status=307, headers=target)]

        assert world.pull().layers[0].path.read_bytes() == world.data

    def test_a_redirect_without_tls_to_another_is_not_followed(self, world: _World) -> None:
        with FaultyRegistry.running() as other:
            target = {"Location": f"http://{other.host}/secret?token=hidden"}
            world.server.faults = [Fault("blobs/" + world.layer, status=307, headers=target)]

            error = world.refused()

            assert f"got a redirect to http://{other.host}/secret (" in str(error)
            assert other.asked == []

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://x/", "//[/", "http://a\tb/"])
    def test_other_redirects_are_not_followed(self, world: _World, target: str) -> None:
        world.server.faults = [Fault("blobs/" + world.layer, status=302, headers={"Location": target})]

        assert "got a redirect to " in str(world.refused())

    def test_redirects_that_never_end_are_not_followed(self, world: _World) -> None:
        world.server.faults = [
            Fault(
                "blobs/" + world.layer,
                status=307,
                times=99,
                headers={"Location": world.url(f"blobs/{world.layer}")},
            )
        ]

        assert "got more than 5 redirects" in str(world.refused())


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Callable[[], ssl.SSLContext]:
    def context() -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(made)
        return made

    return context


class TestTls:
    def test_a_named_authority_is_believed_and_others_are_not(
        self, tmp_path: Path, authority: trustme.CA, secure: Callable[[], ssl.SSLContext]
    ) -> None:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        with FaultyRegistry.running(secure()) as server:
            world = _World(server, tmp_path)
            error = world.refused()
            assert re.search("got a certificate that is refused: .*(issuer|self)", str(error))
            assert error.hint == "name who certifies the registry, with --ca PEM"
            world.way = Way(ca=tmp_path / "ca.pem")

            assert world.pull().digest == world.pointer["digest"]

    def test_a_redirect_to_another_is_followed_with_tls_and_without_who_we_are(
        self, tmp_path: Path, authority: trustme.CA, secure: Callable[[], ssl.SSLContext]
    ) -> None:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        with FaultyRegistry.running(secure()) as other, FaultyRegistry.running(secure()) as server:
            world = _World(server, tmp_path)
            world.way = Way(ca=tmp_path / "ca.pem")
            server.user = "me:secret"
            world.credentials = {server.host: Credentials(username="me", password="secret")}
            other.add({"elsewhere": world.data})
            target = {"Location": f"https://{other.host}/elsewhere"}
            server.faults = [
                Fault("blobs/" + world.layer, status=307, headers=target),
            ]

            world.pull()

            (asked,) = other.asked
            assert "Authorization" not in asked.headers

    def test_who_we_are_is_not_said_to_another_who_asks_after_a_redirect(
        self, tmp_path: Path, authority: trustme.CA, secure: Callable[[], ssl.SSLContext]
    ) -> None:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        with FaultyRegistry.running(secure(), token="t") as other, FaultyRegistry.running(secure()) as server:
            world = _World(server, tmp_path)
            world.way = Way(ca=tmp_path / "ca.pem")
            world.credentials = {server.host: Credentials(username="me", password="secret")}
            target = {"Location": f"https://{other.host}/elsewhere"}
            server.faults = [Fault("blobs/" + world.layer, status=307, headers=target)]

            error = world.refused()

            assert str(error) == (
                f"layer {world.layer}: expected an answer, got status 401 (UNAUTHORIZED) "
                f"({world.url('blobs/')}{world.layer})"
            )
            assert [(one.path, one.headers.get("Authorization")) for one in other.asked] == [
                ("/elsewhere", None)
            ]

    def test_tls_is_asked_of_everybody_who_is_not_here(self, tmp_path: Path) -> None:
        with FaultyRegistry.running() as server:
            world = _World(server, tmp_path)
            port = server.host.rpartition(":")[2]
            remote = ImageReference.parse(f"registry.invalid:{port}/app:1")
            registry = Registry(
                remote, GivenCredentials(kept={}), limits=replace(LIMITS, attempts=1), means=RegistryMeans()
            )

            assert registry.url("x").startswith("https://")
            assert world.server.asked == []

    def test_a_registry_without_tls_is_said(self, tmp_path: Path, authority: trustme.CA) -> None:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        with FaultyRegistry.running() as server:
            world = _World(server, tmp_path)
            world.way = Way(ca=tmp_path / "ca.pem")

            error = world.refused()

        assert "got no TLS (" in str(error)
        assert error.hint == "a registry without TLS has to be wanted, with --plain-http"

    def test_plain_http_has_to_be_wanted(self) -> None:
        registry = Registry(
            ImageReference.parse("registry.example/app:1"),
            GivenCredentials(kept={}),
            way=Way(plain_http=True),
        )

        assert registry.url("x") == "http://registry.example/v2/app/x"

    def test_a_file_that_has_no_authority_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("nothing")

        with pytest.raises(UsageError) as refused:
            Registry(
                ImageReference.parse("registry.example/app:1"),
                GivenCredentials(kept={}),
                way=Way(ca=tmp_path / "ca.pem"),
            )
        assert str(refused.value) == (
            "authorities of the registry: expected a PEM file of certificates, got no certificate "
            f"({tmp_path / 'ca.pem'})"
        )

    def test_a_proxy_with_a_password_is_not_printed_when_it_is_wrong(self) -> None:
        with pytest.raises(UsageError) as refused:
            Registry(
                ImageReference.parse("registry.example/app:1"),
                GivenCredentials(kept={}),
                way=Way(proxy="ftp://me:secret@proxy"),
            )
        assert str(refused.value) == (
            "URL of the proxy: expected http://[USER:PASSWORD@]HOST:PORT, got something else"
        )
