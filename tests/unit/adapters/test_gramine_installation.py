"""An installed Gramine is found and read."""

from __future__ import annotations

from pathlib import Path

import pytest

from casemate.adapters.gramine_installation import GramineInstallation, find_gramine
from casemate.errors import ToolchainError

_SCRIPT = b'#!/bin/bash\nif [ "$1" == "--version" ]; then\n    echo "Gramine 1.9 (abc)"\n    exit 0\nfi\n'


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    files = {
        "bin/gramine-sgx": _SCRIPT,
        "lib/x86_64-linux-gnu/gramine/sgx/loader": b"loader",
        "lib/x86_64-linux-gnu/gramine/sgx/libpal.so": b"pal",
        "lib/x86_64-linux-gnu/gramine/libsysdb.so": b"libos",
        "lib/x86_64-linux-gnu/gramine/runtime/glibc/libc.so.6": b"libc",
        "lib/x86_64-linux-gnu/gramine/runtime/glibc/ld-linux-x86-64.so.2": b"ld",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_the_files_of_an_installation_are_found(prefix: Path) -> None:
    gramine = GramineInstallation.at(prefix)

    assert gramine.version == "1.9"
    assert gramine.platform_image.read_bytes() == b"pal"
    assert gramine.libos.read_bytes() == b"libos"
    assert gramine.loader.read_bytes() == b"loader"
    assert sorted(gramine.glibc) == ["ld-linux-x86-64.so.2", "libc.so.6"]


@pytest.mark.parametrize(
    ("printed", "version"),
    [("1.6.2", "1.6"), ("1.7", "1.7"), ("1.9post~UNRELEASED", "1.9"), ("1.10", "1.10")],
)
def test_the_version_is_major_and_minor_number(prefix: Path, printed: str, version: str) -> None:
    (prefix / "bin/gramine-sgx").write_bytes(_SCRIPT.replace(b"1.9", printed.encode()))

    assert GramineInstallation.at(prefix).version == version


@pytest.mark.parametrize(("printed", "release"), [("1.6", "1.6.0"), ("1.6.1", "1.6.1"), ("1.5", "1.5.0")])
def test_releases_that_do_not_check_files_after_a_fork_are_refused(
    prefix: Path, printed: str, release: str
) -> None:
    (prefix / "bin/gramine-sgx").write_bytes(_SCRIPT.replace(b"1.9", printed.encode()))

    with pytest.raises(ToolchainError) as refused:
        GramineInstallation.at(prefix)
    assert str(refused.value) == (
        f"release of Gramine: expected 1.6.2 or later, got {release} ({prefix}/bin/gramine-sgx)"
    )
    assert refused.value.hint == (
        "before that a child process opens trusted files without checking them; install a later one"
    )


def test_without_a_prefix_the_usual_places_are_searched(prefix: Path, tmp_path: Path) -> None:
    found = find_gramine(None, (tmp_path / "nothing", prefix))

    assert found is not None
    assert found.prefix == prefix
    assert find_gramine(None, (tmp_path / "nothing",)) is None


def test_a_prefix_without_gramine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError) as refused:
        find_gramine(tmp_path)
    assert str(refused.value) == (
        "Gramine: expected lib/x86_64-linux-gnu/gramine/sgx/libpal.so below the prefix, got none"
        f" ({tmp_path})"
    )


@pytest.mark.parametrize("missing", ["sgx/loader", "libsysdb.so", "runtime/glibc/libc.so.6"])
def test_an_installation_that_lacks_a_part_is_refused(prefix: Path, missing: str) -> None:
    (prefix / "lib/x86_64-linux-gnu/gramine" / missing).unlink()

    with pytest.raises(ToolchainError) as refused:
        GramineInstallation.at(prefix)
    assert refused.value.expected == f"lib/x86_64-linux-gnu/gramine/{missing}"


def test_a_version_that_cannot_be_told_is_refused(prefix: Path) -> None:
    (prefix / "bin/gramine-sgx").write_text("#!/bin/sh\n")

    with pytest.raises(ToolchainError) as refused:
        GramineInstallation.at(prefix)
    assert str(refused.value) == (
        f'version of Gramine: expected a line echo "Gramine …", got none ({prefix}/bin/gramine-sgx)'
    )
