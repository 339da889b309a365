"""``casemate size`` on a bundle of an application that uses what is known."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import pytest

from casemate.cli.main import run
from casemate.project import parse_project

_MEBIBYTE = 1 << 20
_FAILED = "error: command that sends the traffic: expected exit code 0, got"
_CODE = """
import os, socket, threading

kept = bytearray(os.urandom(1)) * (100 << 20)
for _ in range(20):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
with socket.create_server(("127.0.0.1", PORT)) as server:
    while True:
        server.accept()[0].close()
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A bundle, and the port on which it listens."""
    folder = tmp_path_factory.mktemp("sized")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    (folder / "main.py").write_text(_CODE.replace("PORT", str(port)))
    (folder / "casemate.toml").write_text(
        f'[app]\nname = "n"\ncommand = ["python", "main.py"]\nrequirements = ""\nport = {port}\n'
        '[enclave]\nsize = "64M"\nthreads = 8\n'
    )
    assert run(["build", str(folder), "-o", str(folder / "bundle")]) == 0
    return folder / "bundle", port


@pytest.mark.sandbox
def test_an_enclave_is_proposed_that_is_larger_than_what_the_bundle_has(
    bundle: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["size", str(bundle[0]), "--for", "0.7", "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    measured, proposal = document["measured"], document["proposal"]
    assert document["measured_on_sgx"] is False
    assert measured["threads"] == 21
    assert measured["resident"] > 100 * _MEBIBYTE
    assert measured["address_space"] > 100 * _MEBIBYTE + 20 * measured["stack_size"]
    assert measured["ready"] > 0
    assert (proposal["size"], proposal["threads"], proposal["edmm"]) == ("512M", 31, False)
    assert document["modelled"]["needed"] <= 512 * _MEBIBYTE
    app = '[app]\nname = "notes"\nserve = "notes:app"\n'
    assert parse_project((app + proposal["lines"]).encode(), "casemate.toml").enclave.threads == 31


@pytest.mark.sandbox
def test_a_command_sends_the_traffic_and_the_rest_is_for_people(
    bundle: tuple[Path, int], capfd: pytest.CaptureFixture[str]
) -> None:
    path, port = bundle
    send = f"import socket; socket.create_connection(('127.0.0.1', {port})); print('sent')"
    assert run(["size", str(path), "--headroom", "0", "--", sys.executable, "-c", send]) == 0

    captured = capfd.readouterr()
    assert captured.out.endswith(
        "\ninto casemate.toml, in place of what [enclave] there says of them:\n\n"
        '[enclave]\nsize = "256M"\nthreads = 25\nstack = "2M"\nfiles = 1024\n'
    )
    assert "\n  threads          21\n" in captured.out
    assert "sent\n" in captured.err
    assert captured.err.endswith(
        "Measured in a rehearsal, not on SGX: what an enclave takes follows from a model. Run the bundle at "
        "the proposed size under the same traffic on SGX before you rely on it.\n"
    )


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("command_line", "message"),
    [
        (
            ["false"],
            f"{_FAILED} 1 (false)\n",
        ),
        (
            ["/not there"],
            f"{_FAILED} No such file or directory ('/not there')\n",
        ),
    ],
    ids=["fails", "does not exist"],
)
def test_nothing_is_proposed_from_traffic_that_failed(
    bundle: tuple[Path, int], capsys: pytest.CaptureFixture[str], command_line: list[str], message: str
) -> None:
    assert run(["size", str(bundle[0]), "--", *command_line]) == 1

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(
        message + "hint: what it printed says why; nothing is proposed from traffic that failed\n"
    )


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["size", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"error: bundle: expected a folder that casemate build made, got another folder ({tmp_path})\n"
        "hint: make one with: casemate build DIR -o BUNDLE\n"
    )
