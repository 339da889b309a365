"""How a rehearsal begins, is told to stop, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from casemate.errors import RehearsalError
from casemate.rehearsal.report import Stop
from casemate.rehearsal.run import Rehearsal, Stage
from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"cannot rehearse here: {available()}"),
]

_SERVER = """
    import signal, sys, threading
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    print("ready", flush=True)
    while not ended.wait(0.05):
        pass
    print("ended", flush=True)
    sys.exit(0)
"""
_DEAF = """
    import time
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def start(image: Any, stage: Callable[..., Stage], tmp_path: Path) -> Callable[[str], Rehearsal]:
    """Starts a program and waits until it has printed its first line."""

    def begin(source: str) -> Rehearsal:
        image.write("/app/main.py", source)
        out = (tmp_path / "out").open("wb")
        with out:
            rehearsal = Rehearsal(lambda _: stage(), outside={}, stdout=out.fileno())
            rehearsal.start()
        deadline = time.monotonic() + 20
        while b"ready" not in (tmp_path / "out").read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return rehearsal

    return begin


def test_sigterm_reaches_an_application_that_handles_it(
    start: Callable[[str], Rehearsal], tmp_path: Path
) -> None:
    with start(_SERVER) as rehearsal:
        report = rehearsal.stop()
    assert (report.exit_code, report.stop, report.failed) == (0, Stop.ASKED, False)
    assert (tmp_path / "out").read_text() == "ready\nended\n"


def test_sigterm_ends_an_application_that_does_not_handle_it(start: Callable[[str], Rehearsal]) -> None:
    with start(_DEAF) as rehearsal:
        report = rehearsal.stop()
    assert (report.exit_code, report.failed) == (143, False)


def test_without_sigterm_injection_the_application_is_killed_and_this_is_said(
    start: Callable[[str], Rehearsal], image: Any
) -> None:
    image.manifest["sys"]["enable_sigterm_injection"] = False
    with start(_SERVER) as rehearsal:
        report = rehearsal.stop()
    assert report.exit_code == 137
    assert report.notes == (
        "SIGTERM does not reach the application: sys.enable_sigterm_injection is not set",
    )


def test_a_second_order_to_stop_kills(start: Callable[[str], Rehearsal]) -> None:
    with start("import signal, time\nsignal.signal(15, lambda *_: None)\n" + textwrap.dedent(_DEAF)) as busy:
        busy.terminate()
        busy.terminate()
        assert busy.wait().exit_code == 137


def test_when_time_is_up_the_application_is_stopped_and_has_not_failed(
    start: Callable[[str], Rehearsal],
) -> None:
    with start(_SERVER) as rehearsal:
        report = rehearsal.wait(0.1)
    assert (report.exit_code, report.stop, report.failed) == (0, Stop.TIMEOUT, False)


def test_the_report_of_an_ended_rehearsal_stays(start: Callable[[str], Rehearsal]) -> None:
    with start(_SERVER) as rehearsal:
        assert rehearsal.report is None
        report = rehearsal.stop()
    assert rehearsal.report is report
    assert rehearsal.wait() is report


Leftovers = tuple[set[str], set[str], set[str]]


@pytest.fixture
def leftovers(image: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Leftovers]:
    """Looks for private folders, mounts in this namespace and processes of this test's rehearsals."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    image.manifest["loader"]["argv"].append(str(folder))  # by which the application can be told

    def look() -> Leftovers:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        return (
            {path.name for path in folder.iterdir()},
            {line for line in mounts if str(folder) in line},
            set(processes_named(str(folder).encode())),
        )

    return look


def processes_named(word: bytes) -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if word in command and (b"rehearsal/inside.py" in command or b"/app/main.py" in command):
            yield path.parent.name


def test_nothing_is_left_behind(
    start: Callable[[str], Rehearsal], leftovers: Callable[[], Leftovers]
) -> None:
    with start(_DEAF):
        folders, mounts, processes = leftovers()
        assert len(folders) == 1
        assert not mounts  # they are in a namespace of their own
        assert len(processes) == 2
    assert leftovers() == (set(), set(), set())


def test_nothing_is_left_behind_by_a_start_that_fails(
    image: Any, stage: Callable[..., Stage], leftovers: Callable[[], Leftovers]
) -> None:
    image.manifest["fs"]["start_dir"] = "/nowhere"
    image.write("/app/main.py", "pass")
    rehearsal = Rehearsal(lambda _: stage(), outside={})
    with pytest.raises(RehearsalError, match="start_dir"):
        rehearsal.start()
    assert leftovers() == (set(), set(), set())


_HOLDER = """
    import pickle, sys, time
    from casemate.rehearsal.run import Rehearsal, Stage
    from casemate.simulator.enclave import SimulatedEnclave
    from casemate.simulator.platform import SimulatedPlatform
    from casemate.formats.sgx.report import MrEnclave, MrSigner
    from datetime import UTC, datetime
    from pathlib import Path
    enclave = SimulatedEnclave(
        platform=SimulatedPlatform.create(datetime.now(UTC)),
        mrenclave=MrEnclave(bytes(32)),
        mrsigner=MrSigner(bytes(32)),
    )
    stage = Stage(manifest=Path(sys.argv[1]).read_bytes(), rootfs=Path(sys.argv[2]), enclave=enclave)
    rehearsal = Rehearsal(lambda _: stage, outside={})
    rehearsal.start()
    time.sleep(600)
"""


def test_nothing_is_left_behind_when_the_rehearsing_process_is_killed(
    image: Any, tmp_path: Path, leftovers: Callable[[], Leftovers]
) -> None:
    image.write("/app/main.py", _DEAF)
    manifest, holder = tmp_path / "manifest", tmp_path / "holder.py"
    manifest.write_bytes(image.measured())
    holder.write_text(textwrap.dedent(_HOLDER))
    with subprocess.Popen(
        [sys.executable, holder, manifest, image.rootfs], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert [len(found) for found in leftovers()] == [1, 0, 2]
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(leftovers()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert leftovers() == (set(), set(), set())
