"""Documents of a bundle: any bytes give a value or our error; what is written is read."""

from __future__ import annotations

import contextlib
import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.builder.bundles.tcb import Tcb, TcbFile
from casemate.builder.contents import Considered, Reason, Rule
from casemate.builder.packing.layers import LayerFile, layer_chunks, layer_entries
from casemate.errors import FormatError
from casemate.formats.oci import (
    CONFIG_TYPE,
    LAYER_TYPE,
    MANIFEST_TYPE,
    Descriptor,
    ImageConfig,
    ImageIndex,
    ImageManifest,
)

_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
#: As documents hold it that are shown on terminals.
_shown = _text.filter(str.isprintable)
_size = st.integers(0, 1 << 40)
_digest = st.binary(min_size=32, max_size=32).map(bytes.hex)


def _descriptors(media_type: str) -> st.SearchStrategy[Descriptor]:
    digest = _digest.map(lambda digits: f"sha256:{digits}")
    return st.builds(Descriptor, media_type=st.just(media_type), digest=digest, size=_size)


_configs = st.builds(
    ImageConfig,
    created=st.datetimes().map(lambda time: time.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")),
    entrypoint=st.lists(_text, max_size=3).map(tuple),
    labels=st.dictionaries(_text, _text, max_size=3).map(lambda labels: tuple(sorted(labels.items()))),
    user=st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)).map(lambda ids: f"{ids[0]}:{ids[1]}"),
    port=st.integers(1, 65535),
    layers=st.lists(_digest.map(lambda digits: f"sha256:{digits}"), max_size=3).map(tuple),
    history=st.lists(_text, max_size=3).map(tuple),
)
_manifests = st.builds(
    ImageManifest,
    config=_descriptors(CONFIG_TYPE),
    layers=st.lists(_descriptors(LAYER_TYPE), max_size=4).map(tuple),
)
_indexes = st.builds(ImageIndex, manifest=_descriptors(MANIFEST_TYPE), name=_text)
_tcbs = st.builds(
    Tcb,
    interpreter=st.integers(11, 20).map(lambda minor: f"3.{minor}"),
    files=st.lists(
        st.builds(
            TcbFile,
            path=_shown,
            size=_size,
            sha256=_digest,
            reason=st.builds(Reason, rule=st.sampled_from(Rule), of=st.none() | _shown, detail=_shown),
        ),
        max_size=4,
    ).map(tuple),
    considered=st.builds(
        Considered,
        files=_size,
        size=_size,
        left_out=st.lists(_shown, max_size=4).map(lambda paths: tuple(sorted(paths))),
    ),
)


@given(st.one_of(_configs, _manifests, _indexes, _tcbs))
def test_documents_are_read_as_written(value: ImageConfig | ImageManifest | ImageIndex | Tcb) -> None:
    assert type(value).parse(value.to_bytes()) == value


@given(st.one_of(_configs, _manifests, _indexes, _tcbs), st.data())
def test_damaged_documents_give_a_value_or_our_error(
    value: ImageConfig | ImageManifest | ImageIndex | Tcb, data: st.DataObject
) -> None:
    document = bytearray(value.to_bytes())
    document[data.draw(st.integers(0, len(document) - 1))] = data.draw(st.integers(0, 255))
    for attempt in (bytes(document), bytes(document[: data.draw(st.integers(0, len(document)))])):
        try:
            type(value).parse(attempt)
        except FormatError:
            continue


@given(st.binary(max_size=100))
def test_any_bytes_give_a_value_or_our_error(data: bytes) -> None:
    for parse in (
        ImageConfig.parse,
        ImageManifest.parse,
        ImageIndex.parse,
        Tcb.parse,
        MeasurementRecord.parse,
    ):
        try:
            parse(data)
        except FormatError:
            continue


_LAYER = b"".join(
    layer_chunks([LayerFile(path="/a/b", content=b"x" * 600), LayerFile(path="/é", content=b"")], 0)
)


@given(st.integers(0, len(_LAYER) - 1), st.binary(min_size=1, max_size=80), st.integers(0, len(_LAYER)))
def test_damaged_layers_give_entries_or_our_error(place: int, change: bytes, end: int) -> None:
    damaged = _LAYER[:place] + change + _LAYER[place + len(change) :]
    for attempt in (damaged, damaged[:end], change):
        with contextlib.suppress(FormatError):
            assert all(".." not in entry.parts for entry in layer_entries(attempt, "layer"))


_name = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=60)
_path = st.lists(_name.filter(lambda name: name not in {".", ".."}), min_size=1, max_size=6)


@given(st.dictionaries(_path.map(tuple), st.binary(max_size=700), max_size=6))
def test_another_tar_reads_every_layer_as_it_was_meant(
    files: dict[tuple[str, ...], bytes],
) -> None:
    whole = {"/".join(parts): content for parts, content in files.items()}
    # A file cannot also be a folder.
    plain = {path: data for path, data in whole.items() if not any(p.startswith(f"{path}/") for p in whole)}
    layer = b"".join(
        layer_chunks([LayerFile(path=f"/{path}", content=data) for path, data in plain.items()], 0)
    )

    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        read = {
            entry.name: archive.extractfile(entry).read()  # type: ignore[union-attr]  # a regular file
            for entry in archive.getmembers()
            if entry.isreg()
        }
    assert read == plain
