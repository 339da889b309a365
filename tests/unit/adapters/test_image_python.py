"""The interpreter and the loader of an image, as they answer: rightly, wrongly, not at all."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.elf_writer import ElfFile, write_elf

from casemate.adapters.image_loader import image_search_rules
from casemate.adapters.image_python import ImagePython
from casemate.builder.closure import ModuleSource
from casemate.builder.foreign import ImageRoot
from casemate.errors import CasemateError, ToolchainError

FACTS = {
    "implementation": "cpython",
    "version": "3.11",
    "release": "3.11.2",
    "system": "Linux x86_64",
    "libc": "glibc 2.36",
    "free_threaded": False,
    "virtual": True,
    "base_executable": "/usr/bin/python3.11",
    "running": "/usr/bin/python3.11",
    "prefix": "/usr",
    "stdlib": "/usr/lib/python3.11",
    "dynload": "/usr/lib/python3.11/lib-dynload",
    "suffixes": [".so"],
    "libpython": None,
    "builtin": ["sys"],
    "frozen": ["os"],
    "frozen_is_used": True,
    "loaded": {"abc": "/usr/lib/python3.11/abc.py", "evil": "/srv/evil.py"},
    "build_time_module": "_sysconfigdata__linux_x86_64-linux-gnu",
    "site_packages": ["/usr/lib/python3.11/site-packages"],
}


class Answers:
    """Stands for confined programs: gives prepared answers, and remembers what was asked."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[list[str], dict[str, str], bytes]] = []

    def __call__(self, argv: Sequence[str], env: Mapping[str, str], request: bytes = b"", /) -> bytes:
        self.asked.append((list(argv), dict(env), request))
        return self.answers.pop(0)


@pytest.fixture
def root(tmp_path: Path) -> ImageRoot:
    folder = tmp_path / "root"
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "usr/bin/python3.11").write_bytes(write_elf(ElfFile(interpreter="/lib64/ld-linux-x86-64.so.2")))
    (folder / "usr/bin/python3.11").chmod(0o755)
    return ImageRoot(folder=folder)


def python(root: ImageRoot, *answers: Any) -> tuple[ImagePython, Answers]:
    run = Answers(*(it if isinstance(it, bytes) else json.dumps(it).encode() for it in answers))
    return ImagePython(root, run, "/usr/bin/python3.11"), run


def test_an_interpreter_is_asked_twice_when_it_is_a_virtual_environments(root: ImageRoot) -> None:
    once, asked = python(root, FACTS)
    once.describe()
    assert len(asked.asked) == 1
    (root.folder / "usr/pyvenv.cfg").write_text("home = /usr/bin\n")
    image, run = python(root, FACTS, FACTS)
    interpreter, glibc = image.describe()
    assert glibc == (2, 36)
    assert interpreter.executable == root.folder / "usr/bin/python3.11"
    assert interpreter.stdlib == root.folder / "usr/lib/python3.11"
    assert interpreter.start_up == ("abc", "encodings.aliases", "encodings.utf_8", "site")
    assert interpreter.finds_site_packages
    assert [asked[0][:3] for asked in run.asked] == [["/usr/bin/python3.11", "-I", "-S"]] * 2
    assert {name for asked in run.asked for name in asked[1]} == {"PATH", "LC_ALL", "PYTHONHASHSEED"}


def test_paths_of_modules_come_from_the_images_environment(root: ImageRoot) -> None:
    image, run = python(root, {"path": ["/srv/lib", "relative"], "finders": ["x.Finder"]})
    found = image.search_path({"PYTHONPATH": "/srv/lib", "DB_PASSWORD": "x"})
    assert (found.folders, found.finders) == (("/srv/lib",), ("x.Finder",))
    assert run.asked[0][1] == {"LC_ALL": "C.UTF-8", "PYTHONPATH": "/srv/lib"}


def test_sources_of_this_machine_are_copied_to_where_the_image_sees_them(
    root: ImageRoot, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("x = 1")
    (root.folder / "its.py").write_text("y = 1")
    pyc = struct.pack(">Q", 3) + b"abc" + struct.pack(">Q", (1 << 64) - 1)
    image, run = python(root, pyc)
    sources = [
        ModuleSource(host=tmp_path / "mine.py", path="/app/mine.py"),
        ModuleSource(host=root.folder / "its.py", path="/app/its.py"),
    ]
    assert image.compile(sources) == (b"abc", None)
    (copy, mine), (its, _) = json.loads(run.asked[0][2])
    assert copy.startswith("/.casemate-")
    assert (mine, its) == ("/app/mine.py", "/its.py")
    assert sorted(path.name for path in root.folder.iterdir()) == ["its.py", "usr"]


STRANGE = "Python interpreter: expected a program that starts and describes itself, got another "


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            b"no JSON",
            f"{STRANGE}program",
        ),
        ([], f"{STRANGE}answer"),
        ({}, f"{STRANGE}answer"),
        (FACTS | {"version": "3.9"}, "Python interpreter: expected Python 3.11 or newer, got 3.9"),
        (FACTS | {"libc": ""}, "Python interpreter: expected glibc, got another C library"),
        (
            FACTS | {"suffixes": 3},
            f"{STRANGE}answer",
        ),
        (b" " * (5 << 20), f"{STRANGE[: -len('another ')]}5242880 bytes"),
        (FACTS | {"stdlib": "../none/../../../../../../usr/lib"}, f"{STRANGE}answer"),
        (FACTS | {"suffixes": ["/../../../etc/shadow"]}, f"{STRANGE}answer"),
        (FACTS | {"frozen": ["/home/user/keys"]}, f"{STRANGE}answer"),
        (FACTS | {"loaded": {"/home/user/keys": None}}, f"{STRANGE}answer"),
        (FACTS | {"build_time_module": "a/../../b"}, f"{STRANGE}answer"),
    ],
)
def test_an_interpreter_that_answers_otherwise_is_refused(root: ImageRoot, answer: Any, message: str) -> None:
    image, _ = python(root, answer, answer)
    with pytest.raises(ToolchainError) as caught:
        image.describe()
    assert str(caught.value) == f"{message} (/usr/bin/python3.11 in the image)"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(
        st.sampled_from(sorted(FACTS)),
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=9)
        | st.lists(st.text(max_size=3), max_size=2),
    )
)
def test_whatever_an_interpreter_says_is_understood_or_refused_in_our_words(
    root: ImageRoot, changes: dict[str, Any]
) -> None:
    image, _ = python(root, FACTS | changes, FACTS | changes)
    with suppress(CasemateError):
        image.describe()


def test_bytecode_that_is_cut_off_is_refused(root: ImageRoot) -> None:
    image, _ = python(root, struct.pack(">Q", 3) + b"ab")
    with pytest.raises(ToolchainError) as caught:
        image.compile([ModuleSource(host=root.folder / "usr/bin/python3.11", path="/app/x.py")])
    assert str(caught.value) == (
        "compiling: expected bytecode of every module, got another answer (/usr/bin/python3.11 in the image)"
    )


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            write_elf(ElfFile(interpreter="/lib/ld-musl-x86_64.so.1")),
            "C library of the image: expected glibc, got musl (/lib/ld-musl-x86_64.so.1)",
        ),
        (
            write_elf(ElfFile(machine=183)),
            "Python interpreter: expected a program for x86-64, got one for another processor",
        ),
        (b"#!/bin/sh\n", "Python interpreter: expected a program for x86-64, got a script"),
    ],
    ids=["musl", "another processor", "a script"],
)
def test_a_program_that_cannot_be_the_interpreter_is_not_run(
    root: ImageRoot, program: bytes, message: str
) -> None:
    (root.folder / "usr/bin/python3.11").write_bytes(program)
    with pytest.raises(ToolchainError) as caught:
        python(root)
    assert str(caught.value) == f"{message} (/usr/bin/python3.11 in the image)"


DIAGNOSTICS = b'path.system_dirs[0x0]="/usr/lib/"\ndl_dst_lib="lib"\n'


def test_a_loader_without_a_cache_has_its_folders_alone(root: ImageRoot) -> None:
    run = Answers(DIAGNOSTICS)
    rules = image_search_rules(root, run, "/usr/bin/python3.11", {"LD_LIBRARY_PATH": "/opt/lib:relative"})
    assert run.asked[0][0] == ["/lib64/ld-linux-x86-64.so.2", "--list-diagnostics"]
    assert (rules.default_folders, rules.library_path, dict(rules.cache)) == (
        ("/usr/lib",),
        ("/opt/lib",),
        {},
    )


def test_a_loader_that_is_too_old_and_a_broken_cache_are_refused(root: ImageRoot) -> None:
    with pytest.raises(ToolchainError) as caught:
        image_search_rules(root, Answers(b"ld.so: unknown option"), "/usr/bin/python3.11", {})
    assert str(caught.value) == (
        "dynamic loader: expected path.system_dirs and dl_dst_lib among its diagnostics, got others "
        "(/lib64/ld-linux-x86-64.so.2 in the image)"
    )
    (root.folder / "etc").mkdir()
    (root.folder / "etc/ld.so.cache").write_bytes(b"broken")
    with pytest.raises(ToolchainError) as caught:
        image_search_rules(root, Answers(DIAGNOSTICS), "/usr/bin/python3.11", {})
    assert str(caught.value).startswith("loader cache: got loader cache: expected glibc-ld.so.cache1.1")
