"""Gramine's manifest: text to value and back, defaults, and each thing that is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from casemate.errors import FormatError
from casemate.formats.gramine_versions import gramine_version
from casemate.formats.manifest import (
    MAX_ENCLAVE_SIZE,
    CpuFeature,
    CpuFeatures,
    EnclaveSettings,
    TrustedFile,
    dump_manifest,
    load_manifest,
    load_measured_manifest,
    missing_for_measurement,
    parse_size,
    trusted_files,
    with_defaults,
)

VECTORS = Path(__file__).parents[2] / "vectors/measurement"
ENTRY = 'trusted file: expected "file:…" or { uri = "file:…", sha256 = "…" }, got '
FEATURE = 'processor feature: expected "unspecified" or "disabled" '
HARDENED = 'processor feature: expected "disabled" or "required", got '
SMALLEST = 'libos.entrypoint = "/app"\nfs.mounts = []\n'
DEEPER = "manifest: expected at most 60 tables, arrays and parts of a key inside each other, got more"


def settings(**sgx: Any) -> EnclaveSettings:
    return EnclaveSettings.from_manifest({"sgx": sgx})


def refusal_of(text: str) -> FormatError:
    with pytest.raises(FormatError) as refused:
        load_manifest(text.encode())
    return refused.value


@pytest.mark.parametrize("folder", sorted(VECTORS.glob("*/app.manifest")), ids=lambda path: path.parent.name)
def test_defaults_and_text_are_those_of_gramines_own_signer(folder: Path) -> None:
    complete = with_defaults(load_manifest(folder.read_bytes()))
    assert dump_manifest(complete) == folder.with_suffix(".manifest.sgx").read_bytes()
    assert not missing_for_measurement(complete)


def test_settings_that_are_not_there_have_gramines_defaults() -> None:
    assert settings() == EnclaveSettings(
        size=256 << 20,
        threads=4,
        edmm=False,
        debug=False,
        exinfo=False,
        cpu_features=CpuFeatures(
            avx=CpuFeature.UNSPECIFIED,
            avx512=CpuFeature.UNSPECIFIED,
            amx=CpuFeature.UNSPECIFIED,
            mpx=CpuFeature.DISABLED,
            pkru=CpuFeature.DISABLED,
        ),
        isvprodid=0,
        isvsvn=0,
    )
    assert settings(edmm_enable=True).size == 1 << 40


def test_settings_that_are_there_are_read() -> None:
    read = settings(
        enclave_size="4G",
        max_threads=32,
        debug=True,
        use_exinfo=True,
        isvprodid=7,
        isvsvn=65535,
        cpu_features={"amx": "required", "pkru": "required"},
    )
    assert (read.size, read.threads, read.debug, read.exinfo) == (4 << 30, 32, True, True)
    assert (read.isvprodid, read.isvsvn) == (7, 65535)
    assert read.cpu_features == CpuFeatures(amx=CpuFeature.REQUIRED, pkru=CpuFeature.REQUIRED)


@pytest.mark.parametrize(
    ("sgx", "message"),
    [
        ({"enclave_size": 268435456}, "manifest: expected a string, got an integer (sgx.enclave_size)"),
        (
            {"enclave_size": "300M"},
            "enclave size: expected a power of two, got '300M' (sgx.enclave_size)",
        ),
        ({"enclave_size": "0"}, "enclave size: expected a power of two, got '0' (sgx.enclave_size)"),
        ({"enclave_size": "2048G"}, "enclave size: expected at most 1024G, got '2048G' (sgx.enclave_size)"),
        (
            {"enclave_size": "512m"},
            "size: expected decimal digits and K, M, G or nothing, got '512m' (sgx.enclave_size)",
        ),
        ({"max_threads": 0}, "manifest: expected 1 to 4096, got 0 (sgx.max_threads)"),
        ({"max_threads": 4097}, "manifest: expected 1 to 4096, got 4097 (sgx.max_threads)"),
        ({"max_threads": True}, "manifest: expected an integer, got true or false (sgx.max_threads)"),
        ({"isvsvn": 65536}, "manifest: expected 0 to 65535, got 65536 (sgx.isvsvn)"),
        ({"isvprodid": -1}, "manifest: expected 0 to 65535, got -1 (sgx.isvprodid)"),
        ({"debug": 1}, "manifest: expected true or false, got an integer (sgx.debug)"),
        (
            {"cpu_features": {"avx": "on"}},
            FEATURE + "or \"required\", got 'on' (sgx.cpu_features.avx)",
        ),
        (
            {"cpu_features": {"pkru": "unspecified"}},
            HARDENED + "'unspecified' (sgx.cpu_features.pkru)",
        ),
        ({"cpu_features": "avx"}, "manifest: expected a table, got a string (sgx.cpu_features)"),
    ],
)
def test_settings_out_of_their_range_are_refused(sgx: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError) as refused:
        EnclaveSettings.from_manifest({"sgx": sgx})
    assert str(refused.value) == message


def test_limits_of_settings_are_allowed() -> None:
    assert settings(enclave_size="1024G", max_threads=4096, isvprodid=65535).size == MAX_ENCLAVE_SIZE


def test_a_size_that_is_no_power_of_two_is_told_the_next_one() -> None:
    with pytest.raises(FormatError) as refused:
        settings(enclave_size="300M")
    assert refused.value.hint == 'SGX has no other sizes; the next one is "512M"'


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("7", 7), ("64K", 65536), ("512M", 1 << 29), ("2G", 1 << 31)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text, where="here") == size


@pytest.mark.parametrize("text", ["", "M", "1T", "0x100", "1.5G", "-1", "512 M", "1g", "\uff11"])
def test_sizes_that_gramine_reads_in_two_ways_or_not_at_all_are_refused(text: str) -> None:
    with pytest.raises(FormatError) as refused:
        parse_size(text, where="here")
    assert str(refused.value) == f"size: expected decimal digits and K, M, G or nothing, got {text!r} (here)"
    assert refused.value.hint == 'write it as "512M" or "4G"; Gramine knows no other suffix'


def test_a_manifest_without_mounts_is_refused_with_what_to_write() -> None:
    error = refusal_of('libos.entrypoint = "/app"\n')
    assert str(error) == "manifest: expected fs.mounts, got nothing"
    assert (
        error.hint
        == "list what the application may see; fs.mounts = [] when that is the root file system alone"
    )


def test_a_manifest_without_entry_point_is_refused_with_what_to_write() -> None:
    error = refusal_of("fs.mounts = []\n")
    assert str(error) == "manifest: expected libos.entrypoint, got nothing"
    assert (
        error.hint == 'name the program by its path inside the enclave: libos.entrypoint = "/usr/bin/python3"'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fs.mounts = {{ x }}",
            "manifest: expected TOML, got Invalid initial character for a key part (at line 1, column 14)",
        ),
        (SMALLEST + "\0", "manifest: expected TOML without NUL bytes, got a NUL byte (offset 41)"),
        ("a = " + "[" * 5000, "manifest: expected TOML, got arrays nested too deeply"),
        (".".join(["a"] * 3000) + " = 1", DEEPER),
        ("[" + ".".join(["a"] * 30_000) + "]", DEEPER),
        ("a = {" + " . ".join(['"."', "'b'"] * 31) + " = 1}", DEEPER),
        (SMALLEST + "a = " + "{a.a.a.a.a.a = " * 10 + "{}" + "}" * 10, DEEPER),
        (
            "libos.entrypoint = 1\nfs.mounts = []",
            "manifest: expected a string, got an integer (libos.entrypoint)",
        ),
        ('libos.entrypoint = "/a"\nfs.mounts = {}', "manifest: expected an array, got a table (fs.mounts)"),
        (
            'libos.entrypoint = "/a"\nfs.mounts = ["/app"]',
            "manifest: expected an array of tables, got other entries (fs.mounts)",
        ),
        ("libos = 1979-05-27", "manifest: expected a table, got a date or time (libos)"),
    ],
    ids=[
        "a template",
        "NUL",
        "deep",
        "a long key",
        "a long header",
        "a long key inside",
        "tables inside tables",
        "entry point",
        "mounts",
        "mount",
        "date",
    ],
)
def test_what_is_no_manifest_is_refused(text: str, message: str) -> None:
    assert str(refusal_of(text)) == message


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(FormatError) as refused:
        load_manifest(b"a = '\xff'")
    assert str(refused.value) == "manifest: expected UTF-8, got other bytes (offset 5)"


def test_trusted_files_are_uris_or_tables() -> None:
    digest = "ab" * 32
    manifest = {
        "sgx": {"trusted_files": ["file:/a/", {"uri": "file:b"}, {"uri": "file:/c", "sha256": digest}]}
    }
    assert trusted_files(manifest) == (
        TrustedFile(uri="file:/a/", sha256=None),
        TrustedFile(uri="file:b", sha256=None),
        TrustedFile(uri="file:/c", sha256=digest),
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            7,
            ENTRY + "an integer (sgx.trusted_files)",
        ),
        (
            {"uri": "file:/a", "size": 1},
            ENTRY + "keys size, uri (sgx.trusted_files)",
        ),
        ("dev:tty", "URI of a trusted file: expected file:PATH, got 'dev:tty' (sgx.trusted_files)"),
        ("file:", "URI of a trusted file: expected file:PATH, got 'file:' (sgx.trusted_files)"),
        (
            {"uri": "file:/a", "sha256": "00"},
            "digest of a trusted file: expected 64 hexadecimal digits, got '00' (sgx.trusted_files: file:/a)",
        ),
    ],
)
def test_other_trusted_files_are_refused(entry: object, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        TrustedFile.parse(entry)
    assert str(refused.value) == message


def test_what_is_missing_before_measuring_is_listed() -> None:
    manifest = load_manifest((SMALLEST + 'sgx.trusted_files = ["file:/a"]').encode())
    assert missing_for_measurement(manifest) == (
        "sgx.enclave_size",
        "sgx.max_threads",
        "loader.entrypoint.uri",
        "loader.entrypoint.sha256",
        "digest of file:/a",
    )


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_older_versions_read_what_features_and_exinfo_were_called(version: str) -> None:
    old = gramine_version(version)
    manifest = {"sgx": {"require_avx": True, "require_amx": False, "require_exinfo": True}}

    read = EnclaveSettings.from_manifest(manifest, old)

    assert (read.old_features, read.exinfo) == (("avx",), True)
    complete = with_defaults(manifest, old)["sgx"]
    assert not {"cpu_features", "use_exinfo"} & complete.keys()
    assert EnclaveSettings.from_manifest(manifest).old_features is None
    assert with_defaults({}, old) == with_defaults({})


@pytest.mark.parametrize(
    ("sgx", "new", "old"),
    [
        ({"require_avx": True, "cpu_features": {}}, "cpu_features", "require_avx"),
        ({"require_exinfo": True, "use_exinfo": True}, "use_exinfo", "require_exinfo"),
    ],
)
def test_an_old_key_beside_its_new_form_is_refused(sgx: dict[str, Any], new: str, old: str) -> None:
    with pytest.raises(FormatError) as refused:
        EnclaveSettings.from_manifest({"sgx": sgx}, gramine_version("1.7"))
    assert str(refused.value) == f"manifest: expected one of sgx.{old} and sgx.{new}, got both (sgx.{old})"


def test_before_1_8_the_libos_is_a_trusted_file() -> None:
    libos = {"uri": "file:/libos", "sha256": "00" * 32}
    sgx = {"enclave_size": "64M", "max_threads": 4, "trusted_files": [libos]}
    old = gramine_version("1.7")

    assert missing_for_measurement({"sgx": sgx}, old) == ("loader.entrypoint",)
    assert missing_for_measurement({"sgx": sgx, "loader": {"entrypoint": "file:/libos"}}, old) == ()
    assert missing_for_measurement({"sgx": sgx, "loader": {"entrypoint": "file:/x"}}, old) == (
        "digest of file:/x",
    )


def test_defaults_leave_the_argument_as_it_is() -> None:
    manifest = {"sgx": {"cpu_features": {"avx": "required"}}}
    with_defaults(manifest)
    assert manifest == {"sgx": {"cpu_features": {"avx": "required"}}}


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.5, "1.5"), (2**63, "9223372036854775808"), (None, "None"), (b"x", "b'x'")],
    ids=["float", "wide", "none", "bytes"],
)
def test_values_that_gramines_parser_cannot_read_are_not_written(value: object, shown: str) -> None:
    with pytest.raises(FormatError) as refused:
        dump_manifest({"loader": {"env": {"X": value}}})
    assert str(refused.value) == f"{WRONG_KIND}{shown} (loader.env.X)"


WRONG_KIND = "manifest value: expected true, false, a 64-bit integer or a string, got "
UNREADABLE = "text in a manifest: expected no control characters but tabs and line breaks, and no ''', got "


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ("a\0b", "U+0000 (loader.env.X)"),
        ("\x1b[2J", "U+001B (loader.env.X)"),
        ("\x7f", "U+007F (loader.env.X)"),
        ("\uffff", "U+FFFF (loader.env.X)"),
        ("it'''s", "''' (loader.env.X)"),
        ({"deep": ["\x08"]}, "U+0008 (loader.env.X.deep)"),
        ({"a\0": "b"}, "U+0000 (loader.env.X.a\N{REPLACEMENT CHARACTER})"),
    ],
)
def test_text_that_gramines_parser_cannot_read_is_not_written(value: object, got: str) -> None:
    with pytest.raises(FormatError) as refused:
        dump_manifest({"loader": {"env": {"X": value}}})
    assert str(refused.value) == UNREADABLE + got
    assert refused.value.hint == (
        "Gramine's parser does not take it: encode it, and decode it in the application"
    )


def test_line_breaks_and_tabs_in_values_are_written() -> None:
    manifest = {"libos": {"entrypoint": "/a"}, "fs": {"mounts": []}, "x": 'a\r\n\tb """ \\'}
    assert load_measured_manifest(dump_manifest(manifest)) == manifest


#: TOML ends the string before `insecure`, Gramine's parser after it: the setting is hidden from the one only.
HIDDEN = 'note = """x\\\\"""\nmemo = """\ninsecure__use_host_env = true\ntail = """\n#"""\n'
BREAKS = "Gramine may read it otherwise than TOML says; write line breaks in strings as \\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SMALLEST + "[loader]\n" + HIDDEN, 'got """ (line 4)'),
        (SMALLEST + "# '''\n", "got ''' (line 3)"),
        (SMALLEST + "a = 1\r\n", "got a carriage return (line 3)"),
    ],
)
def test_text_that_gramine_may_read_otherwise_is_not_measured(text: str, message: str) -> None:
    assert load_manifest(text.encode())
    with pytest.raises(FormatError) as refused:
        load_measured_manifest(text.encode())
    assert str(refused.value) == (
        "text of a manifest: expected strings in one pair of quotation marks, and no carriage return, "
        + message
    )
    assert refused.value.hint == BREAKS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('sgx."debug\\u0000" = true\n', UNREADABLE + "U+0000 (sgx.debug\N{REPLACEMENT CHARACTER})"),
        ('sgx.enclave_size = "256M\\u0000"\n', UNREADABLE + "U+0000 (sgx.enclave_size)"),
        (
            "sgx.isvsvn = 9223372036854775808\n",
            WRONG_KIND + "9223372036854775808 (sgx.isvsvn)",
        ),
        (
            "a = [inf]\n",
            WRONG_KIND + "inf (a)",
        ),
    ],
    ids=["NUL in a key", "NUL in a value", "wide", "infinity"],
)
def test_keys_and_values_that_gramine_cuts_off_are_not_measured(text: str, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        load_measured_manifest((SMALLEST + text).encode())
    assert str(refused.value) == message


def test_text_that_utf_8_cannot_hold_is_not_written() -> None:
    with pytest.raises(FormatError) as refused:
        dump_manifest({"a": "\ud800"})
    assert str(refused.value) == "manifest: expected text that UTF-8 can hold, got a lone surrogate"


def test_a_string_written_with_escapes_is_not_taken_for_what_was_cut_out_of_the_text() -> None:
    text = (
        '[other]\ntrusted_files = ["file:/elsewhere"]\n'
        '[sgx]\ntrusted_files = ["file:\\u25A1casemate\\u25A1entries\\u25A1cut\\u25A1out"]\n'
    )
    assert load_manifest((SMALLEST + text).encode()) == tomllib.loads(SMALLEST + text)


def test_a_line_break_in_a_name_does_not_make_two_trusted_files_of_it() -> None:
    digest = "0" * 64
    entry = {"uri": f"file:/{'a' * 60}\n{digest}\nfile:/b", "sha256": digest}
    manifest = {"libos": {"entrypoint": "/app"}, "fs": {"mounts": []}, "sgx": {"trusted_files": [entry]}}
    assert load_manifest(dump_manifest(manifest)) == manifest
