"""``casemate sign`` and ``casemate measure`` as a user gives them, on every vector of Gramine's signer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from casemate.cli.main import run

VECTORS = Path(__file__).parents[2] / "vectors/measurement"
FOLDERS = sorted(path.parent for path in VECTORS.glob("*/expected.json"))
KEY = f"file:{VECTORS}/signing-key.pem"
DEFAULTS = VECTORS / "defaults"
PAL = VECTORS / "pal/aligned.so"


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


NOTE = "Measured as Gramine 1.9 lays out enclaves, because --gramine-version names no other.\n"


def expected_of(folder: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / "expected.json").read_text())
    return read


def options_of(folder: Path) -> list[object]:
    expected = expected_of(folder)
    options: list[object] = ["--pal", folder / expected["pal"], "--key", KEY, "--date", expected["date"]]
    if expected["attributes"].startswith("06"):
        options.append("--allow-debug")
    # Gramine's own tools sign what its runtime is too small for.
    return options


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_measure_gives_the_measurement_of_every_vector(casemate: Any, folder: Path) -> None:
    expected = expected_of(folder)
    done = casemate("measure", "--manifest", folder / "app.manifest.sgx", "--pal", folder / expected["pal"])
    assert done == Done(0, expected["mrenclave"] + "\n", NOTE)


def test_measure_tells_what_it_measured_as_a_document(casemate: Any) -> None:
    done = casemate("measure", "--manifest", DEFAULTS / "app.manifest.sgx", "--pal", PAL, "--json")
    assert json.loads(done.out) == {
        "version": 1,
        "mrenclave": expected_of(DEFAULTS)["mrenclave"],
        "enclave_size": 1 << 28,
        "gramine": {
            "version": "1.9",
            "platform_image_sha256": "9aeddea9c7bf5fc58a58418e498ae52da041f5e3f82337e3b9aba35b494f7fa9",
        },
        "manifest_sha256": "0f9f1a53a6642eec618ea9e5833142161b71cfe56bac6d1e8d34ebe45a504a0c",
    }


@pytest.mark.parametrize(
    "hidden",
    [
        b'note = """x\\\\"""\nmemo = """\ninsecure__use_host_env = true\ntail = """\n#"""\n',
        b'"insecure\\u0000" = 1\n',
    ],
    ids=["in a string", "behind NUL"],
)
def test_a_setting_that_only_gramines_parser_sees_is_not_signed(
    casemate: Any, hidden: bytes, tmp_path: Path
) -> None:
    manifest, sigfile = tmp_path / "app.manifest.sgx", tmp_path / "app.sig"
    complete = (DEFAULTS / "app.manifest.sgx").read_bytes()
    manifest.write_bytes(complete.replace(b"[loader]\n", b"[loader]\n" + hidden, 1))
    for options in ((), ("--allow-debug",)):
        done = casemate("sign", "--manifest", manifest, *options_of(DEFAULTS), *options, "--sigfile", sigfile)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith("error: text ")
        assert "\nhint: Gramine" in done.err
    measured = casemate("measure", "--manifest", manifest, "--pal", PAL)
    assert (measured.code, measured.out, measured.err) == (1, "", done.err)
    assert list(tmp_path.iterdir()) == [manifest]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_complete_manifest_is_signed_as_it_stands(casemate: Any, folder: Path, tmp_path: Path) -> None:
    manifest, sigfile = folder / "app.manifest.sgx", tmp_path / "app.sig"
    done = casemate("sign", "--manifest", manifest, *options_of(folder), "--sigfile", sigfile)
    assert (done.code, done.err) == (0, f"Wrote {sigfile}.\n{NOTE}")
    assert sigfile.read_bytes() == (folder / "app.sig").read_bytes()
    assert list(tmp_path.iterdir()) == [sigfile]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_manifest_is_expanded_and_signed_as_gramine_does(
    casemate: Any, folder: Path, tmp_path: Path
) -> None:
    output, sigfile = tmp_path / "app.manifest.sgx", tmp_path / "app.sig"
    done = casemate(
        "sign",
        "--manifest",
        folder / "app.manifest",
        *options_of(folder),
        "--output",
        output,
        "--sigfile",
        sigfile,
    )
    assert (done.code, done.err) == (0, f"Wrote {output} and {sigfile}.\n{NOTE}")
    assert output.read_bytes() == (folder / "app.manifest.sgx").read_bytes()
    assert sigfile.read_bytes() == (folder / "app.sig").read_bytes()


def test_a_complete_manifest_goes_to_the_output_byte_for_byte(casemate: Any, tmp_path: Path) -> None:
    manifest = tmp_path / "in.manifest"
    manifest.write_bytes(b"# kept\n" + (DEFAULTS / "app.manifest.sgx").read_bytes())
    output, sigfile = tmp_path / "out.manifest.sgx", tmp_path / "out.sig"
    options = ["--pal", PAL, "--key", KEY, "--output", output, "--sigfile", sigfile]
    assert casemate("sign", "--manifest", manifest, *options).code == 0
    assert output.read_bytes() == manifest.read_bytes()


def test_trusted_files_are_hashed_and_the_libos_is_found_beside_the_platform_image(
    casemate: Any, tmp_path: Path
) -> None:
    gramine = tmp_path / "gramine"
    (gramine / "sgx").mkdir(parents=True)
    (gramine / "libsysdb.so").write_text("libos")
    (gramine / "sgx/libpal.so").write_bytes(PAL.read_bytes())
    (tmp_path / "app").mkdir()
    (tmp_path / "app/main").write_text("x")
    manifest, output = tmp_path / "a.manifest", tmp_path / "a.manifest.sgx"
    manifest.write_text(
        f'libos.entrypoint = "/app/main"\nfs.mounts = []\nsgx.trusted_files = ["file:{tmp_path}/app/"]\n'
    )
    done = casemate(
        "sign", "--manifest", manifest, "--pal", gramine / "sgx/libpal.so", "--key", KEY,
        "--output", output, "--sigfile", tmp_path / "a.sig",
    )  # fmt: skip
    assert (done.code, done.err) == (0, f"Wrote {output} and {tmp_path / 'a.sig'}.\n{NOTE}")
    text = output.read_text()
    assert f'uri = "file:{gramine}/libsysdb.so"' in text
    assert f'uri = "file:{tmp_path}/app/main"' in text


def test_the_document_says_what_was_signed(casemate: Any, tmp_path: Path) -> None:
    expected, sigfile = expected_of(DEFAULTS), tmp_path / "app.sig"
    manifest = DEFAULTS / "app.manifest.sgx"
    done = casemate("sign", "--manifest", manifest, *options_of(DEFAULTS), "--sigfile", sigfile, "--json")
    fields = ("mrenclave", "mrsigner", "isvprodid", "isvsvn", "attributes", "attributes_mask")
    assert json.loads(done.out) == {
        "version": 1,
        **{field: expected[field] for field in (*fields, "misc_select", "date")},
        "gramine_version": "1.9",
        "digests_from_cache": 0,
        "manifest": str(manifest),
        "sigfile": str(sigfile),
    }


def sign(casemate: Any, folder: Path, manifest: Path, *more: object) -> Done:
    done: Done = casemate(
        "sign", "--manifest", manifest, "--pal", PAL, "--key", KEY, "--sigfile", folder / "app.sig", *more
    )
    return done


def test_without_a_date_the_signature_says_none_and_is_the_same_on_any_day(
    casemate: Any, tmp_path: Path
) -> None:
    assert sign(casemate, tmp_path, DEFAULTS / "app.manifest.sgx").code == 0
    assert (tmp_path / "app.sig").read_bytes()[20:24] == bytes(4)


def test_today_is_a_date(casemate: Any, tmp_path: Path) -> None:
    done = sign(casemate, tmp_path, DEFAULTS / "app.manifest.sgx", "--date", "today", "--json")
    assert json.loads(done.out)["date"] > "2026-01-01"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(
            ["--date", "2026-02-30"],
            "error: --date: expected a day that exists, got 2026-02-30\n"
            "hint: 0000-00-00 stands for no date\n",
            id="a day that does not exist",
        ),
        pytest.param(
            ["--date", "tomorrow"],
            "error: --date: expected YYYY-MM-DD, today or 0000-00-00, got 'tomorrow'\n",
            id="no date",
        ),
        pytest.param(
            ["--key", "KEY.pem"],
            "error: key file cannot be read: got No such file or directory (KEY.pem)\n"
            "hint: give the path of a PEM file: --key file:KEY.pem\n",
            id="a path of no key",
        ),
        pytest.param(
            ["--key", "pkcs12:KEY.p12"],
            "error: key URI: expected file:KEY.pem, pkcs11:token=T;object=K, azurekv://VAULT/KEY, "
            "exec:COMMAND?public-key=FILE.pem or plugin:NAME, got pkcs12:\n",
            id="an unknown kind of key",
        ),
        pytest.param(
            ["--key", "file:/nowhere/KEY.pem"],
            "error: key file cannot be read: got No such file or directory (/nowhere/KEY.pem)\n"
            "hint: give the path of a PEM file: --key file:KEY.pem\n",
            id="a missing key",
        ),
        pytest.param(
            ["--sigfile", "/nowhere/app.sig"],
            "error: file cannot be written: got No such file or directory (/nowhere/app.sig)\n",
            id="a missing folder",
        ),
    ],
)
def test_wrong_options_are_refused_and_nothing_is_written(
    casemate: Any, tmp_path: Path, options: list[str], message: str
) -> None:
    done = sign(casemate, tmp_path, DEFAULTS / "app.manifest.sgx", *options)
    assert done.code in (1, 2)
    assert (done.out, done.err) == ("", message)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            'libos.entrypoint = "/app"\n',
            "error: manifest: expected fs.mounts, got nothing\n"
            "hint: list what the application may see; "
            "fs.mounts = [] when that is the root file system alone\n",
            id="no mounts",
        ),
        pytest.param(
            "libos = {% if x %}",
            "error: manifest: expected TOML, got Invalid initial character for a key part "
            "(at line 1, column 10)\n"
            "hint: a template has to be rendered first; {{ … }} is not TOML\n",
            id="a template",
        ),
        pytest.param(
            'libos.entrypoint = "/app"\nfs.mounts = []\nsgx.enclave_size = "300M"\n',
            "error: enclave size: expected a power of two, got '300M' (sgx.enclave_size)\n"
            'hint: SGX has no other sizes; the next one is "512M"\n',
            id="no power of two",
        ),
        pytest.param(
            'libos.entrypoint = "/app"\nfs.mounts = []\nsgx.enclave_size = "1T"\n',
            "error: size: expected decimal digits and K, M, G or nothing, got '1T' (sgx.enclave_size)\n"
            'hint: write it as "512M" or "4G"; Gramine knows no other suffix\n',
            id="an unknown suffix",
        ),
        pytest.param(
            'libos.entrypoint = "/app"\nfs.mounts = []\nsgx.enclave_size = "1M"\n',
            "error: enclave size: expected at least 1576960 bytes for 4 threads, manifest and platform "
            "image, got 1048576 (sgx.enclave_size)\nhint: choose a larger power of two, or fewer threads\n",
            id="too small",
        ),
        pytest.param(
            'libos.entrypoint = "/app"\nfs.mounts = []\nsgx.trusted_files = ["file:/nowhere"]\n',
            "error: trusted file cannot be read: got No such file or directory (/nowhere)\n"
            "hint: the manifest trusts it; relative paths in a manifest begin at the working folder\n",
            id="a missing trusted file",
        ),
    ],
)
def test_wrong_manifests_are_refused_and_nothing_is_written(
    casemate: Any, tmp_path: Path, text: str, message: str
) -> None:
    manifest = tmp_path / "in/app.manifest"
    manifest.parent.mkdir()
    manifest.write_text(text + f'loader.entrypoint.uri = "file:{PAL}"\n' if "{%" not in text else text)
    done = sign(casemate, tmp_path, manifest, "--output", tmp_path / "app.manifest.sgx")
    assert done == Done(1, "", message)
    assert list(tmp_path.iterdir()) == [manifest.parent]


def test_a_manifest_that_is_not_complete_needs_a_place_for_its_expansion(
    casemate: Any, tmp_path: Path
) -> None:
    manifest = DEFAULTS / "app.manifest"
    done = sign(casemate, tmp_path, manifest)
    assert done.code == 2
    assert done.err == (
        "error: manifest that is not yet complete: expected --output, for its expansion is what is measured, "
        f"got none, and no sgx.enclave_size ({manifest})\n"
        "hint: add --output APP.manifest.sgx; Gramine loads that file\n"
    )


def test_a_debug_enclave_is_refused_unless_it_is_asked_for(casemate: Any, tmp_path: Path) -> None:
    manifest = VECTORS / "fixed-base-1G-debug/app.manifest.sgx"
    done = sign(casemate, tmp_path, manifest)
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        f"error: signature over insecure settings: expected none, got sgx.debug = true ({manifest})\n"
        "hint: remove them, accept one by its name with --accept KEY, or sign for tests only with "
        "--allow-debug\n"
    )
    assert list(tmp_path.iterdir()) == []
    assert sign(casemate, tmp_path, manifest, "--allow-debug").code == 0


@pytest.mark.parametrize(
    ("exponent", "bits", "message"),
    [
        (65537, 3072, "public exponent of the signing key: expected 3, got 65537"),
        (3, 2048, "length of the signing key: expected 3072 bits, got 2048"),
    ],
)
def test_a_key_that_cannot_sign_enclaves_is_refused(
    casemate: Any, tmp_path: Path, exponent: int, bits: int, message: str
) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(
        generate_private_key(exponent, bits).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    done = sign(casemate, tmp_path, DEFAULTS / "app.manifest.sgx", "--key", f"file:{key}")
    assert done == Done(
        1, "", f"error: {message} (file:{key})\nhint: make one with: openssl genrsa -3 -out KEY.pem 3072\n"
    )
    assert list(tmp_path.iterdir()) == [key]


def test_options_that_are_missing_are_named(casemate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for nothing_to_sign in (("--key", KEY), ()):
        assert casemate("sign", *nothing_to_sign) == Done(
            2,
            "",
            "error: options of sign: expected a bundle, or --manifest, got neither\n"
            "hint: casemate sign BUNDLE signs what casemate build made; --manifest stands in for "
            "gramine-sgx-sign\n",
        )


def test_a_file_that_is_there_already_is_replaced_only_by_a_whole_one(casemate: Any, tmp_path: Path) -> None:
    sigfile = tmp_path / "app.sig"
    sigfile.write_text("old")
    assert (
        sign(casemate, tmp_path, DEFAULTS / "app.manifest.sgx", "--pal", KEY.removeprefix("file:")).code == 1
    )
    assert sigfile.read_text() == "old"
    assert sign(casemate, tmp_path, DEFAULTS / "app.manifest.sgx").code == 0
    assert sigfile.stat().st_size == 1808
    assert list(tmp_path.iterdir()) == [sigfile]
