"""The values of a manifest's tree, and what stands for text that only rendering would tell."""

from __future__ import annotations

from typing import Final

#: Where a key or a value of the document is: names of keys and numbers of items from the root.
Path = tuple[str | int, ...]
ROOT: Final[Path] = ()

#: Stands for each character of an expression whose text is not known. No TOML has it.
UNKNOWN: Final = "\0"
#: Stands for each character that renders to nothing. No TOML has it.
NOTHING: Final = "\1"


class Unknown:
    """A value that only rendering would tell."""

    def __repr__(self) -> str:
        return "{{ … }}"


#: The only one.
UNKNOWN_VALUE: Final = Unknown()


class Other(str):
    """The text of a float, a date or a time, which no manifest needs."""

    __slots__ = ()
