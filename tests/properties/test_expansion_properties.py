"""Expanding any tree of files, in a chroot or not, beside a second, plain way to do it."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from casemate.builder.trusted.trusted_files import expand_manifest

NAMES = st.sampled_from(("a", "b", ".c", "d e", "B", "ü"))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
TARGETS = st.lists(NAMES | st.just(".."), min_size=1, max_size=4)
CONTENT = st.binary(max_size=40)
LIBOS = {"entrypoint": {"uri": "file:/libos", "sha256": "00" * 32}}


@st.composite
def trees(draw: st.DrawFn) -> dict[tuple[str, ...], bytes | str]:
    """Path -> content of a file or target of a link, absolute ones too; no path goes through another."""
    tree: dict[tuple[str, ...], bytes | str] = {}
    links = st.builds(lambda root, parts: root + "/".join(parts), st.sampled_from(("", "/")), TARGETS)
    for path, what in draw(st.dictionaries(PATHS, CONTENT | links, max_size=10)).items():
        if not any(path[:size] in tree for size in range(1, len(path) + 1)) and not any(
            other[: len(path)] == path for other in tree
        ):
            tree[path] = what
    return tree


def write(tree: dict[tuple[str, ...], bytes | str], root: Path) -> None:
    for path, what in tree.items():
        place = root.joinpath(*path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(what, bytes):
            place.write_bytes(what)
        else:
            place.symlink_to(what)


class Plain:
    """A tree in memory; links are followed one by one, with a set of those that are being followed."""

    def __init__(self, tree: dict[tuple[str, ...], bytes | str]) -> None:
        self.tree = tree
        self.folders = {path[:size] for path in tree for size in range(len(path))} | {()}

    def follow(self, parts: tuple[str, ...], seen: int = 0) -> tuple[str, ...] | None:
        """Where ``parts`` lead; ``None`` when they lead nowhere."""
        at: tuple[str, ...] = ()
        for number, part in enumerate(parts):
            if at not in self.folders:
                return None
            at = at[:-1] if part == ".." else (*at, part)
            what = self.tree.get(at)
            if isinstance(what, str):
                if seen > 30:
                    return None
                start = () if what.startswith("/") else at[:-1]
                rest = tuple(step for step in what.split("/") if step)
                return self.follow((*start, *rest, *parts[number + 1 :]), seen + 1)
        return at

    def listed(self, folder: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        """URI and digest of every file below ``folder``."""
        names = {path[len(folder)] for path in self.tree if path[: len(folder)] == folder != path}
        for name in sorted(names):
            path = (*folder, name)
            if path in self.folders:
                yield from self.listed(path)
                continue
            place = self.follow(path)
            content = self.tree.get(place) if place else None
            if isinstance(content, bytes):
                yield "file:/" + "/".join(path), hashlib.sha256(content).hexdigest()


def expanded(*uris: str, chroot: str | None = None) -> list[tuple[str, str]]:
    manifest = {"loader": LIBOS, "sgx": {"trusted_files": list(uris)}}
    entries = expand_manifest(manifest, libos=None, chroot=chroot).manifest["sgx"]["trusted_files"]
    return [(entry["uri"], entry["sha256"]) for entry in entries]


@settings(max_examples=150, deadline=None)
@given(trees())
def test_a_chroot_is_expanded_as_it_will_be_seen_from_inside(
    tree: dict[tuple[str, ...], bytes | str],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(tree, Path(folder))
        assert expanded("file:/", chroot=folder) == list(Plain(tree).listed(()))


@settings(max_examples=100, deadline=None)
@given(trees())
def test_a_folder_is_expanded_as_the_operating_system_sees_it(
    tree: dict[tuple[str, ...], bytes | str],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write(tree, Path(folder))
        found = [
            Path(place, name)
            for place, _, names in os.walk(folder)
            for name in names
            if Path(place, name).is_file()
        ]
        expected = [
            (f"file:{path}", hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(found, key=lambda path: path.parts)
        ]
        assert expanded(f"file:{folder}/") == expected
