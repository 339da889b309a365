"""Time zones, locales and files of the system that are asked for by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.projects import project
from tests.unit.builder.test_openssl import Below

from casemate.builder.closure.values import NamedByCode, PythonClosure
from casemate.builder.contents import Considered, ImageFile, Reason, Rule
from casemate.builder.native.asked_files import asked_files
from casemate.errors import ProjectError

_WHY = Reason(rule=Rule.TIME_ZONE, of="/app/x.pyc", detail="x")


def _named(*names: str, required: bool = False, file: Path | None = None) -> tuple[NamedByCode, ...]:
    return tuple(NamedByCode(name=name, reason=_WHY, required=required, file=file) for name in names)


def _asked(
    root: Path,
    host: dict[str, str],
    text: str = "",
    *,
    zones: tuple[NamedByCode, ...] = (),
    locales: tuple[NamedByCode, ...] = (),
    present: tuple[str, ...] = (),
) -> dict[str, ImageFile]:
    closure = PythonClosure(
        files=(),
        questions=(),
        considered=Considered(files=0, size=0, left_out=()),
        interface=None,
        zones=zones,
        locales=locales,
    )
    places = Below(root / "host", host)
    files = asked_files(project(text), closure, places.file("/usr/share/zoneinfo"), places, present)
    return {file.path: file for file in files}


def test_zones_that_the_host_has_are_taken_and_texts_that_are_none_are_not(tmp_path: Path) -> None:
    zone = "/usr/share/zoneinfo/Europe/Berlin"
    host = {zone: "TZif2", "/usr/share/zoneinfo/zone.tab": "x", "/etc/secret": "TZif"}
    named = _named("Europe/Berlin", "zone.tab", "No/Where", "../../../etc/secret", "/etc/secret", "a" * 300)
    files = _asked(tmp_path, host, zones=named)
    assert list(files) == [zone]
    assert files[zone].reason == _WHY
    assert _asked(tmp_path, host, zones=named, present=(zone,)) == {}


def test_a_zone_of_a_distribution_stands_in_for_one_that_the_host_lacks(tmp_path: Path) -> None:
    file = tmp_path / "Tokyo"
    file.write_bytes(b"TZif2")
    files = _asked(tmp_path, {}, zones=_named("Asia/Tokyo", file=file))
    assert files["/usr/share/zoneinfo/Asia/Tokyo"].content == file


def test_a_zone_that_is_included_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ProjectError) as caught:
        _asked(tmp_path, {}, zones=_named("Asia/Tokio", required=True))
    assert str(caught.value) == (
        'include "zone:Asia/Tokio": expected a time zone of this machine, got none '
        "(casemate.toml: closure.include)"
    )
    assert caught.value.hint == "install tzdata"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("de_DE.UTF-8", "", ["de_DE.utf8/LC_CTYPE", "de_DE.utf8/LC_MESSAGES/SYS_LC_MESSAGES"]),
        ("de_DE", "", ["locale-archive"]),
        ("", "", ["C.utf8/LC_CTYPE"]),
        (
            "",
            '[env]\nLC_ALL = "de_DE.UTF-8"',
            ["de_DE.utf8/LC_CTYPE", "de_DE.utf8/LC_MESSAGES/SYS_LC_MESSAGES"],
        ),
        ("C", "", []),
        ("../../../etc", "", []),
    ],
)
def test_a_locale_is_a_folder_or_the_archive_of_all(
    tmp_path: Path, name: str, text: str, expected: list[str]
) -> None:
    names = (
        "C.utf8/LC_CTYPE",
        "de_DE.utf8/LC_CTYPE",
        "de_DE.utf8/LC_MESSAGES/SYS_LC_MESSAGES",
        "locale-archive",
    )
    host = {f"/usr/lib/locale/{each}": "x" for each in names}
    files = _asked(tmp_path, host, text, locales=_named(name))
    assert list(files) == [f"/usr/lib/locale/{each}" for each in expected]


def test_files_and_folders_of_the_host_are_taken_at_their_own_paths(tmp_path: Path) -> None:
    host = {"/etc/mime.types": "a", "/usr/share/fonts/a/b.ttf": "b", "/usr/share/fonts/c.ttf": "c"}
    text = '[closure]\ninclude = ["file:/etc/mime.types", "file:/usr/share/fonts"]'
    files = _asked(tmp_path, host, text)
    assert sorted(files) == sorted(host)
    assert files["/usr/share/fonts/c.ttf"].reason == Reason(
        rule=Rule.INCLUDED, of=None, detail='include = "file:/usr/share/fonts"'
    )


_PLACE = "(casemate.toml: closure.include)"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/etc/absent", f"expected a file of this machine, or a folder with files, got none {_PLACE}"),
        ("/etc/hosts", f"expected files that the image does not have already, got /etc/hosts {_PLACE}"),
        ("/etc/ssl/private", "expected nothing secret in an image (/etc/ssl/private/x.key)"),
    ],
)
def test_what_cannot_be_included_is_refused(tmp_path: Path, path: str, message: str) -> None:
    key = "-----BEGIN PRIVATE KEY-----"  # the first line alone
    host = {"/etc/hosts": "", "/etc/ssl/private/x.key": key}
    with pytest.raises(ProjectError) as caught:
        _asked(tmp_path, host, f'[closure]\ninclude = ["file:{path}"]', present=("/etc/hosts",))
    secret = "private" in path
    subject = "private key in the application's files" if secret else f'include "file:{path}"'
    assert str(caught.value) == f"{subject}: {message}"
