"""Signing a bundle with keys that are elsewhere, through the real programs of those who hold them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from tests.support.small_bundle import KEY, small_bundle
from tests.support.softhsm import PIN, SoftHsm

PROGRAM = [sys.executable, "-m", "casemate"]
FIRST, SECOND = "open sesame, please", "open barley, at once"


def casemate(
    *arguments: object, given: str = "", variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *(str(argument) for argument in arguments)],
        input=given,
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )


def program(*arguments: object, variables: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(argument) for argument in arguments],
        env={**os.environ, **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def private_key() -> RSAPrivateKey:
    key = load_pem_private_key(KEY.read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("bundles") / "bundle").path


@pytest.fixture
def bundle(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "bundle"))


@pytest.fixture
def public(tmp_path: Path) -> Path:
    path = tmp_path / "public.pem"
    path.write_bytes(private_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encrypted key for provenance, which signs no enclaves: its exponent is 65537."""
    path = tmp_path_factory.mktemp("second") / "second.pem"
    program(
        *("openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-aes256"),
        *("-pass", f"pass:{SECOND}", "-out", path),
    )
    return path


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """The key of the enclave, encrypted."""
    path = tmp_path / "first.pem"
    encryption = BestAvailableEncryption(FIRST.encode())
    path.write_bytes(private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    return path


@pytest.fixture
def softhsm(tmp_path: Path) -> SoftHsm:
    """A token ``release`` with the key ``enclave``."""
    made = SoftHsm.make(tmp_path)
    made.make_token("release")
    pem = tmp_path / "pkcs8.pem"
    pem.write_bytes(private_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made.import_key(pem, token="release", label="enclave")
    pem.unlink()
    return made


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def prepared(bundle: Path, public: Path) -> Path:
    request = bundle.parent / "request"
    done = casemate("sign", bundle, "--prepare", request, "--public-key", public, "--date", "today")
    assert done.returncode == 0, done.stderr
    return request


def attach(bundle: Path, request: Path, public: Path) -> list[object]:
    answer = ["--attach", request / "signature.bin", "--request", request, "--public-key", public]
    return ["sign", bundle, *answer]


def require_sound(bundle: Path, public: Path, provenance: Path) -> None:
    done = casemate("verify", "bundle", bundle, "--key", public, "--provenance-key", provenance)
    assert done.returncode == 0, done.stderr


def provenance_public(second: Path) -> Path:
    path = second.with_name("second.pub.pem")
    program("openssl", "pkey", "-in", second, "-passin", f"pass:{SECOND}", "-pubout", "-out", path)
    return path


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_an_officer_with_openssl_alone_signs_a_bundle(bundle: Path, public: Path, second: Path) -> None:
    request = prepared(bundle, public)
    data, signature = request / "to-be-signed.bin", request / "signature.bin"

    program("openssl", "dgst", "-sha256", "-sign", KEY, "-out", signature, data)
    assert "Verified OK" in program(
        "openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, data
    )

    provenance = ["--provenance-key", f"file:{second}", "--passphrase-fd", "0"]
    done = casemate(*attach(bundle, request, public), *provenance, given=SECOND)
    assert done.returncode == 0, done.stderr
    require_sound(bundle, public, provenance_public(second))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_an_officer_whose_tool_signs_digests_signs_a_bundle(bundle: Path, public: Path) -> None:
    request = prepared(bundle, public)
    digest, signature = request.with_name("digest.bin"), request / "signature.bin"
    program("openssl", "dgst", "-sha256", "-binary", "-out", digest, request / "to-be-signed.bin")
    program(
        *("openssl", "pkeyutl", "-sign", "-inkey", KEY, "-pkeyopt", "digest:sha256"),
        *("-in", digest, "-out", signature),
    )
    assert casemate(*attach(bundle, request, public)).returncode == 0


@pytest.mark.skipif(shutil.which("pkcs11-tool") is None, reason="needs pkcs11-tool: apt-get install opensc")
def test_an_officer_with_a_token_and_pkcs11_tool_signs_a_bundle(
    bundle: Path, public: Path, softhsm: SoftHsm
) -> None:
    request = prepared(bundle, public)
    program(
        *("pkcs11-tool", "--module", softhsm.module, "--token-label", "release", "--login", "--pin", PIN),
        *("--sign", "--mechanism", "SHA256-RSA-PKCS", "--label", "enclave"),
        *("--input-file", request / "to-be-signed.bin", "--output-file", request / "signature.bin"),
        variables={"SOFTHSM2_CONF": str(softhsm.configuration)},
    )
    done = casemate(*attach(bundle, request, public), "--json")
    assert done.returncode == 0, done.stderr
    assert (
        json.loads(done.stdout)["mrsigner"] == json.loads((request / "request.json").read_text())["mrsigner"]
    )


def signed_by_openssl(bundle: Path, public: Path) -> list[object]:
    request = prepared(bundle, public)
    program(
        *("openssl", "dgst", "-sha256", "-sign", KEY),
        *("-out", request / "signature.bin", request / "to-be-signed.bin"),
    )
    return attach(bundle, request, public)


def test_a_wrong_pin_of_the_provenance_key_is_tried_once_and_attaches_nothing(
    bundle: Path, public: Path, softhsm: SoftHsm
) -> None:
    command = signed_by_openssl(bundle, public)
    before = files(bundle)
    done = casemate(
        *(*command, "--provenance-key", softhsm.uri("token=release;object=enclave"), "--passphrase-fd", "0"),
        given="31415926\n" + PIN + "\n",
        variables={"SOFTHSM2_CONF": str(softhsm.configuration)},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: PIN of the token: expected the right one, got a wrong one (release)\n"
        "hint: it was tried once; tokens lock themselves after a few attempts\n"
    )
    assert files(bundle) == before


def test_a_token_that_is_gone_attaches_nothing(bundle: Path, public: Path, softhsm: SoftHsm) -> None:
    command = signed_by_openssl(bundle, public)
    before = files(bundle)
    shutil.rmtree(softhsm.tokens)
    softhsm.tokens.mkdir()
    done = casemate(
        *(*command, "--provenance-key", softhsm.uri("token=release;object=enclave"), "--passphrase-fd", "0"),
        given=PIN,
        variables={"SOFTHSM2_CONF": str(softhsm.configuration)},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: token: expected one that the URI fits, got none ({softhsm.module.resolve()})\n"
        "hint: is it plugged in? pkcs11-tool --list-token-slots shows what there is; its serial tells it "
        "from others\n"
    )
    assert files(bundle) == before


def two_keys(first: Path, second: Path) -> list[object]:
    return ["--key", f"file:{first}", "--provenance-key", f"file:{second}"]


def test_two_keys_take_a_line_each_that_of_the_enclave_first(
    bundle: Path, public: Path, first: Path, second: Path
) -> None:
    keys = [*two_keys(first, second), "--passphrase-fd", "0"]
    before = files(bundle)

    swapped = casemate("sign", bundle, *keys, given=f"{SECOND}\n{FIRST}\n")
    assert swapped.returncode == 1
    assert swapped.stderr == (
        "error: passphrase of the key file: expected the one that it was encrypted with, got another, or a "
        f"damaged file ({first})\nhint: it was tried once; give the command again\n"
    )
    alone = casemate("sign", bundle, *keys, given=f"{FIRST}\n")
    assert alone.returncode == 2
    assert alone.stderr == (
        f"error: passphrase of key file {second}: expected one, got an empty line (file descriptor 0)\n"
        "hint: it is typed on a terminal, or comes with --passphrase-fd N or --passphrase-env NAME\n"
    )
    assert files(bundle) == before

    done = casemate("sign", bundle, *keys, given=f"{FIRST}\n{SECOND}\n")
    assert done.returncode == 0, done.stderr
    require_sound(bundle, public, provenance_public(second))


def test_a_key_that_asks_for_nothing_takes_no_line(bundle: Path, public: Path, second: Path) -> None:
    keys = [*two_keys(KEY, second), "--passphrase-fd", "0"]
    done = casemate("sign", bundle, *keys, given=f"{SECOND}\n")
    assert done.returncode == 0, done.stderr
    require_sound(bundle, public, provenance_public(second))


def test_a_token_and_a_file_take_a_line_each(
    bundle: Path, public: Path, softhsm: SoftHsm, second: Path
) -> None:
    keys = ["--key", softhsm.uri("token=release;object=enclave"), "--provenance-key", f"file:{second}"]
    done = casemate(
        *("sign", bundle, *keys, "--passphrase-fd", "0"),
        given=f"{PIN}\n{SECOND}\n",
        variables={"SOFTHSM2_CONF": str(softhsm.configuration)},
    )
    assert done.returncode == 0, done.stderr
    require_sound(bundle, public, provenance_public(second))


def test_one_key_under_both_options_is_asked_for_once(bundle: Path, public: Path, first: Path) -> None:
    done = casemate("sign", bundle, *two_keys(first, first), "--passphrase-fd", "0", given=f"{FIRST}\n")
    assert done.returncode == 0, done.stderr
    require_sound(bundle, public, public)


def test_a_variable_is_for_one_key_and_is_not_tried_with_another(
    bundle: Path, first: Path, second: Path
) -> None:
    before = files(bundle)
    done = casemate(
        *("sign", bundle, *two_keys(first, second), "--passphrase-env", "RELEASE"),
        variables={"RELEASE": FIRST},
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"error: passphrase of key file {second}: expected one of its own, got a variable that was for the "
        f"passphrase of key file {first} (environment variable RELEASE)\n"
        "hint: two keys take theirs from --passphrase-fd N, a line each, that of --key first; the PIN of a "
        "token may also lie in a file, with pin-source in its URI\n"
    )
    assert files(bundle) == before


def test_nobody_is_asked_for_the_passphrase_of_a_signature_that_the_policy_refuses(
    bundle: Path, first: Path
) -> None:
    done = casemate("sign", bundle, "--key", f"file:{first}", "--expect-mrenclave", "00" * 32)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: MRENCLAVE: expected {'00' * 32}, got ")


def test_the_passphrase_of_the_provenance_key_shows_nowhere(bundle: Path, public: Path, second: Path) -> None:
    command = [
        *signed_by_openssl(bundle, public),
        "--provenance-key",
        f"file:{second}",
        "--passphrase-fd",
        "0",
    ]
    with subprocess.Popen(
        [*PROGRAM, *(str(one) for one in command)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(SECOND.encode())  # no line feed: the program goes on waiting, having read it
        process.stdin.flush()
        seen = b""
        for _ in range(10):
            time.sleep(0.05)
            for name in ("cmdline", "environ"):
                seen += Path(f"/proc/{process.pid}/{name}").read_bytes()
        out, err = process.communicate(b"\n")
    assert process.returncode == 0, err
    assert SECOND.encode() not in seen + out + err + b"".join(files(bundle).values())
