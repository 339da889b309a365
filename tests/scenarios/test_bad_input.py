"""Bad input through the real command line: a message that helps, and nothing half-written."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.support.sgx_world import MRENCLAVE, good_world

from casemate.adapters.service_certificate import make_service_certificates
from casemate.demonstration.stage import free_port
from casemate.rehearsal.sandbox import available

VECTORS = Path(__file__).parents[1] / "vectors/measurement"
MEASURED = VECTORS / "defaults/app.manifest.sgx"
PAL = VECTORS / "pal/aligned.so"
KEY = f"file:{VECTORS}/signing-key.pem"
APP = '[app]\nname = "hello"\nserve = "hello:app"\ninterface = "wsgi"\n'
NO_REQUIREMENTS = 'requirements = ""\n'
HELLO = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"
STATEMENT = (
    '{"_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:casemate:reference-values:v1", '
    f'"subject": [{{"name": "hello", "digest": {{"sha256": "{"11" * 32}"}}}}], '
    '"predicate": {"simulated": true, "gramine": {}, "sources": {}, "sgx": '
    f'{{"mrenclave": "{"22" * 32}", "mrsigner": "{"33" * 32}", "isvprodid": 1, "isvsvn": 1, '
    '"attributes": "0500000000000000e700000000000000", '
    '"attributes_mask": "ffffffffffffffff1bfffffffffffff0", "misc_select": "00000000"}}}'
)


@dataclass(frozen=True)
class Refused:
    """What a command said that refused its input, and left no trace of having begun."""

    code: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """The line with the error and the line with the hint, which are the last."""
        return "".join(self.err.splitlines(keepends=True)[-2:])


Refuse = Callable[..., Refused]


def files_of(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def refuse(tmp_path: Path) -> Refuse:
    """Runs ``casemate``; whatever it is given, it refuses in two lines and leaves ``tmp_path`` as it was."""

    def call(*arguments: object, cwd: Path = tmp_path) -> Refused:
        before = files_of(tmp_path)
        done = subprocess.run(
            [sys.executable, "-m", "casemate", *map(str, arguments)],
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        refused = Refused(done.returncode, done.stdout, done.stderr)
        assert refused.code in {1, 2}, refused
        assert "Traceback" not in refused.err
        assert re.fullmatch(r"error: [^\n]*(expected|got) [^\n]+\nhint: [^\n]+\n", refused.message), refused
        assert files_of(tmp_path) == before
        return refused

    return call


@pytest.fixture
def application(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "hello.py").write_text(HELLO)
    return folder


def test_an_unknown_key_in_casemate_toml_is_told_the_nearest_one(refuse: Refuse, application: Path) -> None:
    (application / "casemate.toml").write_text(APP + 'requirement = "requirements.txt"\n')
    refused = refuse("build", application, "-o", "bundle")
    assert (refused.code, refused.out) == (1, "")
    assert refused.message == (
        'error: unknown key "requirement": expected a key of [app] (casemate.toml: app.requirement)\n'
        'hint: did you mean "requirements"?\n'
    )


def test_a_requirement_that_does_not_resolve(refuse: Refuse, application: Path) -> None:
    (application / "casemate.toml").write_text(APP + 'requirements = "requirements.txt"\n')
    nowhere = f"--index-url file://{application}/simple\n"
    (application / "requirements.txt").write_text(nowhere + "no-such-thing-at-all==1.0\n")
    refused = refuse("build", application, "-o", "bundle")
    assert (refused.code, refused.out) == (1, "")
    assert re.fullmatch(
        r"error: requirements do not install: got .*no-such-thing-at-all.* \(requirements\.txt\)\n"
        "hint: mend the requirement and lock again; without a network, uv needs them in its cache\n",
        refused.message,
    )


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        (
            "hallo:app",
            (
                "error: entry point: expected a module hallo that can be imported, "
                "got none in app.source and in the requirements (casemate.toml: app.serve)\n"
                "hint: app.source is the folder in which Python would look for the module\n"
            ),
        ),
        (
            "hello:main",
            (
                "error: entry point: expected a name main in module hello, got none "
                "(casemate.toml: app.serve)\n"
                "hint: hello.py has to define it at its top level\n"
            ),
        ),
    ],
    ids=["module", "attribute"],
)
@pytest.mark.slow
def test_an_entry_point_that_does_not_import(
    refuse: Refuse, application: Path, serve: str, message: str
) -> None:
    text = APP.replace("hello:app", serve) + NO_REQUIREMENTS
    (application / "casemate.toml").write_text(text)
    refused = refuse("build", application, "-o", "bundle")
    assert (refused.code, refused.out, refused.message) == (1, "", message)


@pytest.mark.parametrize("command", ["sign", "measure"])
def test_a_manifest_without_mounts(refuse: Refuse, tmp_path: Path, command: str) -> None:
    manifest = tmp_path / "app.manifest.sgx"
    manifest.write_text(
        re.sub(r"^mounts = \[.*?^\]\n", "", MEASURED.read_text(), flags=re.MULTILINE | re.DOTALL)
    )
    options = {"sign": ("--key", KEY, "--output", "out.manifest.sgx", "--sigfile", "app.sig"), "measure": ()}
    refused = refuse(command, "--manifest", manifest, "--pal", PAL, *options[command])
    assert (refused.code, refused.out) == (1, "")
    assert refused.message == (
        "error: manifest: expected fs.mounts, got nothing\n"
        "hint: list what the application may see; fs.mounts = [] when that is the root file system alone\n"
    )


CUT = "The quote was cut, or a length in it is wrong."
CUT_DATA = "The quote was cut, or something was added behind it."


@pytest.mark.parametrize(
    ("size", "got"),
    [
        (0, "quote header: expected 48 bytes, got 0 bytes"),
        (47, "quote header: expected 48 bytes, got 47 bytes"),
        (48, f"quote header and report: expected 432 bytes, got 48 bytes (offset 0). {CUT}"),
        (431, f"quote header and report: expected 432 bytes, got 431 bytes (offset 0). {CUT}"),
        (432, f"size of the signature data: expected 4 bytes, got 0 bytes (offset 432). {CUT}"),
        (435, f"size of the signature data: expected 4 bytes, got 3 bytes (offset 432). {CUT}"),
        (436, f"got 0 bytes (offset 436). {CUT_DATA}"),
        (1020, f"got 584 bytes (offset 436). {CUT_DATA}"),
        (-1, f"(offset 436). {CUT_DATA}"),
    ],
)
def test_a_quote_that_was_cut(refuse: Refuse, tmp_path: Path, size: int, got: str) -> None:
    world = good_world()
    (tmp_path / "quote").write_bytes(world.evidence[:size])
    (tmp_path / "collateral.json").write_bytes(world.collateral.to_json())
    (tmp_path / "root.pem").write_bytes(world.platform.root_certificate)
    refused = refuse(
        *("verify", "quote", "quote", "--collateral", "collateral.json", "--simulated-root", "root.pem"),
        *("--mrenclave", MRENCLAVE.hex()),
    )
    # Every check that was made is the result of this command, whatever it comes to.
    assert refused.out.startswith("verdict: contraindicated\n")
    assert refused.code == 1
    error, hint = refused.message.splitlines()
    assert error.startswith("error: quote format: expected what its format allows, got ")
    assert error.endswith(f"{got} (QVL 4.1.2.4.2)")
    assert hint == "hint: Is this a quote? Give it whole and as it was made, in binary."


@pytest.mark.parametrize(
    ("exponent", "bits", "message"),
    [
        (65537, 3072, "error: public exponent of the signing key: expected 3, got 65537 (file:key.pem)\n"),
        (3, 2048, "error: length of the signing key: expected 3072 bits, got 2048 (file:key.pem)\n"),
    ],
)
def test_a_key_that_no_processor_accepts(
    refuse: Refuse, tmp_path: Path, exponent: int, bits: int, message: str
) -> None:
    key = generate_private_key(public_exponent=exponent, key_size=bits)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    (tmp_path / "key.pem").chmod(0o600)
    refused = refuse(
        *("sign", "--manifest", MEASURED, "--pal", PAL, "--key", "file:key.pem"),
        *("--output", "out.manifest.sgx", "--sigfile", "app.sig"),
    )
    assert (refused.code, refused.out) == (1, "")
    assert refused.message == message + "hint: make one with: openssl genrsa -3 -out KEY.pem 3072\n"


def test_a_resource_name_with_dots_in_casemate_toml(refuse: Refuse, application: Path) -> None:
    text = '[secrets]\n"/run/secrets/k" = "kbs:///default/../k"\n[broker]\nurl = "https://b"\nca = "ca.pem"\n'
    (application / "casemate.toml").write_text(APP + NO_REQUIREMENTS + text)
    refused = refuse("build", application, "-o", "bundle")
    assert (refused.code, refused.out) == (1, "")
    assert refused.message == (
        'error: resource: expected "kbs:///repository/type/tag", got "kbs:///default/../k" '
        "(casemate.toml: secrets./run/secrets/k)\n"
        "hint: three parts of letters, digits, _, - and ., none of which begins with a dot\n"
    )


def test_a_resource_name_with_dots_at_the_broker(refuse: Refuse, tmp_path: Path) -> None:
    world = good_world()
    (tmp_path / "collateral.json").write_bytes(world.collateral.to_json())
    (tmp_path / "root.pem").write_bytes(world.platform.root_certificate)
    (tmp_path / "reference-values.json").write_text(STATEMENT)
    refused = refuse(
        *("serve", "broker", "--listen", "127.0.0.1:0", "--tls", "tls", "--store", "broker.db"),
        *("--collateral", "collateral.json", "--simulated-root", "root.pem"),
        *("--reference-values", "reference-values.json", "--generate", "default/../k=32"),
    )
    assert (refused.code, refused.out) == (2, "")
    assert refused.message == (
        "error: resource name: expected segments of letters, digits, '_', '-' and '.', the first not a '.', "
        "got '..' in 'default/../k' (--generate)\n"
        "hint: for example --generate default/notes/db-key=BYTES\n"
    )


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.skipif(bool(available()), reason=f"no rehearsal here: {available()}")
def test_a_broker_that_is_down(refuse: Refuse, application: Path, tmp_path: Path) -> None:
    make_service_certificates(tmp_path / "tls", ("localhost",), datetime.now(UTC))
    shutil.copy(tmp_path / "tls/ca.pem", application / "ca.pem")
    broker = f"https://localhost:{free_port(0)}"
    text = (
        f'[secrets]\n"/run/secrets/k" = "kbs:///default/hello/k"\n[broker]\nurl = "{broker}"\nca = "ca.pem"\n'
    )
    port = f"port = {free_port(0)}\n"
    (application / "casemate.toml").write_text(APP + NO_REQUIREMENTS + port + text)
    build = ("build", str(application), "-o", str(tmp_path / "bundle"))
    subprocess.run([sys.executable, "-m", "casemate", *build], check=True, capture_output=True)
    refused = refuse("rehearse", "bundle")
    assert (refused.code, refused.out) == (1, "")
    unreachable = (
        "key broker: expected an answer from the broker whose authority is measured, "
        f"got Connection refused, 6 times ({broker})"
    )
    hint = (
        "hint: see that the broker runs and is reachable, and that [broker] url and ca in casemate.toml are "
        "its own\n"
    )
    assert refused.message == (
        f'error: application in the rehearsal: expected exit code 0, got 1 after "{unreachable}" '
        f"(requests refused: 0)\n{hint}"
    )
    assert f"casemate: error: {unreachable}\ncasemate: {hint}" in refused.err
