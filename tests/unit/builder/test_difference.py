"""The difference of two bundles names every input that has moved MRENCLAVE, and what has moved without it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.small_bundle import FILES, PAL, Small, sign_small, small_bundle

from casemate.builder.bundles.bundle import Bundle
from casemate.builder.bundles.difference import Difference, Input, compare
from casemate.cli.main import run
from casemate.formats.manifest import dump_manifest, load_manifest

CHAIN = {"/app/notes.pyc": "/etc/hosts"}


def difference(folder: Path, old: Small, new: Small) -> Difference:
    one, two = small_bundle(folder / "old", old), small_bundle(folder / "new", new)
    return compare(one.documents(), two.documents())


def moved(found: Difference) -> list[tuple[Input, str, str | None, str | None]]:
    return [(one.kind, one.name, one.old, one.new) for one in found.measured]


def test_two_builds_of_the_same_have_no_difference(tmp_path: Path) -> None:
    found = difference(tmp_path, Small(), Small())

    assert (found.old == found.new, found.measured, found.unmeasured) == (True, (), ())


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        (FILES, FILES | {"/app/notes.pyc": b"other"}, "changed"),
        ({name: FILES[name] for name in FILES if "notes" not in name}, FILES, "added"),
        (FILES, {name: FILES[name] for name in FILES if "notes" not in name}, "removed"),
    ],
)
def test_a_trusted_file_is_named_with_the_reason_for_which_it_is_there(
    tmp_path: Path, old: dict[str, bytes], new: dict[str, bytes], change: str
) -> None:
    found = difference(tmp_path, Small(files=old, reasons=CHAIN), Small(files=new, reasons=CHAIN))

    assert found.old != found.new
    (one,) = found.measured
    assert (one.kind, one.name, one.change) == (Input.TRUSTED_FILE, "/app/notes.pyc", change)
    assert [file.path for file in one.chain] == ["/app/notes.pyc", "/etc/hosts"]


def test_a_setting_is_named_with_both_values(tmp_path: Path) -> None:
    settings = 'threads = 32\n[env]\nMODE = "new"\n'

    found = difference(tmp_path, Small(settings="threads = 16\n"), Small(settings=settings))

    assert found.old != found.new
    assert moved(found) == [
        (Input.SETTING, "loader.env.MODE", None, '"new"'),
        (Input.SETTING, "sgx.max_threads", "16", "32"),
    ]


def test_the_platform_image_is_named(tmp_path: Path) -> None:
    other = PAL[:-1] + bytes([PAL[-1] ^ 1])

    (one,) = difference(tmp_path, Small(), Small(pal=other)).measured

    assert (one.kind, one.name, one.change) == (Input.PLATFORM_IMAGE, "libpal.so", "changed")


def test_a_simulated_bundle_and_a_real_one_differ_in_gramine(tmp_path: Path) -> None:
    found = difference(tmp_path, Small(simulated=True), Small())

    assert {one.kind for one in found.measured} == {
        *(Input.PLATFORM_IMAGE, Input.GRAMINE_VERSION, Input.SETTING)
    }


def test_another_notation_of_the_same_manifest_is_named(tmp_path: Path) -> None:
    documents = small_bundle(tmp_path / "bundle").documents()
    value = load_manifest(documents.manifest)
    turned = replace(documents, manifest=dump_manifest(dict(reversed(value.items()))))

    (one,) = compare(documents, turned).measured

    assert (one.kind, one.name) == (Input.MANIFEST_TEXT, "order or notation")


def test_what_is_not_measured_is_kept_apart(tmp_path: Path) -> None:
    old = small_bundle(tmp_path / "old", Small(sources={"uv.lock": "sha256:1", "python": "3.11.9"}))
    new = sign_small(small_bundle(tmp_path / "new", Small(sources={"uv.lock": "sha256:2"})))
    document = json.loads(new.deployment_path.read_bytes())
    new.deployment_path.write_text(json.dumps(document | {"replicas": 7}))

    found = compare(old.documents(), new.documents())

    assert (found.old == found.new, found.measured) == (True, ())
    assert [(one.kind.value, one.name, one.change) for one in found.unmeasured] == [
        ("source", "python", "removed"),
        ("source", "uv.lock", "changed"),
        ("signer", "MRSIGNER", "added"),
        ("image", "digest", "changed"),
        ("deployment", "replicas", "changed"),
    ]


@pytest.fixture
def two(tmp_path: Path) -> tuple[Bundle, Bundle]:
    files = FILES | {"/app/notes.pyc": b"other"}
    return (
        small_bundle(tmp_path / "old", Small(reasons=CHAIN)),
        small_bundle(tmp_path / "new", Small(reasons=CHAIN, files=files, settings="threads = 32")),
    )


def test_the_command_explains_to_a_person(
    two: tuple[Bundle, Bundle], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = two

    assert run(["diff", str(old.path), str(new.path)]) == 0

    lines = capsys.readouterr().out.splitlines()
    before, after = (bundle.measurement.mrenclave.hex() for bundle in two)
    digests = [
        next(file.sha256 for file in bundle.tcb.files if file.path == "/app/notes.pyc") for bundle in two
    ]
    assert lines[:-1] == [
        f"MRENCLAVE {before} became {after}",
        "",
        "measured, and so the reason:",
        f"  trusted file /app/notes.pyc changed: {digests[0]} became {digests[1]}",
        "    import: for /app/notes.pyc",
        "    └── /etc/hosts  import: for /etc/hosts",
        "  setting sgx.max_threads changed: 16 became 32",
        "",
        "not measured:",
    ]
    assert lines[-1].startswith("  image digest changed: sha256:")


def test_the_command_prints_a_document(
    two: tuple[Bundle, Bundle], capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = two

    assert run(["diff", str(old.path), str(new.path), "--json"]) == 0

    document = json.loads(capsys.readouterr().out)
    assert document["version"] == 1
    assert [(one["kind"], one["name"]) for one in document["measured"]] == [
        ("trusted file", "/app/notes.pyc"),
        ("setting", "sgx.max_threads"),
    ]
    assert document["measured"][0]["chain"][1] == {
        "path": "/etc/hosts",
        "rule": "import",
        "detail": "for /etc/hosts",
    }


def test_nothing_is_said_where_nothing_differs(
    two: tuple[Bundle, Bundle], capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(two[0].path)

    assert run(["diff", path, path]) == 0

    assert capsys.readouterr().out == f"MRENCLAVE is the same: {two[0].measurement.mrenclave.hex()}\n"
