import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from casemate_attester.configuration import (
    Application,
    Broker,
    Interface,
    Listen,
    Secret,
    Workload,
)
from casemate_attester.entrypoint import CONFIGURATION, Surroundings
from casemate_attester.exchange import Answer, Call
from casemate_attester.variables import Absent, Variable

#: PID 1 as the manifest starts it, but with files of the test in the places of Gramine's.
START = """
import sys
from pathlib import Path
from casemate_attester.entrypoint import Surroundings, main
folder = Path(sys.argv[1])
raise SystemExit(main(Surroundings(
    configuration=folder / "workload.json", device=folder / "attestation", temporary=folder,
)))
"""
PROGRAM = """
import os, sys, json
from pathlib import Path
from typing import Any
print(json.dumps([os.environ.get("DB_KEY"), Path(sys.argv[1]).read_text(), sorted(os.listdir(sys.argv[2]))]))
"""


def write(folder: Path, broker: Broker | None, *secrets: Secret) -> None:
    (folder / "program.py").write_text(PROGRAM)
    (folder / "run").mkdir(exist_ok=True)
    application = Application(
        interface=Interface.COMMAND,
        command=("python", str(folder / "program.py"), str(folder / "run" / "key"), str(folder / "run")),
    )
    workload = Workload(application=application, listen=Listen(port=1), broker=broker, secrets=secrets)
    (folder / "workload.json").write_bytes(workload.to_bytes())


REFUSED = """\
casemate: error: variable LEVEL: expected one of "info", "all", got another text of length 4 (environment)
casemate: hint: give it such a value where the enclave is started: in a pod, below env of the container
"""


@pytest.mark.parametrize(
    ("given", "printed", "refused"),
    [
        ({}, "['info', None]", ""),
        ({"LEVEL": "all", "REGION": "eu"}, "['all', 'eu']", ""),
        ({"LEVEL": "hush"}, "", REFUSED),
    ],
)
def test_the_host_chooses_within_measured_rules_before_the_application_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], printed: str, refused: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text("import os\nprint([os.environ.get(name) for name in ('LEVEL', 'REGION')])\n")
    command = ("python", str(program))
    workload = Workload(
        application=Application(interface=Interface.COMMAND, command=command),
        listen=Listen(port=1),
        variables=(
            Variable(name="LEVEL", one_of=("info", "all"), absent=Absent.DEFAULT, default="info"),
            Variable(name="REGION", pattern="[a-z]+", absent=Absent.UNSET),
        ),
    )
    (tmp_path / "workload.json").write_bytes(workload.to_bytes())
    for name in ("LEVEL", "REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    result = start(tmp_path)

    assert result.stdout.strip() == printed
    assert result.returncode == (1 if refused else 0)
    ended = refused or f"casemate: starting: command {' '.join(command)}\n"
    assert result.stderr == f"casemate: configuration read: command {' '.join(command)}\n{ended}"


def start(folder: Path, program: str = START) -> subprocess.CompletedProcess[str]:
    # FIFO or not, a quote has to depend on report data here, so the broker below takes any.
    return subprocess.run(
        [sys.executable, "-I", "-B", "-u", "-X", "utf8", "-c", program, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def any_quote(memory_broker: Any) -> Any:
    """A broker that takes any quote, since the quote of plain files never changes."""

    class Trusting(memory_broker):  # type: ignore[misc, valid-type]
        def attest(self, attestation: Any) -> Answer:
            assert attestation.quote == b"a quote"
            self.quoted = attestation.quote
            attestation = type(attestation)(
                nonce=attestation.nonce,
                tee_public_key=attestation.tee_public_key,
                quote=expected_report_data(attestation),
            )
            return super().attest(attestation)

    def expected_report_data(attestation: Any) -> bytes:
        from casemate_attester.binding import report_data

        return report_data(attestation.tee_public_key, attestation.nonce)

    return Trusting


def test_a_workload_attests_receives_its_secrets_and_runs(
    tmp_path: Path, device: Path, serve: Any, any_quote: Any
) -> None:
    peer = any_quote({"a/b/text": b"hush", "a/b/file": b"quiet", "a/b/key": b"sixteen letters!"})
    with serve(peer) as served:
        write(
            tmp_path,
            served.broker,
            Secret(destination="env:DB_KEY", resource="kbs:///a/b/text"),
            Secret(destination=str(tmp_path / "run" / "key"), resource="kbs:///a/b/file"),
            Secret(destination="/dev/attestation/keys/notes", resource="kbs:///a/b/key"),
        )
        result = start(tmp_path)
    assert json.loads(result.stdout) == ["hush", "quiet", ["key"]]
    assert result.returncode == 0
    assert (device / "keys" / "notes").read_bytes() == b"sixteen letters!"
    program = tmp_path / "program.py"
    command = f"command python {program} {tmp_path / 'run' / 'key'} {tmp_path / 'run'}"
    assert result.stderr.splitlines() == [
        f"casemate: configuration read: {command}",
        f"casemate: attesting: to {served.broker.url}",
        "casemate: attested: token received, and 3 wrapped secrets",
        "casemate: secret placed: env:DB_KEY",
        f"casemate: secret placed: {tmp_path / 'run' / 'key'}",
        "casemate: secret placed: /dev/attestation/keys/notes",
        f"casemate: starting: {command}",
    ]
    # The report data that was quoted is the one of the session, not what the file held before.
    assert (device / "user_report_data").read_bytes() != bytes(64)


def test_waiting_for_a_broker_is_said(tmp_path: Path, device: Path, serve: Any, any_quote: Any) -> None:
    with serve(any_quote({})) as served:
        ca = served.broker.ca
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"https://127.0.0.1:{unused.getsockname()[1]}"
    write(tmp_path, Broker(url=url, ca=ca))
    impatient = START.replace("temporary=folder", "temporary=folder, sleep=lambda _: None")
    result = start(tmp_path, impatient)
    waiting = [line for line in result.stderr.splitlines() if "trying again" in line]
    assert waiting == [
        f"casemate: no answer from the broker: trying again in {pause} s ({number} of 6)"
        for number, pause in enumerate(["0.5", "1", "2", "4", "8"], 2)
    ]
    assert result.stderr.splitlines()[-2:] == [
        (
            "casemate: error: key broker: expected an answer from the broker whose authority is measured, "
            f"got Connection refused, 6 times ({url})"
        ),
        (
            "casemate: hint: see that the broker runs and is reachable, and that [broker] url and ca in "
            "casemate.toml are its own"
        ),
    ]


def test_no_secret_is_placed_when_one_of_them_does_not_come(
    tmp_path: Path, device: Path, serve: Any, any_quote: Any
) -> None:
    with serve(any_quote({"a/b/file": b"quiet"})) as served:
        write(
            tmp_path,
            served.broker,
            Secret(destination=str(tmp_path / "run" / "key"), resource="kbs:///a/b/file"),
            Secret(destination="env:DB_KEY", resource="kbs:///a/b/text"),
        )
        result = start(tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-2:] == [
        (
            "casemate: error: resource kbs:///a/b/text: expected a wrapped secret, got status 404, "
            "ResourceNotFound: a/b/text"
        ),
        "casemate: hint: store it with the broker under this name, or mend [secrets] in casemate.toml",
    ]
    assert list((tmp_path / "run").iterdir()) == []
    assert result.stdout == ""


def test_a_secret_that_does_not_open_stops_the_workload(
    tmp_path: Path, device: Path, serve: Any, any_quote: Any
) -> None:
    peer = any_quote({"a/b/file": b"quiet"})

    def tampering(call: Call) -> Answer:
        answer = peer(call)
        if not call.path.endswith("/file"):
            return answer
        document = json.loads(answer.body)
        document["tag"] = document["iv"][:11] + document["tag"][11:]
        return Answer(status=200, body=json.dumps(document).encode())

    with serve(tampering) as served:
        write(
            tmp_path,
            served.broker,
            Secret(destination=str(tmp_path / "run" / "key"), resource="kbs:///a/b/file"),
        )
        result = start(tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-2:] == [
        (
            "casemate: error: wrapped secret: expected one that is wrapped to this enclave's key "
            "and unchanged, got one that does not open"
        ),
        (
            "casemate: hint: look for a proxy between enclave and broker, "
            "and whether the broker wraps to tee-pubkey"
        ),
    ]
    assert "quiet" not in result.stderr


def test_without_evidence_nothing_runs(tmp_path: Path, device: Path, serve: Any, any_quote: Any) -> None:
    (device / "attestation_type").write_text("none")
    with serve(any_quote()) as served:
        write(tmp_path, served.broker)
        result = start(tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.splitlines()[-2:] == [
        f"casemate: error: attestation type: expected dcap, got 'none' ({device / 'attestation_type'})",
        (
            'casemate: hint: set sgx.remote_attestation = "dcap" in the manifest and run in gramine-sgx '
            "or in a rehearsal"
        ),
    ]


def test_a_callable_without_evidence_is_not_served(tmp_path: Path, device: Path) -> None:
    (device / "attestation_type").write_text("none")
    application = Application(interface=Interface.WSGI, target="notes:app")
    workload = Workload(application=application, listen=Listen(port=1))
    (tmp_path / "workload.json").write_bytes(workload.to_bytes())
    result = start(tmp_path)
    assert result.returncode == 1
    assert [line.split(":")[1] for line in result.stderr.splitlines()] == [
        " configuration read",
        " error",
        " hint",
    ]


def test_without_a_broker_a_command_just_runs(tmp_path: Path, device: Path) -> None:
    write(tmp_path, None)
    (tmp_path / "run" / "key").write_text("here")
    result = start(tmp_path)
    assert (json.loads(result.stdout), result.returncode) == ([None, "here", ["key"]], 0)


def test_a_callable_that_does_not_import_is_an_error_of_two_lines(tmp_path: Path, device: Path) -> None:
    application = Application(interface=Interface.WSGI, target="not_there:app")
    workload = Workload(application=application, listen=Listen(port=1))
    (tmp_path / "workload.json").write_bytes(workload.to_bytes())
    result = start(tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "casemate: configuration read: wsgi not_there:app",
        "casemate: certificate issued: evidence binds the key of this process",
        (
            "casemate: error: application: expected a module not_there that can be imported, "
            "got ModuleNotFoundError for not_there (not_there:app)"
        ),
        (
            "casemate: hint: run the application without an enclave, in its own environment, "
            "to see the whole error"
        ),
    ]


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = start(tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        (
            "casemate: error: workload configuration: expected a readable file, "
            f"got No such file or directory ({tmp_path / 'workload.json'})"
        ),
        "casemate: hint: run an image that `casemate build` has made",
    ]


def test_what_nobody_foresaw_shows_no_text(tmp_path: Path, device: Path) -> None:
    write(tmp_path, None)
    code = START.replace(
        "folder = Path",
        "import casemate_attester.entrypoint as e\n"
        "def broken(*_): raise ZeroDivisionError('hush')\n"
        "e.run_application = broken\nfolder = Path",
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "casemate: error: not foreseen: ZeroDivisionError at <string>:6"
    assert "hush" not in result.stderr


def test_an_error_without_a_hint_is_one_line(tmp_path: Path, device: Path) -> None:
    write(tmp_path, None)
    code = START.replace(
        "folder = Path",
        "import casemate_attester.entrypoint as e\n"
        "def broken(*_): raise e.AttesterError('thing', where='here')\n"
        "e.run_application = broken\nfolder = Path",
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr.splitlines()[1:]) == (1, ["casemate: error: thing (here)"])


def test_a_callable_is_served_behind_its_evidence_until_the_workload_is_told_to_end(
    tmp_path: Path, device: Path
) -> None:
    pytest.importorskip("cheroot")
    (tmp_path / "served.py").write_text("def app(environ, start_response): ...\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    application = Application(interface=Interface.WSGI, target="served:app", path=(str(tmp_path),))
    workload = Workload(application=application, listen=Listen(host="127.0.0.1", port=port))
    (tmp_path / "workload.json").write_bytes(workload.to_bytes())
    with subprocess.Popen(
        [sys.executable, "-I", "-c", START, str(tmp_path)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(3)]
        process.terminate()
        assert (process.wait(20), process.stderr.read()) == (0, "")
    assert said == [
        "casemate: configuration read: wsgi served:app\n",
        "casemate: certificate issued: evidence binds the key of this process\n",
        f"casemate: serving: wsgi served:app by https on 127.0.0.1 port {port}\n",
    ]


def test_pid_1_looks_in_the_places_of_gramine() -> None:
    around = Surroundings()
    assert (str(around.configuration), str(around.device), str(around.temporary)) == (
        "/etc/casemate/workload.json",
        "/dev/attestation",
        "/tmp",
    )
    assert around.configuration == CONFIGURATION
    assert "environ" not in repr(around)


def test_the_module_is_what_the_manifest_starts() -> None:
    result = subprocess.run(
        [sys.executable, "-I", "-B", "-u", "-X", "utf8", "-m", "casemate_attester", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(
        "casemate: error: workload configuration: expected a readable file, got No such file or directory "
        "(/etc/casemate/workload.json)\n"
    )
