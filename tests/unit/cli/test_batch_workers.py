"""Lines over several processes: in order, within bounds, and with a word when one of them dies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from casemate.cli.verify_batch_lines import Lines
from casemate.cli.verify_batch_workers import MOST_AT_ONCE, judge_in_processes
from casemate.errors import ToolchainError

# From Python 3.12 on forking warns where other threads run, as they do under some runners of tests.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    """Of a file with many numbered lines."""
    (tmp_path / "lines").write_text("".join(f"{number}\n" for number in range(3 * MOST_AT_ONCE)))
    opened = os.open(tmp_path / "lines", os.O_RDONLY)
    yield opened
    os.close(opened)


def one_kind(line: bytes) -> object:
    return None


def pid(line: bytes) -> bytes:
    return line + b" %d" % os.getpid()


def test_results_come_in_the_order_of_the_lines(descriptor: int) -> None:
    results = [one for some in judge_in_processes(Lines(descriptor, 9), pid, one_kind, 3) for one in some]
    numbers, pids = zip(*(result.split() for result in results), strict=True)
    assert [int(number) for number in numbers] == list(range(3 * MOST_AT_ONCE))
    assert len(set(pids)) > 1
    assert os.getpid() not in {int(one) for one in pids}


def test_lines_of_a_kind_stay_with_their_process_while_all_have_work(descriptor: int) -> None:
    def last_digit(line: bytes) -> object:
        return line[-1:]

    owners: dict[bytes, set[bytes]] = {}
    for some in judge_in_processes(Lines(descriptor, 9), pid, last_digit, 2):
        for result in some:
            number, process = result.split()
            owners.setdefault(number[-1:], set()).add(process)
    assert len({process for processes in owners.values() for process in processes}) == 2
    assert min(len(processes) for processes in owners.values()) == 1


def test_no_more_lines_are_held_than_there_may_be(descriptor: int, tmp_path: Path) -> None:
    """The first line takes until it is let go; others are judged meanwhile, and then nothing more is read."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)

    def wait_for_the_first(line: bytes) -> bytes:
        if line == b"0":
            gate.read_bytes()
        return line

    lines = Lines(descriptor, 9)
    seen: list[int] = []

    def let_go() -> None:
        seen.append(os.lseek(descriptor, 0, os.SEEK_CUR))
        gate.write_bytes(b"")

    timer = threading.Timer(2, let_go)
    results = judge_in_processes(lines, wait_for_the_first, one_kind, 2)
    timer.start()
    first = next(results)
    timer.join()
    assert first[0] == b"0"
    # What is read at once is a block; a line has at most 6 bytes here.
    assert seen[0] <= MOST_AT_ONCE * 6 + (1 << 16)
    assert sum(len(some) for some in results) + len(first) == 3 * MOST_AT_ONCE


def killed(line: bytes) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return line


def broken(line: bytes) -> bytes:
    os._exit(7)


@pytest.mark.parametrize(
    ("judge", "message", "hint"),
    [
        (
            killed,
            "process of the batch: expected results, got its end by signal 9",
            "If the machine is short of memory, take fewer processes: --jobs.",
        ),
        (
            broken,
            "process of the batch: expected results, got its end with exit code 7",
            "This is a defect of Casemate; what the process has said stands above.",
        ),
    ],
    ids=["killed", "broken"],
)
def test_the_end_of_a_process_is_an_error(descriptor: int, judge: object, message: str, hint: str) -> None:
    with pytest.raises(ToolchainError) as caught:
        list(judge_in_processes(Lines(descriptor, 9), judge, one_kind, 2))  # type: ignore[arg-type]  # one of two
    assert (str(caught.value), caught.value.hint) == (message, hint)


def cut(data: bytes, longest: int, tmp_path: Path) -> list[bytes]:
    (tmp_path / "data").write_bytes(data)
    opened = os.open(tmp_path / "data", os.O_RDONLY)
    try:
        lines = Lines(opened, longest)
        found: list[bytes] = []
        while not lines.ended:
            found += lines.read()
        return found
    finally:
        os.close(opened)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n", [b""]),
        (b"a\n\nb", [b"a", b"", b"b"]),
        (b"a\r\n", [b"a\r"]),
        (b"123456\n1234\n12345", [b"12345", b"1234", b"12345"]),
        (b"x" * 200_000 + b"\ny\n" + b"z" * 100_000, [b"xxxxx", b"y", b"zzzzz"]),
    ],
    ids=["nothing", "an empty line", "no end", "carriage return", "one too long", "blocks"],
)
def test_lines_are_cut_at_line_feeds_and_of_long_ones_little_is_kept(
    data: bytes, lines: list[bytes], tmp_path: Path
) -> None:
    assert cut(data, 4, tmp_path) == lines
