"""How much does an enclave trust, against GSC's rule over the same image?

    .venv/bin/python benchmarks/closure.py [--json] [NAME …]

For each application of `tests/corpus` an image is made as people make it: Debian 12, its Python, the
requirements, the application. GSC's rule is applied in that image: every regular file that a walk from `/`
reaches which follows links, less what GSC excludes. `entries` is how many trusted files GSC's manifest lists;
a file that links give several names counts once in `files` and in bytes. Then `casemate build --from` builds
from the same image in each mode: `distribution`, `module`, and `trace` from the record of a rehearsal that
has answered the application's own requests.

Where such an image cannot be made (it needs root and debootstrap), what this machine's interpreter and the
installed requirements hold stands for it: far less, so the ratios are smaller. The result says which it was.

Goals, geometric means over the corpus: at least 10 times fewer trusted files in mode `module`, 18 times in
mode `trace`, and at least 3 times fewer bytes. Trusted files are those that the two manifests list; how many
times fewer different files they are is said beside it.

The last line on standard output is JSON; what a person reads goes to standard error. `--json` leaves out the
second.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.corpus import (  # noqa: E402 - needs the path
    CorpusApplication,
    a_free_port,
    ask,
    build,
    corpus,
    install,
    locked,
    rehearsed,
)
from tests.support.debian_image import DebianImage, Start, debian_image, why_not  # noqa: E402
from tests.support.postgresql import PostgreSql  # noqa: E402

GOALS = {"module": 10.0, "trace": 18.0}
GOAL_BYTES = 3.0
MODES = ("distribution", "module", "trace")

#: Run in the image: GSC's rule (its finalize_manifest.py, as its documentation describes it).
GSC_RULE = r"""
import json, os, re
excluded = re.compile(
    "/(boot|dev|proc|sys|var|gramine/python|etc/security|etc/rc.[.]d)/.*|/[.]docker(env|init)"
    "|/etc/(gshadow.*|mtab|[.]pwd[.]lock|shadow.*)"
)
entries, real, size = 0, set(), 0
for folder, _, names in os.walk("/", followlinks=True):
    for name in names:
        path = os.path.join(folder, name)
        if excluded.fullmatch(path) or "\n" in path or not os.path.isfile(path):
            continue
        entries += 1
        target = os.path.realpath(path)
        if target not in real:
            real.add(target)
            size += os.path.getsize(target)
print(json.dumps({"entries": entries, "files": len(real), "bytes": size}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="applications (default: all)")
    parser.add_argument("--json", action="store_true", help="print the JSON alone")
    options = parser.parse_args()
    reason = why_not()
    show = (lambda _: None) if options.json else (lambda line: print(line, file=sys.stderr, flush=True))
    show(heading())
    rows: dict[str, dict[str, Any]] = {}
    for application in corpus():
        if not options.names or application.name in options.names:
            with tempfile.TemporaryDirectory(prefix="casemate-benchmark-") as scratch:
                rows[application.name] = measured(application, Path(scratch), from_image=reason is None)
            show(line(application.name, rows[application.name]))
    result = summary(rows) | {"image": "Debian 12" if reason is None else f"none: {reason}"}
    show(
        f"geometric means, times fewer than by GSC's rule: trusted files {result['files_fewer']}, "
        f"different files {result['different_files_fewer']}, bytes {result['bytes_fewer']}"
    )
    print(json.dumps(result))
    return 0 if result["reached"] else 1


def measured(application: CorpusApplication, scratch: Path, *, from_image: bool) -> dict[str, Any]:
    """Files and bytes by GSC's rule and in each mode."""
    with ready(application) as (port, database):
        folder = scratch / "application"
        application.copy(folder, port=port, database=database)
        image = made_image(application, folder, scratch) if from_image else None
        source = ("--from", image.source) if image is not None else ()
        project = project_text(folder, image)
        row: dict[str, Any] = {}
        bundle, record = scratch / "bundle", folder / "runs.trace"
        for mode in MODES:
            more = f'[closure]\nmode = "{mode}"\n' + (f'trace = "{record.name}"\n' if mode == "trace" else "")
            (folder / "casemate.toml").write_text(f"{project}\n{more}")
            document = build(folder, bundle, *source)
            row[mode] = {"files": document["trusted"]["files"], "bytes": document["trusted"]["size"]}
            if mode == "module":
                considered = document["considered"]
                python = install(application, scratch / "venv") if "client" in application.spec else Path()
                with rehearsed(bundle, port, "--record", str(record)):
                    ask(application, port, python)
        row["gsc"] = by_gsc(image, considered)
    return row


@contextmanager
def ready(application: CorpusApplication) -> Iterator[tuple[int, str | None]]:
    """A port, and the URL of an empty database for who needs one."""
    if not application.needs_postgresql:
        yield a_free_port(), None
        return
    with PostgreSql.running(tcp_port=a_free_port()) as server:
        yield a_free_port(), server.tcp_url(server.new_database().rpartition("/")[2])


def made_image(application: CorpusApplication, folder: Path, scratch: Path) -> DebianImage:
    """An image of the application with its own start."""
    lines = re.sub(
        r"(?m)^\./(\S+)$",
        lambda match: wheel(application.folder / match[1], scratch / "wheels"),
        locked(application),
    )
    content = scratch / "content"
    shutil.copytree(folder, content, ignore=shutil.ignore_patterns("casemate.toml", "requirements.*"))
    requirements = scratch / "requirements.txt"
    requirements.write_text(lines)
    return debian_image(requirements, content, scratch / "image", start=Start(cmd=("python3", "-V")))


def wheel(folder: Path, into: Path) -> str:
    """A line for the wheel of the distribution in ``folder``."""
    subprocess.run(
        ("uv", "build", "--quiet", "--wheel", "--out-dir", str(into), str(folder)),
        capture_output=True,
        check=True,
    )
    (made,) = into.glob(f"{folder.name.replace('-', '_')}-*.whl")
    return f"{folder.name.replace('_', '-')} @ file://{made}"


def project_text(folder: Path, image: DebianImage | None) -> str:
    """The project without ``[closure]``; code and requirements are those in the image, if there is one."""
    text = re.sub(r"(?ms)^\[closure\]\n.*?(?=^\[|\Z)", "", (folder / "casemate.toml").read_text("utf-8"))
    if image is None:
        return text
    text = re.sub(r"(?m)^source = .*$", 'source = "/srv/app"', text)
    return re.sub(r"(?m)^requirements = .*$", 'requirements = ""', text)


def by_gsc(image: DebianImage | None, considered: Mapping[str, int]) -> dict[str, int]:
    if image is None:
        files, size = considered["files"], considered["size"]
        return {"entries": files, "files": files, "bytes": size}
    done = subprocess.run(
        ("/usr/sbin/chroot", str(image.root), image.python, "-I", "-S", "-c", GSC_RULE),
        capture_output=True,
        check=True,
    )
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def summary(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    def fewer(what: str, theirs: str, mode: str) -> float:
        ratios = [math.log(row["gsc"][theirs] / row[mode][what]) for row in rows.values()]
        return round(math.exp(sum(ratios) / len(ratios)), 2)

    files = {mode: fewer("files", "entries", mode) for mode in MODES}
    different = {mode: fewer("files", "files", mode) for mode in MODES}
    size = {mode: fewer("bytes", "bytes", mode) for mode in MODES}
    return {
        "benchmark": "closure",
        "applications": rows,
        "files_fewer": files,
        "different_files_fewer": different,
        "bytes_fewer": size,
        "goals": {"files_fewer": GOALS, "bytes_fewer": GOAL_BYTES},
        "reached": all(files[mode] >= goal for mode, goal in GOALS.items())
        and all(size[mode] >= GOAL_BYTES for mode in GOALS),
    }


def heading() -> str:
    columns = "".join(f"{mode:>24}" for mode in MODES)
    return f"{'application':20}{'GSC: entries':>14}{'files':>8}{'MB':>7}{columns}  (files, MB, times fewer)"


def line(name: str, row: Mapping[str, Any]) -> str:
    gsc = row["gsc"]
    cells = "".join(
        f"{row[mode]['files']:>10}{row[mode]['bytes'] / 1e6:>7.0f}{gsc['entries'] / row[mode]['files']:>7.1f}"
        for mode in MODES
    )
    return f"{name:20}{gsc['entries']:>14}{gsc['files']:>8}{gsc['bytes'] / 1e6:>7.0f}{cells}"


if __name__ == "__main__":
    sys.exit(main())
