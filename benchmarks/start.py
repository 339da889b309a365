"""How long does a service take to start under Gramine, by what is trusted?

    .venv/bin/python benchmarks/start.py --gramine PREFIX [--repeat N]

Flask, NumPy, cryptography, psycopg2, requests and OpenTelemetry on Debian 12, and one request in process:
`benchmarks/start_service`. One image is made of it, and four sets of files of that image are trusted:

- `gsc`: every file, by GSC's rule: a walk that follows links, without its list of exclusions; with the
  packages and the files of Gramine that GSC puts into an image of Debian 12
- `image`: the same without what GSC puts there
- `traced`: what strace sees the program open, with the source beside each bytecode file, and each file under
  every name by which it was asked for; nothing else is in the image, as a careful person would do it
- `casemate`: the bundle that `casemate build --from` makes of the image

Each is run whole by `gramine-direct` of the same Gramine, with Gramine's C library, in turn, and the fastest
run of each counts, by the processor's time that it took: a machine that others use makes runs longer, and by
chance. The time by the clock is given, too. The first two have the bytecode of the image, which Gramine takes
for stale because all files seem to be of 1970; Casemate compiles its own.

Goals: at least 4 times faster than `gsc`; not slower than `traced`. `image` is no goal: it says how much of
the difference to `gsc` is due to GSC's own files.

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
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.debian_image import MIRROR, PACKAGES, SUITE, DebianImage, Start, debian_image, why_not  # noqa: E402  # needs the path

from casemate.adapters.gramine_installation import GramineInstallation  # noqa: E402
from casemate.builder.bundles.bundle import Bundle  # noqa: E402
from casemate.builder.packing.image import unpack_image  # noqa: E402
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
#: What GSC 1.9 installs into an image of Debian 12, as its templates have it.
GSC_PACKAGES = (
    "binutils",
    "libprotobuf-c-dev",
    "locales",
    "openssl",
    "python3",
    "python3-cffi-backend",  # which python3-cryptography needs by another name
    "python3-click",
    "python3-cryptography",
    "python3-jinja2",
    "python3-protobuf",
    "python3-pyelftools",
    "python3-tomli",
    "python3-tomli-w",
    "python3-voluptuous",
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
        "gsc": everything(image, gramine, folder / "gsc", converted=True),
        "image": everything(image, gramine, folder / "every", converted=False),
        "traced": traced(image, gramine, folder / "traced"),
        "casemate": bundled(image, gramine, folder / "casemate"),
    }
    files = {name: trusted for name, (_, trusted) in roots.items()}
    direct = ["/direct/libpal.so", "/direct/libpal.so", "init", "/casemate/app"]
    native = [image.python, "-B", "-c", PROGRAM.format(folder=FOLDER)]
    runs = {name: (direct, root) for name, (root, _) in roots.items()} | {"native": (native, image.root)}
    best: dict[str, tuple[float, float]] = dict.fromkeys(runs, (float("inf"), float("inf")))
    for _ in range(repeat):
        for name, (program, root) in runs.items():
            best[name] = min(best[name], timed(program, root))
    seconds = {name: processor for name, (processor, _) in best.items()}
    for name, (processor, clock) in best.items():
        trusted = f", {files[name]:,} trusted files" if name in files else ""
        print(f"{name:9} {processor:6.2f} s, {clock:.2f} s by the clock{trusted}", file=sys.stderr)
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


def everything(
    image: DebianImage, gramine: GramineInstallation, root: Path, *, converted: bool
) -> tuple[Path, int]:
    """The whole image with every file trusted, with what GSC puts there when it converts one."""
    copy(image.root, root)
    runtime(gramine, root)
    if converted:
        subprocess.run(["cp", "-a", "-n", f"{gsc_packages()}/.", str(root)], check=True)
        copy(gramine.prefix, root / "gramine/meson_build_output")
    walked = subprocess.run(["chroot", str(root), image.python, "-c", WALK], check=True, capture_output=True)
    found = walked.stdout.decode().split("\0")[:-1]
    digests = dict(zip(found[::2], found[1::2], strict=True))
    trusted = {path: sha256 for path, sha256 in digests.items() if not EXCLUDED.match(path)}
    return root, write_manifest(image, gramine, root, trusted)


def gsc_packages() -> Path:
    """A Debian with the packages that GSC installs, made once."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    root = home / "casemate-tests" / "gsc-packages"
    if not root.exists():
        unfinished = root.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        packages = ",".join((*PACKAGES, *GSC_PACKAGES))
        command = [
            "debootstrap",
            "--variant=minbase",
            f"--include={packages}",
            SUITE,
            str(unfinished),
            MIRROR,
        ]
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        environment = {**os.environ, "PATH": path, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        for pattern in ("var/cache/apt/archives/*.deb", "dev/*"):
            for file in unfinished.glob(pattern):
                if file.is_symlink() or not file.is_dir():
                    file.unlink()
        unfinished.rename(root)
    return root


#: GSC's walk, which runs in the container: regular readable files by names in UTF-8, links followed.
WALK = """
import hashlib, os, sys
for folder, _, names in os.walk("/", followlinks=True):
    for name in names:
        path = os.path.join(folder, name)
        if path.isprintable() and os.path.isfile(path) and os.access(path, os.R_OK):
            digest = hashlib.sha256(open(path, "rb").read()).hexdigest()
            sys.stdout.buffer.write(f"{path}\\0{digest}\\0".encode())
"""


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
    trusted = {f"/{file.relative_to(root)}": digest(file) for file in root.rglob("*") if file.is_file()}
    return root, write_manifest(image, gramine, root, trusted)


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


def write_manifest(
    image: DebianImage, gramine: GramineInstallation, root: Path, trusted: Mapping[str, str]
) -> int:
    """A manifest as a person writes it for the image, with its trusted files."""
    python = f"/{(image.root / image.python.lstrip('/')).resolve().relative_to(image.root)}"
    entries = [{"uri": f"file:{path}", "sha256": sha256} for path, sha256 in sorted(trusted.items())]
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
        "sgx": {"enclave_size": "1G", "max_threads": 32, "trusted_files": entries},
    }
    place(gramine, root, dump_manifest(manifest))
    return len(entries)


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
