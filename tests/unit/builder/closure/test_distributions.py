"""What is installed, and records of it that lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.builder.closure.conftest import SITE, write

from casemate.builder.closure.distributions import LARGEST_RECORD, read_distributions

LIES = (
    "/etc/passwd",
    "../../../etc/passwd",
    "pkg/../../outside.py",
    "pkg/absent.py",
    "pkg/absent.bin",
    "pkg/a\tb.bin",
    "",
    ".",
    "no module.py",
    "pkg",
    "x" * 100_000,
)


def _whole(world: Any) -> set[str]:
    files = world.files('[closure]\nmode = "distribution"')
    return {path for path in files if path.startswith(f"{SITE}/pkg")}


def test_lines_of_a_record_that_lie_are_passed_over(world: Any) -> None:
    (world.root / "outside.py").write_text("import json.tool")
    world.distribution("pkg-1.0", {"pkg/__init__.py": "", "pkg/data.bin": ""})
    record = world.root / "env/pkg-1.0.dist-info/RECORD"
    record.write_text("\n".join([*(f'"{line}",sha256=lie,1' for line in LIES), record.read_text()]))
    world.app({"web.py": "import pkg\napp = 1"})

    (distribution,) = (it for it in read_distributions((world.root / "env",)) if it.name == "pkg")
    assert not any(".." in file or file.startswith("/") or "\t" in file for file in distribution.files)
    assert _whole(world) == {
        f"{SITE}/pkg/__init__.pyc",
        f"{SITE}/pkg/data.bin",
        f"{SITE}/pkg-1.0.dist-info/METADATA",
        f"{SITE}/pkg-1.0.dist-info/RECORD",
    }


@pytest.mark.parametrize(
    "record",
    [b"\xff\xfe,,\n", b'"' + b"x" * 200_000 + b'",,\n', b"x,,\n" * (LARGEST_RECORD // 4 + 1)],
    ids=["not UTF-8", "not CSV", "too large"],
)
def test_a_record_that_cannot_be_read_says_nothing_and_the_name_says_what_is_owned(
    tmp_path: Path, record: bytes
) -> None:
    write(tmp_path, {"my_pkg/__init__.py": "", "my_pkg/a.bin": "", "other/__init__.py": ""})
    write(tmp_path, {"My_Pkg-1.0.dist-info/RECORD": record})
    (distribution,) = read_distributions((tmp_path,))
    assert distribution.name == "my-pkg"
    assert distribution.files == ("my_pkg/__init__.py", "my_pkg/a.bin")


def test_a_distribution_without_a_record_owns_what_it_says_that_it_has_at_its_top(tmp_path: Path) -> None:
    write(tmp_path, {"yaml/__init__.py": "", "_yaml.abi3.so": "", "six.py": "", "yam.py": ""})
    write(tmp_path, {"PyYAML-6.0.egg-info/top_level.txt": "_yaml\nyaml\n../x\n"})
    write(tmp_path, {"six-1.16.0.egg-info": "Name: six"})
    six, yaml = sorted(read_distributions((tmp_path,)), key=lambda it: it.name == "pyyaml")
    assert (yaml.name, yaml.files) == ("pyyaml", ("_yaml.abi3.so", "yaml/__init__.py"))
    assert (six.name, six.files) == ("six", ("six.py",))
    assert [file.name for file in six.metadata(records=False)] == ["six-1.16.0.egg-info"]


def test_distributions_of_several_folders_are_one_environment_in_the_enclave(world: Any) -> None:
    second = world.root / "second"
    write(second, {"old.py": "x = 1", "pkg.py": "", "old-1.0.dist-info/METADATA": "Name: old"})
    world.distribution("pkg-2.0", {"pkg.py": "from old import x"})
    world.app({"web.py": "import pkg\napp = 1"})
    folders = (world.root / "env", second)
    files = world.files(environment=folders)
    assert files[f"{SITE}/pkg.pyc"].content == b"bytecode of from old import x"
    assert {f"{SITE}/old.pyc", f"{SITE}/old-1.0.dist-info/METADATA"} <= set(files)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_any_record_gives_paths_inside_the_environment(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, {"pkg-1.dist-info/RECORD": data})
    (distribution,) = read_distributions((tmp_path,))
    for file in distribution.files:
        assert file.isprintable()
        assert not file.startswith("/")
        assert ".." not in file.split("/")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_entry_points_give_names(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, {"pkg-1.dist-info/entry_points.txt": data})
    (distribution,) = read_distributions((tmp_path,))
    assert all(isinstance(word, str) for plugin in distribution.plugins() for word in plugin)
