"""Measuring and signing any input: only our errors, and the answers of a second implementation."""

from __future__ import annotations

import runpy
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import example, given, settings
from hypothesis import strategies as st

from casemate.builder.enclave.measurement import measure
from casemate.errors import FormatError
from casemate.formats.elf import ElfImage
from casemate.formats.manifest import (
    EnclaveSettings,
    MeasuredManifest,
    dump_manifest,
    load_manifest,
    load_measured_manifest,
    missing_for_measurement,
    with_defaults,
)
from casemate.formats.sgx.report import Attributes, MrEnclave
from casemate.formats.sgx.sigstruct import NO_DATE, EnclaveIdentity, SigningDate, SigStruct

TESTS = Path(__file__).parents[1]
VECTORS = TESTS / "vectors/measurement"
SIGNATURE = (VECTORS / "defaults/app.sig").read_bytes()
MANIFEST = (VECTORS / "defaults/app.manifest.sgx").read_bytes()
elf_images: Callable[[], st.SearchStrategy[bytes]] = runpy.run_path(str(TESTS / "elf_images.py"))[
    "elf_images"
]
plainly: Callable[[bytes, bytes], bytes] = runpy.run_path(str(TESTS / "reference_measurement.py"))["measure"]

NAMES = st.text(min_size=1, max_size=8).filter(lambda text: text.isprintable() and "'''" not in text)
LEAVES = st.booleans() | st.integers(-(2**63), 2**63 - 1) | NAMES
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
DATES = st.dates().map(SigningDate.of) | st.just(NO_DATE)
LONG = st.integers(0, 2**3072 - 1)


@st.composite
def manifests(draw: st.DrawFn) -> bytes:
    sgx = {
        "enclave_size": draw(st.sampled_from(("16M", "65536K", "33554432"))),
        "max_threads": draw(st.integers(1, 9)),
        "edmm_enable": draw(st.booleans()),
    }
    return dump_manifest(
        {
            "libos": {"entrypoint": "/app"},
            "loader": {
                "entrypoint": {"uri": "file:/libos", "sha256": "00" * 32},
                "env": {"PAD": "x" * draw(st.integers(0, 9000))},
            },
            "fs": {"mounts": []},
            "sgx": sgx,
        }
    )


@settings(max_examples=60, deadline=None)
@given(manifest=manifests(), image=elf_images())
def test_measurements_agree_with_a_second_implementation(manifest: bytes, image: bytes) -> None:
    assert measure(manifest, image) == plainly(manifest, image)


@given(st.binary(max_size=300))
@example(b"")
def test_any_bytes_are_an_image_or_a_named_error(data: bytes) -> None:
    with _only_ours():
        ElfImage.parse(data)


@given(elf_images(), st.data())
def test_any_changed_image_is_an_image_or_a_named_error(image: bytes, data: st.DataObject) -> None:
    head = bytearray(image)
    for _ in range(data.draw(st.integers(1, 4))):
        head[data.draw(st.integers(0, min(len(head), 340) - 1))] = data.draw(st.integers(0, 255))
    with _only_ours():
        ElfImage.parse(bytes(head[: data.draw(st.integers(0, len(head)))]))


@given(elf_images())
def test_segments_lie_within_the_file_and_ascend(image: bytes) -> None:
    end = 0
    for segment in ElfImage.parse(image).segments:
        assert segment.offset + segment.file_size <= len(image)
        assert end <= segment.address
        end = segment.end


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
@example(b"a = " + b"[" * 3000)
@example(b"a = " + b"9" * 5000)
def test_any_bytes_are_a_manifest_or_a_named_error(data: bytes) -> None:
    with _only_ours():
        manifest = load_measured_manifest(data)
        EnclaveSettings.from_manifest(manifest)
        missing_for_measurement(manifest)


@given(st.integers(0, len(MANIFEST) - 1), st.binary(min_size=1, max_size=3))
def test_any_changed_manifest_is_a_manifest_or_a_named_error(place: int, change: bytes) -> None:
    with _only_ours():
        manifest = load_measured_manifest(MANIFEST[:place] + change + MANIFEST[place + len(change) :])
        EnclaveSettings.from_manifest(manifest)
        missing_for_measurement(manifest)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_what_is_written_is_read_back(more: dict[str, Any]) -> None:
    manifest = {"libos": {"entrypoint": "/app"}, "fs": {"mounts": []}}
    value = more | manifest
    assert load_measured_manifest(dump_manifest(value)) == value


PLAIN_URIS = st.text(min_size=1, max_size=60).map(lambda text: f"file:{text}")
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
ENTRIES = st.builds(lambda uri, sha256: {"uri": uri, "sha256": sha256}, PLAIN_URIS, DIGESTS)


@given(
    entries=st.lists(ENTRIES, max_size=30),
    more=st.lists(PLAIN_URIS | ENTRIES | NAMES, max_size=2),
    sgx=st.dictionaries(NAMES, VALUES, max_size=3),
    rest=st.dictionaries(NAMES, VALUES, max_size=2),
)
def test_a_list_of_trusted_files_is_written_as_the_library_writes_it_and_read_as_it_reads(
    entries: list[Any], more: list[Any], sgx: dict[str, Any], rest: dict[str, Any]
) -> None:
    value = rest | {
        "libos": {"entrypoint": "/app"},
        "fs": {"mounts": []},
        "sgx": sgx | {"trusted_files": [*entries, *more]},
    }
    with _only_ours():
        data = dump_manifest(value)
        assert data.decode() == tomli_w.dumps(value)
        assert load_measured_manifest(data) == tomllib.loads(data.decode()) == value


#: Pieces of text that begin, end, break or imitate a list of trusted files.
PIECES = st.sampled_from(
    (
        "[sgx]\n",
        "[[sgx.trusted_files]]\n",
        '[[sgx.trusted_files]]\nuri = "file:a"\nsha256 = "' + "0a" * 32 + '"\n\n',
        '[[sgx.trusted_files]]\nuri = "file:b"\nsha256 = "' + "0b" * 32 + '"\n',
        'uri = "file:c"\n',
        'sha256 = "' + "0c" * 32 + '"\n',
        "more = 1\n",
        "[sgx.trusted_files.more]\n",
        "trusted_files = [",
        "sgx.trusted_files = [\n",
        "x = [\n",
        "x = { y = [\n",
        '"file:d",\n',
        '"file:e"',
        '{ uri = "file:f" },',
        '{ uri = "file:g", sha256 = "' + "0d" * 32 + '" }\n',
        "]\n",
        "] }\n",
        "# [",
        "\n",
        " ",
        '"""',
        "'''",
        "\r\n",
        "\\",
        "x = 'file:h'\n",
        "[other]\n",
        "[sgx.other]\n",
    )
)


@settings(max_examples=400)
@given(st.lists(PIECES, max_size=14).map("".join))
@example('[[sgx.trusted_files]]\nuri = "file:a"\nsha256 = "' + "0a" * 32 + '"\nmore = 1\n')
@example('x = [\ntrusted_files = [\n"file:d",\n]\n]\n')
@example('[sgx]\ntrusted_files = ["file:d",]\n[[sgx.trusted_files]]\nuri = "file:a"\n')
def test_a_text_that_imitates_a_list_is_read_as_the_library_reads_it(pieces: str) -> None:
    text = f'libos.entrypoint = "/app"\nfs.mounts = []\n{pieces}'
    try:
        expected = tomllib.loads(text)
    except ValueError:
        with pytest.raises(FormatError):
            load_manifest(text.encode())
        return
    assert load_manifest(text.encode()) == expected


@settings(max_examples=5, deadline=None)
@given(image=elf_images(), count=st.integers(15_000, 20_000), edmm=st.booleans())
def test_a_manifest_of_thousands_of_files_is_measured_alike(image: bytes, count: int, *, edmm: bool) -> None:
    entries = [{"uri": f"file:/app/{number:06}", "sha256": f"{number:064x}"} for number in range(count)]
    value = {
        "libos": {"entrypoint": "/app"},
        "loader": {"entrypoint": {"uri": "file:/libos", "sha256": "00" * 32}},
        "fs": {"mounts": []},
        "sgx": {
            "enclave_size": "32M",
            "max_threads": 2,
            "edmm_enable": edmm,
            "trusted_files": entries,
        },
    }
    measured = MeasuredManifest.of(value)
    assert measured.data.decode() == tomli_w.dumps(value)
    assert MeasuredManifest.parse(measured.data) == measured
    assert measure(measured, image) == measure(measured.data, image) == plainly(measured.data, image)


@given(st.dictionaries(st.sampled_from(("debug", "edmm_enable", "use_exinfo")), st.booleans()))
def test_defaults_change_nothing_that_is_there_and_nothing_twice(sgx: dict[str, Any]) -> None:
    once = with_defaults({"sgx": sgx})
    assert once["sgx"].items() >= sgx.items()
    assert with_defaults(once) == once
    assert EnclaveSettings.from_manifest(once) == EnclaveSettings.from_manifest({"sgx": sgx})


@given(
    date=DATES,
    vendor=st.integers(0, 2**32 - 1),
    numbers=st.tuples(LONG, LONG, LONG, LONG),
    isv=st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    blobs=st.tuples(*(st.binary(min_size=size, max_size=size) for size in (4, 4, 16, 16, 32))),
)
def test_any_sigstruct_survives_the_round_trip(
    date: SigningDate,
    vendor: int,
    numbers: tuple[int, int, int, int],
    isv: tuple[int, int],
    blobs: tuple[bytes, bytes, bytes, bytes, bytes],
) -> None:
    modulus, signature, q1, q2 = numbers
    value = SigStruct(
        vendor=vendor,
        date=date,
        enclave=EnclaveIdentity(
            misc_select=blobs[0],
            misc_mask=blobs[1],
            attributes=Attributes.parse(blobs[2]),
            attributes_mask=Attributes.parse(blobs[3]),
            mrenclave=MrEnclave(blobs[4]),
            isvprodid=isv[0],
            isvsvn=isv[1],
        ),
        modulus=modulus,
        signature=signature,
        q1=q1,
        q2=q2,
    )
    assert SigStruct.parse(value.to_bytes()) == value


@given(st.integers(0, 1807), st.integers(1, 255))
def test_no_flipped_byte_of_a_sigstruct_goes_unseen(place: int, change: int) -> None:
    data = bytearray(SIGNATURE)
    data[place] ^= change
    try:
        assert SigStruct.parse(bytes(data)).to_bytes() == bytes(data) != SIGNATURE
    except FormatError:
        return


@given(st.binary(max_size=2000))
def test_any_bytes_are_a_sigstruct_or_a_named_error(data: bytes) -> None:
    with _only_ours():
        SigStruct.parse(data)


class _only_ours:  # noqa: N801 - reads as a statement
    """Lets our errors pass and any other out."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> bool:
        return kind is not None and issubclass(kind, FormatError)


def test_only_our_errors_pass() -> None:
    with pytest.raises(ValueError, match="foreign"), _only_ours():
        raise ValueError("foreign")
