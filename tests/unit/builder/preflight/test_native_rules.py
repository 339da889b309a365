"""What the libraries of an image need of the C library that Gramine brings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.image_files import image_file, library
from tests.support.projects import project

from casemate.builder.preflight import Finding, Subject, check_native


def _check(content: bytes | Path, gramine: str | None = None, path: str = "/app/x.so") -> tuple[Finding, ...]:
    subject = Subject(project=project(), modules=(), python="3.11.7", gramine=gramine)
    return check_native(subject, [image_file(path, content)])


def _needs(*versions: str, of: str = "libc.so.6") -> bytes:
    return library(needed=(of,), version_needs=((of, versions),))


@pytest.mark.parametrize(
    ("gramine", "newest"),
    [("1.6", "2.38"), ("1.7", "2.39"), ("1.8", "2.40"), ("1.9", "2.40"), (None, "2.40"), ("2.0", "2.40")],
)
def test_symbol_versions_newer_than_gramine_s_c_library_are_found(gramine: str | None, newest: str) -> None:
    major, _, minor = newest.partition(".")
    newer = f"GLIBC_{major}.{int(minor) + 1}"

    assert _check(_needs("GLIBC_2.2.5", f"GLIBC_{newest}"), gramine) == ()
    (found,) = _check(_needs("GLIBC_2.2.5", newer), gramine)
    assert (found.rule, found.severity.value, found.where) == ("glibc-version", "error", "/app/x.so")
    assert found.subject == f"needs {newer}, and Gramine has {newest}"


def test_versions_compare_as_numbers() -> None:
    assert _check(_needs("GLIBC_2.5", "GLIBC_2.9")) == ()
    assert [it.subject for it in _check(_needs("GLIBC_2.100", "GLIBC_2.41"))] == [
        "needs GLIBC_2.100, and Gramine has 2.40"
    ]


def test_versions_that_are_no_numbers_count_by_the_c_library_in_which_they_came() -> None:
    assert _check(_needs("GLIBC_ABI_DT_RELR")) == ()
    assert [it.rule for it in _check(_needs("GLIBC_ABI_GNU2_TLS"))] == ["glibc-version"]


def test_versions_of_other_libraries_and_weak_ones_do_not_count() -> None:
    assert _check(_needs("GLIBC_2.99", of="libother.so.1")) == ()
    assert _check(_needs("weak:GLIBC_2.99")) == ()


def test_inner_parts_of_the_c_library_are_a_warning() -> None:
    assert [(it.rule, it.severity.value) for it in _check(_needs("GLIBC_PRIVATE"))] == [
        ("glibc-private", "warning")
    ]


def test_the_files_of_the_c_library_itself_may_use_each_other() -> None:
    assert _check(_needs("GLIBC_PRIVATE", "GLIBC_2.99"), path="/lib/glibc/libm.so.6") == ()


@pytest.mark.parametrize("name", ["libc.musl-x86_64.so.1", "ld-musl-x86_64.so.1", "libc.so"])
def test_a_library_for_musl_is_refused(name: str) -> None:
    (found,) = _check(library(needed=(name,)))

    assert (found.rule, found.severity.value, found.subject) == ("foreign-libc", "error", f"needs {name}")


def test_libgomp_is_noted_whatever_a_wheel_has_made_of_its_name() -> None:
    path = "/opt/python/lib/python3.11/site-packages/scikit_learn.libs/libgomp-24e2ab19.so.1.0.0"

    assert [(it.rule, it.severity.value) for it in _check(library(), path=path)] == [("libgomp", "note")]
    assert _check(library(), path="/lib/native/libgompertz.so") == ()


def test_files_that_are_no_libraries_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("libc.musl-x86_64.so.1")
    (tmp_path / "cut").write_bytes(_needs("GLIBC_2.99")[:100])
    (tmp_path / "whole").write_bytes(_needs("GLIBC_2.99"))

    assert _check(tmp_path / "text") == _check(tmp_path / "cut") == ()
    assert len(_check(tmp_path / "whole")) == 1


@given(data=st.binary(max_size=300), is_elf=st.booleans())
def test_no_bytes_stop_it(data: bytes, *, is_elf: bool) -> None:
    assert isinstance(_check(b"\x7fELF" + data if is_elf else data), tuple)
