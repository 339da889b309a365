"""The image layout: written, signed, unpacked, and refused when it is not ours."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.image_files import append_signature, image_file

from casemate.builder.bundles.tcb import TrustedContent
from casemate.builder.contents import Rule
from casemate.builder.packing.image import ImageContents, ImageLayout, unpack_image, write_image
from casemate.builder.packing.layers import LayerFile
from casemate.errors import FormatError
from casemate.formats.oci import LAYER_TYPE, Descriptor, ImageConfig, ImageManifest

_FILES = {
    "/opt/python/bin/python3.11": b"program",
    "/opt/python/lib/python3.11/site-packages/flask/app.pyc": b"flask",
    "/app/notes.pyc": b"notes",
    "/etc/casemate/workload.json": b"{}",
    "/etc/hosts": b"hosts",
}
_SOURCES_DIGEST = hashlib.sha256(b'{"python":"3.11.9"}').hexdigest()


def _contents(*, simulated: bool = True, epoch: int = 0) -> ImageContents:
    outside = (LayerFile(path="/gramine/loader", content=b"loader", executable=True),)
    return ImageContents(
        name="notes",
        port=8443,
        trusted=tuple(TrustedContent.of(image_file(path, data)) for path, data in _FILES.items()),
        outside=() if simulated else outside,
        manifest=b"the manifest",
        mrenclave="ab" * 32,
        simulated=simulated,
        epoch=epoch,
        sources={"python": "3.11.9"},
    )


@pytest.fixture
def layout(tmp_path: Path) -> ImageLayout:
    return write_image(tmp_path / "image", _contents())


def _config(layout: ImageLayout) -> ImageConfig:
    return ImageConfig.parse(layout.read(layout.manifest.config))


def _files(folder: Path) -> dict[str, bytes]:
    return {f"/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_layers_are_ordered_by_how_often_they_change(layout: ImageLayout, tmp_path: Path) -> None:
    names = []
    for layer in layout.manifest.layers:
        with tarfile.open(fileobj=io.BytesIO(layout.read(layer))) as archive:
            names.append([entry.name for entry in archive if entry.isreg()])

    assert names == [
        ["enclave/opt/python/bin/python3.11"],
        ["enclave/etc/hosts"],
        ["enclave/opt/python/lib/python3.11/site-packages/flask/app.pyc"],
        ["casemate/app.manifest.sgx", "enclave/app/notes.pyc", "enclave/etc/casemate/workload.json"],
    ]


def test_a_simulated_image_says_so_and_has_nothing_to_run(layout: ImageLayout) -> None:
    config = _config(layout)

    assert config.entrypoint == ()
    assert dict(config.labels)["io.casemate.simulated"] == "true"
    assert dict(config.labels)["io.casemate.mrenclave"] == "ab" * 32
    assert (config.user, config.port, config.created) == ("10001:10001", 8443, "1970-01-01T00:00:00Z")


def test_an_image_with_gramine_starts_its_loader_without_a_shell(tmp_path: Path) -> None:
    layout = write_image(tmp_path / "image", _contents(simulated=False, epoch=1_700_000_000))

    config = _config(layout)

    assert config.entrypoint == ("/gramine/loader", "/gramine/libpal.so", "init", "/casemate/app")
    assert config.created == "2023-11-14T22:13:20Z"
    assert dict(config.labels)["io.casemate.simulated"] == "false"


def test_the_umask_does_not_reach_the_blobs(tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        private = write_image(tmp_path / "private", _contents())
    finally:
        os.umask(old)
    assert private.digest == write_image(tmp_path / "public", _contents()).digest


def test_unpacking_gives_every_file(layout: ImageLayout, tmp_path: Path) -> None:
    target = tmp_path / "root"
    target.mkdir()

    unpack_image(layout, target)

    expected = {f"/enclave{path}": content for path, content in _FILES.items()}
    assert _files(target) == {**expected, "/casemate/app.manifest.sgx": b"the manifest"}


def test_the_signature_is_one_more_layer(layout: ImageLayout, tmp_path: Path) -> None:
    before = layout.manifest
    unsigned = layout.digest

    digest = append_signature(layout, layout.documents(), b"sigstruct")

    assert digest == layout.digest != unsigned
    assert layout.manifest.layers[:-1] == before.layers
    (tmp_path / "root").mkdir()
    unpack_image(layout, tmp_path / "root")
    assert (tmp_path / "root/casemate/app.sig").read_bytes() == b"sigstruct"


def test_signing_again_replaces_the_signature_and_leaves_no_blob_behind(layout: ImageLayout) -> None:
    append_signature(layout, layout.documents(), b"first")
    append_signature(layout, layout.documents(), b"second")

    manifest = layout.manifest
    assert len(manifest.layers) == 5
    used = {one.hex for one in (layout.index.manifest, manifest.config, *manifest.layers)}
    assert {path.name for path in (layout.path / "blobs/sha256").iterdir()} == used
    assert len(_config(layout).history) == 5


def test_signing_twice_with_the_same_signature_changes_nothing(layout: ImageLayout) -> None:
    assert append_signature(layout, layout.documents(), b"same") == append_signature(
        layout, layout.documents(), b"same"
    )
    assert layout.read(layout.manifest.layers[-1])


def test_the_image_that_was_judged_is_signed_whatever_the_layout_holds_by_now(layout: ImageLayout) -> None:
    judged = layout.documents()
    _hostile(layout, ("casemate/other", tarfile.REGTYPE, ""))

    append_signature(layout, judged, b"sigstruct")

    assert layout.manifest.layers[:-1] == judged.manifest.layers


def test_a_changed_blob_is_refused(layout: ImageLayout, tmp_path: Path) -> None:
    blob = layout.blob(layout.manifest.layers[0])
    blob.write_bytes(blob.read_bytes().replace(b"program", b"malware"))

    with pytest.raises(FormatError) as refused:
        unpack_image(layout, tmp_path)
    assert refused.value.subject == "blob of the image"


def test_a_folder_that_is_no_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError) as refused:
        ImageLayout(tmp_path).digest  # noqa: B018 - reading is what fails
    assert str(refused.value) == (
        "image of the bundle: expected an OCI layout, got No such file or directory"
        f" ({tmp_path / 'index.json'})"
    )


def _hostile(layout: ImageLayout, *entries: tuple[str, bytes, str]) -> None:
    """Put a layer on top that Casemate would not write: name, type and target of each entry."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, kind, target in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    layer = layout.add(LAYER_TYPE, stream.getvalue())
    manifest = layout.manifest
    layout.point_to(ImageManifest(config=manifest.config, layers=(*manifest.layers, layer)), "notes")


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(("../out", tarfile.REGTYPE, ""), id="above"),
        pytest.param(("/out", tarfile.REGTYPE, ""), id="absolute"),
        pytest.param(("a/../../out", tarfile.REGTYPE, ""), id="above inside"),
        pytest.param(("link", tarfile.SYMTYPE, "/etc"), id="symbolic link"),
        pytest.param(("link", tarfile.LNKTYPE, "../out"), id="hard link"),
        pytest.param(("device", tarfile.CHRTYPE, ""), id="device"),
        pytest.param(("pipe", tarfile.FIFOTYPE, ""), id="pipe"),
        pytest.param(("enclave/etc/hosts/below", tarfile.REGTYPE, ""), id="below a file"),
    ],
)
def test_a_layer_that_casemate_would_not_write_is_refused(
    layout: ImageLayout, tmp_path: Path, entry: tuple[str, bytes, str]
) -> None:
    root = tmp_path / "inner" / "root"
    root.mkdir(parents=True)
    _hostile(layout, entry)

    with pytest.raises(FormatError):
        unpack_image(layout, root)
    assert [path.name for path in root.parent.iterdir()] == ["root"]


def test_nothing_is_written_through_a_link_that_was_there_before(layout: ImageLayout, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "enclave").symlink_to(outside)

    with pytest.raises(FormatError) as refused:
        unpack_image(layout, root)
    assert refused.value.subject == "folder in a layer"
    assert list(outside.iterdir()) == []


def test_a_layer_that_is_no_archive_is_refused(layout: ImageLayout, tmp_path: Path) -> None:
    layer = layout.add(LAYER_TYPE, b"x" * 1024)
    manifest = layout.manifest
    layout.point_to(ImageManifest(config=manifest.config, layers=(layer,)), "notes")

    with pytest.raises(FormatError) as refused:
        unpack_image(layout, tmp_path)
    assert refused.value.expected == "a tar archive"


def test_descriptors_name_their_blobs() -> None:
    descriptor = Descriptor.of(LAYER_TYPE, b"")

    assert descriptor.digest == f"sha256:{descriptor.hex}"
    assert descriptor.size == 0


def _library(path: str, of: str) -> TrustedContent:
    return TrustedContent.of(image_file(path, path.encode(), Rule.NEEDED_LIBRARY, of))


def _layers_with(folder: Path, *more: TrustedContent, manifest: bytes = b"the manifest") -> tuple[str, ...]:
    contents = _contents(simulated=False)
    contents = replace(contents, trusted=(*contents.trusted, *more), manifest=manifest)
    return tuple(layer.digest for layer in write_image(folder, contents).manifest.layers)


def test_what_the_interpreter_needs_itself_is_below_what_an_application_needs(tmp_path: Path) -> None:
    program = "/opt/python/bin/python3.11"
    libraries = (
        _library("/lib/native/libpython3.11.so.1.0", program),
        _library("/lib/glibc/libm.so.6", "/lib/native/libpython3.11.so.1.0"),
        _library("/lib/native/libssl.so.3", "/opt/python/lib/python3.11/lib-dynload/_ssl.so"),
        _library("/lib/native/libcrypto.so.3", "/lib/native/libssl.so.3"),
    )
    trusted = (*_contents().trusted, *libraries)
    layout = write_image(tmp_path / "image", replace(_contents(simulated=False), trusted=trusted))
    names = []
    for layer in layout.manifest.layers[:2]:
        with tarfile.open(fileobj=io.BytesIO(layout.read(layer))) as archive:
            names.append([entry.name for entry in archive if entry.isreg()])
    assert names == [
        [
            "enclave/lib/glibc/libm.so.6",
            "enclave/lib/native/libpython3.11.so.1.0",
            "enclave/opt/python/bin/python3.11",
            "gramine/loader",
        ],
        ["enclave/etc/hosts", "enclave/lib/native/libcrypto.so.3", "enclave/lib/native/libssl.so.3"],
    ]


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        ("/app/more.pyc", {3}),
        ("/etc/casemate/broker-ca.pem", {3}),
        ("/opt/python/lib/python3.11/site-packages/more.pyc", {2, 3}),
        ("/opt/python/lib/python3.11/json/decoder.pyc", {1, 3}),
        ("/opt/python/bin/python3.12", {0, 3}),
    ],
    ids=["application", "configuration", "dependency", "standard library", "interpreter"],
)
def test_what_changes_changes_its_own_layer_and_that_of_the_manifest(
    tmp_path: Path, path: str, changed: set[int]
) -> None:
    before = _layers_with(tmp_path / "before")
    more = TrustedContent.of(image_file(path, b"more"))
    after = _layers_with(tmp_path / "after", more, manifest=b"another manifest")
    assert {at for at, (one, other) in enumerate(zip(before, after, strict=True)) if one != other} == changed


def test_an_image_says_when_and_from_what_it_was_made(tmp_path: Path) -> None:
    labels = dict(_config(write_image(tmp_path / "image", _contents(epoch=1_700_000_000))).labels)
    assert labels == {
        "io.casemate.mrenclave": "ab" * 32,
        "io.casemate.simulated": "true",
        "io.casemate.sources": f"sha256:{_SOURCES_DIGEST}",
        "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
        "org.opencontainers.image.title": "notes",
    }


def test_an_image_that_was_made_from_another_names_it(tmp_path: Path) -> None:
    base = f"sha256:{'cd' * 32}"
    layout = write_image(tmp_path / "image", replace(_contents(), sources={"image": base}))
    assert dict(_config(layout).labels)["org.opencontainers.image.base.digest"] == base
    assert "org.opencontainers.image.base.digest" not in dict(
        _config(write_image(tmp_path / "other", _contents())).labels
    )
