"""Every kind of key URI through the real program: the same signature, and no secret for others to see."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from tests.support.softhsm import PIN, SoftHsm

VECTORS = Path(__file__).parents[2] / "vectors/measurement"
VECTOR = VECTORS / "defaults"
EXPECTED = json.loads((VECTOR / "expected.json").read_text())
PASSPHRASE = "open sesame, please"
PROGRAM = [sys.executable, "-m", "casemate"]


def private_key() -> RSAPrivateKey:
    key = load_pem_private_key((VECTORS / "signing-key.pem").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


@pytest.fixture
def encrypted(tmp_path: Path) -> Path:
    path = tmp_path / "encrypted.pem"
    path.write_bytes(
        private_key().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSPHRASE.encode())
        )
    )
    return path


@pytest.fixture
def public(tmp_path: Path) -> Path:
    path = tmp_path / "public.pem"
    path.write_bytes(private_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture
def softhsm(tmp_path: Path) -> SoftHsm:
    """A token ``release`` with the vectors' key ``enclave``."""
    made = SoftHsm.make(tmp_path)
    made.make_token("release")
    pem = tmp_path / "pkcs8.pem"
    pem.write_bytes(private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made.import_key(pem, token="release", label="enclave")
    pem.unlink()
    return made


def environment(softhsm: SoftHsm | None = None, **more: str) -> dict[str, str]:
    found = dict(os.environ) | more
    return found if softhsm is None else found | {"SOFTHSM2_CONF": str(softhsm.configuration)}


def casemate(
    *arguments: object, given: str = "", variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *(str(argument) for argument in arguments)],
        input=given,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )


def signing(key: str, sigfile: Path) -> list[str]:
    manifest, pal = VECTOR / "app.manifest.sgx", VECTORS / "pal" / EXPECTED["pal"].rpartition("/")[2]
    files = ["--manifest", str(manifest), "--pal", str(pal), "--sigfile", str(sigfile)]
    return ["sign", *files, "--gramine-version", "1.9", "--date", EXPECTED["date"], "--key", key]


def sign(
    key: str, sigfile: Path, *options: str, given: str = "", variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return casemate(*signing(key, sigfile), *options, given=given, variables=variables)


def require_vector(done: subprocess.CompletedProcess[str], sigfile: Path) -> None:
    told = f"Wrote {sigfile}.\nMeasured as Gramine 1.9 lays out enclaves.\n"
    assert (done.returncode, done.stderr) == (0, told)
    assert sigfile.read_bytes() == (VECTOR / "app.sig").read_bytes()


def test_a_key_on_a_token_gives_gramines_bytes(softhsm: SoftHsm, tmp_path: Path) -> None:
    sigfile, key = tmp_path / "app.sig", softhsm.uri("token=release;object=enclave")
    done = sign(key, sigfile, "--passphrase-fd", "0", given=PIN + "\n", variables=environment(softhsm))
    require_vector(done, sigfile)


def test_the_pin_may_lie_in_a_file_of_its_owner(softhsm: SoftHsm, tmp_path: Path) -> None:
    sigfile, pin = tmp_path / "app.sig", tmp_path / "pin"
    pin.write_text(PIN)
    pin.chmod(0o600)
    key = softhsm.uri("token=release;object=enclave") + f"&pin-source=file:{pin}"
    require_vector(sign(key, sigfile, variables=environment(softhsm)), sigfile)
    pin.chmod(0o644)
    done = sign(key, sigfile, variables=environment(softhsm))
    assert done.returncode == 2
    assert done.stderr == (
        f"error: PIN of token release: expected a file with permissions 0600, got 0644 ({pin})\n"
        f"hint: chmod 600 {pin}, and ask who has read it\n"
    )


def test_a_wrong_pin_is_refused_and_leaves_nothing(softhsm: SoftHsm, tmp_path: Path) -> None:
    sigfile, key = tmp_path / "app.sig", softhsm.uri("token=release;object=enclave")
    variables = environment(softhsm, TOKEN_PIN="31415926")
    done = sign(key, sigfile, "--passphrase-env", "TOKEN_PIN", variables=variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: PIN of the token: expected the right one, got a wrong one (release)\n"
        "hint: it was tried once; tokens lock themselves after a few attempts\n"
    )
    assert not sigfile.exists()


def test_a_pin_in_the_uri_is_refused_and_not_repeated(tmp_path: Path) -> None:
    done = sign(f"pkcs11:object=enclave?pin-value={PIN}", tmp_path / "app.sig")
    assert done.returncode == 1
    assert done.stderr.startswith("error: PKCS#11 URI: expected no PIN, got pin-value\nhint: everybody")
    assert PIN not in done.stderr + done.stdout


@pytest.mark.parametrize("kind", ["file", "pkcs11"])
def test_a_secret_shows_neither_in_the_process_list_nor_in_the_output(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    sigfile, variables, secret = tmp_path / "app.sig", environment(), PASSPHRASE
    if kind == "pkcs11":
        softhsm: SoftHsm = request.getfixturevalue("softhsm")
        key, variables, secret = softhsm.uri("token=release;object=enclave"), environment(softhsm), PIN
    else:
        key = f"file:{request.getfixturevalue('encrypted')}"
    line = [*signing(key, sigfile), "--passphrase-fd", "0"]
    with subprocess.Popen(
        [*PROGRAM, *line],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=variables,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(secret.encode())  # no line feed: the program goes on waiting, having read it
        process.stdin.flush()
        seen = set()
        for _ in range(10):
            time.sleep(0.05)
            seen |= {
                path.read_bytes()
                for path in (Path(f"/proc/{process.pid}/{name}") for name in ("cmdline", "environ"))
            }
        out, err = process.communicate(b"\n")
    assert process.returncode == 0, err
    assert secret.encode() not in b"".join(seen) + out + err
    assert sigfile.exists()


def test_an_encrypted_key_takes_its_passphrase_from_the_variable_that_is_named(
    encrypted: Path, tmp_path: Path
) -> None:
    sigfile = tmp_path / "app.sig"
    variables = environment(RELEASE_PASSPHRASE=PASSPHRASE)
    done = sign(f"file:{encrypted}", sigfile, "--passphrase-env", "RELEASE_PASSPHRASE", variables=variables)
    require_vector(done, sigfile)
    done = sign(f"file:{encrypted}", sigfile, "--passphrase-env", "OTHER", variables=variables)
    assert done.stderr == (
        f"error: passphrase of key file {encrypted}: expected one, got none of that name "
        "(environment variable OTHER)\n"
        "hint: it is typed on a terminal, or comes with --passphrase-fd N or --passphrase-env NAME\n"
    )


def test_a_wrong_passphrase_is_refused_and_not_shown(encrypted: Path, tmp_path: Path) -> None:
    sigfile = tmp_path / "app.sig"
    done = sign(f"file:{encrypted}", sigfile, "--passphrase-fd", "0", given="open barley\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: passphrase of the key file: expected the one that it was encrypted")
    assert "barley" not in done.stderr
    assert not sigfile.exists()


def on_terminal(line: list[str], *answers: str) -> tuple[int, str]:
    """Run a command line on a terminal of its own, and answer its questions; gives all that it showed."""
    ours, theirs = pty.openpty()
    # Its own session with the terminal as the controlling one: that is where getpass reads.
    command = ["setsid", "--ctty", "--wait", *PROGRAM, *line]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown, left = b"", list(answers)
        while True:
            try:
                shown += os.read(ours, 1024)
            except OSError:  # what Linux answers when the other side is closed
                break
            if left and shown.endswith(b": "):
                os.write(ours, left.pop(0).encode() + b"\n")
    os.close(ours)
    return process.returncode, shown.decode()


def test_a_passphrase_is_asked_for_on_a_terminal_and_not_echoed(encrypted: Path, tmp_path: Path) -> None:
    sigfile = tmp_path / "app.sig"
    code, shown = on_terminal(signing(f"file:{encrypted}", sigfile), PASSPHRASE)
    assert code == 0, shown
    assert shown.startswith(f"Passphrase of key file {encrypted}: ")
    assert PASSPHRASE not in shown
    assert sigfile.read_bytes() == (VECTOR / "app.sig").read_bytes()


def test_a_wrong_passphrase_is_not_asked_for_again(encrypted: Path, tmp_path: Path) -> None:
    code, shown = on_terminal(signing(f"file:{encrypted}", tmp_path / "app.sig"), "open barley", PASSPHRASE)
    assert code == 1
    assert shown.count("Passphrase of key file") == 1
    assert "error: passphrase of the key file: expected the one that it was encrypted with" in shown


def test_the_passphrase_of_a_new_key_is_typed_twice(tmp_path: Path) -> None:
    path = tmp_path / "new.pem"
    code, shown = on_terminal(["key", "generate", f"file:{path}"], PASSPHRASE, PASSPHRASE)
    assert code == 0, shown
    assert shown.count(": ") == 2
    assert PASSPHRASE not in shown
    done = casemate("key", "show", f"file:{path}", "--passphrase-fd", "0", given=PASSPHRASE)
    assert done.returncode == 0


def test_without_a_terminal_nobody_is_asked(encrypted: Path, tmp_path: Path) -> None:
    done = sign(f"file:{encrypted}", tmp_path / "app.sig")
    assert done.returncode == 2
    assert done.stderr == (
        f"error: passphrase of key file {encrypted}: expected one, got no terminal to ask on "
        "(standard input)\n"
        "hint: it is typed on a terminal, or comes with --passphrase-fd N or --passphrase-env NAME\n"
    )


def test_two_sources_of_a_passphrase_are_refused(encrypted: Path, tmp_path: Path) -> None:
    options = ("--passphrase-env", "HOME", "--passphrase-fd", "0")
    done = sign(f"file:{encrypted}", tmp_path / "app.sig", *options)
    assert done.stderr == ("error: passphrase: expected --passphrase-fd or --passphrase-env, got both\n")


def test_a_pin_in_a_file_and_an_option_are_refused(tmp_path: Path) -> None:
    key = "pkcs11:object=enclave?pin-source=file:/run/pin"
    done = sign(key, tmp_path / "app.sig", "--passphrase-fd", "0")
    assert done.stderr == "error: PIN: expected pin-source in the URI, or an option, got both\n"


def test_a_key_cannot_be_made_both_plain_and_encrypted(tmp_path: Path) -> None:
    done = casemate("key", "generate", f"file:{tmp_path}/k.pem", "--unencrypted", "--passphrase-fd", "0")
    assert done.stderr == "error: new key: expected --unencrypted or a passphrase, got both\n"
    assert not (tmp_path / "k.pem").exists()


def test_a_program_signs(public: Path, tmp_path: Path) -> None:
    sigfile = tmp_path / "app.sig"
    key = f"exec:openssl dgst -sha256 -sign '{VECTORS}/signing-key.pem'?public-key={public}"
    require_vector(sign(key, sigfile), sigfile)


def test_a_signature_by_another_key_is_refused(public: Path, tmp_path: Path) -> None:
    other, sigfile = tmp_path / "other.pem", tmp_path / "app.sig"
    other.write_bytes(
        generate_private_key(3, 3072).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    done = sign(f"exec:openssl dgst -sha256 -sign '{other}'?public-key={public}", sigfile)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "error: signature: expected one that the public key confirms, got another\n"
    )
    assert not sigfile.exists()


def test_a_plugin_of_gramine_signs(tmp_path: Path) -> None:
    site, sigfile = tmp_path / "site", tmp_path / "app.sig"
    (site / "acme_hsm-1.0.dist-info").mkdir(parents=True)
    (site / "acme_hsm-1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-hsm\nVersion: 1\n"
    )
    (site / "acme_hsm-1.0.dist-info/entry_points.txt").write_text(
        "[gramine.sgx_sign]\nacme = acme_hsm:sign_with_acme\n"
    )
    (site / "acme_hsm.py").write_text(
        "import click\n"
        "from cryptography.hazmat.primitives import hashes, serialization\n"
        "from cryptography.hazmat.primitives.asymmetric import padding\n"
        "@click.command(add_help_option=False)\n"
        "@click.help_option('--help-acme')\n"
        "@click.option('--key', type=click.File('rb'), required=True)\n"
        "def sign_with_acme(key):\n"
        "    private = serialization.load_pem_private_key(key.read(), None)\n"
        "    public = private.public_key().public_numbers()\n"
        "    def sign(data):\n"
        "        signature = private.sign(data, padding.PKCS1v15(), hashes.SHA256())\n"
        "        return public.e, public.n, int.from_bytes(signature, 'big')\n"
        "    return sign, [key.name]\n"
    )
    variables = environment(PYTHONPATH=str(site))
    key = f"plugin:acme --key {VECTORS}/signing-key.pem"
    require_vector(sign(key, sigfile, variables=variables), sigfile)
    done = sign("plugin:acme", sigfile, variables=variables)
    assert done.stderr == (
        "error: arguments of the plugin: expected what it takes, got Missing option '--key'. (acme)\n"
    )


@pytest.mark.parametrize(
    ("uri", "service"),
    [
        ("awskms:///alias/enclave", "AWS KMS"),
        ("gcpkms://projects/p/locations/l/keyRings/r/cryptoKeys/k", "Google Cloud KMS"),
        ("hashivault://enclave", "HashiCorp Vault's transit engine"),
    ],
)
def test_services_that_hold_no_fitting_key_are_refused_with_the_reason(uri: str, service: str) -> None:
    done = casemate("key", "show", uri)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: public exponent of the signing key: expected 3, the only one that SGX verifies with, "
        f"got 65537, the only one that this service makes keys with ({service})\n"
        "hint: an HSM (pkcs11:), Azure Key Vault (azurekv:) and files (file:) can hold such a key; "
        "one that a service let you import can sign through its own program (exec:)\n"
    )


def test_a_new_key_in_a_file_is_encrypted_and_can_sign(tmp_path: Path) -> None:
    path, sigfile = tmp_path / "new.pem", tmp_path / "app.sig"
    secret = ("--passphrase-fd", "0")
    made = casemate("key", "generate", f"file:{path}", "--json", *secret, given=PASSPHRASE + "\n")
    assert (made.returncode, made.stderr) == (0, "")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    told = json.loads(made.stdout)
    assert {name: told[name] for name in ("version", "bits", "exponent", "fit")} == {
        "version": 1,
        "bits": 3072,
        "exponent": 3,
        "fit": True,
    }
    done = sign(f"file:{path}", sigfile, "--json", *secret, given=PASSPHRASE + "\n")
    assert json.loads(done.stdout)["mrsigner"] == told["mrsigner"]


def test_a_new_key_in_a_file_is_not_stored_in_the_clear_unasked(tmp_path: Path) -> None:
    path = tmp_path / "new.pem"
    done = casemate("key", "generate", f"file:{path}")
    assert done.returncode == 2
    assert "got no terminal to ask on" in done.stderr
    assert not path.exists()
    made = casemate("key", "generate", f"file:{path}", "--unencrypted")
    assert (made.returncode, made.stderr) == (0, f"Wrote {path}.\n")
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")


def test_a_new_key_on_a_token_can_sign(softhsm: SoftHsm, tmp_path: Path) -> None:
    key, sigfile = softhsm.uri("token=release;object=new"), tmp_path / "app.sig"
    secret, variables = ("--passphrase-fd", "0"), environment(softhsm)
    made = casemate("key", "generate", key, *secret, given=PIN + "\n", variables=variables)
    assert (made.returncode, made.stderr) == (0, "")
    shown = casemate("key", "show", key, *secret, given=PIN + "\n", variables=variables)
    assert shown.stdout == made.stdout
    done = sign(key, sigfile, *secret, "--json", given=PIN + "\n", variables=variables)
    assert done.returncode == 0
    mrsigner = json.loads(done.stdout)["mrsigner"]
    assert f"mrsigner  {mrsigner}\n" in made.stdout


def test_show_prints_what_the_key_is(public: Path) -> None:
    done = casemate("key", "show", f"file:{VECTORS}/signing-key.pem")
    assert done.stdout == (
        f"bits      3072\nexponent  3\nfit       yes\nmrsigner  {EXPECTED['mrsigner']}\n{public.read_text()}"
    )


@pytest.mark.parametrize(
    ("exponent", "bits", "reason"),
    [
        (65537, 3072, "public exponent of the signing key: expected 3, got 65537"),
        (3, 2048, "length of the signing key: expected 3072 bits, got 2048"),
    ],
)
def test_a_key_on_a_token_that_does_not_fit_signs_nothing(
    softhsm: SoftHsm, tmp_path: Path, exponent: int, bits: int, reason: str
) -> None:
    pem, sigfile = tmp_path / "unfit.pem", tmp_path / "app.sig"
    unfit = generate_private_key(exponent, bits)  # type: ignore[arg-type,unused-ignore]
    pem.write_bytes(unfit.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    softhsm.import_key(pem, token="release", label="unfit", identity="05")
    key, variables = softhsm.uri("token=release;object=unfit"), environment(softhsm)
    done = sign(key, sigfile, "--passphrase-fd", "0", given=PIN + "\n", variables=variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {reason} ({key.partition('?')[0]})\n")
    assert not sigfile.exists()
    shown = casemate(
        "key", "show", key, "--json", "--passphrase-fd", "0", given=PIN + "\n", variables=variables
    )
    assert shown.returncode == 1
    assert json.loads(shown.stdout)["fit"] is False
    assert shown.stderr.startswith(f"error: {reason} ({key.partition('?')[0]})\n")


def test_a_key_is_made_only_where_one_can_be() -> None:
    done = casemate("key", "generate", "plugin:acme")
    assert done.returncode == 2
    assert done.stderr == (
        "error: new key: expected file:KEY.pem or pkcs11:token=T;object=K, got plugin:\n"
        "hint: make the key with the service's own tools: RSA, 3072 bits, exponent 3\n"
    )


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "pkcs11.py").write_text("raise ModuleNotFoundError('no', name='pkcs11')\n")
    variables = environment(PYTHONPATH=str(tmp_path))
    done = casemate("key", "show", "pkcs11:object=enclave", variables=variables)
    assert done.stderr == (
        "error: keys behind pkcs11: URIs: expected the extra pkcs11, got no module pkcs11\n"
        "hint: pip install 'casemate[pkcs11]'\n"
    )


def test_azure_is_told_nothing_without_a_proof_of_who_asks() -> None:
    # The variable keeps azure-identity from looking further than at (missing) variables.
    variables = environment(AZURE_TOKEN_CREDENTIALS="EnvironmentCredential")
    done = casemate("key", "show", "azurekv://release-keys/enclave", variables=variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(
        "error: proof for Azure who signs: expected one, got none (https://vault.azure.net/.default)\n"
        "hint: log in with: az login; or give the machine a managed or workload identity\n"
    )
