"""The root file system of an image in a folder, unpacked now or by a former build."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from casemate.errors import ToolchainError
from casemate.sources import LeftOut

if TYPE_CHECKING:
    from collections.abc import Callable

    from casemate.cli.build_keeping import Keeping
    from casemate.sources import SourceImage

_ROOT = "root"
_NOTES = "left-out"


class _Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What of the image is not in the folder; it stands beside it and is said by each build."""

    left_out: tuple[LeftOut, ...]
    left_out_count: int


def unpacked_root(image: SourceImage, kept: Keeping, progress: Callable[[str], None]) -> Path:
    """The files of ``image``, sealed, for the length of the build. Nobody writes there.

    Where a former build has left them, the image's layers are not read: its digest says what they hold.

    Args:
        image: Its documents are checked.
        kept: What former builds have kept.
        progress: Is told what happens next.

    Raises:
        FormatError: A layer is not what its digest says, or cannot be applied, or is more than allowed.
        ToolchainError: A file cannot be read or written.
    """
    from casemate.cli.image_source import tell_left_out

    def make(into: Path) -> None:
        progress("Unpacking the image")
        _unpack(image, into)

    folder = kept.image_root(_key(image), make).resolve()
    try:
        notes = msgspec.msgpack.decode((folder / _NOTES).read_bytes(), type=_Notes)
    except (OSError, msgspec.MsgspecError) as error:  # it is not what it was a moment ago
        raise ToolchainError(
            "unpacked image", expected="what was written there", got=str(error), where=str(folder)
        ) from error
    tell_left_out(notes.left_out, notes.left_out_count)
    return folder / _ROOT


def _unpack(image: SourceImage, into: Path) -> None:
    from casemate.adapters.confined_programs import ConfinedPrograms
    from casemate.builder.foreign import ImageRoot, seal
    from casemate.sources import unpack

    into.mkdir()
    unpacked = unpack(image, into / _ROOT)
    seal(into / _ROOT)
    ConfinedPrograms(ImageRoot(folder=into / _ROOT))  # makes what is mounted over, which changes the root
    notes = _Notes(left_out=unpacked.left_out, left_out_count=unpacked.left_out_count)
    (into / _NOTES).write_bytes(msgspec.msgpack.encode(notes))


def _key(image: SourceImage) -> str:
    """A digest of everything that decides what is in the folder."""
    import casemate.adapters.confined_programs
    import casemate.builder.foreign.root
    import casemate.formats.tar_entries
    import casemate.sources
    from casemate.builder.cache import key_of, key_of_code

    code = [
        Path(__file__),
        Path(casemate.adapters.confined_programs.__file__),
        Path(casemate.builder.foreign.root.__file__),
        Path(casemate.formats.tar_entries.__file__),
    ]
    code += sorted(Path(casemate.sources.__file__).parent.glob("*.py"))
    return key_of(image.digest, *(layer.diff_id for layer in image.layers), key_of_code(*code))
