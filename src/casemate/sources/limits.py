"""What an image that somebody else made may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackLimits:
    """Bounds of unpacking one image, over all of its layers.

    An image of Python with a large framework has 100,000 entries and 3 GiB; no enclave is larger.

    Attributes:
        total_bytes: Of the contents of all files, also of those that a later layer deletes.
        file_bytes: Of the content of one file.
        layer_bytes: Of a layer before and after decompression, with all that is no file's content.
        entries: In the archives of all layers; and folders, also those that no entry is for.
        ratio: How many times larger a layer may become by decompression.
        ratio_floor: Bytes after decompression from which on ``ratio`` counts: small layers may be empty.
        path_bytes: Of a path, and of what a symbolic link says; Linux takes 4,095
            bytes, with the folder into which the image is unpacked.
        depth: Parts of a path.
    """

    total_bytes: int = 8 << 30
    file_bytes: int = 4 << 30
    layer_bytes: int = 8 << 30
    entries: int = 500_000
    ratio: int = 200
    ratio_floor: int = 64 << 20
    path_bytes: int = 3072
    depth: int = 128
