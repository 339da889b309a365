"""docs/reference/sources.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from casemate.adapters.registry import RegistryLimits
from casemate.formats.foreign_image import LAYER_LIMIT
from casemate.formats.oci import SIZE_LIMIT
from casemate.formats.tar_entries import EXTENSION_LIMIT
from casemate.sources import LeftOutReason, UnpackLimits

PAGE = (Path(__file__).parents[3] / "docs/reference/sources.md").read_text()
UNPACK, REGISTRY = UnpackLimits(), RegistryLimits()
WAITS = (REGISTRY.connect, REGISTRY.read, REGISTRY.answer, REGISTRY.blob / 3600)


@pytest.mark.parametrize(
    ("row", "limit"),
    [
        ("all files, also those that a later layer deletes", f"{UNPACK.total_bytes >> 30} GiB"),
        ("one file", f"{UNPACK.file_bytes >> 30} GiB"),
        ("one layer or archive, before and after decompression", f"{UNPACK.layer_bytes >> 30} GiB"),
        (
            f"decompression, from {UNPACK.ratio_floor >> 20} MiB on",
            f"{UNPACK.ratio} times the compressed size",
        ),
        ("entries in all layers", f"{UNPACK.entries:,}"),
        ("folders, also those that no entry is for", f"{UNPACK.entries:,}"),
        (
            "a path, and the target of a link",
            f"{UNPACK.path_bytes:,} bytes, {UNPACK.depth} parts of 255 bytes",
        ),
        ("extended headers of one entry", f"{EXTENSION_LIMIT >> 20} MiB"),
        ("an index, manifest, configuration or token", f"{SIZE_LIMIT >> 20} MiB"),
        ("layers", f"{LAYER_LIMIT:,}"),
        ("layers from a registry, together", f"{REGISTRY.image_size >> 30} GiB"),
        (
            "waiting for a connection, for bytes, for a document, for a layer",
            "{:.0f} s, {:.0f} s, {:.0f} s, {:.0f} h".format(*WAITS),
        ),
        (
            "attempts without getting on",
            f"{REGISTRY.attempts}, with pauses from {REGISTRY.pause} s that double",
        ),
        ("redirects for one blob", str(REGISTRY.redirects)),
    ],
)
def test_every_limit_is_the_one_of_the_code(row: str, limit: str) -> None:
    assert f"\n| {row} | {limit} |\n" in PAGE


def test_a_registry_and_a_layout_take_layers_and_documents_of_one_size() -> None:
    assert (REGISTRY.document, REGISTRY.blob_size) == (SIZE_LIMIT, UNPACK.layer_bytes)


def test_parts_of_an_upload_are_as_large_as_the_page_says() -> None:
    assert f"Blobs over {REGISTRY.chunk >> 20} MiB go in parts" in " ".join(PAGE.split())


def test_everything_that_is_left_out_has_a_row() -> None:
    assert len(re.findall(r"^\| .* \| left out, and said", PAGE, re.MULTILINE)) == 3
    assert len(LeftOutReason) == 6
