"""The development certificate and the HTTPS server."""

import http.client
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from starlette.types import ASGIApp, Receive, Scope, Send

from casemate.adapters.broker_server import Address, BrokerServer, bind, has_certificates
from casemate.adapters.service_certificate import VALIDITY, make_service_certificates
from casemate.errors import ServiceError

NAMES = ("localhost", "127.0.0.1", "broker.internal")
NOW = datetime.now(UTC)


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server") / "tls"
    make_service_certificates(folder, NAMES, NOW)
    return folder


@contextmanager
def serving(app: ASGIApp, certificates: Path) -> Iterator[int]:
    ready = threading.Event()
    listener = bind(Address(host="127.0.0.1", port=0))
    port: int = listener.getsockname()[1]
    server = BrokerServer(app, listener, certificates, ready.set)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(10)
        yield port
    finally:
        server.stop()
        thread.join(10)
    assert not thread.is_alive()


def client(certificates: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificates / "ca.pem"))


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_client_that_pins_the_authority_is_served(certificates: Path, name: str) -> None:
    with serving(hello, certificates) as port:
        connection = http.client.HTTPSConnection(name, port, context=client(certificates), timeout=10)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"hello")
        assert answer.headers["server"] is None
        connection.close()


def test_a_client_that_does_not_know_the_authority_is_not_served(certificates: Path) -> None:
    with serving(hello, certificates) as port:
        connection = http.client.HTTPSConnection("localhost", port, context=ssl.create_default_context())
        with pytest.raises(ssl.SSLCertVerificationError):
            connection.request("GET", "/")
        connection.close()


def test_neither_plain_http_nor_an_old_tls_is_spoken(certificates: Path) -> None:
    old = client(certificates)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(hello, certificates) as port:
        with pytest.raises(ssl.SSLError):
            http.client.HTTPSConnection("localhost", port, context=old).request("GET", "/")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            answer = plain.recv(100)
    assert not answer.startswith(b"HTTP")


def test_the_certificates_are_what_they_are_for(certificates: Path) -> None:
    authority, service = (
        x509.load_pem_x509_certificate((certificates / name).read_bytes()) for name in ("ca.pem", "cert.pem")
    )
    service.verify_directly_issued_by(authority)
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not service.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = service.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    names = service.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "broker.internal"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert abs(service.not_valid_after_utc - NOW - VALIDITY) < timedelta(seconds=2)


def test_only_the_owner_reads_the_key_and_the_authority_has_left_none(certificates: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in certificates.iterdir()}
    assert modes == {"ca.pem": 0o644, "cert.pem": 0o644, "key.pem": 0o600}
    assert [path.name for path in certificates.parent.iterdir()] == ["tls"]


def test_certificates_are_not_made_where_something_is(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "key.pem").write_text("mine")
    with pytest.raises(ServiceError) as caught:
        make_service_certificates(tmp_path / "tls", NAMES, NOW)
    assert str(caught.value) == (
        "TLS folder: expected an empty or absent folder that can be written, got Directory not empty "
        f"({tmp_path}/tls)"
    )
    assert caught.value.hint == "name another folder with --tls"
    assert (tmp_path / "tls" / "key.pem").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["tls"]


def test_certificates_are_made_in_an_empty_folder(tmp_path: Path) -> None:
    make_service_certificates(tmp_path, ("localhost",), NOW)
    assert has_certificates(tmp_path)


def test_a_name_that_is_not_ascii_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServiceError) as caught:
        make_service_certificates(tmp_path / "tls", ("bröker",), NOW)
    assert str(caught.value) == "TLS name: expected a DNS name in ASCII or an IP address, got bröker"
    assert list(tmp_path.iterdir()) == []


def test_an_absent_or_empty_folder_holds_no_certificates(tmp_path: Path) -> None:
    assert not has_certificates(tmp_path)
    assert not has_certificates(tmp_path / "absent")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "tls").touch()
    with pytest.raises(ServiceError) as caught:
        has_certificates(tmp_path / "tls")
    assert str(caught.value) == f"TLS folder: expected a folder, got Not a directory ({tmp_path}/tls)"


def test_a_folder_that_holds_only_a_part_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    (tmp_path / "key.pem").touch()
    with pytest.raises(ServiceError) as caught:
        has_certificates(tmp_path)
    assert str(caught.value) == (
        f"TLS folder: expected ca.pem, cert.pem and key.pem, or nothing, got no cert.pem ({tmp_path})"
    )
    assert caught.value.hint == (
        "add the file, or name an empty folder with --tls to have a development certificate made"
    )


def test_a_key_of_another_certificate_is_refused(certificates: Path, tmp_path: Path) -> None:
    make_service_certificates(tmp_path / "tls", NAMES, NOW)
    (tmp_path / "tls" / "key.pem").write_bytes((certificates / "key.pem").read_bytes())
    with (
        bind(Address(host="127.0.0.1", port=0)) as listener,
        pytest.raises(ServiceError, match=r"^TLS certificate: expected cert\.pem with the key in key\.pem, "),
    ):
        BrokerServer(hello, listener, tmp_path / "tls", lambda: None)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_may_read_or_replace_is_refused(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "tls"
    make_service_certificates(folder, NAMES, NOW)
    (folder / "key.pem").chmod(mode)
    with bind(Address(host="127.0.0.1", port=0)) as listener:
        for use in (
            lambda: has_certificates(folder),
            lambda: BrokerServer(hello, listener, folder, lambda: None),
        ):
            with pytest.raises(ServiceError) as caught:
                use()
            assert str(caught.value) == (
                f"TLS key: expected permissions 0600, got {mode:04o} ({folder}/key.pem)"
            )
            assert caught.value.hint == f"chmod 600 {folder}/key.pem, and ask who has read it"


def test_a_key_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for name in ("ca.pem", "cert.pem"):
        (tmp_path / name).touch()
    (tmp_path / "key.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ServiceError) as caught:
        has_certificates(tmp_path)
    assert str(caught.value) == (
        f"TLS key: expected a file that can be read, got No such file or directory ({tmp_path}/key.pem)"
    )


def test_an_address_in_use_is_refused() -> None:
    with bind(Address(host="127.0.0.1", port=0)) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ServiceError) as caught:
            bind(Address(host="127.0.0.1", port=port))
    assert str(caught.value) == (
        "listening address: expected a free address of this machine, got Address already in use "
        f"(127.0.0.1:{port})"
    )
    assert caught.value.hint == "name another one with --listen, or port 0 for any"


def test_an_address_prints_as_in_a_url() -> None:
    assert str(Address(host="127.0.0.1", port=1)) == "127.0.0.1:1"
    assert str(Address(host="::1", port=1)) == "[::1]:1"


_SCRIPT = """
import sys
from pathlib import Path
from casemate.adapters.broker_server import Address, BrokerServer, bind

async def nothing(scope, receive, send): ...

listener = bind(Address(host="127.0.0.1", port=0))
BrokerServer(nothing, listener, Path(sys.argv[1]), lambda: print("ready", flush=True)).run_until_signal()
print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(certificates: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(certificates)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "ended\n", "")
