"""Programs of an image, run by this machine's kernel and confined to the image's own files.

An image is somebody else's code, and a build host holds secrets. So what has to be asked of the image's own
interpreter and loader is asked in namespaces without network, devices and capabilities
(``confined_programs_inside.py``). Where this machine allows no such namespaces there is an error and no
weaker way. Not confined: the kernel's system calls as such, of which no filter is made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casemate.builder.foreign import ImageRoot
from casemate.errors import ToolchainError

_INSIDE: Final = Path(__file__).with_name("confined_programs_inside.py")
#: Folders that are mounted over; an image need not have them.
_MOUNT_POINTS: Final = ("proc", "tmp")
#: The part of what a failed program says that an error shows.
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program of an image may use.

    Attributes:
        seconds: Of the clock, and of a processor.
        output: Bytes that it may write.
        memory: Bytes of address space.
        processes: At once, of this user.
    """

    seconds: int = 600
    output: int = 1 << 30
    memory: int = 8 << 30
    processes: int = 2048

    def resources(self) -> dict[str, int]:
        """As ``setrlimit`` takes them."""
        return {
            "RLIMIT_CPU": self.seconds,
            "RLIMIT_FSIZE": self.output,
            "RLIMIT_AS": self.memory,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_NOFILE": 256,
            "RLIMIT_CORE": 0,
        }


class ConfinedPrograms:
    """Runs programs of ``root``.

    Args:
        root: The image, sealed, in a folder that is Casemate's own. What stands beside it is not shown.
        limits: What each program may use.
    """

    def __init__(self, root: ImageRoot, limits: Limits | None = None) -> None:
        self._root = root
        self._limits = limits or Limits()
        for path in _MOUNT_POINTS:
            _make_mount_point(root.folder / path)

    def __call__(self, argv: Sequence[str], env: Mapping[str, str], request: bytes = b"") -> bytes:
        """What a program prints.

        Args:
            argv: Its absolute path in the image, and its arguments.
            env: Its whole environment.
            request: What it can read.

        Raises:
            ToolchainError: This machine does not allow it, or the program fails or takes too much.
        """
        plan = {
            "root": str(self._root.folder),
            "argv": list(argv),
            "env": dict(env),
            "limits": self._limits.resources(),
            "temporary": 64 << 20,
        }
        with (
            tempfile.TemporaryFile() as planned,
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as said,
            tempfile.TemporaryFile() as told,
        ):
            planned.write(json.dumps(plan).encode())
            given.write(request)
            for file in (planned, given):
                file.seek(0)
            code = self._run(planned.fileno(), argv[0], (given.fileno(), said.fileno(), told.fileno()))
            said.seek(0)
            told.seek(0)
            if code != 0:
                message = told.read(1 << 16).decode(errors="replace").strip().splitlines()
                got = _printable(message[-1]) if message else f"exit code {code}"
                raise _failed(argv[0], got)
            return said.read()

    def _run(self, plan: int, program: str, streams: tuple[int, int, int]) -> int:
        """The exit code."""
        given, said, told = streams
        reading, writing = os.pipe()
        # The keeper's own interpreter needs nothing of the user's environment.
        command = [sys.executable, "-I", "-S", "-B", str(_INSIDE), str(writing), str(plan)]
        try:
            with subprocess.Popen(
                command, stdin=given, stdout=said, stderr=told, pass_fds=(writing, plan), env={}
            ) as process:
                os.close(writing)
                try:
                    code = process.wait(self._limits.seconds)
                except subprocess.TimeoutExpired as error:
                    process.kill()
                    raise _failed(program, f"none in {self._limits.seconds} seconds") from error
            refusal = os.read(reading, 4096)
        finally:
            os.close(reading)
        if refusal:
            raise _refused(program, json.loads(refusal))
        return code


def _make_mount_point(folder: Path) -> None:
    """An empty folder, whatever the image has there; none of these goes into an enclave."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    folder.mkdir(parents=True, exist_ok=True)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:_SHOWN])


def _failed(program: str, got: str) -> ToolchainError:
    return ToolchainError(
        "program of the image", expected="an answer", got=got, where=f"{program} in the image"
    )


def _refused(program: str, refusal: Mapping[str, object]) -> ToolchainError:
    number = refusal["errno"]
    reason = os.strerror(number) if isinstance(number, int) else ""
    if refusal["step"] == "start the program":
        return ToolchainError(
            "program of the image", expected="one that starts", got=reason, where=f"{program} in the image"
        )
    return ToolchainError(
        "confinement of the image's programs",
        expected="namespaces for an ordinary user, with mounts and /proc",
        got=f"{reason} ({refusal['step']})",
        where="this machine",
        hint="allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_"
        "userns), or build where they are allowed; an image's code is not run without",
    )
