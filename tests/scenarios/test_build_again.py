"""Building again: the same bytes whatever is kept, and other bytes only where something has changed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from casemate.builder.bundles.bundle import Bundle

PROJECT = '[app]\nname = "hello"\nserve = "hello:app"\ninterface = "wsgi"\nrequirements = ""\n'
CODE = """
import json

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"hello": "world"}).encode()]
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an application and, once something is built, a cache."""
    root = tmp_path_factory.mktemp("world")
    (root / "hello").mkdir()
    (root / "hello/casemate.toml").write_text(PROJECT)
    (root / "hello/hello.py").write_text(CODE)
    return root


def build(world: Path, output: str, *options: str, application: str = "hello") -> dict[str, bytes]:
    """The files of a bundle, by name."""
    environment = {"UV_CACHE_DIR": uv_cache(), **os.environ, "XDG_CACHE_HOME": str(world / "cache")}
    command = (sys.executable, "-m", "casemate", "build", str(world / application), "-o", str(world / output))
    done = subprocess.run([*command, *options], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    paths = sorted(path for path in (world / output).rglob("*") if path.is_file())
    return {path.relative_to(world / output).as_posix(): path.read_bytes() for path in paths}


def uv_cache() -> str:
    return str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv")


def layers(world: Path, output: str) -> tuple[str, ...]:
    return tuple(layer.digest for layer in Bundle(world / output).image.manifest.layers)


@pytest.fixture(scope="module")
def first(world: Path) -> dict[str, bytes]:
    """A bundle built without a cache."""
    files = build(world, "first", "--no-cache")
    assert not (world / "cache/casemate").exists()
    return files


@pytest.fixture(scope="module")
def kept(world: Path, first: dict[str, bytes]) -> Path:
    """A cache that a build has filled."""
    assert build(world, "cold") == first
    return world / "cache/casemate"


def test_a_build_that_finds_everything_gives_the_same(
    world: Path, first: dict[str, bytes], kept: Path
) -> None:
    assert build(world, "warm") == first
    assert (kept / "build-1/results.sqlite").stat().st_size > 100_000


def test_one_processor_gives_the_same(world: Path, first: dict[str, bytes]) -> None:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert build(world, "alone", "--no-cache") == first
    finally:
        os.sched_setaffinity(0, allowed)


def test_what_lies_in_the_cache_and_is_not_what_was_kept_changes_nothing(
    world: Path, first: dict[str, bytes], kept: Path
) -> None:
    with closing(sqlite3.connect(kept / "build-1/results.sqlite")) as results, results:
        evil = results.execute("SELECT value FROM results WHERE kind = 'bytecode' LIMIT 1").fetchone()[0]
        results.execute("UPDATE results SET value = ? WHERE kind = 'bytecode'", (evil,))
        results.execute("UPDATE results SET value = substr(value, 1, 100) WHERE kind = 'scan'")
    (module,) = (kept / "environments-1").glob("*/tree/cheroot/wsgi.py")
    module.unlink()
    module.write_text("evil = True\n")
    assert build(world, "damaged") == first
    assert build(world, "mended") == first


def test_one_changed_line_changes_the_layer_of_the_application_alone(
    world: Path, first: dict[str, bytes], kept: Path
) -> None:
    shutil.copytree(world / "hello", world / "changed")
    (world / "changed/hello.py").write_text(CODE.replace("world", "moon"))
    changed = build(world, "changed-with", application="changed")
    assert changed == build(world, "changed-without", "--no-cache", application="changed")
    before, after = layers(world, "first"), layers(world, "changed-with")
    assert (before[:3], before[3] == after[3]) == (after[:3], False)
    assert changed["app.manifest.sgx"] != first["app.manifest.sgx"]


def test_different_applications_share_the_layer_of_the_interpreter(
    world: Path, first: dict[str, bytes], kept: Path
) -> None:
    (world / "other").mkdir()
    (world / "other/casemate.toml").write_text(
        PROJECT.replace("hello", "other").replace("wsgi", "asgi")
        + '[closure]\ninclude = ["module:decimal"]\n'
    )
    (world / "other/other.py").write_text("import sqlite3\nasync def app(scope, receive, send): ...\n")
    build(world, "other-bundle", application="other")
    before, after = layers(world, "first"), layers(world, "other-bundle")
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, False, False]
    blob = Bundle(world / "first").image.manifest.layers[0]
    assert blob.size > 1_000_000


def test_a_measurement_that_is_expected_is_compared(world: Path, first: dict[str, bytes], kept: Path) -> None:
    mrenclave = json.loads(first["measurement.json"])["mrenclave"]
    assert build(world, "expected", "--expect", mrenclave) == first
    command = (
        sys.executable,
        "-m",
        "casemate",
        "build",
        str(world / "hello"),
        "-o",
        str(world / "unexpected"),
    )
    environment = {"UV_CACHE_DIR": uv_cache(), **os.environ, "XDG_CACHE_HOME": str(world / "cache")}
    done = subprocess.run(
        [*command, "--expect", "ab" * 32], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"error: MRENCLAVE: expected {'ab' * 32}, got {mrenclave} ({world / 'unexpected'})\n"
        f"hint: casemate diff says what has changed between {world / 'unexpected'} and the bundle that was"
        " expected\n"
    )
