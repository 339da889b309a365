"""How fast is the measurement of a large enclave, against plain Python and against SHA-256 itself?

    .venv/bin/python benchmarks/measure.py [--repeat N]

The enclave is `large-64G` of `tests/vectors/measurement`: 64 GiB, 128 threads, 16.8 million pages, 1.1 GB of
records. Four things are timed in the same process, in turn, and the fastest run of each counts:

- `casemate`: `casemate.builder.enclave.measurement.measure`
- `plain`: `tests/reference_measurement.py`, one record built and one hash update per page
- `inlined`: the same for the heap alone, as one bare loop with nothing but `pack` and `update` in it
- `floor`: `hashlib.sha256` over as many bytes as there are records, in pieces of 256 KiB

Goal: `plain / casemate` at least 5. `casemate / floor` says how much is left to gain: SHA-256 is serial, so a
measurement cannot take less than the floor. Memory is the highest resident size of the process after the
first measurement by Casemate.

The last line on standard output is JSON; what a person reads goes to standard error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import runpy
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from casemate.builder.enclave.address_space import EnclaveLayout
from casemate.builder.enclave.measurement import layout_of, measure

ROOT = Path(__file__).parents[1]
VECTORS = ROOT / "tests/vectors/measurement"
GOAL = 5.0
PAGE = 4096
PIECE = bytes(1 << 18)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, the fastest counts (default: 3)")
    repeat = parser.parse_args().repeat

    folder = VECTORS / "large-64G"
    expected = json.loads((folder / "expected.json").read_text())
    manifest = (folder / "app.manifest.sgx").read_bytes()
    image = (folder / expected["pal"]).read_bytes()
    layout = layout_of(manifest, image)
    records = record_bytes(layout)
    plain = runpy.run_path(str(ROOT / "tests/reference_measurement.py"))["measure"]

    confirm(measure(manifest, image), expected)
    memory = peak_memory()
    seconds = {name: float("inf") for name in ("casemate", "floor", "inlined", "plain")}
    for _ in range(repeat):
        for name, work in (
            ("casemate", lambda: confirm(measure(manifest, image), expected)),
            ("floor", lambda: floor(records)),
            ("inlined", lambda: inlined(layout)),
            ("plain", lambda: confirm(plain(manifest, image), expected)),
        ):
            seconds[name] = min(seconds[name], timed(work))
    ratio = seconds["plain"] / seconds["casemate"]
    result = {
        "benchmark": "measure large-64G",
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "plain_over_casemate": round(ratio, 2),
        "inlined_over_casemate": round(seconds["inlined"] / seconds["casemate"], 2),
        "casemate_over_floor": round(seconds["casemate"] / seconds["floor"], 3),
        "record_bytes": records,
        "peak_memory_bytes": memory,
        "goal": GOAL,
        "reached": ratio >= GOAL,
    }
    print(
        f"large-64G: {seconds['casemate']:.2f} s; one hash update per page {seconds['plain']:.2f} s, "
        f"{ratio:.1f} times as long (goal {GOAL:g}); SHA-256 alone {seconds['floor']:.2f} s, "
        f"{result['casemate_over_floor']} times that",
        file=sys.stderr,
    )
    print(json.dumps(result))
    return 0 if result["reached"] else 1


def peak_memory() -> int:
    """Highest resident size of this program, in bytes; getrusage(2) would begin with that of its parent."""
    status = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def timed(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def confirm(mrenclave: bytes, expected: dict[str, str]) -> None:
    if mrenclave.hex() != expected["mrenclave"]:
        sys.exit("a measurement is wrong, so its time means nothing")


def record_bytes(layout: EnclaveLayout) -> int:
    return 64 + sum(
        area.size // PAGE * (64 + (16 * (64 + 256) if area.measured else 0)) for area in layout.areas
    )


def floor(size: int) -> None:
    digest = hashlib.sha256()
    for _ in range(size // len(PIECE)):
        digest.update(PIECE)
    digest.update(PIECE[: size % len(PIECE)])
    digest.digest()


def inlined(layout: EnclaveLayout) -> None:
    heap = layout.areas[-1]
    digest = hashlib.sha256()
    update, pack, flags = digest.update, struct.Struct("<8sQQ40x").pack, int(heap.flags)
    for offset in range(heap.address, heap.end, PAGE):
        update(pack(b"EADD", offset, flags))
    digest.digest()


if __name__ == "__main__":
    sys.exit(main())
