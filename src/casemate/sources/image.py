"""An image as a value: what it is, how it is run, and where its layers lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from casemate.formats.foreign_image import ForeignConfig

#: Called now and then with the bytes that are done and those that there are.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLayer:
    """A layer, and where it lies: in a file of its own, or somewhere in an archive.

    Attributes:
        diff_id: Digest of the uncompressed layer.
        digest: Digest of the layer as it lies there; ``None`` where nobody has said one, as in the older
            form of a Docker archive, whose layers are not compressed.
        path: The file.
        offset: Where in it the layer begins.
        size: Bytes from there on.
    """

    diff_id: str
    digest: str | None
    path: Path
    offset: int
    size: int

    @property
    def name(self) -> str:
        """By which errors speak of it."""
        return f"layer {self.digest or self.diff_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceImage:
    """An image for linux/amd64 whose documents were checked; its layers are checked when they are used.

    Attributes:
        reference: The image as a user can name it again.
        digest: ``sha256:…`` of its manifest; of its configuration in the older form of a Docker archive,
            which has no manifest.
        config: How it is run.
        layers: Lowest first.
    """

    reference: str
    digest: str
    config: ForeignConfig
    layers: tuple[SourceLayer, ...]


def part_of(progress: Progress | None, done: int, total: int) -> Callable[[int], None]:
    """What to call with the bytes of one of several things, of which ``done`` are behind us."""

    def tell(count: int) -> None:
        if progress is not None:
            progress(done + count, total)

    return tell
