"""The rules of ld.so(8), each on files in memory."""

from __future__ import annotations

import pytest
from tests.support.elf_writer import ElfFile, write_elf
from tests.support.image_files import INTERPRETER, MemoryFiles, library, program, rules

from casemate.builder.native.loader import FoundBy, Loader, SearchRules
from casemate.errors import ClosureError

_LD = library(soname="ld-linux-x86-64.so.2")


def _start(
    files: dict[str, bytes | str], search: SearchRules | None = None
) -> dict[str, tuple[str, FoundBy]]:
    loader = Loader(MemoryFiles({INTERPRETER: _LD, **files}), search or rules(), "/bin/p")
    return {edge.name: (edge.target.path, edge.target.found_by) for edge in loader.start}


def test_rpath_of_the_program_serves_its_libraries_too() -> None:
    found = _start(
        {
            "/bin/p": program(needed=("liba.so",), rpath="/x"),
            "/x/liba.so": library(needed=("libb.so",)),
            "/x/libb.so": library(),
        }
    )
    assert found == {"liba.so": ("/x/liba.so", FoundBy.RPATH), "libb.so": ("/x/libb.so", FoundBy.RPATH)}


def test_runpath_of_the_program_does_not_serve_its_libraries() -> None:
    with pytest.raises(ClosureError) as refused:
        _start(
            {
                "/bin/p": program(needed=("liba.so",), runpath="/x"),
                "/x/liba.so": library(needed=("libb.so",)),
                "/x/libb.so": library(),
            }
        )
    assert str(refused.value) == (
        "library libb.so, needed by /x/liba.so: expected a file where the loader looks, got none"
        " (searched /lib/libb.so)"
    )
    assert refused.value.hint == "install the package that holds it, or name its folder in LD_LIBRARY_PATH"


def test_ld_library_path_comes_after_rpath_and_before_runpath() -> None:
    files: dict[str, bytes | str] = {
        "/r/liba.so": library(),
        "/l/liba.so": library(),
        "/l/libb.so": library(),
    }
    search = rules(library_path=("/l",))

    by_rpath = _start({**files, "/bin/p": program(needed=("liba.so",), rpath="/r")}, search)
    by_runpath = _start({**files, "/bin/p": program(needed=("liba.so",), runpath="/r")}, search)

    assert by_rpath["liba.so"] == ("/r/liba.so", FoundBy.RPATH)
    assert by_runpath["liba.so"] == ("/l/liba.so", FoundBy.LIBRARY_PATH)


def test_a_requester_with_runpath_sees_no_rpath_of_its_loaders() -> None:
    with pytest.raises(ClosureError):
        _start(
            {
                "/bin/p": program(needed=("liba.so",), rpath="/x"),
                "/x/liba.so": library(needed=("libb.so",), runpath="/nothing"),
                "/x/libb.so": library(),
            }
        )


def test_the_cache_comes_before_the_default_folders() -> None:
    files: dict[str, bytes | str] = {
        "/bin/p": program(needed=("liba.so", "libb.so")),
        "/cached/liba.so": library(),
        "/lib/liba.so": library(),
        "/lib/libb.so": library(),
    }
    found = _start(files, rules(cache={"liba.so": "/cached/liba.so"}))

    assert found == {
        "liba.so": ("/cached/liba.so", FoundBy.CACHE),
        "libb.so": ("/lib/libb.so", FoundBy.DEFAULT),
    }


def test_nodeflib_hides_the_default_folders_and_what_the_cache_has_there() -> None:
    files: dict[str, bytes | str] = {
        "/bin/p": program(needed=("liba.so",), flags_1=0x800),
        "/lib/liba.so": library(),
        "/opt/liba.so": library(),
    }
    assert _start(files, rules(cache={"liba.so": "/opt/liba.so"}))["liba.so"][0] == "/opt/liba.so"
    with pytest.raises(ClosureError) as refused:
        _start(files, rules(cache={"liba.so": "/lib/liba.so"}))
    assert refused.value.where == "searched nowhere"


def test_a_name_that_is_loaded_already_is_not_searched_for() -> None:
    found = _start(
        {
            "/bin/p": program(needed=("libz.so.1", "liba.so"), rpath="/one"),
            "/one/libz.so.1": library(),
            "/one/liba.so": library(needed=("libz.so.1",), rpath="/two"),
            "/two/libz.so.1": library(),
        }
    )
    assert found["libz.so.1"][0] == "/one/libz.so.1"


def test_two_names_of_one_file_are_one_object() -> None:
    files: dict[str, bytes | str] = {
        INTERPRETER: _LD,
        "/bin/p": program(needed=("liba.so", "liba.so.1")),
        "/lib/liba.so": "/lib/liba.so.1",
        "/lib/liba.so.1": library(),
    }
    first, second = Loader(MemoryFiles(files), rules(), "/bin/p").start

    assert first.target is second.target


@pytest.mark.parametrize("entry", ["$ORIGIN/../l", "${ORIGIN}/../l", "/$PLATFORM/l", "/${LIB}/l"])
def test_tokens_are_replaced(entry: str) -> None:
    files: dict[str, bytes | str] = {"/bin/p": program(needed=("liba.so",), runpath=entry)}
    files |= dict.fromkeys(
        ("/bin/../l/liba.so", "/x86_64/l/liba.so", "/lib/x86_64-linux-gnu/l/liba.so"), library()
    )
    assert _start(files)["liba.so"][1] is FoundBy.RUNPATH


@pytest.mark.parametrize("entry", ["$ORIGINAL", "$origin/l", "l", "", "$OTHER/l"])
def test_what_is_no_token_or_not_absolute_is_passed_over(entry: str) -> None:
    files: dict[str, bytes | str] = {
        "/bin/p": program(needed=("liba.so",), runpath=entry),
        "l/liba.so": library(),
        "/lib/liba.so": library(),
    }
    assert _start(files)["liba.so"] == ("/lib/liba.so", FoundBy.DEFAULT)


def test_files_for_other_machines_are_passed_over() -> None:
    files: dict[str, bytes | str] = {
        "/bin/p": program(needed=("liba.so",), rpath="/one:/two"),
        "/one/liba.so": write_elf(ElfFile(bits=32, machine=3)),
        "/two/liba.so": write_elf(ElfFile(machine=183)),
        "/lib/liba.so": library(),
    }
    assert _start(files)["liba.so"][0] == "/lib/liba.so"


@pytest.mark.parametrize(
    ("content", "got"),
    [
        pytest.param(
            b"/* GNU ld script */", "ELF magic: expected 7f454c46, got 2f2a2047", id="linker script"
        ),
        pytest.param(write_elf(ElfFile(type=1)), "ELF type 1", id="object file"),
    ],
)
def test_a_file_at_which_the_loader_stops_is_an_error(content: bytes, got: str) -> None:
    with pytest.raises(ClosureError) as refused:
        _start({"/bin/p": program(needed=("liba.so",), rpath="/one"), "/one/liba.so": content})
    assert str(refused.value) == (
        f"file that the loader would open: expected a shared object of this machine, got {got} (/one/liba.so)"
    )


def test_glibc_hwcaps_are_not_searched() -> None:
    found = _start(
        {
            "/bin/p": program(needed=("liba.so",)),
            "/lib/glibc-hwcaps/x86-64-v2/liba.so": library(),
            "/lib/liba.so": library(),
        }
    )
    assert found["liba.so"][0] == "/lib/liba.so"


def test_what_is_opened_later_starts_from_the_process_and_not_from_each_other() -> None:
    files: dict[str, bytes | str] = {
        INTERPRETER: _LD,
        "/bin/p": program(needed=("libc.so.6",), rpath="/p"),
        "/lib/libc.so.6": library(soname="libc.so.6"),
        "/m/one.so": library(needed=("libc.so.6", "libx.so"), runpath="/one"),
        "/m/two.so": library(needed=("libx.so",), runpath="/two"),
        "/m/three.so": library(needed=("libp.so",)),
        "/one/libx.so": library(),
        "/two/libx.so": library(),
        "/p/libp.so": library(),
    }
    loader = Loader(MemoryFiles(files), rules(), "/bin/p")

    taken = {path: [edge.target.path for edge in loader.open(path)[1]] for path in ("/m/one.so", "/m/two.so")}
    inherited = [edge.target.path for edge in loader.open("/m/three.so")[1]]

    assert taken == {"/m/one.so": ["/lib/libc.so.6", "/one/libx.so"], "/m/two.so": ["/two/libx.so"]}
    assert inherited == ["/p/libp.so"]


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ClosureError) as refused:
        Loader(MemoryFiles({}), rules(), "/bin/p")
    assert refused.value.got == "no such file, or one for another machine"
