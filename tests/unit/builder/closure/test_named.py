"""Libraries, zones and data that code names, as files of an image and as questions."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.builder.closure.conftest import LIB, SITE, write

from casemate.builder.closure.values import NamedByCode
from casemate.builder.contents import Reason, Rule

_SO = b"\x7fELF"


def test_libraries_that_code_names_are_told_with_their_place(world: Any) -> None:
    world.app({"web.py": "import pkg\nz = CDLL('libz.so.1')\napp = 1"})
    world.distribution("pkg-1.0", {"pkg.py": "find_library('magic')\nCDLL(anything)\nCDLL('libcuda.so.1')"})
    closure = world.closure('[closure]\ninclude = ["library:libx.so.2"]')
    assert closure.libraries == (
        NamedByCode(
            name="libx.so.2",
            reason=Reason(rule=Rule.INCLUDED, of=None, detail='include = "library:libx.so.2"'),
            required=True,
        ),
        NamedByCode(
            name="libz.so.1",
            reason=Reason(rule=Rule.NAMED_LIBRARY, of="/app/web.pyc", detail="CDLL('libz.so.1') (web.py:2)"),
        ),
        NamedByCode(
            name="magic",
            reason=Reason(
                rule=Rule.NAMED_LIBRARY, of=f"{SITE}/pkg.pyc", detail="find_library('magic') (pkg.py:1)"
            ),
        ),
    )


@pytest.mark.parametrize(
    ("code", "question", "line"),
    [
        (
            "CDLL(name)",
            "which library does CDLL(name) open?",
            '[closure] include = ["library:NAME"]  # NAME: libfoo.so.1, one entry for each',
        ),
        (
            "CDLL('libcuda.so.1')",
            "is libcuda.so.1, of a device that no enclave has, needed?",
            '[closure] include = ["library:libcuda.so.1"]',
        ),
        (
            "ZoneInfo(name)",
            "which time zones does ZoneInfo(name) ask for?",
            '[closure] include = ["zone:Europe/Berlin"]  # or add tzdata to the requirements',
        ),
    ],
)
def test_what_nobody_can_tell_is_a_question(world: Any, code: str, question: str, line: str) -> None:
    world.app({"web.py": f"name = app = 1\n{code}"})
    (asked,) = world.closure().questions
    assert (asked.where, asked.question, asked.line) == ("web.py:2", question, line)
    include = '[closure]\ninclude = ["library:libx.so.2", "zone:UTC"]'
    assert world.closure(include).questions == ()


def _zones(world: Any) -> None:
    for name in ("tzdata", "pytz"):
        zones = {f"{name}/zoneinfo/{zone}": b"TZif2" for zone in ("Europe/Berlin", "Asia/Tokyo")}
        packages = {f"{name}/zoneinfo/{part}__init__.py": "" for part in ("", "Europe/", "Asia/")}
        more = {f"{name}/__init__.py": "", f"{name}/zoneinfo/zone.tab": "x"}
        world.distribution(f"{name}-2024.1", {**more, **zones, **(packages if name == "tzdata" else {})})


def test_of_the_zones_that_distributions_bring_only_those_that_are_named_are_taken(world: Any) -> None:
    _zones(world)
    world.app({"web.py": "import pytz\nZONE = 'Europe/Berlin'\nx = ZoneInfo(key='UTC')\napp = 1"})
    closure = world.closure()
    paths = {file.path for file in closure.files}
    assert f"{SITE}/pytz/zoneinfo/Europe/Berlin" in paths
    assert f"{SITE}/pytz/zoneinfo/zone.tab" in paths
    assert f"{SITE}/pytz/zoneinfo/Asia/Tokyo" not in paths
    assert not any("tzdata" in path for path in paths)
    (berlin, utc) = closure.zones
    assert (berlin.name, utc.name) == ("Europe/Berlin", "UTC")
    assert berlin.file == world.root / "env/tzdata/zoneinfo/Europe/Berlin"  # where the system has none
    assert utc.file is None


def test_all_zones_are_taken_where_only_the_running_code_knows_which(world: Any) -> None:
    _zones(world)
    world.app({"web.py": "import pytz\nname = app = 1\npytz.timezone(name)"})
    closure = world.closure()
    paths = {file.path for file in closure.files}
    assert {f"{SITE}/{name}/zoneinfo/Asia/Tokyo" for name in ("pytz", "tzdata")} <= paths
    assert f"{SITE}/tzdata/zoneinfo/Asia/__init__.pyc" in paths
    assert closure.questions == ()


def test_libraries_that_a_package_opens_by_their_path_are_taken(world: Any) -> None:
    world.distribution(
        "pkg-1.0",
        {
            "pkg/__init__.py": "CDLL(join(here, 'libthing.so.2'))\nload('vec0')\nx = 'mylib/abc'\n# other",
            "pkg/libthing.so.2": _SO,
            "pkg/vec0.so": _SO,
            "pkg/data/abc.so": _SO,
            "pkg/libother.so": _SO,
            "pkg/_ext.cpython-311-x86_64-linux-gnu.so": _SO,
        },
    )
    world.app({"web.py": "import pkg\napp = 1", "libown.so": _SO, "native.py": "x = 'own'"})
    files = world.files('[closure]\ninclude = ["module:native"]')
    assert {path for path in files if ".so" in path and LIB + "/lib-dynload" not in path} == {
        "/app/libown.so",
        f"{SITE}/pkg/libthing.so.2",
        f"{SITE}/pkg/vec0.so",
        f"{SITE}/pkg/data/abc.so",
    }
    reason = files[f"{SITE}/pkg/vec0.so"].reason
    assert reason == Reason(
        rule=Rule.NAMED_LIBRARY,
        of=f"{SITE}/pkg/__init__.pyc",
        detail="pkg has its name, and opens it by its path",
    )


def test_records_are_taken_when_code_asks_which_files_are_installed(world: Any) -> None:
    world.distribution("pkg-1.0", {"pkg.py": ""})
    world.app({"web.py": "import pkg\napp = 1"})
    assert f"{SITE}/pkg-1.0.dist-info/RECORD" not in world.files()
    world.app(
        {"web.py": "import pkg, importlib.metadata\nimportlib.metadata.packages_distributions()\napp = 1"}
    )
    assert f"{SITE}/pkg-1.0.dist-info/RECORD" in world.files()


def test_locales_that_are_set_are_told(world: Any) -> None:
    world.app({"web.py": "import locale\nlocale.setlocale(locale.LC_ALL, 'de_DE.UTF-8')\napp = 1"})
    write(world.root / "stdlib", {"locale.py": ""})
    (asked,) = world.closure().locales
    assert (asked.name, asked.reason.detail) == (
        "de_DE.UTF-8",
        "locale.setlocale(locale.LC_ALL, 'de_DE.UTF-8') (web.py:2)",
    )
