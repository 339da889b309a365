"""Which libraries go into an image, where, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.image_files import INTERPRETER, PROGRAM, MemoryFiles, image_file, library, program, rules

from casemate.builder.closure.values import NamedByCode
from casemate.builder.contents import ImageFile, Reason, Rule
from casemate.builder.native.libraries import (
    LibrarySources,
    check_libraries,
    find_libraries,
    libraries_outside,
)
from casemate.errors import ClosureError

_LIBC = library(soname="libc.so.6", version_definitions=("libc.so.6", "GLIBC_2.2.5", "GLIBC_2.34"))
_PACKAGES = "/opt/python/lib/python3.11/site-packages"


class Host:
    """A build host; what is below ``root`` (``ROOT`` in a path) is a real file, too."""

    def __init__(self, root: Path, files: dict[str, bytes | str]) -> None:
        self.root = root
        self.files: dict[str, bytes | str] = {
            INTERPRETER: library(soname="ld-linux-x86-64.so.2"),
            "/lib/libc.so.6": _LIBC,
            "/lib/libgcc_s.so.1": library(soname="libgcc_s.so.1", needed=("libc.so.6",)),
            f"{root}/bin/python3.11": program(needed=("libc.so.6",)),
        }
        self.files |= {path.replace("ROOT", str(root)): content for path, content in files.items()}
        for path, content in self.files.items():
            if path.startswith(str(root)) and isinstance(content, bytes):
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_bytes(content)

    def file(self, path: str, host: str) -> ImageFile:
        return image_file(path, self.root / host)

    def program(self) -> ImageFile:
        return self.file(PROGRAM, "bin/python3.11")

    def find(
        self,
        *files: ImageFile,
        library_path: tuple[str, ...] = (),
        glibc: dict[str, Path] | None = None,
        cache: dict[str, str] | None = None,
        named: tuple[NamedByCode, ...] = (),
    ) -> dict[str, ImageFile]:
        sources = LibrarySources(
            files=MemoryFiles(self.files), rules=rules(library_path=library_path, cache=cache), glibc=glibc
        )
        image = [self.program(), *files]
        found = find_libraries(image, executable=PROGRAM, sources=sources, named=named)
        return {file.path: file for file in found}


def test_the_c_library_and_others_have_their_folders(tmp_path: Path) -> None:
    host = Host(tmp_path, {"ROOT/m.so": library(needed=("libz.so.1",)), "/lib/libz.so.1": library()})

    found = host.find(host.file(f"{_PACKAGES}/m.so", "m.so"))

    assert list(found) == [
        "/lib/glibc/ld-linux-x86-64.so.2",
        "/lib/glibc/libc.so.6",
        "/lib/native/libgcc_s.so.1",
        "/lib/native/libz.so.1",
    ]
    assert found["/lib/native/libz.so.1"].reason.of == f"{_PACKAGES}/m.so"
    assert found["/lib/native/libz.so.1"].reason.detail == (
        "DT_NEEDED libz.so.1, found as /lib/libz.so.1 by the default folders"
    )
    assert found["/lib/glibc/ld-linux-x86-64.so.2"].executable


def test_what_is_opened_by_name_is_there_with_its_occasion(tmp_path: Path) -> None:
    found = Host(tmp_path, {}).find()

    reason = found["/lib/native/libgcc_s.so.1"].reason
    assert (reason.rule, reason.of) == (Rule.NAMED_LIBRARY, "/lib/glibc/libc.so.6")
    assert reason.detail == "libc.so.6 opens libgcc_s.so.1 for pthread_cancel, pthread_exit and backtrace"


def test_an_older_c_library_gets_the_modules_that_it_opens_for_names(tmp_path: Path) -> None:
    old = library(soname="libc.so.6", version_definitions=("libc.so.6", "GLIBC_2.31"))
    host = Host(
        tmp_path,
        {
            "/lib/libc.so.6": old,
            "/lib/libnss_files.so.2": library(),
            "/lib/libnss_dns.so.2": library(needed=("libresolv.so.2",)),
            "/lib/libresolv.so.2": library(),
        },
    )
    assert {path for path in host.find() if "libnss" in path or "resolv" in path} == {
        "/lib/glibc/libnss_files.so.2",
        "/lib/glibc/libnss_dns.so.2",
        "/lib/glibc/libresolv.so.2",
    }


def test_a_library_that_lies_beside_its_package_stays_there(tmp_path: Path) -> None:
    host = Host(
        tmp_path,
        {
            "ROOT/env/p/m.so": library(needed=("libq-12.so",), rpath="$ORIGIN/../p.libs"),
            f"{tmp_path}/env/p/../p.libs/libq-12.so": library(needed=("libr-34.so",), rpath="$ORIGIN"),
            f"{tmp_path}/env/p/../p.libs/libr-34.so": library(),
        },
    )
    found = host.find(host.file(f"{_PACKAGES}/p/m.so", "env/p/m.so"))

    assert {path for path in found if path.startswith(_PACKAGES)} == {
        f"{_PACKAGES}/p.libs/libq-12.so",
        f"{_PACKAGES}/p.libs/libr-34.so",
    }
    reason = found[f"{_PACKAGES}/p.libs/libq-12.so"].reason
    assert reason.detail == "DT_NEEDED libq-12.so, found by DT_RPATH $ORIGIN/../p.libs"
    assert str(tmp_path) not in repr([file.reason for file in found.values()])


def test_an_origin_that_leads_out_of_the_shipped_tree_is_not_kept(tmp_path: Path) -> None:
    host = Host(
        tmp_path,
        {
            "ROOT/env/p/m.so": library(needed=("libq.so",), rpath="$ORIGIN/" + "../" * 7 + "outside"),
            f"{tmp_path}/env/p/{'../' * 7}outside/libq.so": library(),
        },
    )
    assert "/lib/native/libq.so" in host.find(host.file(f"{_PACKAGES}/p/m.so", "env/p/m.so"))


def test_a_library_of_another_folder_of_the_host_goes_to_the_native_ones(tmp_path: Path) -> None:
    host = Host(tmp_path, {"ROOT/m.so": library(needed=("libq.so",), rpath="/opt/q")})
    host.files["/opt/q/libq.so"] = library()

    found = host.find(host.file(f"{_PACKAGES}/m.so", "m.so"))

    assert found["/lib/native/libq.so"].content == Path("/opt/q/libq.so")


def test_one_name_for_two_different_files_is_refused(tmp_path: Path) -> None:
    host = Host(
        tmp_path,
        {
            "ROOT/one.so": library(needed=("libq.so",), rpath="/one"),
            "ROOT/two.so": library(needed=("libq.so",), rpath="/two"),
            "/one/libq.so": library(soname="libq.so"),
            "/two/libq.so": library(soname="libq.so", needed=("libc.so.6",)),
        },
    )
    files = [host.file(f"{_PACKAGES}/{name}.so", f"{name}.so") for name in ("one", "two")]

    with pytest.raises(ClosureError) as refused:
        host.find(*files)
    assert str(refused.value) == (
        "library libq.so: expected one file of this name in one process, got /one/libq.so and /two/libq.so"
    )
    assert refused.value.hint == (
        "whichever is loaded first would be used: install versions that share the library"
    )


def test_one_name_for_two_equal_files_is_no_contradiction(tmp_path: Path) -> None:
    host = Host(
        tmp_path,
        {
            "ROOT/one.so": library(needed=("libq.so",), rpath="/one"),
            "ROOT/two.so": library(needed=("libq.so",), rpath="/two"),
            "/one/libq.so": library(soname="libq.so"),
            "/two/libq.so": library(soname="libq.so"),
        },
    )
    files = [host.file(f"{_PACKAGES}/{name}.so", f"{name}.so") for name in ("one", "two")]

    assert "/lib/native/libq.so" in host.find(*files)


def test_a_file_is_there_under_every_name_by_which_it_is_needed(tmp_path: Path) -> None:
    host = Host(
        tmp_path,
        {
            "ROOT/one.so": library(needed=("libq.so",)),
            "ROOT/two.so": library(needed=("libq.so.1",)),
            "/lib/libq.so": "/lib/libq.so.1",
            "/lib/libq.so.1": library(soname="libq.so.1"),
        },
    )
    files = [host.file(f"{_PACKAGES}/{name}.so", f"{name}.so") for name in ("one", "two")]

    assert {"/lib/native/libq.so", "/lib/native/libq.so.1"} <= host.find(*files).keys()


def test_gramine_s_c_library_takes_the_place_of_the_host_s(tmp_path: Path) -> None:
    host = Host(tmp_path, {})
    names = ("ld-linux-x86-64.so.2", "libc.so.6")
    gramine = {name: tmp_path / f"gramine-{name}" for name in names}
    for path in gramine.values():
        path.write_bytes(_LIBC)

    found = host.find(glibc=gramine)

    assert {found[f"/lib/glibc/{name}"].content for name in names} == set(gramine.values())
    assert found["/lib/glibc/libc.so.6"].reason.rule is Rule.GRAMINE


def test_a_part_of_the_c_library_that_gramine_does_not_have_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path, {})
    (tmp_path / "ld").write_bytes(_LIBC)

    with pytest.raises(ClosureError) as refused:
        host.find(glibc={"ld-linux-x86-64.so.2": tmp_path / "ld"})
    assert str(refused.value) == (
        "library libc.so.6 of Gramine's C library: expected one of its files, got no such file"
        f" (needed by {PROGRAM})"
    )


def test_an_interpreter_with_another_c_library_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path, {"/lib/ld-musl-x86_64.so.1": library()})
    musl = program().replace(INTERPRETER.encode() + b"\0", b"/lib/ld-musl-x86_64.so.1\0".ljust(28, b"\0"))
    host.files[f"{tmp_path}/bin/python3.11"] = musl

    with pytest.raises(ClosureError):
        host.find()


def test_files_that_the_loader_never_opens_are_left_alone(tmp_path: Path) -> None:
    host = Host(tmp_path, {})
    others = [
        image_file("/app/notes.txt", b"\x7fEL"),
        image_file("/app/object.o", write_type(1)),
        image_file("/app/arm.so", write_machine(183)),
    ]
    assert "/lib/glibc/libc.so.6" in host.find(*others)


def write_type(kind: int) -> bytes:
    return library(type=kind, needed=("libnowhere.so",))


def write_machine(machine: int) -> bytes:
    return library(machine=machine, needed=("libnowhere.so",))


def _image(**libraries: bytes) -> list[ImageFile]:
    files = {
        PROGRAM: program(needed=("libc.so.6",)),
        "/lib/glibc/ld-linux-x86-64.so.2": library(soname="ld-linux-x86-64.so.2"),
        "/lib/glibc/libc.so.6": _LIBC,
    }
    files |= {f"/lib/native/{name}": content for name, content in libraries.items()}
    return [image_file(path, content) for path, content in files.items()]


def test_an_image_that_holds_all_of_its_libraries_passes() -> None:
    check_libraries(_image(q=library(needed=("libc.so.6",))), executable=PROGRAM, machine=62)


def test_an_image_that_lacks_a_library_is_refused() -> None:
    with pytest.raises(ClosureError) as refused:
        check_libraries(_image(q=library(needed=("libr.so",))), executable=PROGRAM, machine=62)
    assert str(refused.value) == (
        "library libr.so, needed by /lib/native/q: expected a file where the loader looks, got none"
        " (searched /lib/glibc/libr.so, /lib/native/libr.so)"
    )


def test_a_symbol_version_that_the_image_s_c_library_lacks_is_refused() -> None:
    needy = library(needed=("libc.so.6",), version_needs=(("libc.so.6", ("GLIBC_2.2.5", "GLIBC_2.41")),))

    with pytest.raises(ClosureError) as refused:
        check_libraries(_image(q=needy), executable=PROGRAM, machine=62)
    assert str(refused.value) == (
        "symbol versions of libc.so.6: expected GLIBC_2.41,"
        " got /lib/glibc/libc.so.6, which ends at GLIBC_2.34 (needed by /lib/native/q)"
    )
    assert refused.value.hint == ("build where the libraries are not newer than those that go into the image")


def test_gramine_s_loader_gets_its_libraries_where_a_container_looks_for_them(tmp_path: Path) -> None:
    host = Host(tmp_path, {"ROOT/loader": program(needed=("libprotobuf-c.so.1", "libc.so.6"))})
    host.files["/usr/lib/libprotobuf-c.so.1"] = library()
    search = rules(
        cache={"libprotobuf-c.so.1": "/usr/lib/libprotobuf-c.so.1"}, default_folders=("/lib", "/usr/lib")
    )
    sources = LibrarySources(files=MemoryFiles(host.files), rules=search, glibc=None)

    files = libraries_outside(tmp_path / "loader", sources)

    assert [(file.path, file.executable) for file in files] == [
        (INTERPRETER, True),
        ("/lib/libprotobuf-c.so.1", False),
        ("/lib/libc.so.6", False),
    ]


def _named(name: str, *, required: bool = False) -> NamedByCode:
    reason = Reason(rule=Rule.NAMED_LIBRARY, of="/app/web.pyc", detail=f"CDLL({name!r}) (web.py:1)")
    return NamedByCode(name=name, reason=reason, required=required)


def test_what_code_opens_by_name_is_taken_with_what_it_needs(tmp_path: Path) -> None:
    host = Host(
        tmp_path,
        {
            "/lib/libmagic.so.1": library(soname="libmagic.so.1", needed=("libz.so.1",)),
            "/lib/libz.so.1": "/lib/libz.so.1.2.13",
            "/lib/libz.so.1.2.13": library(soname="libz.so.1"),
        },
    )

    found = host.find(named=(_named("libmagic.so.1"), _named("libabsent.so.1")))

    magic = found["/lib/native/libmagic.so.1"]
    assert magic.reason == _named("libmagic.so.1").reason
    assert found["/lib/native/libz.so.1"].reason.of == "/lib/native/libmagic.so.1"
    assert not any("absent" in path for path in found)


@pytest.mark.parametrize(
    ("name", "cache", "expected"),
    [
        ("foo", {"libfoo.so.9": "/x/libfoo.so.9", "libfoo.so.10": "/x/libfoo.so.10"}, "libfoo.so.10"),
        ("foo", {}, "libfoo.so.3"),
        ("c", {"libc.so.6": "/lib/libc.so.6"}, None),
        ("nothing", {}, None),
    ],
)
def test_what_find_library_would_find_is_taken(
    tmp_path: Path, name: str, cache: dict[str, str], expected: str | None
) -> None:
    names = ("/x/libfoo.so.9", "/x/libfoo.so.10", "/lib/libfoo.so.3", "/lib/libfood.so.4")
    host = Host(tmp_path, {path: library(soname=path.rpartition("/")[2]) for path in names})

    found = host.find(cache=cache, named=(_named(name),))

    added = set(found) - set(host.find(cache=cache))
    assert added == ({f"/lib/native/{expected}"} if expected else set())


def test_a_library_that_is_included_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ClosureError) as caught:
        Host(tmp_path, {}).find(named=(_named("libabsent.so.1", required=True),))
    assert caught.value.subject == f"library libabsent.so.1, needed by {tmp_path}/bin/python3.11"


def test_a_library_that_cannot_be_loaded_is_left_out_as_code_would_go_on_without_it(tmp_path: Path) -> None:
    host = Host(tmp_path, {"/lib/libbroken.so": library(needed=("libabsent.so.1",))})
    assert not any("broken" in path for path in host.find(named=(_named("libbroken.so"),)))


def test_what_gramine_s_c_library_does_not_bring_is_left_out(tmp_path: Path) -> None:
    names = ("ld-linux-x86-64.so.2", "libc.so.6")
    glibc = {name: tmp_path / name for name in names}
    for name, file in glibc.items():
        file.write_bytes(_LIBC if name == "libc.so.6" else library(soname=name))
    host = Host(tmp_path, {"/lib/libnsl.so.1": library(soname="libnsl.so.1")})
    assert "/lib/glibc/libnsl.so.1" not in host.find(glibc=glibc, named=(_named("nsl"),))


def test_a_library_that_is_only_loaded_for_another_one_need_not_open_alone(tmp_path: Path) -> None:
    """Wheels bring libraries that find each other by the DT_RPATH of the module that loads both."""
    files: dict[str, bytes | str] = {
        "ROOT/m.so": library(needed=("liba.so",), rpath="$ORIGIN/m.libs"),
        "ROOT/m.libs/liba.so": library(soname="liba.so", needed=("libb.so",)),
        "ROOT/m.libs/libb.so": library(soname="libb.so"),
    }
    host = Host(tmp_path, files)
    alone = host.file(f"{_PACKAGES}/m.libs/liba.so", "m.libs/liba.so")
    module = host.file(f"{_PACKAGES}/m.so", "m.so")

    found = host.find(module, alone)

    assert f"{_PACKAGES}/m.libs/libb.so" in found
    with pytest.raises(ClosureError, match=r"library libb\.so, needed by .*/m\.libs/liba\.so"):
        host.find(alone)
