"""A way from layers to a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.foreign_images import write_layout

from casemate.sources import OciLayout, UnpackedImage, UnpackLimits, open_local, unpack

Unpack = Callable[..., UnpackedImage]


@pytest.fixture
def unpacked(tmp_path: Path) -> Unpack:
    """Unpack an image of uncompressed layers, beside a file that nothing may touch."""
    beside = tmp_path / "beside"
    beside.write_bytes(b"untouched")

    def run(*layers: bytes, compression: str = "+gzip", limits: UnpackLimits | None = None) -> UnpackedImage:
        layout = write_layout(tmp_path / "layout", *layers, compression=compression)
        image = open_local(OciLayout(path=layout), work=tmp_path)
        try:
            return unpack(image, tmp_path / "root", limits=limits)
        finally:
            assert beside.read_bytes() == b"untouched"
            assert {path.name for path in tmp_path.iterdir()} <= {"beside", "layout", "root"}

    return run
