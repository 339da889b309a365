"""The sample application built as a user would, under conditions that must not matter."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Some distributions ship the standard library without its tests, a compiler's files and much else; then
#: there is less for a closure to leave out.
INTERPRETER_IS_WHOLE = (Path(sysconfig.get_path("stdlib")) / "test" / "test_grammar.py").exists()
#: The sample may trust one file of so many that interpreter and environment hold.
SMALLEST_RATIO = 8 if INTERPRETER_IS_WHOLE else 4

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "examples" / "notes"

PROJECT = """
[app]
name = "notes"
requirements = "uv.lock"
serve = "notes:app"
[enclave]
size = "512M"
threads = 16
[env]
NOTES_KEY_FILE = "/run/secrets/notes-key"
NOTES_DATABASE = "/var/lib/notes/notes.db"
[mounts]
"/var/lib/notes" = "tmpfs"
[secrets]
"/run/secrets/notes-key" = "kbs:///default/notes/notes-key"
[broker]
url = "https://localhost:18080"
ca = "broker-ca.pem"
"""
BROKER_CA = "-----BEGIN CERTIFICATE-----\nbm90IHJlYWQgYnkgYSBidWlsZA==\n-----END CERTIFICATE-----\n"

#: Runs a command line with a clock that is wrong by the first argument, in seconds.
_LATER = """
import datetime, sys, time
shift = int(sys.argv[1])
real_time, real_time_ns, real = time.time, time.time_ns, datetime.datetime
time.time = lambda: real_time() + shift
time.time_ns = lambda: real_time_ns() + shift * 10**9
class Later(real):
    @classmethod
    def now(cls, tz=None):
        return real.now(tz) + datetime.timedelta(seconds=shift)
datetime.datetime = Later
from casemate.cli.main import run
sys.exit(run(sys.argv[2:]))
"""


@dataclass(frozen=True)
class Conditions:
    """What may differ from build to build."""

    folder: str
    umask: int
    hash_seed: str
    locale: str
    zone: str
    seconds_later: int


def build_sample(root: Path, conditions: Conditions, *options: str) -> tuple[Path, dict[str, Any]]:
    """Build the sample below ``root``; gives the bundle and the document that the command printed."""
    application = root / conditions.folder
    ignored = shutil.ignore_patterns(".venv", "__pycache__", "tests", ".pytest_cache")
    shutil.copytree(SAMPLE, application, ignore=ignored)
    (application / "casemate.toml").write_text(PROJECT)
    (application / "broker-ca.pem").write_text(BROKER_CA)
    for path in application.rglob("*"):
        os.utime(path, (conditions.seconds_later, conditions.seconds_later))
        path.chmod((0o777 if path.is_dir() else 0o666) & ~conditions.umask)
    bundle = root / f"{conditions.folder.replace('/', '-')}-bundle"
    done = subprocess.run(
        [
            *(sys.executable, "-c", _LATER, str(conditions.seconds_later)),
            *("build", str(application), "-o", str(bundle), "--json", *options),
        ],
        capture_output=True,
        text=True,
        check=False,
        umask=conditions.umask,
        env={
            **{name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"},
            "PYTHONHASHSEED": conditions.hash_seed,
            "LC_ALL": conditions.locale,
            "LANG": conditions.locale,
            "TZ": conditions.zone,
        },
    )
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return bundle, document
