"""What a hostile application tries in a rehearsal; as root, too, who owns the machine's files."""

from __future__ import annotations

import os
import pty
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from casemate.errors import RehearsalError
from casemate.rehearsal.run import Rehearsal
from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"cannot rehearse here: {available()}"),
]

Runner = Callable[..., Any]


def test_the_kernel_s_settings_cannot_be_written(run: Runner) -> None:
    result = run("""
        import errno, json, os
        answers = {}
        for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/overcommit_memory"):
            try:
                os.close(os.open(path, os.O_WRONLY))
                answers[path] = "opened"
            except OSError as refusal:
                answers[path] = errno.errorcode[refusal.errno]
        print(json.dumps(answers))
    """).result
    # Root outside is still root to these files, so that only the mount keeps it from them.
    assert set(result.values()) <= {"EROFS", "EACCES"}
    assert result["/proc/sys/kernel/core_pattern"] == ("EROFS" if os.geteuid() == 0 else "EACCES")


def test_the_devices_of_this_machine_keep_their_mode(run: Runner) -> None:
    before = Path("/dev/null").stat().st_mode
    result = run("""
        import errno, json, os
        try:
            os.chmod("/dev/null", 0o600)
            answer = "changed"
        except OSError as refusal:
            answer = errno.errorcode[refusal.errno]
        print(json.dumps([answer, open("/dev/null", "w").write("x")]))
    """).result
    assert result == ["EROFS", 1]
    assert Path("/dev/null").stat().st_mode == before


def test_no_namespace_gives_back_what_was_given_up(run: Runner) -> None:
    result = run("""
        import ctypes, errno, json
        libc = ctypes.CDLL(None, use_errno=True)
        libc.unshare(0x10000000)
        print(json.dumps(errno.errorcode[ctypes.get_errno()]))
    """).result
    assert result == "ENOSYS"


def test_a_terminal_is_written_to_and_never_read_from(stage: Callable[..., Any], image: Any) -> None:
    image.write(
        "/app/main.py",
        """
        import errno, json, os
        answers = []
        for descriptor in (0, 1, 2):
            try:
                answers.append(os.read(descriptor, 100).decode())
            except OSError as refusal:
                answers.append(errno.errorcode[refusal.errno])
        print(json.dumps([answers, os.isatty(1)]))
    """,
    )
    keyboard, terminal = pty.openpty()
    os.write(keyboard, b"a password\n")
    with Rehearsal(lambda _: stage(), outside={}, stdout=terminal, stderr=terminal) as rehearsal:
        assert rehearsal.wait(30).exit_code == 0
    shown = os.read(keyboard, 4096).decode()
    os.close(keyboard)
    os.close(terminal)
    assert '[["", "EBADF", "EBADF"], false]' in shown


def test_abstract_sockets_of_this_machine_are_out_of_reach(run: Runner) -> None:
    name = f"\0casemate-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen()
        result = run(f"""
            import errno, json, socket
            try:
                socket.socket(socket.AF_UNIX).connect({name!r})
                answer = "connected"
            except OSError as refusal:
                answer = errno.errorcode[refusal.errno]
            print(json.dumps(answer))
        """).result
    assert result == "ENOENT"


@pytest.mark.parametrize(
    ("table", "name", "value", "message"),
    [
        ("sys", "fds", {"limit": -1}, "sys.fds.limit: expected 0 to 2147483647, got -1"),
        ("loader", "uid", 1 << 32, "loader.uid: expected 0 to 2147483647, got 4294967296"),
    ],
)
def test_numbers_that_the_kernel_does_not_take_are_refused(
    run: Runner, image: Any, table: str, name: str, value: object, message: str
) -> None:
    image.manifest[table][name] = value
    with pytest.raises(RehearsalError) as refused:
        run("print(1)")
    assert str(refused.value) == message
