"""What is seen of programs that use known amounts of memory, threads, stack, descriptors and files."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.rehearsal.conftest import Image

from casemate.builder.enclave.sizing import Usage
from casemate.formats.manifest import load_manifest
from casemate.rehearsal import profile
from casemate.rehearsal.profile import Profiler, with_room
from casemate.rehearsal.run import Rehearsal, Stage

_MEBIBYTE = 1 << 20
_STACK = 2 * _MEBIBYTE


@pytest.fixture
def port() -> int:
    """A port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        number: int = server.getsockname()[1]
        return number


@pytest.fixture
def used(image: Image, stage: Callable[..., Stage], port: int) -> Callable[[str], Usage]:
    """Runs a program to its end and looks at it."""

    def look(program: str) -> Usage:
        image.write("/app/main.py", program.replace("PORT", str(port)))
        with Rehearsal(lambda _: with_room(stage()), outside={}) as rehearsal:
            profiler = Profiler(
                rehearsal.process, folders=("/tmp",), stack_size=rehearsal.plan.stack, port=port
            )
            with profiler:
                report = rehearsal.wait(60)
            assert report.exit_code == 0
            return profiler.usage

    return look


@pytest.mark.sandbox
def test_memory_counts_when_it_is_gone_again_and_when_it_was_never_touched(
    used: Callable[[str], Usage],
) -> None:
    base = used("import time; time.sleep(0.3)")
    touched = used("import time; data = bytearray(b'x') * (60 << 20); del data; time.sleep(0.3)")
    untouched = used("import ctypes, time; ctypes.CDLL(None).malloc(60 << 20); time.sleep(0.3)")

    assert touched.resident - base.resident == pytest.approx(60 * _MEBIBYTE, abs=3 * _MEBIBYTE)
    assert untouched.resident - base.resident < 3 * _MEBIBYTE
    for usage in (touched, untouched):
        grown = usage.address_space - base.address_space
        assert grown == pytest.approx(60 * _MEBIBYTE, abs=3 * _MEBIBYTE)


@pytest.mark.sandbox
def test_threads_are_counted_with_their_stacks(used: Callable[[str], Usage]) -> None:
    usage = used(
        """
        import threading, time
        stop = threading.Event()
        for _ in range(12):
            threading.Thread(target=stop.wait).start()
        time.sleep(0.4)
        stop.set()
        """
    )

    assert usage.threads == 13
    assert usage.stack_size == _STACK
    assert usage.address_space > 12 * _STACK
    assert usage.stack < 300 * 1024
    assert usage.processes == 1


@pytest.mark.sandbox
def test_the_deepest_stack_is_found_in_a_thread_with_a_stack_of_its_own_size(
    used: Callable[[str], Usage],
) -> None:
    usage = used(
        """
        import sys, threading, time
        sys.setrecursionlimit(100_000)
        threading.stack_size(64 << 20)

        def deep(left):
            if left:
                sorted([left], key=lambda number: deep(number - 1))
            else:
                time.sleep(1.2)

        thread = threading.Thread(target=deep, args=(2000,))
        thread.start()
        thread.join()
        """
    )

    assert 1 * _MEBIBYTE < usage.stack < 64 * _MEBIBYTE


@pytest.mark.sandbox
def test_descriptors_files_in_memory_and_mapped_files_are_counted(used: Callable[[str], Usage]) -> None:
    usage = used(
        """
        import time
        kept = [open("/app/main.py") for _ in range(100)]
        open("/tmp/data", "wb").write(bytes(20 << 20))
        time.sleep(0.6)
        """
    )

    assert 100 < usage.descriptors < 115
    assert usage.temporary == pytest.approx(20 * _MEBIBYTE, abs=64 * 1024)
    assert 2 * _MEBIBYTE < usage.libraries < 100 * _MEBIBYTE
    assert usage.mapped < 1 * _MEBIBYTE


@pytest.mark.sandbox
def test_the_moment_from_which_it_listens_is_seen(used: Callable[[str], Usage]) -> None:
    usage = used(
        """
        import socket, time
        time.sleep(0.5)
        with socket.create_server(("127.0.0.1", PORT)):
            time.sleep(0.5)
        """
    )

    assert usage.ready is not None
    assert 0.4 < usage.ready < 5


@pytest.mark.sandbox
def test_more_is_given_than_the_manifest_gives(image: Image, stage: Callable[..., Stage]) -> None:
    image.write("/app/main.py", "")
    roomy = load_manifest(with_room(stage()).manifest)

    assert roomy["sgx"]["enclave_size"] == "64G"
    assert roomy["sgx"]["max_threads"] == 4096
    assert roomy["sys"] == {
        "stack": {"size": "2M"},
        "enable_sigterm_injection": True,
        "fds": {"limit": 65536},
    }
    assert roomy["loader"] == load_manifest(stage().manifest)["loader"]


def test_this_process_is_read_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(8192))
    status = profile.status_of(os.getpid())
    mappings = tuple(profile.mappings_of(os.getpid()))

    assert status["VmPeak"] >= status["VmHWM"] > _MEBIBYTE
    assert status["Threads"] >= 1
    assert next(profile.processes_of(os.getpid())) == os.getpid()
    assert [it.name for it in mappings if it.name == "[stack]"] == ["[stack]"]
    assert any(it.is_file and "x" in it.access and it.name.endswith(".so.6") for it in mappings)
    assert all(it.start < it.end and it.resident <= it.end - it.start for it in mappings)


def test_a_port_at_which_nothing_listens_is_seen_as_such(port: int) -> None:
    assert not profile.listens(port)
    with socket.create_server(("127.0.0.1", port)):
        assert profile.listens(port)
