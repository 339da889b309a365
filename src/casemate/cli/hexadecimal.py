"""Measurements that a command line names."""

from __future__ import annotations

from collections.abc import Callable

import click


def hex_bytes(size: int) -> Callable[[str], bytes]:
    """A reader of ``size`` bytes in hexadecimal, as a type of an option."""

    def read(digits: str) -> bytes:
        try:
            data = bytes.fromhex(digits)
        except ValueError:
            data = b""
        if len(data) != size:
            raise click.BadParameter(f"{digits!r} is not {size} bytes in hexadecimal.")
        return data

    return read
