"""What does it cost to start `casemate`?

    .venv/bin/python benchmarks/startup.py [--runs N]

`casemate --version` is run in turn with `python -c pass` of the same interpreter, so that both see the same
machine; the medians are compared. Both are run once before, so that files are cached and bytecode is there.

Goal: less than 80 ms more than `python -c pass`.

The last line on standard output is JSON; what a person reads goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

GOAL_MILLISECONDS = 80.0
BARE = (sys.executable, "-c", "pass")
CASEMATE = (str(Path(sys.executable).with_name("casemate")), "--version")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=25, help="runs of each (default: 25)")
    runs = parser.parse_args().runs

    times: dict[tuple[str, ...], list[float]] = {BARE: [], CASEMATE: []}
    for command in times:
        milliseconds(command)
    for _ in range(runs):
        for command, taken in times.items():
            taken.append(milliseconds(command))
    bare, casemate = (statistics.median(times[command]) for command in (BARE, CASEMATE))
    result = {
        "benchmark": "start",
        "milliseconds": {"casemate --version": round(casemate, 1), "python -c pass": round(bare, 1)},
        "difference_milliseconds": round(casemate - bare, 1),
        "casemate_over_python": round(casemate / bare, 2),
        "runs": runs,
        "goal_milliseconds": GOAL_MILLISECONDS,
        "reached": casemate - bare < GOAL_MILLISECONDS,
    }
    print(
        f"casemate --version: {casemate:.0f} ms, {casemate - bare:.0f} ms more than python -c pass "
        f"(goal: less than {GOAL_MILLISECONDS:g}), {casemate / bare:.1f} times as long",
        file=sys.stderr,
    )
    print(json.dumps(result))
    return 0 if result["reached"] else 1


def milliseconds(command: tuple[str, ...]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    sys.exit(main())
