"""``rehearse --record``: runs unite in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.small_bundle import Small, small_bundle

from casemate.errors import FormatError, ProjectError
from casemate.formats.trace import Trace
from casemate.rehearsal.recording import Recording

HEAD = "casemate-trace 1\npython 3.11.7\n"
LIB = "/opt/python/lib/python3.11"


@pytest.fixture
def small(tmp_path: Path) -> Small:
    return Small(sources={"python": "3.11.7"})


def test_runs_unite(tmp_path: Path, small: Small) -> None:
    bundle, file = small_bundle(tmp_path / "bundle", small), tmp_path / "runs.trace"
    first = Recording.begin(bundle, file).add([f"{LIB}/json/decoder.pyc", "/etc/hosts"])
    Recording.begin(bundle, file).add([f"{LIB}/ast.pyc"])
    assert first.modules == ("json.decoder",)
    read = Trace.parse(file.read_bytes(), "runs.trace")
    assert read.python == "3.11.7"
    assert read.modules == ("ast", "json.decoder")


def test_the_two_keys_that_build_from_a_record_are_named(tmp_path: Path, small: Small) -> None:
    bundle = small_bundle(tmp_path / "bundle", small)
    assert Recording.begin(bundle, tmp_path / "runs.trace").advice == (
        'to build from it: mode = "trace" and trace = "runs.trace" in [closure] of the casemate.toml beside '
        "it; trace is a path relative to casemate.toml"
    )


def test_a_record_of_another_environment_is_refused_before_anything_runs(
    tmp_path: Path, small: Small
) -> None:
    bundle, file = small_bundle(tmp_path / "bundle", small), tmp_path / "runs.trace"
    file.write_text("casemate-trace 1\npython 3.12.1\n")
    with pytest.raises(ProjectError, match="record of another Python"):
        Recording.begin(bundle, file)
    file.write_text("no record")
    with pytest.raises(FormatError, match="record of a run: expected casemate-trace 1"):
        Recording.begin(bundle, file)
    assert file.read_text() == "no record"


def test_a_bundle_that_does_not_say_its_python_cannot_be_recorded(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle", Small(sources={}))
    with pytest.raises(FormatError) as caught:
        Recording.begin(bundle, tmp_path / "runs.trace")
    assert str(caught.value) == (
        "sources of the bundle: expected the release of Python, got none (reference-values.json)"
    )
    assert caught.value.hint == "build the bundle again with this version of casemate"
