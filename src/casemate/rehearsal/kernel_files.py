"""What Gramine 1.9 has of ``/proc`` and ``/sys``: the kernel's own files are shown there, and no others.

``/proc`` is that narrow where there is one process. With more of them the kernel's whole ``/proc`` of the
namespace is shown, because folders of processes come and go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CPU: Final = "/sys/devices/system/cpu"
_NODE: Final = "/sys/devices/system/node"
_SYS: Final = {
    _CPU: re.compile(r"kernel_max|online|offline|possible|present|cpu\d+"),
    _NODE: re.compile(r"online|possible|node\d+"),
}
_OF_THE_MACHINE: Final = ("cpuinfo", "meminfo", "stat", "sys/kernel/pid_max")
_OF_A_PROCESS: Final = ("cmdline", "maps", "stat", "statm", "status")
_FOLDERS_OF_A_PROCESS: Final = ("fd", "task")
#: Links that lead elsewhere while the process runs, as the kernel names them.
LINKS_OF_A_PROCESS: Final = ("/proc/1/cwd", "/proc/1/exe")


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFile:
    """A file or a folder of the kernel's.

    Attributes:
        path: Where the kernel has it, and where it is shown.
        is_folder: Which of the two.
    """

    path: str
    is_folder: bool


def topology(root: Path = Path("/")) -> tuple[KernelFile, ...]:
    """What is shown of ``/sys``, as far as this machine has it."""
    found = []
    for folder, shown in _SYS.items():
        place = root / folder.lstrip("/")
        entries = sorted(place.iterdir()) if place.is_dir() else ()
        found += [
            KernelFile(path=f"{folder}/{entry.name}", is_folder=entry.is_dir())
            for entry in entries
            if shown.fullmatch(entry.name)
        ]
    return tuple(found)


def process_files() -> tuple[KernelFile, ...]:
    """What is shown of ``/proc``, below that folder, where there is one process."""
    own = [f"1/{name}" for name in _OF_A_PROCESS]
    files = [KernelFile(path=f"/proc/{name}", is_folder=False) for name in (*_OF_THE_MACHINE, *own)]
    folders = [KernelFile(path=f"/proc/1/{name}", is_folder=True) for name in _FOLDERS_OF_A_PROCESS]
    return (*files, *folders)
