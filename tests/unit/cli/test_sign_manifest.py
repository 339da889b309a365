"""``casemate sign --manifest`` in the place of ``gramine-sgx-sign``: options, names, what it prints."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest

from casemate.adapters.file_keys import FileSigner
from casemate.cli.main import run
from casemate.formats.public_key import public_key_pem

VECTORS = Path(__file__).parents[2] / "vectors/measurement"
KEY = VECTORS / "signing-key.pem"
DEFAULTS = VECTORS / "defaults"
PAL = DEFAULTS / json.loads((DEFAULTS / "expected.json").read_text())["pal"]
NOTE = "Measured as Gramine 1.9 lays out enclaves, because --gramine-version names no other.\n"
LISTING = """\
Attributes (required for enclave measurement):
    size:        0x10000000
    edmm:        False
    max_threads: 4
SGX remote attestation:
    None
Memory:
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder of somebody whose home is empty."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CASEMATE_GRAMINE", raising=False)
    monkeypatch.setattr("casemate.adapters.gramine_installation.USUAL_PREFIXES", ())
    monkeypatch.setattr("casemate.adapters.gramine_installation.find_gramine.__defaults__", ((),))
    (work / "app.manifest").write_text(manifest("file:app/"))
    (work / "app").mkdir()
    (work / "app/main").write_text("main")
    (work / "libsysdb.so").write_text("libos")
    return work


def manifest(*uris: str) -> str:
    return (
        'libos.entrypoint = "/app/main"\nfs.mounts = []\nloader.entrypoint.uri = "file:libsysdb.so"\n'
        f"sgx.trusted_files = {json.dumps(uris)}\n"
    )


def sign(*options: object) -> int:
    return run(["sign", *map(str, options)])


def signed(*options: object) -> int:
    return sign("-m", "app.manifest", "-o", "app.manifest.sgx", "-l", PAL, "-k", KEY, *options)


def test_the_options_of_gramines_signer_do_what_they_do_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert signed("-d", "2024-02-29") == 0
    out, err = capsys.readouterr()
    assert out.startswith(LISTING)
    assert out.splitlines()[7:10] == [
        "    000000000ffff000-0000000010000000 [REG:R--] (manifest) measured",
        "    000000000ffdf000-000000000ffff000 [REG:RW-] (ssa) measured",
        "    000000000ffdb000-000000000ffdf000 [TCS:---] (tcs) measured",
    ]
    assert out.splitlines()[-3].endswith(" [REG:RWX] (free)")
    measured = json.loads(_document(capsys, "-d", "2024-02-29"))["mrenclave"]
    assert out.endswith(f"Measurement:\n    {measured}\n")
    assert err == f"Wrote app.manifest.sgx and app.sig.\n{NOTE}"
    assert sorted(path.name for path in folder.iterdir()) == [
        "app", "app.manifest", "app.manifest.sgx", "app.sig", "libsysdb.so",
    ]  # fmt: skip


def _document(capsys: pytest.CaptureFixture[str], *options: object) -> str:
    assert signed("--json", *options) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("quiet", ["-q", "--quiet"])
def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str], quiet: str) -> None:
    assert signed(quiet) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "options", "sigfile"),
    [
        ("app.manifest", ["-o", "other.manifest.sgx"], "app.sig"),
        ("plain", ["-o", "plain.sgx"], "plain.sig"),
        ("app.manifest.sgx", ["-o", "again.manifest.sgx"], "app.manifest.sgx.sig"),
        ("app.manifest.sgx", [], "app.sig"),
    ],
)
def test_the_signature_has_the_manifests_name(
    folder: Path, name: str, options: list[str], sigfile: str
) -> None:
    (folder / name).write_bytes((DEFAULTS / "app.manifest.sgx").read_bytes())
    assert sign("-m", name, "-l", PAL, "-k", KEY, *options) == 0
    assert (folder / sigfile).stat().st_size == 1808


def test_the_key_is_where_gramines_tools_keep_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("-m", "app.manifest", "-o", "app.manifest.sgx", "-l", PAL)
    assert sign(*options) == 2
    key = tmp_path / "config/gramine/enclave-key.pem"
    assert capsys.readouterr().err == (
        f"error: signing key: expected --key, or a key at {key}, got neither\n"
        f"hint: name the key with --key URI, or make one there: casemate key generate file:{key}\n"
    )
    assert not (folder / "app.manifest.sgx").exists()
    key.parent.mkdir(parents=True)
    key.write_bytes(KEY.read_bytes())
    assert sign(*options) == 0
    by_default = (folder / "app.sig").read_bytes()
    assert signed() == 0
    assert (folder / "app.sig").read_bytes() == by_default


def test_a_file_that_is_called_like_a_uri_is_not_the_key(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "pkcs11:object=release").write_bytes(KEY.read_bytes())
    (folder / "a:b").write_bytes(KEY.read_bytes())
    options = ("-m", "app.manifest", "-o", "app.manifest.sgx", "-l", PAL, "-k")
    assert sign(*options, "pkcs11:object=release?module-path=/none.so") == 1
    assert capsys.readouterr().err == (
        "error: PKCS#11 module: expected module-path=/PATH/OF/MODULE.so, got no such file (/none.so)\n"
    )
    (folder / "pkcs11:object=release?module-name=none").write_bytes(KEY.read_bytes())
    assert sign(*options, "pkcs11:object=release?module-name=none") == 1
    assert not (folder / "app.sig").exists()
    assert sign(*options, "a:b") == 0


def test_a_program_that_signs_does_not_see_the_passphrase_of_another_key(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = folder / "program"
    program.write_text(f"#!/bin/sh\nenv > seen\nexec openssl dgst -sha256 -sign {KEY}\n")
    program.chmod(0o755)
    (folder / "public.pem").write_bytes(public_key_pem(FileSigner.open(KEY).public_key))
    monkeypatch.setenv("OF_ANOTHER_KEY", "hunter2")
    options = ("-m", "app.manifest", "-o", "app.manifest.sgx", "-l", PAL)
    key = f"exec:{program}?public-key=public.pem"
    assert sign(*options, "-k", key, "--passphrase-env", "OF_ANOTHER_KEY") == 0
    assert "hunter2" not in (folder / "seen").read_text()


def test_help_has_a_section_for_each_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    assert sign("--help") == 0
    told = capsys.readouterr().out
    sections = [line for line in told.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert sections == ["Key:", "Two phases:", "Policy:", "In place of gramine-sgx-sign:", "Options:"]
    rest = told.partition("\nOptions:\n")[2]
    assert [line.split()[0] for line in rest.splitlines() if line.startswith("  -")] == [
        "-d,",
        "--json",
        "-h,",
    ]


def test_a_manifest_of_another_form_is_explained_by_lint(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("app.manifest", "app.manifest.template"):
        (folder / name).write_text(manifest().replace("loader.entrypoint.uri", "loader.entrypoint"))
    message = "error: manifest: expected a table, got a string (loader.entrypoint)\nhint: "
    assert signed() == 1
    assert capsys.readouterr().err == message + "casemate lint app.manifest explains it\n"
    assert signed("-m", "app.manifest.template") == 1
    assert capsys.readouterr().err == (
        f"{message}render the template first, with gramine-manifest, and sign what it writes; "
        "casemate lint app.manifest.template explains it\n"
    )
    assert not (folder / "app.sig").exists()


@pytest.mark.parametrize("option", ["-p", "--passphrase", "--password"])
def test_a_passphrase_on_the_command_line_is_refused_and_not_shown(
    folder: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert signed(option, "hunter2") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "error: passphrase on the command line: expected none: everybody on this machine sees it in the "
        "list of processes, got one\n"
        "hint: change it; then leave the option out to be asked on the terminal, or give --passphrase-fd N "
        "or --passphrase-env NAME\n"
    )
    assert not (folder / "app.sig").exists()


def test_a_depfile_names_what_the_output_depends_on(folder: Path) -> None:
    (folder / "app/a b").write_text("x")
    (folder / "app/$c#").write_text("x")
    assert signed("--depfile", "app.d") == 0
    expected = f"app.manifest.sgx: \\\n\tapp/$$c\\# \\\n\tapp/a\\ b \\\n\tapp/main \\\n\t{PAL} \\\n\t{KEY}\n"
    assert (folder / "app.d").read_text() == expected
    (folder / "app.manifest").write_bytes((folder / "app.manifest.sgx").read_bytes())
    assert signed("--depfile", "again.d") == 0
    assert (folder / "again.d").read_text() == expected


@pytest.mark.parametrize(
    ("name", "found", "shown"),
    [
        ("a;touch pwned", "';'", "a;touch pwned"),
        ("SHELL=evil", "'='", "SHELL=evil"),
        ("a\nall:", "'\\n'", "a\\nall:"),
        ("a\\ b", "'\\\\'", "a\\ b"),
    ],
    ids=["command", "variable", "line", "backslash"],
)
def test_a_name_that_make_would_obey_is_in_no_depfile(
    folder: Path, name: str, found: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "app" / name).write_text("x")
    assert signed("--depfile", "app.d") == 1
    assert capsys.readouterr().err == (
        "error: name in a depfile: expected no control characters, semicolons, = and backslashes, which make "
        f"would obey, got {found} (app/{shown})\n"
        "hint: rename the file, or leave out --depfile\n"
    )
    assert not (folder / "app.sig").exists()


def test_a_depfile_needs_an_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert sign("-m", "app.manifest", "-l", PAL, "-k", KEY, "--depfile", "app.d") == 2
    assert capsys.readouterr().err == (
        "error: options of sign: expected --output with --depfile, got no --output\n"
    )


def test_trusted_files_are_looked_for_in_the_chroot(folder: Path) -> None:
    (folder / "root/etc").mkdir(parents=True)
    (folder / "root/etc/hosts").write_text("inside")
    (folder / "root/link").symlink_to("/etc/hosts")
    (folder / "app.manifest").write_text(manifest("file:/etc/", "file:/link"))
    assert signed("--chroot", "root") == 0
    digest = hashlib.sha256(b"inside").hexdigest()
    text = (folder / "app.manifest.sgx").read_text()
    for uri in ("file:/etc/hosts", "file:/link"):
        assert f'uri = "{uri}", sha256 = "{digest}"' in text or f'uri = "{uri}"\nsha256 = "{digest}"' in text


def test_without_a_gramine_the_platform_image_has_to_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert sign("-m", "app.manifest", "-o", "app.manifest.sgx", "-k", KEY) == 2
    assert capsys.readouterr().err == (
        "error: platform image: expected --pal, or an installed Gramine, got neither\n"
        "hint: --pal takes lib/gramine/sgx/libpal.so; CASEMATE_GRAMINE names the prefix of a Gramine that is "
        "not in /usr, /usr/local or /opt/gramine\n"
    )


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed Gramine 1.8, as far as it is read."""
    prefix = tmp_path / "gramine"
    library = prefix / "lib/gramine"
    (library / "sgx").mkdir(parents=True)
    (library / "runtime/glibc").mkdir(parents=True)
    (prefix / "bin").mkdir()
    for name in ("sgx/loader", "libsysdb.so", "runtime/glibc/libc.so.6"):
        (library / name).write_text(name)
    (library / "sgx/libpal.so").write_bytes(PAL.read_bytes())
    (prefix / "bin/gramine-sgx").write_text('echo "Gramine 1.8 (abc)"\n')
    monkeypatch.setenv("CASEMATE_GRAMINE", str(prefix))
    return prefix


def test_an_installed_gramine_has_to_be_the_one_that_is_measured(
    folder: Path, installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "app.manifest").write_text(manifest("file:app/").replace("loader.entry", "loader.x_entry"))
    options = ("-m", "app.manifest", "-o", "app.manifest.sgx", "-k", KEY)
    assert sign(*options) == 2
    assert capsys.readouterr().err == (
        f"error: Gramine version: expected 1.9, which is measured, got 1.8 ({installed})\n"
        "hint: --gramine-version 1.8 measures it, if that version is known\n"
    )
    assert sign(*options, "--gramine-version", "1.8", "--json", "--accept", "unknown-key") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["gramine_version"] == "1.8"
    assert err == "Wrote app.manifest.sgx and app.sig.\nMeasured as Gramine 1.8 lays out enclaves.\n"
    assert f'uri = "file:{installed}/lib/gramine/libsysdb.so"' in (folder / "app.manifest.sgx").read_text()


def test_a_manifest_of_1_7_is_expanded_by_its_own_rules(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "app.manifest"
    old = "sgx.require_avx = true\n"
    file.write_text(manifest().replace("loader.entrypoint.uri", "loader.entrypoint") + old)
    options = ("--gramine-version", "1.7")
    assert signed(*options) == 2
    assert capsys.readouterr().err == (
        "error: LibOS that is not trusted: expected file:libsysdb.so among sgx.trusted_files, "
        "got no such entry\n"
        "hint: before Gramine 1.8 the LibOS is a trusted file like any other\n"
    )
    file.write_text(manifest("file:libsysdb.so").replace("entrypoint.uri", "entrypoint") + old)
    assert signed(*options) == 0, capsys.readouterr().err
    complete = tomllib.loads((folder / "app.manifest.sgx").read_text())
    assert complete["loader"]["entrypoint"] == "file:libsysdb.so"
    assert "cpu_features" not in complete["sgx"]


@pytest.mark.parametrize("command", ["sign", "measure"])
def test_a_version_that_is_not_known_is_refused(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["-m", str(DEFAULTS / "app.manifest.sgx"), "-l", str(PAL), "--gramine-version", "1.5"]
    if command == "sign":
        options += ["-k", str(KEY), "-s", "app.sig"]
    assert run([command, *options]) == 1
    assert capsys.readouterr() == (
        "",
        (
            "error: Gramine version: expected 1.6, 1.7, 1.8 or 1.9, got 1.5\n"
            "hint: what is measured by the rules of another version is wrong without any error\n"
        ),
    )


def test_measure_says_which_version_it_measured(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["-m", str(DEFAULTS / "app.manifest.sgx"), "--libpal", str(PAL), "--gramine-version", "1.8"]
    assert run(["measure", *options, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["gramine"]["version"] == "1.8"
    assert err == "Measured as Gramine 1.8 lays out enclaves.\n"


def test_a_cache_is_used_when_it_is_asked_for_and_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import os

    for name in ("app/main", "libsysdb.so"):
        os.utime(folder / name, ns=(1, 1))
    import casemate.builder.trusted.digest_cache as module

    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        patch.setattr(module, "TOO_RECENT", -(1 << 62))  # these files are young
        assert signed("--cache", "-q") == 0
        assert capsys.readouterr() == ("", "")
        first = (folder / "app.sig").read_bytes()
        assert json.loads(_document(capsys, "--cache"))["digests_from_cache"] == 2
    assert signed("--cache", "-q") == 0
    assert capsys.readouterr().err == (
        "2 digests were not taken again: not for a release, which is signed without --cache.\n"
    )
    assert json.loads(_document(capsys))["digests_from_cache"] == 0
    assert (folder / "app.sig").read_bytes() == first


def test_a_damaged_cache_is_told_and_made_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert signed("--cache", "-q") == 0
    (file,) = (tmp_path / "cache/casemate").iterdir()
    file.write_text("damaged")
    assert signed("--cache", "-q") == 0
    assert capsys.readouterr().err == f"warning: {file} is not used and made anew: it is damaged\n"
    assert signed("--cache", "-q") == 0
    assert capsys.readouterr().err == ""


def test_a_bundle_knows_no_cache(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "bundle").mkdir()
    assert sign("bundle", "-k", f"file:{KEY}", "--cache") == 2
    assert capsys.readouterr().err == (
        "error: options of sign: expected a bundle, or --manifest with its options, got both\n"
    )


def test_what_a_plugin_is_told_goes_to_the_plugin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def remember(rest: str, ask: object) -> Any:
        asked.append(rest)
        raise KeyboardInterrupt

    monkeypatch.setattr("casemate.adapters.plugin_keys.open_key", remember)
    base = ("-m", "app.manifest", "-o", "app.manifest.sgx", "-l", PAL)
    assert sign("--with", "akv", "--akv-url", "https://v a", *base, "--akv-on") == 130
    assert sign("--with=akv", *base) == 130
    assert asked == ["akv --akv-url 'https://v a' --akv-on", "akv"]
    capsys.readouterr()
    assert sign("--with", "akv", *base, "-k", KEY) == 2
    assert capsys.readouterr().err == "error: options of sign: expected --key or --with, got both\n"


def test_the_help_of_a_plugin_needs_no_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def helped(rest: str, ask: object) -> Any:
        asked.append(rest)
        raise click.exceptions.Exit(0)

    monkeypatch.setattr("casemate.adapters.plugin_keys.open_key", helped)
    assert sign("--with", "akv", "--help-akv") == 0
    assert asked == ["akv --help-akv"]


def test_the_plugin_for_files_is_the_key_in_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert signed("--with", "file", "-q") == 0
    assert (folder / "app.sig").is_file()
    assert signed("--with", "file", "--unknown", "x") == 2
    assert capsys.readouterr().err == ("error: options of sign: expected no others, got --unknown x\n")


def test_an_option_that_nobody_knows_is_wrong_without_a_plugin() -> None:
    assert signed("--akv-url", "x") == 2
