"""Images of the kinds that people use: Debian, python:slim, distroless, Wolfi, Alpine."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from tests.support.debian_image import DebianImage, Start, debian_image, why_not, write_layout
from tests.support.elf_writer import ElfFile, write_elf

from casemate.cli.main import run
from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"no namespaces here: {available()}"),
]
debian = pytest.mark.skipif(why_not() is not None, reason=f"no Debian image here: {why_not()}")

REQUIREMENTS = "flask==3.1.0\ngunicorn==23.0.0\n"
WEB = (
    "import sqlite3, ssl, ctypes\n"
    "from flask import Flask\n"
    "app = Flask(__name__)\n"
    '@app.get("/")\n'
    "def hello():\n"
    '    return f"hello from SQLite {sqlite3.sqlite_version}"\n'
)


@pytest.fixture
def application(tmp_path: Path) -> Path:
    folder = tmp_path / "application"
    folder.mkdir()
    (folder / "web.py").write_text(WEB)
    return folder


def made(base: str, application: Path, into: Path, port: int) -> DebianImage:
    venv = "/opt/venv" if base in {"distroless", "wolfi"} else None
    start = Start(cmd=["gunicorn", "-w", "4", "-b", f"0.0.0.0:{port}", "web:app"], ports=(port,))
    return debian_image(REQUIREMENTS, application, into, start=start, base=base, venv=venv)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answer(port: int) -> str:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"https://127.0.0.1:{port}/", context=context, timeout=5) as reply:
                return str(reply.read().decode())
        except OSError:
            time.sleep(0.1)
    raise AssertionError("no answer in 20 seconds")


@debian
@pytest.mark.slow
def test_an_application_of_a_slim_image_answers_in_rehearsal(application: Path, tmp_path: Path) -> None:
    port = free_port()
    image = made("slim", application, tmp_path / "image", port)
    bundle = tmp_path / "bundle"
    assert run(["build", str(tmp_path), "--from", image.source, "-o", str(bundle)]) == 0
    command = [sys.executable, "-m", "casemate", "rehearse", str(bundle)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as rehearsal:
        try:
            assert answer(port).startswith("hello from SQLite 3.")
        finally:
            rehearsal.send_signal(signal.SIGTERM)
            rehearsal.wait(30)
    libraries = {Path(file["path"]).name for file in json.loads((bundle / "tcb.json").read_bytes())["files"]}
    assert {"libpython3.11.so.1.0", "libsqlite3.so.0", "libssl.so.3"} <= libraries


@debian
@pytest.mark.slow
def test_the_base_does_not_matter_where_it_gives_the_same_files(application: Path, tmp_path: Path) -> None:
    """With a shell and ld.so.cache or without, in dist-packages or in a virtual environment."""
    manifests = set()
    for base in ("debian", "wolfi"):
        image = made(base, application, tmp_path / base, 8000)
        bundle = tmp_path / f"{base}.bundle"
        assert run(["build", str(tmp_path), "--from", image.source, "-o", str(bundle)]) == 0
        manifests.add((bundle / "app.manifest.sgx").read_bytes())
    assert len(manifests) == 1


def test_an_image_with_musl_is_refused_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    program = root / "usr/bin/python3.12"
    program.write_bytes(write_elf(ElfFile(interpreter="/lib/ld-musl-x86_64.so.1")))
    program.chmod(0o755)
    (root / "usr/bin/python3").symlink_to("python3.12")
    layer = tmp_path / "layer.tar"
    subprocess.run(["tar", "--create", f"--file={layer}", f"--directory={root}", "."], check=True)
    write_layout(tmp_path / "alpine", [layer], {"Cmd": ["python3", "app.py"], "WorkingDir": "/srv/app"})
    assert run(["build", str(tmp_path), "--from", f"oci:{tmp_path}/alpine", "-o", str(tmp_path / "b")]) == 1
    assert capsys.readouterr().err.endswith(
        "error: C library of the image: expected glibc, got musl (/lib/ld-musl-x86_64.so.1) "
        "(/usr/bin/python3 in the image)\n"
        "hint: build the image on a base with glibc, such as python:3.12-slim-bookworm in place of "
        "python:3.12-alpine; wheels for musl do not work there, so its requirements are installed again\n"
    )
    assert not (tmp_path / "b").exists()
