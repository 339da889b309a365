"""Which files our loader and the real one take, on ELF files made by a compiler for each rule of ld.so(8)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from random import Random

import pytest
from tests.support.elf_writer import ElfFile, write_elf

from casemate.adapters.host_loader import HostFiles, host_search_rules
from casemate.adapters.host_python import describe_interpreter
from casemate.builder.native.loader import Loader, SearchRules
from casemate.errors import ClosureError

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to make ELF files")
_LINE = re.compile(r"^\s*(\S+)(?: => (\S+))? \(0x[0-9a-f]+\)$", re.MULTILINE)
_NEW, _OLD = "-Wl,--enable-new-dtags", "-Wl,--disable-new-dtags"


@dataclass(frozen=True)
class Workshop:
    """Makes libraries and programs below a folder, and asks both loaders."""

    root: Path

    def library(self, path: str, *flags: str, needs: tuple[str, ...] = (), soname: str | None = None) -> Path:
        """A shared library that needs the libraries at the paths ``needs``."""
        name = soname or Path(path).name
        return self._link(path, "-shared", f"-Wl,-soname,{name}", *flags, needs=needs)

    def program(self, path: str, *flags: str, needs: tuple[str, ...] = ()) -> Path:
        """A program that needs the libraries at the paths ``needs``."""
        return self._link(path, "-nostartfiles", "-Wl,-e,0", *flags, needs=needs)

    def _link(self, path: str, *flags: str, needs: tuple[str, ...]) -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        source = self.root / "empty.c"
        source.write_text("")
        inputs = [str(self.root / need) for need in needs]
        command = ["gcc", "-nostdlib", "-o", str(target), str(source), "-Wl,--no-as-needed", *flags, *inputs]
        subprocess.run([*command, "-Wl,--allow-shlib-undefined"], check=True, cwd=self.root)
        return target

    def real(self, program: Path, library_path: tuple[Path, ...] = ()) -> dict[str, str] | str:
        """Name -> file by the real loader, or its complaint."""
        loader = "/lib64/ld-linux-x86-64.so.2"
        environment = {"LD_LIBRARY_PATH": ":".join(map(str, library_path))} if library_path else {}
        done = subprocess.run(
            [loader, "--list", str(program)], capture_output=True, text=True, check=False, env=environment
        )
        if done.returncode != 0:
            return done.stderr
        found = {name: os.path.realpath(path or name) for name, path in _LINE.findall(done.stdout)}
        return _without_the_loader(found)

    def ours(self, program: Path, library_path: tuple[Path, ...] = ()) -> dict[str, str]:
        """Name -> file by ours."""
        rules = replace(_rules_of_this_machine(), library_path=tuple(map(str, library_path)))
        loader = Loader(HostFiles(), rules, str(program))
        return _without_the_loader({edge.name: edge.target.identity for edge in loader.start})


@cache
def _rules_of_this_machine() -> SearchRules:
    return host_search_rules(describe_interpreter(Path(sys.executable)).executable, ())


def _without_the_loader(files: dict[str, str]) -> dict[str, str]:
    """``--list`` shows it by its path, in a process that it runs itself."""
    return {name: path for name, path in files.items() if "ld-linux" not in name and "vdso" not in name}


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def _rpath(*folders: str | Path, tags: str = _OLD) -> tuple[str, ...]:
    return (tags, "-Wl,-rpath," + ":".join(map(str, folders)))


def _inherited_rpath(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("x/libb.so")
    shop.library("a/liba.so", needs=("x/libb.so",))
    return shop.program("p", *_rpath(shop.root / "a", shop.root / "x"), needs=("a/liba.so",)), ()


def _rpath_before_library_path(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("a/liba.so")
    shop.library("z/liba.so")
    return shop.program("p", *_rpath(shop.root / "a"), needs=("a/liba.so",)), (shop.root / "z",)


def _library_path_before_runpath(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("a/liba.so")
    shop.library("z/liba.so")
    return shop.program("p", *_rpath(shop.root / "a", tags=_NEW), needs=("a/liba.so",)), (shop.root / "z",)


def _runpath_in_the_middle_hides_rpath_of_the_program(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("y/libb.so")
    shop.library("x/libb.so")
    shop.library("a/liba.so", *_rpath(shop.root / "y", tags=_NEW), needs=("y/libb.so",))
    return shop.program("p", *_rpath(shop.root / "a", shop.root / "x"), needs=("a/liba.so",)), ()


def _rpath_reaches_over_a_runpath_between(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("c/libc1.so")
    shop.library("b/libb.so", needs=("c/libc1.so",))
    shop.library("a/liba.so", *_rpath(shop.root / "b", tags=_NEW), needs=("b/libb.so",))
    return shop.program("p", *_rpath(shop.root / "a", shop.root / "c"), needs=("a/liba.so",)), ()


def _loaded_soname_wins(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("one/libz1.so")
    shop.library("two/libz1.so")
    shop.library("a/liba.so", *_rpath(shop.root / "two"), needs=("two/libz1.so",))
    program = shop.program(
        "p", *_rpath(shop.root / "one", shop.root / "a"), needs=("one/libz1.so", "a/liba.so")
    )
    return program, ()


def _loaded_soname_of_another_name_wins(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    """``libnick.so`` is loaded by its file name, and says that it is ``libreal.so``."""
    shop.library("one/libnick.so", soname="libnick.so")
    shop.library("two/libreal.so")
    shop.library("a/liba.so", *_rpath(shop.root / "two"), needs=("two/libreal.so",))
    program = shop.program(
        "p", *_rpath(shop.root / "one", shop.root / "a"), needs=("one/libnick.so", "a/liba.so")
    )
    shop.library("one/libnick.so", soname="libreal.so")
    return program, ()


def _breadth_first(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("deep/libs.so")
    shop.library("wide/libs.so")
    shop.library("a/libc2.so", *_rpath(shop.root / "deep"), needs=("deep/libs.so",))
    shop.library("a/liba.so", *_rpath(shop.root / "a"), needs=("a/libc2.so",))
    shop.library("a/libb.so", *_rpath(shop.root / "wide"), needs=("wide/libs.so",))
    return shop.program("p", *_rpath(shop.root / "a"), needs=("a/liba.so", "a/libb.so")), ()


def _origin(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("lib/inner/libb.so")
    shop.library("lib/liba.so", *_rpath("${ORIGIN}/inner", tags=_NEW), needs=("lib/inner/libb.so",))
    return shop.program("bin/p", *_rpath("$ORIGIN/../lib", tags=_NEW), needs=("lib/liba.so",)), ()


def _lib_and_platform(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    lib = "lib/x86_64-linux-gnu" if Path("/lib/x86_64-linux-gnu").is_dir() else "lib64"
    shop.library(f"{lib}/liba.so")
    shop.library("x86_64/libb.so")
    folders = (f"{shop.root}/$LIB", f"{shop.root}/${{PLATFORM}}", f"{shop.root}/$LIBRARY")
    return shop.program("p", *_rpath(*folders), needs=(f"{lib}/liba.so", "x86_64/libb.so")), ()


def _other_machine_is_passed_over(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("b/liba.so")
    program = shop.program("p", *_rpath(shop.root / "a", shop.root / "b"), needs=("b/liba.so",))
    (shop.root / "a").mkdir()
    (shop.root / "a" / "liba.so").write_bytes(write_elf(ElfFile(bits=32, machine=3)))
    return program, ()


def _other_machine_of_64_bits_is_passed_over(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("b/liba.so")
    program = shop.program("p", *_rpath(shop.root / "a", shop.root / "b"), needs=("b/liba.so",))
    (shop.root / "a").mkdir()
    (shop.root / "a" / "liba.so").write_bytes(write_elf(ElfFile(machine=183, soname="liba.so")))
    return program, ()


def _cache_and_default_folders(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    return shop.program("p", "-lm", "-lgcc_s", "-lc", "-Wl,--no-as-needed"), ()


def _name_with_a_slash(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("a/liba.so", soname=str(shop.root / "a/liba.so"))
    return shop.program("p", needs=("a/liba.so",)), ()


def _rpath_reaches_over_two_libraries(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("x/libd3.so")
    shop.library("x/libc3.so", needs=("x/libd3.so",))
    shop.library("x/libb3.so", needs=("x/libc3.so",))
    shop.library("a/liba3.so", *_rpath("$ORIGIN/../x"), needs=("x/libb3.so",))
    return shop.program("p", *_rpath(shop.root / "a"), needs=("a/liba3.so",)), ()


def _soname_that_is_a_link(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("a/libz9.so.1.2.13", soname="libz9.so.1")
    (shop.root / "a/libz9.so.1").symlink_to("libz9.so.1.2.13")
    (shop.root / "a/libz9.so").symlink_to("libz9.so.1")
    return shop.program("p", *_rpath(shop.root / "a"), needs=("a/libz9.so",)), ()


def _origin_is_the_folder_of_the_link_and_not_of_its_target(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("links/libb.so")
    shop.library("store/libb.so")
    shop.library("store/liba.so.1", *_rpath("$ORIGIN"), needs=("store/libb.so",), soname="liba.so")
    (shop.root / "links/liba.so").symlink_to("../store/liba.so.1")
    return shop.program("p", *_rpath(shop.root / "links"), needs=("store/liba.so.1",)), ()


def _elements_that_are_empty_or_not_there(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("a/liba.so")
    folders = (shop.root / "nowhere", shop.root / "a/", f"{shop.root}/./a/../a")
    return shop.program("p", *_rpath(*folders), needs=("a/liba.so",)), (shop.root / "gone",)


def _no_default_libraries_of_a_library_that_has_a_path(shop: Workshop) -> tuple[Path, tuple[Path, ...]]:
    shop.library("x/libb.so")
    shop.library("a/liba.so", "-Wl,-z,nodefaultlib", *_rpath("$ORIGIN/../x", tags=_NEW), needs=("x/libb.so",))
    return shop.program("p", *_rpath(shop.root / "a"), needs=("a/liba.so",)), ()


_CASES: tuple[Callable[[Workshop], tuple[Path, tuple[Path, ...]]], ...] = (
    _inherited_rpath,
    _rpath_before_library_path,
    _library_path_before_runpath,
    _runpath_in_the_middle_hides_rpath_of_the_program,
    _rpath_reaches_over_a_runpath_between,
    _loaded_soname_wins,
    _loaded_soname_of_another_name_wins,
    _breadth_first,
    _origin,
    _lib_and_platform,
    _other_machine_is_passed_over,
    _other_machine_of_64_bits_is_passed_over,
    _cache_and_default_folders,
    _name_with_a_slash,
    _rpath_reaches_over_two_libraries,
    _soname_that_is_a_link,
    _origin_is_the_folder_of_the_link_and_not_of_its_target,
    _elements_that_are_empty_or_not_there,
    _no_default_libraries_of_a_library_that_has_a_path,
)


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.__name__.strip("_").replace("_", " "))
def test_the_real_loader_takes_the_same_files(
    workshop: Workshop, case: Callable[[Workshop], tuple[Path, tuple[Path, ...]]]
) -> None:
    program, library_path = case(workshop)

    real = workshop.real(program, library_path)

    assert isinstance(real, dict), real
    assert real
    ours = workshop.ours(program, library_path)
    assert {name: ours[name] for name in real} == real
    assert set(ours.values()) == set(real.values())  # it shows each file once, under its first name


_FOLDERS = ("one", "two", "three")
_NAMES = ("libr0.so", "libr1.so", "libr2.so", "libr3.so")


def _any_path(random: Random) -> tuple[str, ...]:
    """DT_RPATH, DT_RUNPATH or none, with folders in any order."""
    forms = ("$ORIGIN/../{}", "${{ORIGIN}}/../{}", "{root}/{}")
    folders = random.sample(_FOLDERS, random.randint(0, 3))
    if not folders:
        return ()
    return random.choice((_OLD, _NEW)), *(random.choice(forms).format(it, root="{root}") for it in folders)


def _any_process(shop: Workshop, seed: int) -> tuple[Path, tuple[Path, ...]]:
    """Libraries that lie in several folders, need each other, and look for each other in any way."""
    random = Random(seed)  # noqa: S311 - shapes for a test
    flags = {
        (folder, name): _any_path(random)
        for name in _NAMES
        for folder in random.sample(_FOLDERS, random.randint(1, 3))
    }
    needs: dict[str, tuple[str, ...]] = {}
    for number, name in enumerate(_NAMES):
        needs[name] = tuple(random.sample(_NAMES[:number], random.randint(0, number)))
    first = {name: f"{folder}/{name}" for folder, name in reversed(flags)}

    def rpath(path: tuple[str, ...]) -> tuple[str, ...]:
        return (
            _rpath(*(it.replace("{root}", str(shop.root)) for it in path[1:]), tags=path[0]) if path else ()
        )

    for (folder, name), path in flags.items():
        shop.library(f"{folder}/{name}", *rpath(path), needs=tuple(first[it] for it in needs[name]))
    own = (random.choice((_OLD, _NEW)), *(f"{{root}}/{it}" for it in random.sample(_FOLDERS, 2)))
    wanted = random.sample(_NAMES, 2)
    program = shop.program("bin/p", *rpath(own), needs=tuple(first[name] for name in wanted))
    return program, tuple(shop.root / it for it in random.sample(_FOLDERS, random.randint(0, 2)))


@pytest.mark.parametrize("seed", range(24))
def test_the_real_loader_agrees_on_processes_of_any_shape(workshop: Workshop, seed: int) -> None:
    program, library_path = _any_process(workshop, seed)

    real = workshop.real(program, library_path)

    if isinstance(real, str):
        with pytest.raises(ClosureError):
            workshop.ours(program, library_path)
    else:
        ours = workshop.ours(program, library_path)
        assert {name: ours[name] for name in real} == real


def _runpath_is_not_inherited(shop: Workshop) -> Path:
    shop.library("x/libb.so")
    shop.library("a/liba.so", needs=("x/libb.so",))
    return shop.program("p", *_rpath(shop.root / "a", shop.root / "x", tags=_NEW), needs=("a/liba.so",))


def _no_default_libraries(shop: Workshop) -> Path:
    return shop.program("p", "-Wl,-z,nodefaultlib", "-lm", "-Wl,--no-as-needed")


def _not_an_elf_file(shop: Workshop) -> Path:
    shop.library("b/liba.so")
    program = shop.program("p", *_rpath(shop.root / "a", shop.root / "b"), needs=("b/liba.so",))
    (shop.root / "a").mkdir()
    (shop.root / "a" / "liba.so").write_bytes(b"/* GNU ld script */\n" * 10)
    return program


@pytest.mark.parametrize(
    "case",
    [_runpath_is_not_inherited, _no_default_libraries, _not_an_elf_file],
    ids=lambda case: case.__name__.strip("_").replace("_", " "),
)
def test_the_real_loader_stops_where_ours_does(workshop: Workshop, case: Callable[[Workshop], Path]) -> None:
    program = case(workshop)

    assert isinstance(workshop.real(program), str)
    with pytest.raises(ClosureError):
        workshop.ours(program)


def test_libraries_for_one_processor_are_deliberately_not_taken(workshop: Workshop) -> None:
    """The real loader prefers ``glibc-hwcaps``; what it finds there depends on the build host's processor."""
    workshop.library("a/liba.so")
    workshop.library("a/glibc-hwcaps/x86-64-v2/liba.so")
    program = workshop.program("p", *_rpath(workshop.root / "a"), needs=("a/liba.so",))

    real = workshop.real(program)

    assert isinstance(real, dict)
    assert workshop.ours(program)["liba.so"] == str(workshop.root / "a/liba.so")
    if real["liba.so"] == str(workshop.root / "a/liba.so"):
        pytest.skip(
            "the loader of this machine has no glibc-hwcaps, or its processor is older than x86-64-v2"
        )
    assert real["liba.so"] == str(workshop.root / "a/glibc-hwcaps/x86-64-v2/liba.so")


def test_dlopen_searches_as_ours_does(workshop: Workshop, tmp_path: Path) -> None:
    """What is opened by path has the RPATH of the executable, not of the library that opened it."""
    workshop.library("of-program/libb.so")
    workshop.library("of-caller/libb.so")
    workshop.library("of-caller/libd.so")
    plugin = workshop.library("plugins/plugin.so", needs=("of-program/libb.so",))
    (tmp_path / "caller.c").write_text(
        "#include <dlfcn.h>\n#include <stdio.h>\n"
        "void *call(const char *p) { void *h = dlopen(p, RTLD_NOW); if (!h) puts(dlerror()); return h; }\n"
    )
    (tmp_path / "main.c").write_text(
        "#include <stdio.h>\nvoid *call(const char *);\n"
        'int main(int c, char **v) { call(v[1]); FILE *m = fopen("/proc/self/maps", "r");'
        " char line[4096]; while (fgets(line, sizeof line, m)) fputs(line, stdout); return 0; }\n"
    )
    caller = tmp_path / "libcaller.so"
    of_caller = _rpath(tmp_path / "of-caller")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", caller, tmp_path / "caller.c", *of_caller, "-ldl"], check=True
    )
    program = tmp_path / "main"
    flags = _rpath(tmp_path, tmp_path / "of-program")
    subprocess.run(["gcc", "-o", program, tmp_path / "main.c", *flags, caller], check=True)

    maps = subprocess.run([program, plugin], capture_output=True, text=True, check=True, env={}).stdout

    loader = Loader(HostFiles(), _rules_of_this_machine(), str(program))
    _, edges = loader.open(str(plugin))
    (taken,) = [edge.target.path for edge in edges if edge.name == "libb.so"]
    assert taken == str(tmp_path / "of-program/libb.so")
    assert taken in maps
    assert str(tmp_path / "of-caller/libb.so") not in maps
