"""Signing in two phases as it is given on the command line; what is refused leaves nothing behind."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from cryptography.x509.oid import NameOID
from tests.support.small_bundle import KEY, PAL, Small, sign_small, small_bundle, small_manifest

from casemate.builder.bundles.bundle import Bundle
from casemate.cli.main import run
from casemate.cli.reading import read_public_key
from casemate.formats.dsse import is_envelope, key_id
from casemate.formats.manifest import dump_manifest
from casemate.formats.sgx.sigstruct import SigStruct

HINT = (
    "hint: --key URI signs here and now; a key that is elsewhere signs in two steps: --prepare OUT, then "
    "--attach SIGNATURE --request OUT --public-key PEM\n"
)


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def casemate(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> Done:
        code = run([str(argument) for argument in arguments])
        return Done(code, *capsys.readouterr())

    return call


def private_key() -> RSAPrivateKey:
    key = load_pem_private_key(KEY.read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


@cache
def strange_key(exponent: int, bits: int) -> RSAPrivateKey:
    """A key of somebody else."""
    return generate_private_key(exponent, bits)


def public_pem(path: Path, key: RSAPrivateKey | None = None) -> Path:
    public = (key or private_key()).public_key()
    path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundle(tmp_path_factory.mktemp("bundles") / "bundle").path


@dataclass(frozen=True)
class Desk:
    """A bundle with a public key and a request, and what an officer does with the latter."""

    folder: Path

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def public(self) -> Path:
        return self.folder / "public.pem"

    @property
    def request(self) -> Path:
        return self.folder / "request"

    @property
    def signature(self) -> Path:
        return self.folder / "signature.bin"

    def sign(self, key: RSAPrivateKey | None = None) -> None:
        data = (self.request / "to-be-signed.bin").read_bytes()
        self.signature.write_bytes((key or private_key()).sign(data, PKCS1v15(), SHA256()))

    def attach(self, *more: object) -> list[object]:
        answer = ["--attach", self.signature, "--request", self.request, "--public-key", self.public]
        return ["sign", self.bundle, *answer, *more]

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.bundle)): path.read_bytes()
            for path in sorted(self.bundle.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def desk(original: Path, tmp_path: Path, casemate: Any) -> Desk:
    """A request that was prepared and signed."""
    made = Desk(tmp_path)
    shutil.copytree(original, made.bundle)
    public_pem(made.public)
    prepared = casemate(
        "sign", made.bundle, "--prepare", made.request, "--public-key", made.public, "--date", "2026-11-21"
    )
    assert prepared.code == 0, prepared.err
    made.sign()
    return made


def test_a_request_is_written_and_nothing_else(original: Path, tmp_path: Path, casemate: Any) -> None:
    desk = Desk(tmp_path)
    shutil.copytree(original, desk.bundle)
    before = desk.files()

    done = casemate("sign", desk.bundle, "--prepare", desk.request)

    record = Bundle.open(desk.bundle).measurement
    assert done == Done(
        0,
        f"name       notes\nmrenclave  {record.mrenclave.hex()}\nisvprodid  1\nisvsvn     1\n"
        f"date       0000-00-00\nrequest    {desk.request}\n",
        f"Nothing is signed yet: {desk.request}/request.txt tells the holder of the key what to do.\n",
    )
    assert desk.files() == before
    assert {path.name for path in tmp_path.iterdir()} == {"bundle", "request"}
    assert {path.name for path in desk.request.iterdir()} == {
        "request.txt",
        "request.json",
        "to-be-signed.bin",
    }
    assert desk.request.stat().st_mode & 0o077 == desk.bundle.stat().st_mode & 0o077


def test_the_request_is_printed_as_a_document(desk: Desk, tmp_path: Path, casemate: Any) -> None:
    done = casemate("sign", desk.bundle, "--prepare", tmp_path / "again", "--json")
    document = json.loads(done.out)
    assert (document["version"], document["name"], document["mrsigner"]) == (1, "notes", None)
    assert document["request"] == str(tmp_path / "again")
    digest = subprocess.run(
        ["sha256sum", tmp_path / "again/to-be-signed.bin"], capture_output=True, text=True, check=True
    )
    assert digest.stdout.split()[0] == document["to_be_signed_sha256"]


def test_an_attached_signature_gives_the_bytes_that_the_key_itself_gives(
    desk: Desk, original: Path, tmp_path: Path, casemate: Any
) -> None:
    here = shutil.copytree(original, tmp_path / "here")
    options = ["--date", "2026-11-21", "--key", f"file:{KEY}"]
    assert casemate("sign", here, *options).code == 0

    done = casemate(*desk.attach("--provenance-key", f"file:{KEY}", "--json"))

    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["statements_signed"] is True
    there = {str(path.relative_to(here)): path.read_bytes() for path in here.rglob("*") if path.is_file()}
    assert desk.files() == there


def test_attaching_twice_gives_the_same_bundle(desk: Desk, casemate: Any) -> None:
    assert casemate(*desk.attach()).code == 0
    once = desk.files()
    assert casemate(*desk.attach()).code == 0
    assert desk.files() == once


def test_statements_that_nobody_signs_are_bare_and_the_verifier_says_so(desk: Desk, casemate: Any) -> None:
    done = casemate(*desk.attach("--json"))

    assert done.err == (
        "Nobody has signed reference values and provenance: whoever names a key for them refuses them. "
        "--provenance-key URI signs them.\n"
    )
    assert json.loads(done.out)["statements_signed"] is False
    bundle = Bundle.open(desk.bundle)
    assert not is_envelope(bundle.reference_values)
    assert not is_envelope(bundle.provenance or b"")
    verified = casemate("verify", "bundle", desk.bundle)
    assert verified.code == 1
    assert verified.err == (
        "error: bundle: signature: expected one of the key, got none: nobody has signed this statement "
        "(reference-values.json)\n"
        "hint: casemate sign --attach leaves statements so unless --provenance-key signs them; "
        "--accept-unsigned-statements accepts them where no key is named. "
        "Also refused: signature (provenance.json).\n"
    )


def test_unsigned_statements_are_accepted_only_when_the_verifier_says_so_and_names_no_key(
    desk: Desk, casemate: Any
) -> None:
    casemate(*desk.attach())

    accepted = casemate("verify", "bundle", desk.bundle, "--accept-unsigned-statements", "--json")
    assert accepted.code == 0
    assert json.loads(accepted.out)["statements_signed"] is False
    shown = casemate("verify", "bundle", desk.bundle, "--accept-unsigned-statements")
    assert shown.out.splitlines()[-1] == (
        "not signed: reference values and provenance: only MRSIGNER vouches, for what MRENCLAVE covers"
    )
    for option in ("--key", "--provenance-key"):
        refused = casemate(
            "verify", "bundle", desk.bundle, "--accept-unsigned-statements", option, desk.public
        )
        assert refused.code == 2
        assert "goes with neither --key nor --provenance-key" in refused.err
        assert casemate("verify", "bundle", desk.bundle, option, desk.public).code == 1


def test_an_envelope_of_a_stranger_is_not_accepted_as_an_unsigned_statement(
    desk: Desk, tmp_path: Path, casemate: Any
) -> None:
    stranger = tmp_path / "stranger.pem"
    assert casemate("key", "generate", f"file:{stranger}", "--unencrypted").code == 0
    assert casemate(*desk.attach("--provenance-key", f"file:{stranger}")).code == 0
    refused = casemate("verify", "bundle", desk.bundle, "--accept-unsigned-statements")
    assert refused.code == 1
    key = load_pem_private_key(stranger.read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    signer, expected = (
        key_id(read_public_key(path))
        for path in (public_pem(tmp_path / "stranger.pub.pem", key), desk.public)
    )
    assert refused.err == (
        f"error: bundle: signature: expected one of the key, got one of another key: signatures of {signer}, "
        f"not of {expected} (reference-values.json)\n"
        "hint: A release whose statements have a signer of their own is verified with that key, too: "
        "--provenance-key PUB.pem. Also refused: signature (provenance.json).\n"
    )


def test_a_changed_statement_that_nobody_has_signed_is_refused(desk: Desk, casemate: Any) -> None:
    casemate(*desk.attach())
    path = desk.bundle / "provenance.json"
    path.write_bytes(path.read_bytes().replace(b"3.11.9", b"3.11.8"))
    refused = casemate("verify", "bundle", desk.bundle, "--accept-unsigned-statements")
    assert refused.err.startswith("error: bundle: what follows from the bundle: expected ")


def certificate(path: Path) -> None:
    key, name = private_key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "release")])
    day = datetime(2020, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(day)
        .not_valid_after(day)
        .sign(key, SHA256())
    )
    path.write_bytes(made.public_bytes(Encoding.PEM))


def test_the_public_key_may_come_in_a_certificate(desk: Desk, casemate: Any) -> None:
    certificate(desk.public)
    assert casemate(*desk.attach()).code == 0


Change = Callable[[Desk], object]


def rebuilt(desk: Desk) -> None:
    shutil.rmtree(desk.bundle)
    small_bundle(desk.bundle, Small(settings="isvsvn = 2\n"))


def in_request(name: str, old: bytes, new: bytes) -> Change:
    def apply(desk: Desk) -> None:
        path = desk.request / name
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new))

    return apply


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda desk: desk.sign(strange_key(3, 3072)),
            "attached signature: expected one of the key that is named, over the 256 bytes of the request, "
            "got one of another key, or another padding ({folder}/signature.bin)",
            id="signature by another key",
        ),
        pytest.param(
            lambda desk: desk.signature.write_bytes(b""),
            "attached signature: expected one of the key that is named, over the 256 bytes of the request, "
            "got 0 bytes in place of 384 ({folder}/signature.bin)",
            id="empty signature",
        ),
        pytest.param(
            lambda desk: public_pem(desk.public, strange_key(3, 3072)),
            "key of the prepared request: expected MRSIGNER {other}, of the public key that is named, "
            "got MRSIGNER {mrsigner} ({folder}/request)",
            id="another public key",
        ),
        pytest.param(
            rebuilt,
            "MRENCLAVE of the prepared request: expected {rebuilt}, which was measured now, got {mrenclave} "
            "({folder}/request)",
            id="request for another bundle",
        ),
        pytest.param(
            in_request("request.json", b'"isvsvn": 1', b'"isvsvn": 0'),
            "isvsvn of the prepared request: expected 1, got 0 ({folder}/request)",
            id="changed request",
        ),
        pytest.param(
            in_request("request.txt", b"neither read nor change", b"read and change"),
            "prepared request: expected the files as they were prepared, got another request.txt "
            "({folder}/request)",
            id="changed text",
        ),
        pytest.param(
            in_request("request.json", b"2026-11-21", b"2026-02-30"),
            "date: expected a day that exists, got 2026-02-30 ({folder}/request/request.json)",
            id="date that does not exist",
        ),
        pytest.param(
            lambda desk: (desk.request / "to-be-signed.bin").unlink(),
            "file cannot be read: got No such file or directory ({folder}/request/to-be-signed.bin)",
            id="missing file",
        ),
        pytest.param(
            lambda desk: shutil.copyfile(KEY, desk.public),
            "public key: expected an RSA public key in PEM, or a certificate of one, got a private key "
            "({folder}/public.pem)",
            id="private key",
        ),
        pytest.param(
            lambda desk: public_pem(desk.public, strange_key(65537, 3072)),
            "public exponent of the signing key: expected 3, got 65537 ({folder}/public.pem)",
            id="wrong exponent",
        ),
        pytest.param(
            lambda desk: public_pem(desk.public, strange_key(3, 2048)),
            "length of the signing key: expected 3072 bits, got 2048 ({folder}/public.pem)",
            id="wrong size",
        ),
        pytest.param(
            lambda desk: (desk.bundle / "app.manifest.sgx").write_bytes(b"="),
            "bundle to sign: readable: expected what casemate writes, got manifest: expected TOML, got "
            "Invalid statement (at line 1, column 1) ({folder}/bundle/app.manifest.sgx)",
            id="changed bundle",
        ),
    ],
)
def test_what_does_not_belong_together_is_refused_and_the_bundle_stays_as_it_was(
    desk: Desk, casemate: Any, change: Change, message: str
) -> None:
    told = json.loads((desk.request / "request.json").read_text())
    change(desk)
    before = desk.files()

    done = casemate(*desk.attach())

    known = {name: told[name] for name in ("mrenclave", "mrsigner")}
    known["folder"] = str(desk.folder)
    known["rebuilt"] = Bundle.open(desk.bundle).measurement.mrenclave.hex()
    if "{other}" in message:
        known["other"] = done.err.split("MRSIGNER ")[1].partition(",")[0]
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {message.format(**known)}\n")
    assert desk.files() == before


@pytest.mark.parametrize("name", ["request.txt", "request.json"])
def test_a_request_that_is_damaged_has_to_be_prepared_again(desk: Desk, casemate: Any, name: str) -> None:
    place = desk.request / name
    hint = "hint: prepare a new request and have that one signed\n"
    if name == "request.json":
        place.write_bytes(b"{")
        message = (
            "error: signing request: expected a document that Casemate wrote, got Expecting property name "
            f"enclosed in double quotes: line 1 column 2 (char 1) ({place})\n"
        )
    else:
        place.unlink()
        message = f"error: file cannot be read: got No such file or directory ({place})\n"
    assert casemate(*desk.attach()) == Done(1, "", message + hint)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], f"one of --key, --prepare and --attach, got none\n{HINT}"),
        (
            ["--key", "file:k", "--prepare", "OUT"],
            (f"one of --key, --prepare and --attach, got --key and --prepare\n{HINT}"),
        ),
        (
            ["--attach", "SIG"],
            "--request and --public-key with --attach, got no --request\n",
        ),
        (
            ["--attach", "SIG", "--request", "."],
            "--request and --public-key with --attach, got no --public-key\n",
        ),
        (
            ["--attach", "SIG", "--request", ".", "--public-key", "SIG", "--date", "today"],
            "no --date, as the request has it, got it with --attach\n",
        ),
        (
            ["--prepare", "OUT", "--provenance-key", "file:k"],
            (
                "--provenance-key with --key or --attach, as a request holds no "
                "statements, got it with --prepare\n"
            ),
        ),
        (
            ["--key", "file:k", "--public-key", "SIG"],
            ("--public-key with --prepare or --attach, as --key knows its own, got it with --key\n"),
        ),
        (
            ["--key", "file:k", "--request", "."],
            "--request with --attach, whose request it is, got it with --key\n",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_do_not_go_together_are_refused(
    original: Path,
    tmp_path: Path,
    casemate: Any,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "SIG").touch()
    done = casemate("sign", original, *options)
    assert done == Done(2, "", f"error: options of sign: expected {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["SIG"]


def test_a_request_does_not_replace_anything(desk: Desk, casemate: Any) -> None:
    before = (desk.request / "request.json").read_bytes()
    done = casemate("sign", desk.bundle, "--prepare", desk.request)
    assert done.code == 2
    assert done.err == (
        f"error: new folder: expected a name that is free, got a folder ({desk.request})\n"
        "hint: remove it, or name another one\n"
    )
    assert (desk.request / "request.json").read_bytes() == before


@pytest.mark.parametrize(
    ("date", "message"),
    [
        (
            "2026-02-30",
            (
                "error: --date: expected a day that exists, got 2026-02-30\n"
                "hint: 0000-00-00 stands for no date\n"
            ),
        ),
        (
            "2026-13-01",
            (
                "error: --date: expected a day that exists, got 2026-13-01\n"
                "hint: 0000-00-00 stands for no date\n"
            ),
        ),
        (
            "0000-01-01",
            (
                "error: --date: expected a day that exists, got 0000-01-01\n"
                "hint: 0000-00-00 stands for no date\n"
            ),
        ),
        ("20261121", "error: --date: expected YYYY-MM-DD, today or 0000-00-00, got '20261121'\n"),
    ],
)
def test_a_request_with_a_date_that_does_not_exist_is_refused(
    original: Path, tmp_path: Path, casemate: Any, date: str, message: str
) -> None:
    done = casemate("sign", original, "--prepare", tmp_path / "out", "--date", date)
    assert done == Done(2, "", message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("exponent", [3, 65537])
def test_a_key_that_does_not_fit_is_refused_before_a_request_is_written(
    original: Path, tmp_path: Path, casemate: Any, exponent: int
) -> None:
    public = public_pem(tmp_path / "p.pem", strange_key(exponent, 2048 if exponent == 3 else 3072))
    done = casemate("sign", original, "--prepare", tmp_path / "out", "--public-key", public)
    assert done.code == 1
    assert done.err.startswith(
        ("error: length of the signing key: ", "error: public exponent of the signing key: ")
    )
    assert list(tmp_path.iterdir()) == [public]


def test_what_the_policy_refuses_is_not_prepared_and_no_key_is_opened(tmp_path: Path, casemate: Any) -> None:
    last = sign_small(small_bundle(tmp_path / "last", Small(settings="isvsvn = 4\n"))).path
    bundle = small_bundle(tmp_path / "bundle", Small(settings="isvsvn = 3\n")).path
    before = set(tmp_path.iterdir())
    message = (
        f"error: ISVSVN: expected at least 4, which was signed last, got 3 ({bundle}/app.manifest.sgx)\n"
    )
    for way in (["--prepare", tmp_path / "out"], ["--key", "file:/no/such/key"]):
        for named in (last, last / "app.sig"):
            done = casemate("sign", bundle, *way, "--after", named)
            assert (done.code, done.err.splitlines(keepends=True)[0]) == (1, message)
    assert set(tmp_path.iterdir()) == before
    accepted = ["--accept", "lower-isvsvn", "--prepare", tmp_path / "out"]
    assert casemate("sign", bundle, "--after", last, *accepted).code == 0


def test_another_signer_than_that_of_the_last_release_signs_nothing(tmp_path: Path, casemate: Any) -> None:
    last = sign_small(small_bundle(tmp_path / "last")).path
    bundle = small_bundle(tmp_path / "bundle").path
    other = tmp_path / "other.pem"
    assert casemate("key", "generate", f"file:{other}", "--unencrypted").code == 0
    public = public_pem(tmp_path / "public.pem", strange_key(3, 3072))
    for way in (["--key", f"file:{other}"], ["--prepare", tmp_path / "out", "--public-key", public]):
        done = casemate("sign", bundle, "--after", last, *way)
        assert done.code == 1
        assert done.err.startswith("error: MRSIGNER of the signing key: expected that of the last release, ")
    assert not (bundle / "app.sig").exists()
    assert not (tmp_path / "out").exists()
    assert (
        casemate("sign", bundle, "--after", last, "--key", f"file:{other}", "--accept", "other-signer").code
        == 0
    )


def test_a_last_release_that_is_not_signed_is_no_release(
    original: Path, tmp_path: Path, casemate: Any
) -> None:
    done = casemate("sign", original, "--prepare", tmp_path / "out", "--after", original)
    assert done == Done(
        2,
        "",
        "error: --after: expected a signed bundle, or the signature of an enclave, got a folder "
        f"without app.sig ({original})\nhint: name the bundle that was released last, signed\n",
    )


def test_only_the_expected_measurement_is_prepared(original: Path, tmp_path: Path, casemate: Any) -> None:
    mrenclave = Bundle.open(original).measurement.mrenclave.hex()
    done = casemate("sign", original, "--prepare", tmp_path / "out", "--expect-mrenclave", "00" * 32)
    assert done.code == 1
    assert done.err.startswith(f"error: MRENCLAVE: expected {'00' * 32}, got {mrenclave} (")
    assert list(tmp_path.iterdir()) == []
    done = casemate("sign", original, "--prepare", tmp_path / "out", "--expect-mrenclave", "xyz")
    assert done.code == 2
    assert "'xyz' is not 32 bytes in hexadecimal." in done.err
    assert (
        casemate("sign", original, "--prepare", tmp_path / "out", "--expect-mrenclave", mrenclave).code == 0
    )


@pytest.fixture
def manifest(tmp_path: Path) -> list[object]:
    """A complete manifest and a platform image, as options."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "app.manifest.sgx").write_bytes(dump_manifest(small_manifest(Small())))
    (folder / "libpal.so").write_bytes(PAL)
    return ["--manifest", folder / "app.manifest.sgx", "--pal", folder / "libpal.so"]


def test_a_manifest_is_signed_in_two_phases(manifest: list[object], tmp_path: Path, casemate: Any) -> None:
    desk = Desk(tmp_path)
    public_pem(desk.public)
    here, there = tmp_path / "here.sig", tmp_path / "there.sig"
    assert casemate("sign", *manifest, "--prepare", desk.request, "--date", "2026-11-21").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"in", "public.pem", "request"}
    desk.sign()
    answer = desk.attach()[2:]

    assert casemate("sign", *manifest, *answer, "--sigfile", there).code == 0

    date = ["--date", "2026-11-21"]
    assert casemate("sign", *manifest, "--key", f"file:{KEY}", *date, "--sigfile", here).code == 0
    assert there.read_bytes() == here.read_bytes()
    assert str(SigStruct.parse(there.read_bytes()).date) == "2026-11-21"


def test_a_request_for_a_bundle_does_not_go_with_a_manifest_of_the_same_measurement(
    desk: Desk, manifest: list[object], tmp_path: Path, casemate: Any
) -> None:
    answer = desk.attach()[2:]
    done = casemate("sign", *manifest, *answer, "--sigfile", tmp_path / "app.sig")
    assert done.code == 1
    assert done.err.startswith("error: name of the prepared request: expected None, got notes ")
    assert not (tmp_path / "app.sig").exists()
