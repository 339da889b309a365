"""The bytes of a layer, decompressed within bounds while they are hashed."""

from __future__ import annotations

import hashlib
import sys
import zlib
from typing import Final, Protocol

from casemate.errors import FormatError
from casemate.formats.tar_entries import ByteSource
from casemate.sources.limits import UnpackLimits

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: Bytes that are decompressed at once.
_AT_ONCE: Final = 1 << 18
#: zlib's word for the gzip format (RFC 1952) alone.
_GZIP: Final = 31
_GZIP_MAGIC: Final = b"\x1f\x8b"
#: RFC 8878, sections 3.1.1 and 3.1.2: a frame, or one that is to be skipped.
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE: Final = (b"\x2a\x4d\x18", range(0x50, 0x60))
_OTHERS: Final = {b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}
#: Base 2 logarithm of the bytes that Zstandard may have to look back, which it holds in memory: 128 MiB.
#: Without ``--ultra`` and ``--long`` no compressor asks for more than 8 MiB.
_ZSTD_WINDOW: Final = 27


class _Frame(Protocol):
    """A compressed part of a layer, of which there may be several."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _GzipFrame:
    """zlib's decompressor with the manners of the standard library's others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_GZIP)
        self._filled = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        # What fills its room may have more behind it, though all input is taken.
        return not self._inner.unconsumed_tail and not self._filled

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        result = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self._filled = len(result) == max_length
        return result


class LayerStream:
    """A layer without its compression: a :class:`~casemate.formats.tar_entries.ByteSource`.

    Which compression it has its first bytes say, not its media type: registries hold both wrongly labelled.

    Args:
        source: The layer as it lies there.
        limits: What it may become.
        where: Its name, for errors.

    Raises:
        FormatError: While reading: compressed in another way or wrongly, or larger than allowed.
    """

    def __init__(self, source: ByteSource, limits: UnpackLimits, *, where: str) -> None:
        self._source = source
        self._limits = limits
        self._where = where
        self._taken = 0
        self._given = 0
        self._sha256 = hashlib.sha256()
        self._pending = self._take()
        self._kind = self._compression()
        self._frame: _Frame | None = None

    @property
    def taken(self) -> int:
        """Bytes that were read of the compressed layer."""
        return self._taken

    @property
    def is_compressed(self) -> bool:
        """Whether it lies there in another form than the one that is read from here."""
        return self._kind is not None

    def read(self, size: int, /) -> bytes:
        """At most ``size`` further bytes; none only at the end."""
        size = min(size, _AT_ONCE)
        data = self._plain(size) if self._kind is None else self._decompressed(size)
        self._given += len(data)
        self._sha256.update(data)
        self._require_bounds()
        return data

    def digest(self) -> str:
        """``sha256:…`` of all that was read, which is the layer's ``diff_id`` after its end."""
        return f"sha256:{self._sha256.hexdigest()}"

    def _plain(self, size: int) -> bytes:
        data = self._pending or self._take()
        self._pending = data[size:]
        return data[:size]

    def _decompressed(self, size: int) -> bytes:
        try:
            while self._frame is not None or self._pending or self._refill():
                result = self._of_frame(size)
                if result:
                    return result
        except (zlib.error, zstd.ZstdError) as error:
            raise self._wrong(f"{self._kind} data", "something else") from error
        return b""

    def _of_frame(self, size: int) -> bytes:
        """At most ``size`` bytes of the frame at hand, which is begun where there is none."""
        frame = self._frame = self._frame or self._new_frame()
        data, self._pending = self._pending, b""
        if frame.needs_input and not data and not (data := self._take()):
            raise self._wrong("all of it", f"the end after {self._taken} bytes")
        result = frame.decompress(data, size)
        if frame.eof:
            self._pending, self._frame = frame.unused_data, None
        return result

    def _new_frame(self) -> _Frame:
        if self._kind == "gzip":
            return _GzipFrame()
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW})

    def _refill(self) -> bool:
        self._pending = self._take()
        return bool(self._pending)

    def _take(self) -> bytes:
        data = self._source.read(_AT_ONCE)
        self._taken += len(data)
        return data

    def _compression(self) -> str | None:
        beginning = self._pending[:6]
        while len(beginning) < 6 and (more := self._take()):
            self._pending += more
            beginning = self._pending[:6]
        if beginning.startswith(_GZIP_MAGIC):
            return "gzip"
        skippable = beginning[1:4] == _ZSTD_SKIPPABLE[0] and beginning[0] in _ZSTD_SKIPPABLE[1]
        if beginning.startswith(_ZSTD_MAGIC) or skippable:
            return "Zstandard"
        for magic, name in _OTHERS.items():
            if beginning.startswith(magic):
                raise self._wrong("tar, by itself or compressed with gzip or Zstandard", name)
        return None

    def _require_bounds(self) -> None:
        limits = self._limits
        if self._given > limits.layer_bytes:
            raise self._wrong(f"at most {limits.layer_bytes} bytes after decompression", "more")
        if self._given > max(limits.ratio_floor, self._taken * limits.ratio):
            raise self._wrong(
                f"at most {limits.ratio} times its compressed size", f"{self._given} bytes from {self._taken}"
            )

    def _wrong(self, expected: str, got: str) -> FormatError:
        return FormatError("layer of the image", expected=expected, got=got, where=self._where)
