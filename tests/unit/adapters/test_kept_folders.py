"""Folders that builds keep for each other."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from casemate.adapters.kept_folders import KeptFolders


class Installer:
    """Installs two files, and counts how often."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self, into: Path) -> None:
        self.runs += 1
        (into / "package").mkdir(parents=True)
        (into / "package/__init__.py").write_text("first = 1\n")
        (into / "package/data.txt").write_text("data\n")


def texts(kept: KeptFolders, key: str, install: Installer) -> list[str]:
    with kept.folder(key, install) as environment:
        return [path.read_text() for path in sorted((environment / "package").iterdir())]


def test_an_environment_is_installed_once(tmp_path: Path) -> None:
    install = Installer()
    for _ in range(3):
        assert texts(KeptFolders(tmp_path, "environments-1"), "key", install) == ["first = 1\n", "data\n"]
    assert install.runs == 1


def test_another_key_is_another_environment(tmp_path: Path) -> None:
    install = Installer()
    kept = KeptFolders(tmp_path, "environments-1")
    texts(kept, "one", install)
    texts(kept, "two", install)
    assert install.runs == 2


def changed(file: Path) -> None:
    file.write_text("other = 1\n")


def replaced(file: Path) -> None:
    status = file.stat()
    shutil.copy(file, file.with_name("copy"))
    file.with_name("copy").rename(file)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def removed(file: Path) -> None:
    file.unlink()


def joined(file: Path) -> None:
    (file.parent / "__pycache__").mkdir()


def linked(file: Path) -> None:
    file.unlink()
    file.symlink_to("data.txt")


@pytest.mark.parametrize("change", [changed, replaced, removed, joined, linked])
def test_what_was_changed_is_installed_anew(tmp_path: Path, change: Callable[[Path], None]) -> None:
    install = Installer()
    kept = KeptFolders(tmp_path, "environments-1")
    texts(kept, "key", install)
    change(tmp_path / "environments-1/key/tree/package/__init__.py")
    assert texts(kept, "key", install) == ["first = 1\n", "data\n"]
    assert install.runs == 2
    texts(kept, "key", install)
    assert install.runs == 2


def test_what_was_changed_while_another_build_uses_it_is_installed_for_one_use(tmp_path: Path) -> None:
    install = Installer()
    with KeptFolders(tmp_path, "environments-1").folder("key", install) as environment:
        changed(environment / "package/__init__.py")
        assert texts(KeptFolders(tmp_path, "environments-1"), "key", install) == ["first = 1\n", "data\n"]
        assert (environment / "package/__init__.py").read_text() == "other = 1\n"
    assert install.runs == 2


def test_what_could_not_be_installed_is_not_kept(tmp_path: Path) -> None:
    def fail(into: Path) -> None:
        into.mkdir()
        raise ValueError

    install = Installer()
    with pytest.raises(ValueError), KeptFolders(tmp_path, "environments-1").folder("key", fail):  # noqa: PT011
        pass
    assert sorted(path.name for path in (tmp_path / "environments-1").iterdir()) == ["lock"]
    texts(KeptFolders(tmp_path, "environments-1"), "key", install)
    assert install.runs == 1


def test_those_that_were_used_last_are_kept(tmp_path: Path) -> None:
    install = Installer()
    kept = KeptFolders(tmp_path, "environments-1", limit=2)
    for time, key in enumerate(("one", "two", "one", "three")):
        texts(kept, key, install)
        os.utime(tmp_path / "environments-1" / key, (time, time))
    texts(kept, "four", install)
    found = sorted(path.name for path in (tmp_path / "environments-1").iterdir())
    assert found == ["four", "lock", "three"]


def test_only_so_many_bytes_are_kept_and_the_last_folder_always(tmp_path: Path) -> None:
    install = Installer()
    for time, key in enumerate(("one", "two")):
        texts(KeptFolders(tmp_path, "environments-1"), key, install)
        os.utime(tmp_path / "environments-1" / key, (time, time))
    size = len("first = 1\ndata\n")
    texts(KeptFolders(tmp_path, "environments-1", room=2 * size), "three", install)
    assert sorted(path.name for path in (tmp_path / "environments-1").iterdir()) == ["lock", "three", "two"]
    texts(KeptFolders(tmp_path, "environments-1", room=size - 1), "four", install)
    assert sorted(path.name for path in (tmp_path / "environments-1").iterdir()) == ["four", "lock"]


def test_builds_at_the_same_time_get_the_same(tmp_path: Path) -> None:
    found: list[list[str]] = []

    def build() -> None:
        found.append(texts(KeptFolders(tmp_path, "environments-1"), "key", Installer()))

    threads = [threading.Thread(target=build) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [["first = 1\n", "data\n"]] * 8


def test_a_folder_that_others_can_look_into_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / "environments-1"
    folder.mkdir(mode=0o755)
    kept, install = KeptFolders(tmp_path, "environments-1"), Installer()
    assert texts(kept, "key", install) == ["first = 1\n", "data\n"]
    assert kept.warning == f"{folder} is not used: others can look into it, or change it"
    assert list(folder.iterdir()) == []
