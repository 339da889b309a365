"""The table ``[enclave]``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final

from casemate.project.reading import Table, quote
from casemate.project.values import Enclave

_PAGE: Final = 4096
_SMALLEST_ENCLAVE: Final = 64 << 20
_LARGEST_ENCLAVE: Final = 1 << 40
_MOST_THREADS: Final = 4096
#: Gramine needs three or four threads for itself; an application needs at least one.
_FEWEST_THREADS: Final = 5
#: Gramine holds a table of them in the enclave; Linux allows no more by default either.
_MOST_FILES: Final = 1 << 20
_FEWEST_FILES: Final = 64
_FEATURES: Final = ("amx", "avx", "avx512")
_WORDS: Final = {word: word for word in ("unspecified", "disabled", "required")}


def read_enclave(table: Table) -> Enclave:
    """The settings of the enclave.

    Raises:
        ProjectError: A key is unknown, or a value is not what Gramine or the hardware takes.
    """
    table.refuse_unknown(field.name for field in fields(Enclave))
    default = Enclave()
    size = _size(table, default.size)
    edmm = table.boolean("edmm", default=default.edmm)
    preheat = table.boolean("preheat", default=default.preheat)
    if preheat and edmm:
        raise table.error(
            "preheat",
            "preheat",
            expected="false with edmm = true",
            got="true",
            hint="with edmm there is no memory yet that could be touched at start",
        )
    return Enclave(
        size=size,
        threads=table.number("threads", default.threads, lowest=_FEWEST_THREADS, highest=_MOST_THREADS),
        stack=_pages(table, "stack", default.stack, size),
        brk=_pages(table, "brk", 0, size) if "brk" in table.values else None,
        files=table.number("files", default.files, lowest=_FEWEST_FILES, highest=_MOST_FILES),
        isvprodid=table.number("isvprodid", default.isvprodid, lowest=0, highest=0xFFFF),
        isvsvn=table.number("isvsvn", default.isvsvn, lowest=0, highest=0xFFFF),
        debug=table.boolean("debug", default=default.debug),
        edmm=edmm,
        preheat=preheat,
        exinfo=table.boolean("exinfo", default=default.exinfo),
        subprocesses=table.boolean("subprocesses", default=default.subprocesses),
        cpu=_features(table),
    )


def _size(table: Table, default: int) -> int:
    size = table.size("size", default)
    if size & (size - 1) or not _SMALLEST_ENCLAVE <= size <= _LARGEST_ENCLAVE:
        raise table.error(
            "size",
            "size",
            expected='a power of two from "64M" to "1T"',
            got=quote(str(table.values["size"])),
            hint=f'write size = "{_next_size(size)}"',
        )
    return size


def _next_size(size: int) -> str:
    """The smallest size of an enclave that is allowed and holds ``size`` bytes; the largest, if none does."""
    mebibytes = min(max(1 << (size - 1).bit_length(), _SMALLEST_ENCLAVE), _LARGEST_ENCLAVE) >> 20
    return f"{mebibytes}M" if mebibytes < 1024 else f"{mebibytes >> 10}G"


def _pages(table: Table, key: str, default: int, most: int) -> int:
    size = table.size(key, default)
    if size % _PAGE or size > most:
        got: Any = table.values.get(key, f"{default >> 20}M")
        raise table.error(key, key, expected="a multiple of 4K, not above size", got=quote(str(got)))
    return size


def _features(table: Table) -> tuple[tuple[str, str], ...]:
    """Features of the processor, sorted by name.

    Gramine's mask of AVX-512 contains the bit of AVX, and is applied after it: whatever is said of AVX-512
    alone is said of AVX, too.
    """
    inner = table.table("cpu")
    features = Table(inner.values, name="enclave.cpu", where=table.where)
    features.refuse_unknown(_FEATURES)
    said = {name: features.choice(name, _WORDS) or "unspecified" for name in _FEATURES}
    if said["avx512"] == "disabled" and said["avx"] != "disabled":
        raise features.error(
            "avx512",
            "avx512",
            expected='"unspecified" or "required", or avx = "disabled" beside it',
            got='"disabled"',
            hint="in Gramine it takes AVX away as well: the mask of AVX-512 contains the bit of AVX",
        )
    if said["avx512"] == "required" and said["avx"] == "disabled":
        raise features.error(
            "avx", "avx", expected='no "disabled" where avx512 is required', got='"disabled"'
        )
    return tuple((name, said[name]) for name in sorted(inner.values))
