import contextlib
import http.client
import py_compile
import re
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from casemate_attester.configuration import Application, Interface, Listen
from casemate_attester.errors import ApplicationError
from casemate_attester.ratls import EVIDENCE_OID, issue_identity
from casemate_attester.serving import load_callable, run_application, run_command, server_context

OUTSIDE = "run the application without an enclave, in its own environment, to see the whole error"

WSGI = """
    import time

    def app(environ, start_response):
        if environ["PATH_INFO"] == "/slow":
            time.sleep(1)
        if environ["PATH_INFO"] == "/broken":
            raise ValueError("SECRET is hush")
        start_response("200 OK", [("Content-Type", "text/plain")])
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        return [f"{environ['wsgi.url_scheme']} {environ['REQUEST_METHOD']} {len(body)}".encode()]
"""
ASGI = """
    import asyncio

    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise RuntimeError("no lifespan here")
        if scope["path"] == "/slow":
            await asyncio.sleep(1)
        if scope["path"] == "/broken":
            raise ValueError("SECRET is hush")
        size = 0
        while True:
            event = await receive()
            size += len(event.get("body", b""))
            if not event.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        text = f"{scope['scheme']} {scope['method']} {size}"
        await send({"type": "http.response.body", "body": text.encode()})
"""
#: What the attester does, without attestation; the port is found by the caller.
SERVE = """
    import signal, sys
    from pathlib import Path
    from casemate_attester.configuration import Application, Interface, Listen
    from casemate_attester.discretion import keep_texts_inside
    from casemate_attester.entrypoint import _terminate
    from casemate_attester.ratls import issue_identity
    from casemate_attester.serving import run_application, server_context

    keep_texts_inside()
    folder, interface, port = sys.argv[1:]
    signal.signal(signal.SIGTERM, _terminate)
    run_application(
        Application(interface=Interface(interface), target="served:app", path=(folder,)),
        Listen(host="127.0.0.1", port=int(port), threads=4),
        server_context(issue_identity(lambda report_data: report_data), Path(folder)),
        lambda: print("serving", flush=True),
    )
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@dataclass(frozen=True)
class Running:
    """A server in a process of its own."""

    port: int
    process: subprocess.Popen[str]

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=context)

    def get(self, path: str = "/", method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
        connection = self.connect()
        with contextlib.closing(connection):
            connection.request(method, path, body=body)
            response = connection.getresponse()
            return response.status, response.read().decode()


@contextlib.contextmanager
def running(folder: Path, interface: str) -> Iterator[Running]:
    pytest.importorskip({"wsgi": "cheroot", "asgi": "uvicorn"}[interface])
    (folder / "served.py").write_text(textwrap.dedent({"wsgi": WSGI, "asgi": ASGI}[interface]))
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVE), str(folder), interface, str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "serving\n", process.communicate()
            yield Running(port, process)
        finally:
            process.terminate()


@pytest.fixture(scope="module", params=["wsgi", "asgi"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp(request.param), request.param) as result:
        yield result


def test_the_application_answers_over_https(server: Running) -> None:
    assert server.get() == (200, "https GET 0")


def test_a_body_arrives_whole(server: Running) -> None:
    assert server.get(method="POST", body=b"x" * 300_000) == (200, "https POST 300000")


def test_a_connection_serves_more_than_one_request(server: Running) -> None:
    with contextlib.closing(server.connect()) as connection:
        for _ in range(3):
            connection.request("GET", "/")
            assert connection.getresponse().read() == b"https GET 0"


def test_the_certificate_is_the_one_with_evidence(server: Running) -> None:
    pem = ssl.get_server_certificate(("127.0.0.1", server.port))
    certificate = x509.load_pem_x509_certificate(pem.encode())
    assert certificate.extensions.get_extension_for_oid(EVIDENCE_OID)


def test_a_client_that_pins_the_certificate_is_content(server: Running) -> None:
    pem = ssl.get_server_certificate(("127.0.0.1", server.port))
    context = ssl.create_default_context(cadata=pem)
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as tls,
    ):
        assert tls.version() == "TLSv1.3"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_old_tls_is_refused(server: Running) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw,
        pytest.raises(OSError),  # noqa: PT011 - an alert or a closed connection
    ):
        context.wrap_socket(raw)
    assert server.get() == (200, "https GET 0")


def test_a_client_without_tls_gets_no_answer_and_harms_nobody(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"200" not in raw.recv(1000)
    assert server.get() == (200, "https GET 0")


def test_silent_clients_keep_nobody_from_connecting(server: Running) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=10))
        started = time.monotonic()
        assert server.get() == (200, "https GET 0")
        assert time.monotonic() - started < 5


def test_a_request_that_fails_is_an_answer_and_the_server_goes_on(server: Running) -> None:
    assert server.get("/broken")[0] == 500
    assert server.get() == (200, "https GET 0")


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_sigterm_ends_the_server_after_the_request_that_is_under_way(tmp_path: Path, interface: str) -> None:
    with running(tmp_path, interface) as server:
        with contextlib.closing(server.connect()) as connection:
            connection.request("GET", "/slow")
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            assert connection.getresponse().status == 200
        assert server.process.wait(20) == 0
        assert server.process.stderr is not None
        assert "Traceback" not in server.process.stderr.read()


@pytest.mark.parametrize(
    ("interface", "said"),
    [
        ("wsgi", "casemate: error: request: ValueError at {place}:8\n"),
        ("asgi", "Exception in ASGI application\nValueError at {place}:10\n"),
    ],
)
def test_the_host_reads_where_a_request_has_failed_and_not_why(
    tmp_path: Path, interface: str, said: str
) -> None:
    with running(tmp_path, interface) as server:
        assert server.get("/broken")[0] == 500
        server.process.terminate()
        out, err = server.process.communicate(timeout=20)
    assert (out, err) == ("", said.format(place=tmp_path / "served.py"))


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_no_file_with_the_key_remains(tmp_path: Path, interface: str) -> None:
    with running(tmp_path, interface):
        assert not [item.name for item in tmp_path.iterdir() if "pem" in item.name]


# In this process.


def test_the_key_is_on_disk_only_while_it_is_loaded_and_only_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bytes, int]] = []

    load = ssl.SSLContext.load_cert_chain

    def watching(context: ssl.SSLContext, path: Path, password: bytes) -> None:
        seen.append((path.read_bytes(), path.stat().st_mode & 0o777))
        load(context, path, password=password)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watching)
    context = server_context(issue_identity(lambda data: data), tmp_path)
    [(pem, mode)] = seen
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in pem
    assert mode == 0o600
    assert list(tmp_path.iterdir()) == []
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_host_cannot_ask_for_the_session_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys.log"))
    assert server_context(issue_identity(lambda data: data), tmp_path).keylog_filename is None


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "none"
    with pytest.raises(ApplicationError) as caught:
        server_context(issue_identity(lambda data: data), folder)
    assert (str(caught.value), caught.value.hint) == (
        (
            "TLS key: expected a writable folder for the moment of loading it, "
            f"got No such file or directory ({folder})"
        ),
        "mount a tmpfs there in the manifest",
    )


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["before"])
    yield tmp_path / "workload_module.py"
    sys.modules.pop("workload_module", None)


def refused_target(target: str) -> tuple[str, str | None]:
    with pytest.raises(ApplicationError) as caught:
        load_callable(target)
    return str(caught.value), caught.value.hint


def test_a_callable_may_lie_in_an_object(module: Path) -> None:
    module.write_text("class wsgi:\n    app = 7\n")
    assert load_callable("workload_module:wsgi.app") == 7


def test_a_module_that_is_not_there_is_named(module: Path) -> None:
    assert refused_target("workload_module:app") == (
        (
            "application: expected a module workload_module that can be imported, "
            "got ModuleNotFoundError for workload_module (workload_module:app)"
        ),
        OUTSIDE,
    )


def test_a_module_that_it_misses_is_named_with_the_place(module: Path) -> None:
    module.write_text("\nimport not_in_this_image\n")
    assert refused_target("workload_module:app")[0] == (
        "application: expected a module workload_module that can be imported, "
        f"got ModuleNotFoundError for not_in_this_image at {module}:2 (workload_module:app)"
    )


def test_the_text_of_an_exception_stays_inside(module: Path) -> None:
    module.write_text("raise ValueError('postgres://user:hush@db is no URL')\n")
    message, hint = refused_target("workload_module:app")
    assert message == (
        "application: expected a module workload_module that can be imported, "
        f"got ValueError at {module}:1 (workload_module:app)"
    )
    assert "hush" not in f"{message}{hint}"


def test_an_attribute_that_is_not_there_is_named(module: Path) -> None:
    module.write_text("")
    assert refused_target("workload_module:app") == (
        "application: expected an attribute app of module workload_module, got none (workload_module:app)",
        "mend [app] serve in casemate.toml and build the image again",
    )


PROGRAM = "import sys, json\nprint(json.dumps([__name__, sys.argv]))\n"


def test_a_module_runs_as_main_with_its_arguments(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module.write_text(PROGRAM)
    run_command(("python", "-m", "workload_module", "--fast", "x"))
    assert capsys.readouterr().out == f'["__main__", ["{module}", "--fast", "x"]]\n'


def test_a_script_runs_as_main_with_its_arguments(module: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module.write_text(PROGRAM)
    run_command(("python", str(module), "x"))
    assert capsys.readouterr().out == f'["__main__", ["{module}", "x"]]\n'


def test_a_script_that_is_there_as_bytecode_only_runs(
    module: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module.write_text(PROGRAM)
    py_compile.compile(
        str(module), cfile=f"{module}c", invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    module.unlink()
    run_command(("python", str(module), "x"))
    assert re.match(r'\["__main__", \[".*", "x"\]\]\n', capsys.readouterr().out)


def test_a_program_that_fails_is_named_with_the_place_and_without_the_text(module: Path) -> None:
    module.write_text("def main():\n    raise ValueError('hush')\nmain()\n")
    with pytest.raises(ApplicationError) as caught:
        run_command(("python", str(module)))
    assert (str(caught.value), caught.value.hint) == (
        f"application: expected a program that runs, got ValueError at {module}:2 (python {module})",
        OUTSIDE,
    )


def test_a_program_may_end_with_a_code_of_its_own(module: Path) -> None:
    module.write_text("raise SystemExit(7)\n")
    with pytest.raises(SystemExit) as caught:
        run_command(("python", "-m", "workload_module"))
    assert caught.value.code == 7


def test_a_command_finds_the_folders_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["before"])
    (tmp_path / "workload_beside.py").write_text("print('found')\n")
    application = Application(
        interface=Interface.COMMAND, command=("python", "-m", "workload_beside"), path=(str(tmp_path),)
    )
    announced: list[str] = []
    run_application(application, Listen(port=1), None, lambda: announced.append("now"))
    assert (capsys.readouterr().out, announced) == ("found\n", ["now"])


@pytest.mark.parametrize(
    ("host", "got"), [("127.0.0.1", "Address already in use"), ("999.0.0.1", "Name or service not known")]
)
def test_an_address_that_cannot_be_listened_on_is_named(
    module: Path, monkeypatch: pytest.MonkeyPatch, host: str, got: str
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    module.write_text("app = None\n")
    application = Application(interface=Interface.WSGI, target="workload_module:app")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ApplicationError) as caught:
            run_application(application, Listen(host=host, port=port), context, lambda: None)
    message = str(caught.value)
    assert message.startswith("server: expected an address to listen on, got ")
    assert message.endswith(f" ({host} port {port})")
    assert host == "999.0.0.1" or got in message
    assert caught.value.hint == "choose another [app] port in casemate.toml, or end what listens there"


LIFESPAN = """
    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "SECRET is hush"})
"""


def test_a_lifespan_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    (tmp_path / "served.py").write_text(textwrap.dedent(LIFESPAN))
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SERVE), str(tmp_path), "asgi", str(free_port())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == "Application startup failed. Exiting."
    assert result.stderr.splitlines()[1].startswith("casemate: error: not caught: ApplicationError at ")
    assert len(result.stderr.splitlines()) == 2
