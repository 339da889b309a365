"""The applications of ``tests/corpus``: installed and run natively, built and rehearsed, asked the same.

Each is a folder as its author would have it, with the ``casemate.toml`` that ``casemate init`` wrote, and a
``requests.toml`` for us:

    needs = ["postgresql"]                 # services; DATABASE_URL then names a new database
    native = { NAME = "{folder}/x" }       # variables of the native run alone: folders of its own
    client = "client.py"                   # a program that asks, told the address, in place of requests
    [[request]]
    method = "POST"                        # GET when left out
    path = "/basket/"
    headers = { Content-Type = "…" }
    body = "name=bread&token={token}"      # {token}: what an earlier request has kept
    keep = { token = 'value="([^"]+)"' }   # from the answer
    differs = ['value="[^"]+"']            # what in the body is not the same from run to run

Cookies are kept as a browser keeps them. Status, type and body of every answer are compared.
"""

from __future__ import annotations

import http.client
import http.cookies
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import uv

import casemate_attester
from casemate.adapters.service_certificate import make_service_certificates
from casemate.demonstration.stage import Service, free_port

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "corpus"
_NATIVE = Path(__file__).with_name("corpus_native.py")
_PORT = re.compile(r"\b8443\b")
#: Seconds: a start trains models, and two cores serve everybody.
_START = 120.0
_ANSWER = 60.0
#: Seconds for an end: requests that are under way have ten, and reports are written afterwards.
_STOP = 60.0
_BUILD = 600


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    kind: str
    body: str


@dataclass(frozen=True)
class CorpusApplication:
    """One of them."""

    folder: Path
    spec: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> CorpusApplication:
        return cls(folder, tomllib.loads((folder / "requests.toml").read_text("utf-8")))

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def needs_postgresql(self) -> bool:
        return "postgresql" in self.spec.get("needs", ())

    def copy(self, to: Path, *, port: int, database: str | None) -> None:
        """The folder of a user who has these ports and this database."""
        ours = shutil.ignore_patterns("requests.toml", "__pycache__", ".venv")
        shutil.copytree(self.folder, to, ignore=ours)
        text = _PORT.sub(str(port), (to / "casemate.toml").read_text("utf-8"))
        if database is not None:
            text = re.sub(
                r"(?m)^DATABASE_URL = .*$", lambda _: f"DATABASE_URL = {json.dumps(database)}", text
            )
        (to / "casemate.toml").write_text(text, "utf-8")


def corpus() -> tuple[CorpusApplication, ...]:
    """All of them, sorted by name."""
    return tuple(CorpusApplication.read(path.parent) for path in sorted(CORPUS.glob("*/requests.toml")))


def install(application: CorpusApplication, environment: Path) -> Path:
    """A virtual environment with the requirements, and with the server that Casemate adds; its Python."""
    _uv("venv", "--quiet", "--python", sys.executable, str(environment))
    python = environment / "bin" / "python"
    requirements = environment / "requirements.txt"
    requirements.write_text(locked(application))
    install = ("pip", "install", "--quiet", "--python", str(python))
    _uv(*install, "-r", str(requirements), folder=application.folder)
    ours = environment / "ours.txt"
    text = files("casemate.builder").joinpath("runtime_requirements.txt").read_text("utf-8")
    present = {line.partition("==")[0] for line in _uv("pip", "freeze", "--python", str(python)).splitlines()}
    ours.write_text(
        "".join(
            block
            for block in re.split(r"(?m)^(?=\S)", text)
            if not block.startswith("#") and block.partition("==")[0] not in present
        )
    )
    _uv(*install, "--no-deps", "-r", str(ours))
    return python


def locked(application: CorpusApplication) -> str:
    """The requirements, a line for each version; what lies in the application's folder is relative to it."""
    requirements = application.folder / "requirements.txt"
    if requirements.exists():
        return requirements.read_text("utf-8")
    export = ("export", "--frozen", "--no-dev", "--no-emit-project", "--no-editable", "--no-header")
    return _uv(*export, "--quiet", folder=application.folder)


def build(folder: Path, bundle: Path, *options: str) -> Mapping[str, Any]:
    """``casemate build``; its document."""
    done = subprocess.run(
        [sys.executable, "-m", "casemate", "build", str(folder), "-o", str(bundle), "--json", *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=_BUILD,
    )
    assert done.returncode == 0, done.stderr
    document: Mapping[str, Any] = json.loads(done.stdout)
    return document


@contextmanager
def native(folder: Path, python: Path, application: CorpusApplication) -> Iterator[None]:
    """The copy in ``folder`` runs as its author would run it, with the server of the attester."""
    project = tomllib.loads((folder / "casemate.toml").read_text("utf-8"))
    tls = folder.parent / "native-tls"
    make_service_certificates(tls, ("localhost",), datetime.now(UTC))
    own = {
        name: text.format(folder=folder.parent) for name, text in application.spec.get("native", {}).items()
    }
    environment = {
        "PATH": "/usr/bin:/bin:/sbin:/usr/sbin",
        "HOME": str(folder.parent),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONDONTWRITEBYTECODE": "1",
        **project.get("env", {}),
        **{name: text.format(folder=folder.parent) for name, text in own.items()},
    }
    app = project["app"]
    arguments = {
        "attester": str(Path(casemate_attester.__file__).parent.parent),
        "application": {
            "interface": app.get("interface", "command"),
            "target": app.get("serve"),
            "command": app.get("command", ()),
        },
        "path": str(folder / app.get("source", ".")),
        "port": app["port"],
        "certificate": str(tls / "cert.pem"),
        "key": str(tls / "key.pem"),
    }
    command = [str(python), "-P", "-s", str(_NATIVE), json.dumps(arguments)]
    with _service(folder.parent / "native.log", command, env=environment, cwd=folder) as (service, _):
        service.wait_for_port(app["port"], _START)
        yield


@dataclass
class Rehearsed:
    """A rehearsal that runs, and its report when it has ended."""

    report: Mapping[str, Any] = field(default_factory=dict)
    log: str = ""


@contextmanager
def rehearsed(bundle: Path, port: int, *options: str) -> Iterator[Rehearsed]:
    """The bundle runs as Gramine would run it."""
    command = [sys.executable, "-m", "casemate", "rehearse", str(bundle), "--json", *options]
    result = Rehearsed()
    with _service(bundle.parent / "rehearsal.log", command) as (service, process):
        service.wait_for_port(port, _START)
        yield result
        process.terminate()
        process.wait(_STOP)
        result.report = service.stop()
        result.log = service.log_text()


@contextmanager
def _service(
    log: Path, command: Sequence[str], **options: Any
) -> Iterator[tuple[Service, subprocess.Popen[str]]]:
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True, **options
        )
    service = Service(process=process, log=log)
    try:
        yield service, process
    finally:
        service.stop()
        assert process.stdout is not None
        process.stdout.close()


def ask(application: CorpusApplication, port: int, python: Path) -> tuple[Answer, ...]:
    """Send every request of ``application`` to what listens on ``port``."""
    if "client" in application.spec:
        return (_client(application, port, python),)
    cookies: dict[str, str] = {}
    kept: dict[str, str] = {}
    return tuple(_one(request, port, cookies, kept) for request in application.spec["request"])


def _client(application: CorpusApplication, port: int, python: Path) -> Answer:
    done = subprocess.run(
        [python, application.spec["client"], f"localhost:{port}"],
        cwd=application.folder,
        env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=_ANSWER,
    )
    assert done.returncode == 0, done.stderr
    return Answer(status=done.returncode, kind="output", body=done.stdout)


def _one(request: Mapping[str, Any], port: int, cookies: dict[str, str], kept: dict[str, str]) -> Answer:
    # The certificate is the run's own, and `verify server` has its own tests.
    connection = http.client.HTTPSConnection(
        "localhost",
        port,
        timeout=_ANSWER,
        context=ssl._create_unverified_context(),  # noqa: S323 - see above
    )
    headers = {"Host": "localhost", **request.get("headers", {})}
    if cookies:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    body = request.get("body")
    for name, value in kept.items():
        body = body.replace(f"{{{name}}}", value) if body is not None else None
    connection.request(
        request.get("method", "GET"), request["path"], None if body is None else body.encode(), headers
    )
    response = connection.getresponse()
    text = response.read().decode("utf-8", "backslashreplace")
    for line in response.headers.get_all("Set-Cookie", ()):
        cookies.update((name, morsel.value) for name, morsel in http.cookies.SimpleCookie(line).items())
    for name, pattern in request.get("keep", {}).items():
        found = re.search(pattern, text)
        assert found is not None, f"{request['path']}: {pattern} is not in {text}"
        kept[name] = found[1]
    for pattern in request.get("differs", ()):
        text = re.sub(pattern, "…", text)
    connection.close()
    return Answer(status=response.status, kind=response.getheader("Content-Type") or "", body=text)


def findings_that_matter(rehearsal: Rehearsed, folder: Path, python: Path) -> list[tuple[str, str]]:
    """Files that the application asked for and natively gets: those of its folder and of its environment.

    What it asked of the system, and does without, shows in its answers if anywhere.
    """
    packages = next((python.parents[1] / "lib").glob("python*/site-packages"))
    places = {"/app/": folder, "/opt/python/lib/python": packages.parents[1]}
    found = [(finding["kind"], finding["path"]) for finding in rehearsal.report["findings"]]
    return [
        (kind, path)
        for kind, path in found
        if kind != "system-call" and (kind != "missing" or _exists(path, places))
    ]


def _exists(path: str, places: Mapping[str, Path]) -> bool:
    for inside, outside in places.items():
        if path.startswith(inside):
            rest = path.removeprefix(inside)
            return (outside / rest if inside == "/app/" else Path(f"{outside}/python{rest}")).exists()
    return False


def a_free_port() -> int:
    """A port of its own for each run: the tests run beside each other."""
    return free_port(0)


def _uv(*arguments: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        [uv.find_uv_bin(), *arguments], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
