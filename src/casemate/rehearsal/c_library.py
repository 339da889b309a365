"""The C library in an image that was built for an installed Gramine, and what stands in for it here.

Gramine brings a C library whose system calls jump into the LibOS, so it runs nowhere else. A rehearsal shows
the files of this machine's own C library in their places, once it has checked the image's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from casemate.builder.layout import ENCLAVE_ROOT, GLIBC_ROOT
from casemate.errors import RehearsalError

_MAPPED: Final = re.compile(r"(/\S+/(?:libc\.so\.6|ld-linux-x86-64\.so\.2))$", re.MULTILINE)


def stand_ins(names: Iterable[str], maps: str) -> dict[str, Path]:
    """Files of this machine for the C library of an image.

    Args:
        names: File names that the image has, in the folder of the C library.
        maps: What ``/proc/self/maps`` of a process with this machine's C library says.

    Returns:
        Path in the image to a file of this machine.

    Raises:
        RehearsalError: This process runs on another C library than GNU's.
    """
    folders = dict.fromkeys(Path(place).parent for place in _MAPPED.findall(maps))
    if not folders:
        raise RehearsalError(
            "C library",
            expected="the GNU C library on this machine",
            got="another one",
            hint="rehearse where Python runs on the GNU C library; that of Gramine runs in Gramine only",
        )
    found = {}
    for name in names:
        places = [folder / name for folder in folders if (folder / name).is_file()]
        if places:
            found[f"{ENCLAVE_ROOT}{GLIBC_ROOT}/{name}"] = places[0]
    return found
