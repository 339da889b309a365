"""Bundles appear whole or not at all, and their documents are read strictly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.image_files import image_file
from tests.support.projects import project
from tests.support.small_bundle import KEY, sign_with, small_bundle

from casemate.adapters.file_keys import FileSigner
from casemate.builder.bundles.bundle import Bundle, new_bundle
from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.builder.bundles.reference_values import make_reference_values
from casemate.builder.bundles.tcb import Tcb, TrustedContent
from casemate.builder.contents import Considered
from casemate.builder.packing.image import ImageContents, write_image
from casemate.cli.main import run
from casemate.errors import FormatError, ProjectError, ToolchainError, UsageError
from casemate.formats.deployment import Deployment
from casemate.formats.reference_values import Statement, read_statement
from casemate.formats.sgx.report import Attributes, MrEnclave, MrSigner
from casemate.verifier.reference_values import ReferenceValues

_RECORD = MeasurementRecord(
    simulated=True,
    mrenclave=MrEnclave(b"\1" * 32),
    mrsigner=None,
    isvprodid=1,
    isvsvn=2,
    attributes=Attributes(flags=4, xfrm=3),
    attributes_mask=Attributes(flags=2**64 - 1, xfrm=3),
    misc_select=bytes(4),
    gramine_version=None,
    platform_image_sha256="ab" * 32,
    manifest_sha256="cd" * 32,
    image_digest="sha256:" + "ef" * 32,
)
_TCB = Tcb.of(
    "3.11",
    [
        TrustedContent.of(image_file("/app/a.pyc", b"a")),
        TrustedContent.of(image_file("/app/b", b"b", of="/app/a.pyc")),
    ],
    Considered(files=10, size=1000, left_out=("/a", "/x")),
)


def _fill(bundle: Bundle) -> None:
    trusted = (TrustedContent.of(image_file("/app/a.pyc", b"a")),)
    layout = write_image(
        bundle.image.path,
        ImageContents(
            name="notes",
            port=8443,
            trusted=trusted,
            outside=(),
            manifest=b"manifest",
            mrenclave="01" * 32,
            simulated=True,
            epoch=0,
            sources={},
        ),
    )
    record = replace(_RECORD, image_digest=layout.digest)
    bundle.manifest_path.write_bytes(b"manifest")
    bundle.measurement_path.write_bytes(record.to_bytes())
    bundle.tcb_path.write_bytes(_TCB.to_bytes())
    bundle.reference_values_path.write_bytes(make_reference_values("notes", record, {"python": "3.11.7"}))
    bundle.deployment_path.write_bytes(Deployment.of(project()).to_bytes())


def test_a_bundle_appears_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "bundle"

    with new_bundle(target) as bundle:
        _fill(bundle)
        assert not target.exists()

    assert Bundle.open(target).measurement.mrenclave == _RECORD.mrenclave
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_an_error_leaves_nothing_behind_and_what_was_there_untouched(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    with new_bundle(target) as bundle:
        _fill(bundle)
    before = sorted(path.name for path in target.iterdir())

    def interrupted() -> None:
        with new_bundle(target) as bundle:
            bundle.manifest_path.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()

    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert sorted(path.name for path in target.iterdir()) == before
    assert Bundle.open(target).manifest == b"manifest"


def test_a_bundle_is_replaced_by_a_new_one(tmp_path: Path) -> None:
    for content in (b"first", b"second"):
        with new_bundle(tmp_path / "bundle") as bundle:
            _fill(bundle)
            bundle.manifest_path.write_bytes(content)

    assert Bundle.open(tmp_path / "bundle").manifest == b"second"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_is_no_bundle_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()

    with pytest.raises(UsageError) as refused, new_bundle(tmp_path / "photos"):
        pass
    assert str(refused.value) == (
        f"output: expected a new folder, or a bundle to replace, got something else ({tmp_path / 'photos'})"
    )
    assert (tmp_path / "photos" / "cat.jpg").exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ToolchainError) as refused, new_bundle(tmp_path / "file" / "bundle"):
        pass
    assert refused.value.subject == "bundle cannot be written"


def test_what_appears_at_the_place_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    def meanwhile() -> None:
        with new_bundle(tmp_path / "bundle") as draft:
            _fill(draft)
            (tmp_path / "bundle").mkdir()
            (tmp_path / "bundle" / "cat.jpg").touch()

    with pytest.raises(UsageError):
        meanwhile()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["cat.jpg"]


@pytest.mark.parametrize(
    ("name", "got"), [("nothing", "nothing"), ("folder", "another folder"), ("file", "a file")]
)
def test_opening_what_is_no_bundle_is_wrong_use(tmp_path: Path, name: str, got: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()

    with pytest.raises(UsageError) as refused:
        Bundle.open(tmp_path / name)
    assert str(refused.value) == (
        f"bundle: expected a folder that casemate build made, got {got} ({tmp_path / name})"
    )
    assert refused.value.hint == "make one with: casemate build DIR -o BUNDLE"


def test_a_signature_reaches_the_image_and_all_documents(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    unsigned = bundle.image.digest
    assert bundle.signature is None
    with pytest.raises(FormatError):
        ReferenceValues.parse(bundle.reference_values, "reference-values.json")

    signer = FileSigner.open(KEY)
    record = sign_with(bundle, signer)

    assert record == bundle.measurement
    assert record.image_digest == bundle.image.digest != unsigned
    values = ReferenceValues.parse(bundle.reference_values, "reference-values.json")
    assert values.mrsigner == record.mrsigner
    assert values.image_digest == record.image_digest.removeprefix("sha256:")
    statement = read_statement(bundle.reference_values, "reference-values.json", (signer.public_key,))
    assert statement.predicate.sources == {"python": "3.11.9"}


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with new_bundle(tmp_path / "bundle") as draft:
        _fill(draft)
    bundle = Bundle.open(tmp_path / "bundle")
    bundle.tcb_path.unlink()

    with pytest.raises(FormatError) as refused:
        bundle.tcb  # noqa: B018 - reading is what fails
    assert str(refused.value) == (
        f"tcb.json of the bundle: expected a file, got No such file or directory ({bundle.tcb_path})"
    )


def test_documents_are_read_as_written() -> None:
    signed = replace(_RECORD, mrsigner=MrSigner(b"\2" * 32), gramine_version="1.9", simulated=False)

    assert Tcb.parse(_TCB.to_bytes()) == _TCB
    assert MeasurementRecord.parse(_RECORD.to_bytes()) == _RECORD
    assert MeasurementRecord.parse(signed.to_bytes()) == signed


@pytest.mark.parametrize(
    ("change", "got"),
    [
        pytest.param({"mrenclave": "AB"}, "Expected `str` matching regex", id="digest"),
        pytest.param({"simulated": "yes"}, "Expected `bool`, got `str`", id="type"),
        pytest.param({"version": 2}, "Invalid enum value 2", id="version"),
        pytest.param({"extra": 1}, "Object contains unknown field `extra`", id="unknown"),
        pytest.param(
            {"gramine": {"version": "\x1b[2J", "platform_image_sha256": "ab" * 32}},
            "Expected `str` matching regex",
            id="version of Gramine",
        ),
        pytest.param({"isvsvn": 65536}, "Expected `int` <= 65535", id="range"),
    ],
)
def test_a_document_of_another_form_is_refused(change: dict[str, object], got: str) -> None:
    document = json.loads(_RECORD.to_bytes()) | change

    with pytest.raises(FormatError) as refused:
        MeasurementRecord.parse(json.dumps(document).encode())
    assert refused.value.subject == "measurement.json"
    assert got in (refused.value.got or "")
    assert refused.value.hint == "build the bundle again with this version of casemate"


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"a":1,"a":1}', b"\xff", b"[" * 100_000, b"1" * 5000, b'"\\ud800"']
)
def test_what_is_no_document_is_refused(data: bytes) -> None:
    for parse in (
        Tcb.parse,
        MeasurementRecord.parse,
        lambda data: Statement.parse(data, "reference-values.json"),
    ):
        with pytest.raises(FormatError):
            parse(data)


_ESCAPES = "\x1b[2K\x1b[1Aforged"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda it: it["files"][0].update(path=_ESCAPES), id="path"),
        pytest.param(lambda it: it["files"][1]["reason"].update(of=_ESCAPES), id="of"),
        pytest.param(lambda it: it["files"][1]["reason"].update(detail=_ESCAPES), id="detail"),
        pytest.param(lambda it: it.update(left_out=[_ESCAPES]), id="left out"),
    ],
)
def test_text_that_would_reach_a_terminal_as_a_command_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Any], None]
) -> None:
    with new_bundle(tmp_path / "bundle") as bundle:
        _fill(bundle)
        document = json.loads(bundle.tcb_path.read_bytes())
        change(document)
        bundle.tcb_path.write_text(json.dumps(document))
    assert run(["explain", str(tmp_path / "bundle"), "a.py"]) == 1
    assert capsys.readouterr() == (
        "",
        (
            "error: tcb.json: expected text without control characters, got '\\x1b[2K\\x1b[1Aforged'\n"
            "hint: build the bundle again with this version of casemate\n"
        ),
    )


def test_text_that_would_not_be_read_is_not_written() -> None:
    with pytest.raises(ProjectError) as refused:
        Tcb.of("3.11", [TrustedContent.of(image_file(f"/app/{_ESCAPES}", b""))], _TCB.considered)
    assert str(refused.value) == (
        "name of a trusted file, or reason for it: expected no control characters, "
        "got '/app/\\x1b[2K\\x1b[1Aforged'"
    )
    assert refused.value.hint == "rename what is called so; listings would not show it"


def test_files_left_out_are_not_named_when_nobody_could_write_their_names() -> None:
    considered = replace(_TCB.considered, left_out=("/a", f"/{_ESCAPES}", "/\udcff"))
    assert Tcb.of("3.11", [], considered).considered.left_out == ("/a",)


def test_a_document_that_is_too_large_is_not_read() -> None:
    with pytest.raises(FormatError) as refused:
        MeasurementRecord.parse(b" " * 65_537)
    assert str(refused.value) == "measurement.json: expected at most 65536 bytes, got 65537"
