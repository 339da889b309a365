"""The differential run: ``python -m tests.differential.run [--cases N] [--jobs N] [--first N]``.

Keys are new in each run; the number of a case says what is changed and how. Exit code 1 when a case violates
the rules of :mod:`tests.differential.judges`: accepted here and refused there without a rule that says why,
accepted by both with another status, or an exception that is not a refusal. ``--keep`` writes them down.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from os import cpu_count
from pathlib import Path
from typing import Final

from tests.differential.cases import Case, good_cases
from tests.differential.changes import changed
from tests.differential.judges import Ours, levels_are_out_of_order, rule_for, theirs

_CHUNK: Final = 1000


@dataclass(frozen=True, slots=True)
class Violation:
    """A case that no rule explains: what happened, and what it was, without any key."""

    what: str
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, what: str, case: Case) -> Violation:
        """What happened to a case."""
        files = {
            "quote.bin": case.quote,
            "collateral.json": case.collateral.to_json(),
            "root.pem": case.platform.root_certificate,
            "at": case.at.isoformat().encode(),
        }
        return cls(what, files)


@dataclass(slots=True, kw_only=True)
class Tally:
    """What came out of some cases.

    Attributes:
        outcomes: How many were accepted or refused by whom.
        rules: How often each rule was needed, for what we accept and dcap-qvl refuses.
        stricter: Of what we refuse and dcap-qvl accepts, how often for which first reason.
        violations: Cases that no rule explains.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    stricter: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in another one."""
        self.outcomes += other.outcomes
        self.rules += other.rules
        self.stricter += other.stricter
        self.violations += other.violations


def judge(first: int, number: int) -> Tally:
    """Judge the cases from ``first`` on."""
    tally, ours = Tally(), Ours()
    for seed in range(first, first + number):
        _judge_one(tally, ours, seed)
    return tally


def _judge_one(tally: Tally, ours: Ours, seed: int) -> None:
    name, case = changed(seed)
    try:
        here = ours.judge(case)
    except Exception as error:  # noqa: BLE001  # whatever escapes is what is looked for
        tally.violations.append(Violation.of(f"{seed} {name}: {error!r} escaped", case))
        return
    there = theirs(case)
    match here.status, there.status:
        case None, None:
            tally.outcomes["both refuse"] += 1
        case None, _:
            tally.outcomes["only we refuse"] += 1
            tally.stricter[here.reasons[0]] += 1
        case _, None:
            tally.outcomes["only dcap-qvl refuses"] += 1
            rule = rule_for(here, there)
            if rule is None:
                what = f"{seed} {name}: accepted here, refused there: {there.reasons[0]}"
                tally.violations.append(Violation.of(what, case))
            else:
                tally.rules[rule] += 1
        case _:
            tally.outcomes["both accept"] += 1
            if (here.status, here.advisories) == (there.status, there.advisories):
                return
            if levels_are_out_of_order(case):
                tally.rules["levels out of order"] += 1
            else:
                what = f"{here.status} {here.advisories} here, {there.status} {there.advisories} there"
                tally.violations.append(Violation.of(f"{seed} {name}: {what}", case))


def _keep(folder: Path, violations: Sequence[Violation]) -> None:
    """Write cases down, so that they can become vectors."""
    for number, violation in enumerate(violations):
        place = folder / str(number)
        place.mkdir(parents=True, exist_ok=True)
        for name, data in violation.files.items():
            (place / name).write_bytes(data)


def _in_chunks(cases: int, first: int) -> Iterator[tuple[int, int]]:
    for start in range(first, first + cases, _CHUNK):
        yield start, min(_CHUNK, first + cases - start)


def main() -> int:
    """Run, tell of the progress on standard error, and print a summary as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=200_000, help="how many (default: 200000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default: 0)")
    parser.add_argument("--jobs", type=int, default=cpu_count() or 1, help="processes (default: all cores)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder for the cases that violate a rule")
    options = parser.parse_args()
    good_cases()  # before the processes part, so that all have the same
    start, total, done = time.monotonic(), Tally(), 0
    with ProcessPoolExecutor(options.jobs) as pool:
        chunks = list(_in_chunks(options.cases, options.first))
        for (_, number), tally in zip(chunks, pool.map(judge, *zip(*chunks, strict=True)), strict=True):
            total.add(tally)
            done += number
            if sys.stderr.isatty() or done == options.cases:
                sys.stderr.write(f"\r{done} of {options.cases} cases")
    sys.stderr.write(f" in {time.monotonic() - start:.0f} s\n")
    if options.keep is not None:
        _keep(options.keep, total.violations)
    summary = {
        "cases": options.cases,
        "outcomes": dict(total.outcomes),
        "rules": dict(total.rules),
        "stricter": dict(total.stricter),
        "violations": [violation.what for violation in total.violations[:50]],
    }
    sys.stdout.write(json.dumps(summary, indent=2) + "\n")
    return 1 if total.violations else 0


if __name__ == "__main__":
    sys.exit(main())
