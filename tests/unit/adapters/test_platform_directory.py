"""A simulated platform in a folder: whole or not at all, and for its owner only."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from casemate.adapters.platform_directory import load_platform, open_platform, save_platform
from casemate.errors import FormatError, ToolchainError, UsageError
from casemate.simulator.platform import SimulatedPlatform

PLATFORM = SimulatedPlatform.create(datetime(2026, 11, 20, tzinfo=UTC))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save_platform(PLATFORM, tmp_path / "platform")
    assert load_platform(tmp_path / "platform").to_files() == PLATFORM.to_files()


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "platform"
    save_platform(PLATFORM, folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "platform"
    folder.mkdir()
    with pytest.raises(UsageError) as refusal:
        save_platform(PLATFORM, folder)
    assert str(refusal.value) == (
        "folder of the simulated platform: expected a folder that does not exist yet, got one that does"
        f" ({folder})"
    )
    assert refusal.value.hint == (
        "Remove it, or name another one. What was sealed on its platform opens on no other."
    )
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ToolchainError) as refusal:
        save_platform(PLATFORM, tmp_path / "file" / "platform")
    assert str(refusal.value).startswith("simulated platform: expected a folder to write, got ")


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path) -> None:
    class Unwritable(SimulatedPlatform):
        def to_files(self) -> dict[str, bytes]:
            return {"first": b"", "no/such/folder": b""}

    unwritable = Unwritable(
        authorities=PLATFORM.authorities,
        sgx_extension=PLATFORM.sgx_extension,
        quoting_enclave=PLATFORM.quoting_enclave,
        secret=PLATFORM.secret,
        collateral=PLATFORM.collateral,
    )
    with pytest.raises(ToolchainError):
        save_platform(unwritable, tmp_path / "platform")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError) as refusal:
        load_platform(tmp_path / "none")
    assert str(refusal.value) == (
        "simulated platform: expected a folder that was made for one, got No such file or directory"
        f" ({tmp_path / 'none'})"
    )


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError) as refusal:
        load_platform(tmp_path)
    assert (str(refusal.value), refusal.value.hint) == (
        f"simulated platform: expected a folder that was made for one, got one without files ({tmp_path})",
        "name a folder that does not exist yet, and one is made there",
    )


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(FormatError) as refusal:
        load_platform(tmp_path)
    assert str(refusal.value) == "simulated platform: expected the file root.pem, got none"


def test_a_platform_is_made_once_and_then_stays(tmp_path: Path) -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    made = open_platform(tmp_path / "build" / "platform", now)
    assert open_platform(tmp_path / "build" / "platform", now).to_files() == made.to_files()
    assert open_platform(tmp_path / "other", now).root_certificate != made.root_certificate
