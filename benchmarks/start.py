"""How long does a service take to start under Gramine, by what is trusted?

    .venv/bin/python benchmarks/start.py --gramine PREFIX [--repeat N]

Flask, NumPy, cryptography, psycopg2, requests and OpenTelemetry on Debian 12, and one request in process:
`benchmarks/start_service`. One image is made of it, and three sets of files of that image are trusted:

- `gsc`: every file, by GSC's rule: a walk that follows links, without its list of exclusions, and names that
  are not UTF-8 or hold a newline
- `traced`: what strace sees the program open, with the source beside each bytecode file, and each file under
  every name by which it was asked for; nothing else is in the image, as a careful person would do it
- `casemate`: the bundle that `casemate build --from` makes of the image

Each is run whole by `gramine-direct` of the same Gramine, with Gramine's C library, in turn, and the fastest
run of each counts, by the processor's time that it took: a machine that others use makes runs longer, and by
chance. The time by the clock is given, too. The first two have the bytecode of the image, which Gramine takes for stale because all
files seem to be of 1970; Casemate compiles its own.

Goals: at least 4 times faster than `gsc`; not slower than `traced`.

Needs a Gramine that is built with -Ddirect=enabled, root, debootstrap (or the cache of the tests) and strace.
The last line on standard output is JSON; what a person reads goes to standard error.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.debian_image import DebianImage, Start, debian_image, why_not  # noqa: E402  # needs the path

from casemate.adapters.gramine_installation import GramineInstallation  # noqa: E402
from casemate.builder.bundle import Bundle  # noqa: E402
from casemate.builder.image import unpack_image  # noqa: E402
from casemate.cli.main import run as casemate  # noqa: E402
from casemate.errors import CasemateError  # noqa: E402
from casemate.formats.manifest import dump_manifest, load_manifest  # noqa: E402

GOAL_GSC = 4.0
GOAL_TRACED = 1.0
REQUIREMENTS = ROOT / "tests/corpus/measured/requirements.txt"
PROGRAM = "import sys; sys.path.insert(0, {folder!r}); import service; service.main()"
FOLDER = "/srv/app"
TEMPORARY = "/tmp"  # noqa: S108  # of the enclave
#: What GSC leaves out, as its finalize_manifest.py has it.
EXCLUDED = re.compile(
    r"^/(boot/.*|\.dockerenv|\.dockerinit|dev/.*|etc/gshadow.*|etc/mtab|etc/\.pwd\.lock|etc/rc.?\.d/.*"
    r"|etc/security/.*|etc/shadow.*|gramine/python/.*|gramine/app_files/finalize_manifest\.py|proc/.*|sys/.*"
    r"|var/.*)$"
)
OPENED = re.compile(r'(?:openat\(AT_FDCWD, |open\(|execve\()"(?P<path>/[^"]+)".*\) = \d+$', re.MULTILINE)
LIBRARIES = ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gramine", type=Path, help="prefix of an installed Gramine")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each, the fastest counts (default: 3)")
    options = parser.parse_args()
    reason = missing(options.gramine)
    if reason is not None:
        print(f"not measured: {reason}", file=sys.stderr)
        print(json.dumps({"benchmark": "start under gramine-direct", "reached": None, "skipped": reason}))
        return 2
    gramine = GramineInstallation.at(options.gramine)
    with tempfile.TemporaryDirectory(prefix="casemate-benchmark-") as folder:
        result = measured(Path(folder), gramine, options.repeat)
    print(json.dumps(result))
    return 0 if result["reached"] else 1


def missing(prefix: Path | None) -> str | None:
    """What this machine lacks."""
    if prefix is None:
        return "no --gramine PREFIX"
    try:
        loader = GramineInstallation.at(prefix).direct_loader
    except CasemateError as error:
        return str(error)
    if shutil.which("strace") is None:
        return "strace is not installed"
    return why_not() if loader.is_file() else f"no {loader}"


def measured(folder: Path, gramine: GramineInstallation, repeat: int) -> dict[str, object]:
    image = debian_image(
        REQUIREMENTS,
        ROOT / "benchmarks/start_service",
        folder / "image",
        start=Start(cmd=["python3", "service.py"], working_dir=FOLDER),
    )
    roots = {
        "gsc": everything(image, gramine, folder / "gsc"),
        "traced": traced(image, gramine, folder / "traced"),
        "casemate": bundled(image, gramine, folder / "casemate"),
    }
    files = {name: trusted for name, (_, trusted) in roots.items()}
    seconds = dict.fromkeys(roots, float("inf"))
    for _ in range(repeat):
        for name, (root, _) in roots.items():
            seconds[name] = min(
                seconds[name], timed(["/direct/libpal.so"] * 2 + ["init", "/casemate/app"], root)
            )
    native = min(
        timed([image.python, "-B", "-c", PROGRAM.format(folder=FOLDER)], image.root) for _ in range(repeat)
    )
    for name in roots:
        print(f"{name:9} {seconds[name]:6.2f} s with {files[name]:,} trusted files", file=sys.stderr)
    print(f"{'native':9} {native:6.2f} s", file=sys.stderr)
    over_gsc, over_traced = (seconds[name] / seconds["casemate"] for name in ("gsc", "traced"))
    return {
        "benchmark": "start under gramine-direct",
        "gramine": gramine.version,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "clock_seconds": {name: round(clock, 3) for name, (_, clock) in best.items()},
        "trusted_files": files,
        "gsc_over_casemate": round(over_gsc, 2),
        "traced_over_casemate": round(over_traced, 2),
        "goals": {"gsc_over_casemate": GOAL_GSC, "traced_over_casemate": GOAL_TRACED},
        "reached": over_gsc >= GOAL_GSC and over_traced >= GOAL_TRACED,
    }


def everything(image: DebianImage, gramine: GramineInstallation, root: Path) -> tuple[Path, int]:
    """The whole image with every file trusted."""
    copy(image.root, root)
    runtime(gramine, root)
    paths = [path for path in walk(root) if not EXCLUDED.match(path)]
    return root, write_manifest(image, gramine, root, paths)


def walk(root: Path) -> Iterator[str]:
    """Readable files with names in UTF-8, links to folders followed, as os.walk in a container would."""
    for folder, folders, names in os.walk(root, followlinks=True):
        here = folder.removeprefix(str(root))
        # A link to an absolute path leads out of the folder that stands for the container's root.
        folders[:] = [name for name in folders if within(root, Path(folder, name))]
        for name in names:
            path = f"{here}/{name}"
            printable = path.isprintable() and max(path) < "\udc80"
            if printable and within(root, Path(folder, name)) and Path(folder, name).is_file():
                yield path


def within(root: Path, path: Path) -> bool:
    return path.resolve().is_relative_to(root)


def traced(image: DebianImage, gramine: GramineInstallation, root: Path) -> tuple[Path, int]:
    """Only what the program opens."""
    log = root.with_suffix(".strace")
    program = [image.python, "-B", "-c", PROGRAM.format(folder=FOLDER)]
    command = ["strace", "-f", "-o", str(log), "-e", "trace=open,openat,execve", "chroot", str(image.root)]
    subprocess.run([*command, *program], check=True, stdout=subprocess.DEVNULL)
    text = log.read_text(errors="replace")
    inside = text[text.index(f'execve("{image.python}"') :]
    asked = {os.path.normpath(found["path"]) for found in OPENED.finditer(inside)}
    asked |= {source_of(path) for path in asked if path.endswith(".pyc")}
    for path in sorted(asked):
        source = image.root / path.lstrip("/")
        if source.is_file() and not path.startswith(("/proc", "/sys", "/dev")):
            target = root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    runtime(gramine, root)
    return root, write_manifest(image, gramine, root, walk(root))


def source_of(bytecode: str) -> str:
    folder, _, name = bytecode.rpartition("/__pycache__/")
    return f"{folder}/{name.partition('.')[0]}.py"


def bundled(image: DebianImage, gramine: GramineInstallation, root: Path) -> tuple[Path, int]:
    """The bundle of the image."""
    project, bundle = root.with_suffix(".project"), root.with_suffix(".bundle")
    project.mkdir()
    options = ["--from", image.source, "--gramine", str(gramine.prefix), "-o", str(bundle)]
    if casemate(["build", str(project), *options]):
        raise SystemExit("the bundle cannot be built")
    root.mkdir()
    unpack_image(Bundle.open(bundle).image, root)
    manifest = load_manifest(Bundle.open(bundle).manifest)
    interpreter = manifest["libos"]["entrypoint"]
    manifest["loader"]["argv"] = [interpreter, "-I", "-B", "-c", PROGRAM.format(folder="/app")]
    place(gramine, root, dump_manifest(manifest))
    return root, len(manifest["sgx"]["trusted_files"])


def runtime(gramine: GramineInstallation, root: Path) -> None:
    """Gramine's C library and LibOS beside the image's files."""
    folder = root / "gramine/runtime"
    folder.mkdir(parents=True)
    for name, file in gramine.glibc.items():
        if ".so" in name:
            shutil.copy2(file, folder / name)
    shutil.copy2(gramine.libos, root / "gramine/libsysdb.so")


def write_manifest(image: DebianImage, gramine: GramineInstallation, root: Path, paths: Iterable[str]) -> int:
    """A manifest as a person writes it for the image, with its trusted files."""
    python = f"/{(image.root / image.python.lstrip('/')).resolve().relative_to(image.root)}"
    trusted = [{"uri": f"file:{path}", "sha256": digest(root / path.lstrip("/"))} for path in sorted(paths)]
    libos = digest(gramine.libos)
    manifest = {
        "libos": {"entrypoint": python},
        "loader": {
            "entrypoint": {"uri": "file:/gramine/libsysdb.so", "sha256": libos},
            "log_level": "error",
            "argv": [python, "-B", "-c", PROGRAM.format(folder=FOLDER)],
            "env": {"LD_LIBRARY_PATH": ":".join(("/gramine/runtime", *LIBRARIES)), "HOME": TEMPORARY},
        },
        "fs": {
            "root": {"type": "chroot", "uri": "file:/"},
            "mounts": [{"type": "tmpfs", "path": TEMPORARY}],
            "start_dir": "/",
        },
        "sys": {"stack": {"size": "2M"}},
        "sgx": {"enclave_size": "1G", "max_threads": 32, "trusted_files": trusted},
    }
    place(gramine, root, dump_manifest(manifest))
    return len(trusted)


def place(gramine: GramineInstallation, root: Path, manifest: bytes) -> None:
    for name in ("casemate", "direct", "proc", "sys", "dev", "tmp"):
        (root / name).mkdir(exist_ok=True)
    (root / "casemate/app.manifest").write_bytes(manifest)
    shutil.copy2(gramine.direct_loader, root / "direct/libpal.so")
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\n")


def timed(program: list[str], root: Path) -> tuple[float, float]:
    """Seconds of one run with ``root`` as its root, of the processor and by the clock."""
    inside = "".join(f'mount --rbind /{name} "$0/{name}" && ' for name in ("proc", "sys", "dev"))
    script = f'mount --make-rprivate / && {inside}exec "$1" -c "$2" "$0" "${{@:3}}"'
    command = ["unshare", "-m", "bash", "-c", script, str(root), sys.executable, CLOCK, *program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = done.stdout.splitlines()[-1:] or [""]
    if done.returncode or "answered" not in done.stdout:
        raise SystemExit(f"{program[0]} in {root} ended with {done.returncode}: {done.stdout}{done.stderr}")
    processor, clock = map(float, last[0].split())
    return processor, clock


#: Starts the program in a root and says how long it took, without the time of making the mounts.
CLOCK = """
import resource, subprocess, sys, time
root, *program = sys.argv[1:]
begin = time.monotonic()
code = subprocess.run(["chroot", root, *program], stdin=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, time.monotonic() - begin, flush=True)
sys.exit(code)
"""


def copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
