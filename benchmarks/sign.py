"""How fast is signing, against SHA-256 itself and against `gramine-sgx-sign`?

    .venv/bin/python benchmarks/sign.py [--gramine-sgx-sign COMMAND] [--repeat N] [--files N]

One run shows three things, each with its bound; the exit code is 1 when a bound is missed.

- every vector of `tests/vectors/measurement`: MRENCLAVE and SIGSTRUCT in every byte
- `measure` on `large-64G`: at most 1.5 times as long as one `hashlib.sha256` call over a prepared buffer of
  as many bytes as are measured, each in a process of its own; less than 200 MB of memory
- `casemate sign --manifest` on a manifest of 20,000 trusted files, as a whole process: at least 5 times
  faster than `gramine-sgx-sign`, and at most 3 times as long as the floor. Once with a manifest that is
  complete, and once with one that names folders, so that every file has to be found and hashed. The floor
  bounds both; the other bound is about the complete one, for of the time that the files take most goes to
  the operating system and to SHA-256, for either signer.

The floor is the least that any signer written in Python does: the interpreter starts, the manifest is read,
the bytes that are measured go through SHA-256, and RSA signs once. With folders, the files are listed and go
through SHA-256 as well, one after the other.

`gramine-sgx-sign` is looked for in PATH, and measured with the Python of its first line; where there is none,
its ratio is missing and its bound is not judged. All commands are run once before, with bytecode written, as
it is after an installation, and then in turn; the fastest run of each counts.

The last line on standard output is JSON; what a person reads goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from casemate.adapters.file_keys import open_key
from casemate.builder.enclave.address_space import EnclaveLayout
from casemate.builder.enclave.measurement import layout_of, measure
from casemate.builder.signing.sigstruct import enclave_identity, make_sigstruct
from casemate.formats.manifest import EnclaveSettings, load_measured_manifest
from casemate.formats.sgx.sigstruct import SigningDate

ROOT = Path(__file__).parents[1]
VECTORS = ROOT / "tests/vectors/measurement"
KEY = VECTORS / "signing-key.pem"
CASEMATE = (str(Path(sys.executable).with_name("casemate")),)
MEASURE_GOAL = 1.5
MEMORY_GOAL = 200_000_000
GRAMINE_GOAL = 5.0
FLOOR_GOAL = 3.0
PAGE = 4096

#: SHA-256 of one buffer, and how long it took.
ONE_HASH = """
import hashlib, sys, time
buffer = bytes(int(sys.argv[1]))
start = time.perf_counter()
hashlib.sha256(buffer).digest()
print(time.perf_counter() - start)
"""
MEASURE = """
import sys, time
from pathlib import Path
from casemate.builder.enclave.measurement import measure
manifest, image = (Path(name).read_bytes() for name in sys.argv[1:])
start = time.perf_counter()
digest = measure(manifest, image)
print(time.perf_counter() - start, digest.hex())
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""
FLOOR = """
import hashlib, os, sys
manifest, key, size, *folders = sys.argv[1:]
with open(manifest, "rb") as file:
    digest = hashlib.sha256(file.read())
for folder in folders:
    for name in sorted(os.listdir(folder)):
        with open(f"{folder}/{name}", "rb", 0) as file:
            hashlib.sha256(file.read()).hexdigest()
piece = bytes(1 << 18)
left = int(size)
while left > 0:
    digest.update(piece[:left])
    left -= len(piece)
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
with open(key, "rb") as file:
    private = load_pem_private_key(file.read(), None, unsafe_skip_rsa_key_validation=True)
private.sign(digest.digest(), PKCS1v15(), SHA256())
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gramine-sgx-sign", metavar="COMMAND", help="how to run it (default: out of PATH)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each, the fastest counts (default: 5)")
    parser.add_argument("--files", type=int, default=20_000, help="trusted files (default: 20000)")
    options = parser.parse_args()

    vectors = confirm_vectors()
    measured = large_measurement(options.repeat)
    with tempfile.TemporaryDirectory(prefix="casemate-sign-") as folder:
        manifests = Manifests(Path(folder), options.files, gramine_command(options.gramine_sgx_sign))
        cases = [manifests.compare(name, options.repeat) for name in ("complete", "folders")]
    result: dict[str, Any] = {
        "benchmark": "sign",
        "vectors": vectors,
        "measure_large_64G": measured,
        "trusted_files": options.files,
        **{case["case"]: case for case in cases},
        "goals": {
            "measure_over_hash": MEASURE_GOAL,
            "peak_memory_bytes": MEMORY_GOAL,
            "gramine_over_casemate": GRAMINE_GOAL,
            "casemate_over_floor": FLOOR_GOAL,
        },
    }
    result["missed"] = missed(measured, cases)
    result["reached"] = not result["missed"]
    print(f"missed: {', '.join(result['missed']) or 'nothing'}", file=sys.stderr)
    print(json.dumps(result))
    return 0 if result["reached"] else 1


def missed(measured: dict[str, Any], cases: list[dict[str, Any]]) -> list[str]:
    """The bounds that were not kept."""
    bounds = [
        ("measure over one hash", measured["measure_over_hash"] <= MEASURE_GOAL),
        ("memory of measure", measured["peak_memory_bytes"] < MEMORY_GOAL),
    ]
    for case in cases:
        bounds.append((f"{case['case']}: over the floor", case["casemate_over_floor"] <= FLOOR_GOAL))
        ratio = case["gramine_over_casemate"] if case["case"] == "complete" else None
        bounds.append(
            (f"{case['case']}: gramine-sgx-sign over casemate", ratio is None or ratio >= GRAMINE_GOAL)
        )
    return [name for name, kept in bounds if not kept]


def confirm_vectors() -> int:
    """Measure and sign every vector; ends the program when one differs in a byte."""
    folders = sorted(folder for folder in VECTORS.iterdir() if (folder / "expected.json").is_file())
    signer = open_key(str(KEY), None)
    for folder in folders:
        expected = json.loads((folder / "expected.json").read_text())
        manifest = (folder / "app.manifest.sgx").read_bytes()
        mrenclave = measure(manifest, (folder / expected["pal"]).read_bytes())
        settings = EnclaveSettings.from_manifest(load_measured_manifest(manifest))
        date = SigningDate.parse(expected["date"], where="expected.json")
        signed = make_sigstruct(enclave_identity(mrenclave, settings), date=date, signer=signer)
        if mrenclave.hex() != expected["mrenclave"] or signed.to_bytes() != (folder / "app.sig").read_bytes():
            sys.exit(f"{folder.name} is wrong, so no time means anything")
    print(f"vectors: {len(folders)} of {len(folders)} in every byte", file=sys.stderr)
    return len(folders)


def large_measurement(repeat: int) -> dict[str, Any]:
    """`measure` on `large-64G` beside one call of SHA-256, each in processes of their own."""
    folder = VECTORS / "large-64G"
    expected = json.loads((folder / "expected.json").read_text())
    manifest, image = folder / "app.manifest.sgx", folder / expected["pal"]
    size = record_bytes(layout_of(manifest.read_bytes(), image.read_bytes()))
    seconds = {"measure": float("inf"), "hash": float("inf")}
    memory = 0
    for _ in range(repeat):
        timed, digest, peak = python(MEASURE, str(manifest), str(image)).split()
        if digest != expected["mrenclave"]:
            sys.exit("a measurement is wrong, so its time means nothing")
        seconds["measure"] = min(seconds["measure"], float(timed))
        seconds["hash"] = min(seconds["hash"], float(python(ONE_HASH, str(size))))
        memory = max(memory, int(peak) * 1024)
    ratio = seconds["measure"] / seconds["hash"]
    print(
        f"measure large-64G: {seconds['measure']:.2f} s, one hash of {size:,} bytes {seconds['hash']:.2f} s: "
        f"{ratio:.2f} times as long (goal: at most {MEASURE_GOAL:g}); {memory / 1e6:.0f} MB",
        file=sys.stderr,
    )
    return {
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "record_bytes": size,
        "measure_over_hash": round(ratio, 3),
        "peak_memory_bytes": memory,
    }


def python(program: str, *arguments: str) -> str:
    command = (sys.executable, "-c", program, *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment()).stdout


def environment() -> dict[str, str]:
    """That of this process, but bytecode is written and used."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def record_bytes(layout: EnclaveLayout) -> int:
    return 64 + sum(
        area.size // PAGE * (64 + (16 * (64 + 256) if area.measured else 0)) for area in layout.areas
    )


def gramine_command(given: str | None) -> tuple[str, ...] | None:
    if given is not None:
        return tuple(shlex.split(given))
    found = shutil.which("gramine-sgx-sign")
    return None if found is None else (found,)


class Manifests:
    """A tree of files, a manifest that names its folders and one that is complete."""

    def __init__(self, folder: Path, files: int, gramine: tuple[str, ...] | None) -> None:
        self.folder = folder
        self.gramine = gramine
        self.image = VECTORS / json.loads((VECTORS / "defaults/expected.json").read_text())["pal"].replace(
            "../", ""
        )
        self.folders = write_tree(folder / "tree", files)
        libos = folder / "libsysdb.so"
        libos.write_bytes(bytes(1 << 20))
        uris = "".join(f'  "file:{name}/",\n' for name in self.folders)
        (folder / "folders.manifest").write_text(
            'libos.entrypoint = "/usr/bin/python3"\n'
            f'loader.entrypoint.uri = "file:{libos}"\n'
            'fs.mounts = [{ path = "/app", uri = "file:/app" }]\n'
            f'[sgx]\nenclave_size = "4G"\nmax_threads = 16\ntrusted_files = [\n{uris}]\n'
        )
        self.run(self.casemate("folders"))
        shutil.copyfile(folder / "folders.out", folder / "complete.manifest")

    def casemate(self, case: str) -> tuple[str, ...]:
        """How Casemate is called."""
        return (*CASEMATE, "sign", *self.options(case, "out"), "--libpal", str(self.image))

    def options(self, case: str, suffix: str) -> tuple[str, ...]:
        """What both signers are told."""
        manifest, output, signature = (
            str(self.folder / f"{case}.{end}") for end in ("manifest", suffix, f"{suffix}.sig")
        )
        return ("-q", "-m", manifest, "-o", output, "-s", signature, "-k", str(KEY), "-d", "0000-00-00")

    def compare(self, case: str, repeat: int) -> dict[str, Any]:
        """Time one case; ends the program when the signers disagree in a byte."""
        manifest = self.folder / f"{case}.manifest"
        complete = self.folder / "complete.manifest"
        size = record_bytes(layout_of(complete.read_bytes(), self.image.read_bytes()))
        folders = self.folders if case == "folders" else []
        commands = {
            "casemate": self.casemate(case),
            "floor": (sys.executable, "-c", FLOOR, str(manifest), str(KEY), str(size), *folders),
        }
        if self.gramine is not None:
            commands["gramine"] = (*self.gramine, *self.options(case, "gramine"), "--libpal", str(self.image))
        seconds = {name: float("inf") for name in commands}
        for turn in range(repeat + 1):
            for name, command in commands.items():
                taken = self.run(command)
                if turn:
                    seconds[name] = min(seconds[name], taken)
        self.confirm(case)
        return told(case, seconds)

    def confirm(self, case: str) -> None:
        """End the program when the signers' outputs differ."""
        for end in ("", ".sig") if self.gramine is not None else ():
            ours, theirs = (self.folder / f"{case}.{who}{end}" for who in ("out", "gramine"))
            if ours.read_bytes() != theirs.read_bytes():
                sys.exit(f"{case}: what the signers wrote differs, so no time means anything")

    def run(self, command: tuple[str, ...]) -> float:
        """Seconds that a command takes; one that fails ends the program."""
        start = time.perf_counter()
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment())
        taken = time.perf_counter() - start
        if done.returncode != 0:
            sys.exit(f"{shlex.join(command[:6])} …\n{done.stderr}")
        return taken


def write_tree(folder: Path, files: int) -> list[str]:
    """Files as a Python application has them: 5 KB on average, a hundred in a folder."""
    folders = []
    for number in range(files):
        inside = folder / f"package_{number // 100:03}"
        if number % 100 == 0:
            inside.mkdir(parents=True)
            folders.append(str(inside))
        (inside / f"module_{number % 100:02}.py").write_bytes(
            f"# {number:05}\n".encode() * (64 + number * 37 % 1200)
        )
    return folders


def told(case: str, seconds: dict[str, float]) -> dict[str, Any]:
    over_floor = seconds["casemate"] / seconds["floor"]
    ratio = seconds["gramine"] / seconds["casemate"] if "gramine" in seconds else None
    gramine = "no gramine-sgx-sign here"
    if ratio is not None:
        goal = f" (goal: at least {GRAMINE_GOAL:g})" if case == "complete" else ""
        gramine = f"gramine-sgx-sign {seconds['gramine']:.3f} s, {ratio:.1f} times that{goal}"
    print(
        f"sign, {case}: {seconds['casemate']:.3f} s; floor {seconds['floor']:.3f} s, {over_floor:.2f} times "
        f"that (goal: at most {FLOOR_GOAL:g}); {gramine}",
        file=sys.stderr,
    )
    return {
        "case": case,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "casemate_over_floor": round(over_floor, 2),
        "gramine_over_casemate": None if ratio is None else round(ratio, 2),
    }


if __name__ == "__main__":
    sys.exit(main())
