"""Programs of an image, run with nothing of this machine in reach."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from casemate.adapters import confined_programs
from casemate.adapters.confined_programs import ConfinedPrograms, Limits
from casemate.builder.foreign import ImageRoot
from casemate.errors import ToolchainError
from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"no namespaces here: {available()}"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed"),
]

PROGRAM = r"""
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
static void report(const char *what, int done) { printf("%s %s\n", what, done ? "done" : "refused"); }
int main(int argc, char **argv) {
    const char *order = argc > 1 ? argv[1] : "look";
    if (!strcmp(order, "sleep")) sleep(60);
    if (!strcmp(order, "stay")) { prctl(PR_SET_PDEATHSIG, 0); for (;;) sleep(60); }
    if (!strcmp(order, "leave")) { if (fork()) return 0; prctl(PR_SET_PDEATHSIG, 0); for (;;) sleep(60); }
    if (!strcmp(order, "signal")) {
        kill(0, SIGCONT);
        kill(1, SIGKILL);
        printf("sent");
        return 0;
    }
    if (!strcmp(order, "key")) {
        char key[64] = "";
        long number = syscall(SYS_keyctl, 10 /* search */, -3 /* the session's */, "user", argv[2], 0);
        if (number > 0) syscall(SYS_keyctl, 11 /* read */, number, key, sizeof key);
        printf("key: %s", number > 0 ? key : "none");
        return 0;
    }
    if (!strcmp(order, "fail")) { fprintf(stderr, "first\nno such \x1b thing\n"); return 3; }
    static char block[4096];
    if (!strcmp(order, "write")) { while (write(1, block, sizeof block) > 0); return 9; }
    if (!strcmp(order, "echo")) { char c; while (read(0, &c, 1) == 1) putchar(c); return 0; }
    struct sockaddr_in away = {AF_INET, htons(80), {htonl(0x01010101)}, {0}};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    report("connect", connect(s, (struct sockaddr *)&away, sizeof away) == 0);
    report("write to the root", open("/made", O_CREAT | O_WRONLY, 0600) >= 0);
    report("write to memory", open("/tmp/made", O_CREAT | O_WRONLY, 0600) >= 0);
    report("see the machine", access(MARK, F_OK) == 0);
    report("mount", mount("tmpfs", "/tmp", "tmpfs", 0, "") == 0);
    report("become root", setuid(0) == 0 && geteuid() == 0 && chroot("/") == 0);
    report("have devices", access("/dev/null", F_OK) == 0);
    printf("pid %d, variables %s\n", getpid(), getenv("NAME"));
    return 0;
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("program")
    (folder / "mark").write_text("")
    built = folder / "look"
    subprocess.run(
        ["gcc", "-static", "-x", "c", "-", "-o", str(built), f'-DMARK="{folder}/mark"'],
        input=PROGRAM,
        text=True,
        check=True,
        capture_output=True,
    )
    return built


@pytest.fixture
def root(program: Path, tmp_path: Path) -> ImageRoot:
    folder = tmp_path / "root"
    (folder / "bin").mkdir(parents=True)
    shutil.copy(program, folder / "bin/look")
    return ImageRoot(folder=folder)


def test_a_program_sees_its_image_and_nothing_else(root: ImageRoot) -> None:
    said = ConfinedPrograms(root)(["/bin/look"], {"NAME": "given"}).decode().splitlines()
    assert said == [
        "connect refused",
        "write to the root refused",
        "write to memory done",
        "see the machine refused",
        "mount refused",
        "become root refused",
        "have devices refused",
        "pid 2, variables given",
    ]
    assert not (root.folder / "made").exists()
    assert list((root.folder / "tmp").iterdir()) == []


def test_a_program_signals_nobody_outside(root: ImageRoot) -> None:
    caught: list[int] = []
    former = signal.signal(signal.SIGCONT, lambda number, _: caught.append(number))
    try:
        assert ConfinedPrograms(root)(["/bin/look", "signal"], {}) == b"sent"
    finally:
        signal.signal(signal.SIGCONT, former)
    assert caught == []


@pytest.mark.parametrize("order", ["stay", "leave"])
def test_nothing_of_a_program_outlives_it(root: ImageRoot, tmp_path: Path, order: str) -> None:
    with suppress(ToolchainError):
        ConfinedPrograms(root, Limits(seconds=1))(["/bin/look", order, str(tmp_path)], {})
    deadline = time.monotonic() + 10
    while (left := _processes(str(tmp_path))) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []


def _processes(argument: str) -> list[Path]:
    """Processes that were started by a confined program's name with ``argument``."""
    wanted, found = f"\0{argument}\0".encode(), []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = file.read_bytes()
            found += [file.parent] if line.startswith(b"/bin/look") and wanted in line else []
    return found


def test_a_program_reads_no_key_of_the_users_session(root: ImageRoot, tmp_path: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    name = str(tmp_path).encode()
    key = libc.syscall(248, b"user", name, b"of the user", 11, -3)  # add_key, to the session's keyring
    if key < 0:
        pytest.skip(f"no keyring here: {os.strerror(ctypes.get_errno())}")
    try:
        assert ConfinedPrograms(root)(["/bin/look", "key", str(tmp_path)], {}) == b"key: none"
    finally:
        libc.syscall(250, 21, key)  # invalidate it


def test_a_program_reads_what_it_is_given(root: ImageRoot) -> None:
    assert ConfinedPrograms(root)(["/bin/look", "echo"], {}, b"a\0b" * 9999) == b"a\0b" * 9999


@pytest.mark.parametrize(
    ("order", "limits", "got"),
    [
        ("sleep", Limits(seconds=1), "none in 1 seconds"),
        ("write", Limits(output=1 << 16), "exit code 9"),
        ("fail", Limits(), "no such ? thing"),
    ],
)
def test_a_program_that_fails_or_takes_too_much_is_ended(
    root: ImageRoot, order: str, limits: Limits, got: str
) -> None:
    with pytest.raises(ToolchainError) as caught:
        ConfinedPrograms(root, limits)(["/bin/look", order], {})
    assert str(caught.value) == (
        f"program of the image: expected an answer, got {got} (/bin/look in the image)"
    )


def test_an_environment_that_is_too_large_for_the_kernel_is_named(root: ImageRoot) -> None:
    with pytest.raises(ToolchainError) as caught:
        ConfinedPrograms(root)(["/bin/look"], {"NAME": "x" * 200_000})
    assert str(caught.value) == (
        "program of the image: expected one that starts, got Argument list too long (/bin/look in the image)"
    )


def test_a_program_that_does_not_start_is_named(root: ImageRoot) -> None:
    with pytest.raises(ToolchainError) as caught:
        ConfinedPrograms(root)(["/bin/none"], {})
    assert str(caught.value) == (
        "program of the image: expected one that starts, got No such file or directory "
        "(/bin/none in the image)"
    )


def test_folders_that_are_mounted_over_are_made_whatever_the_image_has_there(root: ImageRoot) -> None:
    (root.folder / "proc").symlink_to("bin")
    (root.folder / "tmp").write_text("a file")
    assert ConfinedPrograms(root)(["/bin/look", "echo"], {}, b"x") == b"x"


def test_without_namespaces_there_is_an_error_and_nothing_is_run(
    root: ImageRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = tmp_path / "inside.py"
    refusal = json.dumps({"step": "make namespaces", "errno": 1})
    refusing.write_text(f"import os, sys\nos.write(int(sys.argv[1]), {refusal.encode()!r})\nsys.exit(127)\n")
    monkeypatch.setattr(confined_programs, "_INSIDE", refusing)
    with pytest.raises(ToolchainError) as caught:
        ConfinedPrograms(root)(["/bin/look"], {})
    assert str(caught.value) == (
        "confinement of the image's programs: expected namespaces for an ordinary user, with mounts and "
        f"/proc, got {os.strerror(1)} (make namespaces) (this machine)"
    )
    assert caught.value.hint is not None
    assert "an image's code is not run without" in caught.value.hint
