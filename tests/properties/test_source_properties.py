"""Images that anybody may have made: our errors or files in the folder, and nothing else."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.foreign_images import (
    CONFIG,
    INDEX,
    LAYER,
    MANIFEST,
    Blobs,
    Entry,
    descriptor,
    image_config,
    layer,
)

from casemate.errors import CasemateError, FormatError
from casemate.formats.foreign_image import ForeignConfig, parse_archive_list, parse_image_document
from casemate.formats.image_reference import ImageReference
from casemate.formats.tar_entries import TarReader
from casemate.sources import OciLayout, UnpackLimits, open_local, unpack
from casemate.sources.layer import LayerStream, zstd

LIMITS = UnpackLimits(
    total_bytes=1 << 20, file_bytes=1 << 18, layer_bytes=1 << 20, entries=200, ratio=100, ratio_floor=1 << 16
)

#: Few names, so that entries meet each other; some of them are traps.
NAMES = st.lists(
    st.sampled_from(
        [
            "a",
            "b",
            "c",
            "..",
            ".",
            "",
            ".wh.a",
            ".wh.b",
            ".wh..wh..opq",
            ".wh..",
            ".wh.",
            "ä",
            "x\ny",
            "d" * 300,
        ]
    ),
    min_size=1,
    max_size=4,
).map("/".join)
TARGETS = st.one_of(
    NAMES,
    st.sampled_from(
        ["/", "..", "../..", "../../../../beside", "/beside", "/a/../../b", "a/b", "/b", "c", ""]
    ),
)
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    kind = draw(KINDS)
    content = draw(st.binary(max_size=600)) if kind == tarfile.REGTYPE else b""
    return Entry(
        draw(st.one_of(NAMES, NAMES.map(lambda name: f"/{name}"))),
        kind,
        content,
        draw(TARGETS) if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE} else "",
        draw(st.integers(0, 0o7777)),
    )


#: Names without traps: everything about them is somebody's image.
PLAIN = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)


@st.composite
def plain_entries(draw: st.DrawFn) -> Entry:
    kind = draw(KINDS)
    name = draw(PLAIN)
    if draw(st.integers(0, 5)) == 0:
        parent, _, last = name.rpartition("/")
        name = f"{parent}/{draw(st.sampled_from(['.wh..wh..opq', f'.wh.{last}']))}"
        kind = tarfile.REGTYPE
    target = draw(st.one_of(PLAIN, PLAIN.map(lambda one: f"/{one}"), PLAIN.map(lambda one: f"../{one}")))
    if kind == tarfile.LNKTYPE:
        target = draw(PLAIN)
    content = draw(st.binary(max_size=30)) if kind == tarfile.REGTYPE else b""
    return Entry(name, kind, content, target if kind in {tarfile.SYMTYPE, tarfile.LNKTYPE} else "")


@contextmanager
def _place() -> Iterator[Path]:
    """A folder with a file that nothing may touch."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        (path / "beside").write_bytes(b"untouched")
        (path / "outer").mkdir()
        yield path / "outer"
        assert (path / "beside").read_bytes() == b"untouched"
        assert {child.name for child in path.iterdir()} == {"beside", "outer"}
        assert {child.name for child in (path / "outer").iterdir()} <= {"layout", "root"}


def _unpack(place: Path, *layers: bytes) -> Path | None:
    """Where the image is, or ``None`` where it was refused, and nothing is left."""
    blobs = Blobs()
    manifest = blobs.image(*layers, compression="+gzip")
    image = open_local(OciLayout(path=blobs.layout(place / "layout", manifest)), work=place)
    try:
        return unpack(image, place / "root", limits=LIMITS).root
    except FormatError:
        assert not (place / "root").exists() or not any((place / "root").iterdir())
        return None


SLOW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(layers=st.lists(st.lists(entries(), max_size=12), max_size=3), form=st.sampled_from([1, 2]))
def test_whatever_a_layer_holds_nothing_is_written_outside(layers: list[list[Entry]], form: int) -> None:
    with _place() as place:
        root = _unpack(place, *(layer(*one, form=form) for one in layers))
        if root is not None:
            for path in root.rglob("*"):
                mode = path.lstat().st_mode
                assert path.is_symlink() or mode & 0o7000 == 0
                assert path.is_symlink() or path.is_file() or path.is_dir()


#: In place of the content of an entry that cannot be.
REFUSED = object()


def _model(layers: list[list[Entry]]) -> dict[str, object] | None:
    """What an image is, said again in the plainest way: paths to contents; ``None`` where it is refused.

    Only for images without links in the way of a path: those are left to other tools.
    """
    held: dict[str, tuple[int, object]] = {}
    for number, entries_of_layer in enumerate(layers):
        for entry in entries_of_layer:
            parent, _, last = entry.name.strip("/").rpartition("/")
            if last == ".wh..wh..opq":
                _hide(held, number, lambda path, parent=parent: not parent or path.startswith(f"{parent}/"))
                continue
            if last.startswith(".wh."):
                name = f"{parent}/{last[4:]}".strip("/")
                _hide(held, number, lambda path, name=name: path == name or path.startswith(f"{name}/"))
                continue
            if not _put(held, number, entry, f"{parent}/{last}".strip("/")):
                return None
    return {path: content for path, (_, content) in held.items() if content is not None}


def _hide(held: dict[str, tuple[int, object]], number: int, is_meant: Any) -> None:
    kept = {path for path, (layer_number, _) in held.items() if layer_number == number}
    for path in [
        path for path, (layer_number, _) in held.items() if layer_number != number and is_meant(path)
    ]:
        if not any(one.startswith(f"{path}/") for one in kept):
            del held[path]


def _put(held: dict[str, tuple[int, object]], number: int, entry: Entry, name: str) -> bool:
    """Put an entry where it belongs; whether that is possible."""
    content = _content(held, entry, name)
    parts = name.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts))]
    if content is REFUSED or any(path in held and held[path][1] is not dict for path in above):
        return False
    held.update((path, (number, dict)) for path in above)
    stays = (content is dict and held.get(name, (0, None))[1] is dict) or _is_itself(entry, name)
    if not stays:
        for path in [path for path in held if path == name or path.startswith(f"{name}/")]:
            del held[path]
    held[name] = (number, content)
    return True


def _content(held: dict[str, tuple[int, object]], entry: Entry, name: str) -> object:
    """What is at a place when the entry is there: bytes, a folder, or nothing that is kept."""
    if entry.type == tarfile.LNKTYPE:
        target = held.get(entry.target, (0, dict))[1]
        return REFUSED if target is dict or entry.target.startswith(f"{name}/") else target
    if entry.type == tarfile.DIRTYPE:
        return dict
    return entry.content if entry.type == tarfile.REGTYPE else None


def _is_itself(entry: Entry, name: str) -> bool:
    return entry.type == tarfile.LNKTYPE and entry.target == name


def _found(root: Path) -> dict[str, object]:
    return {
        str(path.relative_to(root)): dict if path.is_dir() else path.read_bytes() for path in root.rglob("*")
    }


@SLOW
@given(
    layers=st.lists(
        st.lists(plain_entries().filter(lambda entry: entry.type != tarfile.SYMTYPE), max_size=10), max_size=3
    )
)
def test_layers_mean_what_the_specification_says(layers: list[list[Entry]]) -> None:
    with _place() as place:
        root = _unpack(place, *(layer(*one) for one in layers))

        assert (None if root is None else _found(root)) == _model(layers)


@SLOW
@given(st.lists(st.lists(plain_entries(), max_size=10), max_size=3))
def test_images_with_links_are_unpacked_or_refused(layers: list[list[Entry]]) -> None:
    with _place() as place:
        _unpack(place, *(layer(*one) for one in layers))


def _read_tar(data: bytes) -> None:
    reader = TarReader(io.BytesIO(data), where="archive")
    for entry in reader:
        assert sum(map(len, reader.content())) == entry.size


@given(st.binary(max_size=3000))
def test_any_bytes_are_an_archive_or_our_error(data: bytes) -> None:
    try:
        _read_tar(data)
    except FormatError:
        return


@settings(deadline=None)
@given(
    made=st.lists(entries(), min_size=1, max_size=4),
    changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=8)), max_size=4),
    cut=st.integers(0, 1 << 16),
    mend=st.booleans(),
)
def test_a_changed_archive_is_one_or_our_error(
    made: list[Entry], changes: list[tuple[int, bytes]], cut: int, *, mend: bool
) -> None:
    data = bytearray(layer(*made))
    for place, change in changes:
        at = place % len(data)
        data[at : at + len(change)] = change
        if mend:
            # Changes behind a right checksum get further.
            start = at - at % 512
            header = data[start : start + 512]
            header[148:156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    try:
        _read_tar(bytes(data[: cut % (len(data) + 1)] if cut % 3 == 0 else data))
    except FormatError:
        return


@given(
    st.lists(st.tuples(st.text(max_size=120), st.binary(max_size=700)), max_size=5), st.sampled_from([1, 2])
)
def test_what_the_standard_library_writes_is_read(files: list[tuple[str, bytes]], form: int) -> None:
    made = [Entry(f"n{name}".replace("\0", "").rstrip("/"), content=content) for name, content in files]
    try:
        data = layer(*made, form=form)
    except UnicodeEncodeError:
        return  # Text with lone surrogates that stand for no bytes.

    reader = TarReader(io.BytesIO(data), where="archive")
    read = [(entry.name, b"".join(reader.content())) for entry in reader]

    assert read == [(entry.name.encode("utf-8", "surrogateescape"), entry.content) for entry in made]


@settings(deadline=None)
@given(
    st.binary(max_size=5000),
    st.sampled_from([bytes, gzip.compress, zstd.compress]),
    st.integers(0, 5000),
    st.integers(0, 255),
    st.integers(1, 999),
)
def test_a_changed_compressed_layer_is_one_or_our_error(
    content: bytes, pack: Any, place: int, byte: int, piece: int
) -> None:
    data = bytearray(pack(content) + pack(content))
    if data:
        data[place % len(data)] = byte
    try:
        stream = LayerStream(io.BytesIO(bytes(data)), LIMITS, where="layer")
        while part := stream.read(piece):
            assert len(part) <= piece
    except FormatError:
        return


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from([MANIFEST, INDEX])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
MEANT: list[dict[str, Any]] = [
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, b""),
        "layers": [descriptor(LAYER, b"")],
    },
    {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor(MANIFEST, b"")]},
    image_config([b"", b""], config={"Env": ["A=b"], "Labels": {"a": "b"}, "Entrypoint": ["sh"]}),
]


@st.composite
def changed_documents(draw: st.DrawFn) -> bytes:
    """A right document with something else somewhere in it."""
    document = json.loads(json.dumps(draw(st.sampled_from(MEANT))))
    at: Any = document
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = draw(st.sampled_from(keys))
        if not isinstance(at[key], (dict, list)) or draw(st.booleans()):
            at[key] = draw(JSON)
            break
        at = at[key]
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "parse",
    [
        lambda data: parse_image_document(data, where="here"),
        lambda data: ForeignConfig.parse(data, where="here"),
        lambda data: parse_archive_list(data, where="here"),
    ],
    ids=["manifest", "configuration", "list"],
)
@given(data=st.one_of(st.binary(max_size=200), JSON.map(lambda v: repr(v).encode()), changed_documents()))
def test_any_bytes_are_a_document_or_our_error(parse: Any, data: bytes) -> None:
    try:
        parse(data)
    except FormatError:
        return


@given(st.one_of(st.text(), st.from_regex(r"[a-z.:@/\[\]0-9A-Z_-]{0,80}", fullmatch=True)))
def test_any_text_is_a_name_that_is_read_again_or_our_error(text: str) -> None:
    try:
        reference = ImageReference.parse(text)
    except CasemateError:
        return
    assert ImageReference.parse(str(reference)) == reference
