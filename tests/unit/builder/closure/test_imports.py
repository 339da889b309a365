"""Which modules are reached, one rule each."""

import zlib
from typing import Any

import pytest

from casemate.builder.contents import Reason, Rule

SITE = "/opt/python/lib/python3.11/site-packages"
LIB = "/opt/python/lib/python3.11"


def test_every_file_has_a_chain_of_reasons_that_ends_at_a_root(world: Any) -> None:
    world.app({"web.py": "import json\napp = 1"})
    files = world.files()
    for path in files:
        seen = set()
        while (asker := files[path].reason.of) is not None:
            assert path not in seen
            seen.add(path)
            path = asker  # noqa: PLW2901 - one step along the chain


def test_a_reason_names_the_statement_and_its_place(world: Any) -> None:
    world.app({"web.py": "\n\nfrom json import decoder\napp = 1"})
    assert world.files()[f"{LIB}/json/decoder.pyc"].reason == Reason(
        rule=Rule.IMPORT, of="/app/web.pyc", detail="from json import decoder (web.py:3)"
    )


def test_the_interpreter_its_landmark_and_the_attester_are_always_there(world: Any) -> None:
    world.app({"web.py": "app = 1"})
    files = world.files()
    assert files["/opt/python/bin/python3.11"].executable
    assert {
        "/opt/python/bin/python3.11",
        f"{LIB}/os.pyc",
        f"{LIB}/encodings/__init__.pyc",
        f"{SITE}/casemate_attester/__main__.pyc",
        f"{SITE}/casemate_attester/wsgi_server.pyc",
        f"{SITE}/cheroot/__init__.pyc",
        "/app/web.pyc",
    } <= set(files)


def test_what_is_frozen_into_the_interpreter_is_not_shipped_again(world: Any) -> None:
    world.app({"web.py": "import site, sys, time\napp = 1"})
    assert f"{LIB}/site.pyc" not in world.files()


def test_only_the_server_of_the_interface_is_taken(world: Any) -> None:
    world.distribution("uvicorn-1.0", {"uvicorn/__init__.py": ""})
    world.app({"web.py": "app = 1"})
    wsgi = world.files()
    asgi = world.files(app='serve = "web:app"\ninterface = "asgi"')
    command = world.files(app='command = ["python", "-m", "web"]')
    assert f"{SITE}/uvicorn/__init__.pyc" not in wsgi
    assert f"{SITE}/cheroot/__init__.pyc" not in asgi
    assert f"{SITE}/uvicorn/__init__.pyc" in asgi
    assert not {f"{SITE}/cheroot/__init__.pyc", f"{SITE}/uvicorn/__init__.pyc"} & set(command)


def test_what_nobody_imports_is_absent(world: Any) -> None:
    world.distribution("other-1.0", {"other.py": ""})
    world.app({"web.py": "app = 1", "unused.py": ""})
    files = world.files()
    assert not {f"{SITE}/other.pyc", "/app/unused.pyc", f"{LIB}/json/tool.pyc"} & set(files)


@pytest.mark.parametrize(
    "statement",
    [
        "from . import part",
        "from .part import x",
        "import pkg.part",
        "def f():\n    from . import part",
        "class C:\n    from . import part",
        "with open('x'):\n    from . import part",
        "for x in ():\n    from . import part",
        "try:\n    from . import part\nexcept ImportError:\n    part = None",
        "import importlib\nimportlib.import_module('pkg.part')",
        "from importlib import import_module\nimport_module('.part', __package__)",
        "__import__('pkg.part')",
        "if unknown():\n    from . import part",
        "match 1:\n    case 1:\n        from . import part",
    ],
    ids=[
        "relative",
        "relative name",
        "absolute",
        "in a function",
        "in a class",
        "in a with",
        "in a loop",
        "guarded",
        "import_module",
        "relative import_module",
        "__import__",
        "undecided condition",
        "match",
    ],
)
def test_an_import_is_found(world: Any, statement: str) -> None:
    world.distribution("pkg-1.0", {"pkg/__init__.py": statement, "pkg/part.py": "x = 1"})
    world.app({"web.py": "import pkg\napp = 1"})
    assert f"{SITE}/pkg/part.pyc" in world.files()


@pytest.mark.parametrize(
    "statement",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import part",
        "import typing as t\nif t.TYPE_CHECKING:\n    from . import part",
        "import sys\nif sys.platform == 'win32':\n    from . import part",
        "import sys\nif sys.platform.startswith('win'):\n    from . import part",
        "import sys\nif sys.version_info < (3, 8):\n    from . import part",
        "import sys\nPY2 = sys.version_info[0] == 2\nif PY2:\n    from . import part",
        "import os\nif os.name == 'nt' and anything():\n    from . import part",
        "if __name__ == '__main__':\n    from . import part",
        "if not __debug__:\n    from . import part",
    ],
    ids=["typing", "t", "platform", "prefix", "version", "constant", "one side", "main", "debug"],
)
def test_an_import_that_cannot_run_is_left_out(world: Any, statement: str) -> None:
    world.distribution("pkg-1.0", {"pkg/__init__.py": statement, "pkg/part.py": "x = 1"})
    world.app({"web.py": "import pkg\napp = 1"})
    assert f"{SITE}/pkg/part.pyc" not in world.files()


def test_the_other_branch_of_a_decided_condition_is_taken(world: Any) -> None:
    source = "import sys\nif sys.platform == 'win32':\n    from . import win\nelse:\n    from . import posix"
    world.distribution("pkg-1.0", {"pkg/__init__.py": source, "pkg/win.py": "", "pkg/posix.py": ""})
    world.app({"web.py": "import pkg\napp = 1"})
    files = world.files()
    assert f"{SITE}/pkg/posix.pyc" in files
    assert f"{SITE}/pkg/win.pyc" not in files


def test_the_fallback_of_an_import_that_succeeds_is_left_out(world: Any) -> None:
    world.app({"web.py": "import decimal\napp = 1"})
    files = world.files()
    assert f"{LIB}/lib-dynload/_decimal.so" in files
    assert f"{LIB}/_pydecimal.pyc" not in files


def test_the_fallback_of_an_import_that_may_fail_is_taken(world: Any) -> None:
    source = "try:\n    from json import missing\nexcept ImportError:\n    from . import part"
    world.distribution("pkg-1.0", {"pkg/__init__.py": source, "pkg/part.py": ""})
    world.app({"web.py": "import pkg\napp = 1"})
    assert f"{SITE}/pkg/part.pyc" in world.files()


def test_a_star_import_takes_the_modules_that_all_names(world: Any) -> None:
    world.distribution(
        "pkg-1.0",
        {
            "pkg/__init__.py": "__all__ = ['a']\n__all__ += ['b']",
            "pkg/a.py": "",
            "pkg/b.py": "",
            "pkg/c.py": "",
        },
    )
    world.app({"web.py": "from pkg import *\napp = 1"})
    files = world.files()
    assert {f"{SITE}/pkg/a.pyc", f"{SITE}/pkg/b.pyc"} <= set(files)
    assert f"{SITE}/pkg/c.pyc" not in files


def test_a_namespace_package_is_found_across_distributions(world: Any) -> None:
    world.distribution("one-1.0", {"ns/one.py": ""})
    world.distribution("two-1.0", {"ns/two.py": ""})
    world.app({"web.py": "import ns.one, ns.two\napp = 1"})
    assert {f"{SITE}/ns/one.pyc", f"{SITE}/ns/two.pyc"} <= set(world.files())


LAZY = """
def __getattr__(name: str) -> Any:
    if name == "heavy":
        from . import heavy
        return heavy
    raise AttributeError(name)
"""


@pytest.mark.parametrize(
    ("use", "reached"),
    [
        ("import pkg\npkg.heavy.run()", True),
        ("import pkg as p\np.heavy.run()", True),
        ("from pkg import heavy", True),
        ("import pkg.heavy", True),
        ("import pkg", False),
        ("import pkg, json\njson.heavy", False),
    ],
    ids=["attribute", "renamed", "from", "import", "not used", "attribute of another module"],
)
def test_a_lazy_attribute_is_reached_when_somebody_names_it(world: Any, use: str, *, reached: bool) -> None:
    world.distribution("pkg-1.0", {"pkg/__init__.py": LAZY, "pkg/heavy.py": ""})
    world.app({"web.py": f"{use}\napp = 1"})
    assert (f"{SITE}/pkg/heavy.pyc" in world.files()) is reached


def test_an_extension_is_shipped_as_it_is_and_its_data_names_what_it_imports(world: Any) -> None:
    data = b"\x7fELF\0pkg._hidden\0no.such.module\0"
    name = "pkg/_c.cpython-311-x86_64-linux-gnu.so"
    world.distribution("pkg-1.0", {"pkg/__init__.py": "from . import _c", name: data, "pkg/_hidden.py": ""})
    world.app({"web.py": "import pkg\napp = 1"})
    files = world.files()
    assert files[f"{SITE}/{name}"].content == world.root / "env" / name
    assert files[f"{SITE}/pkg/_hidden.pyc"].reason == Reason(
        rule=Rule.HIDDEN_IMPORT,
        of=f"{SITE}/{name}",
        detail="name in the data of _c.cpython-311-x86_64-linux-gnu.so: pkg._hidden",
    )


def test_an_extension_without_end_marks_names_modules_too(world: Any) -> None:
    data = b"\x7fELFpkg._hiddenSomethingElse"
    world.distribution(
        "pkg-1.0", {"pkg/__init__.py": "from . import _r", "pkg/_r.abi3.so": data, "pkg/_hidden.py": ""}
    )
    world.app({"web.py": "import pkg\napp = 1"})
    assert f"{SITE}/pkg/_hidden.pyc" in world.files()


def test_an_extension_that_keeps_its_texts_compressed_names_modules_too(world: Any) -> None:
    data = b"\x7fELF\x78\xda not zlib" + zlib.compress(b"?enablepkg._hiddenrun", 9) + b"\x78\xda"
    world.distribution(
        "pkg-1.0", {"pkg/__init__.py": "from . import _z", "pkg/_z.abi3.so": data, "pkg/_hidden.py": ""}
    )
    world.app({"web.py": "import pkg\napp = 1"})
    assert f"{SITE}/pkg/_hidden.pyc" in world.files()


def test_a_codec_that_is_named_is_taken(world: Any) -> None:
    world.app({"web.py": "app = b''.decode('windows-1252')"})
    assert f"{LIB}/encodings/cp1252.pyc" in world.files()


def test_a_debugging_hook_of_a_library_is_cut_and_the_application_s_own_is_not(world: Any) -> None:
    hook = "def check():\n    import doctest\n"
    world.distribution("pkg-1.0", {"pkg/__init__.py": hook})
    world.app({"web.py": "import pkg\napp = 1"})
    assert f"{LIB}/doctest.pyc" not in world.files()
    world.app({"web.py": f"import pkg\napp = 1\n{hook}"})
    assert f"{LIB}/doctest.pyc" in world.files()


def test_an_import_that_runs_when_its_module_is_loaded_is_never_cut(world: Any) -> None:
    world.distribution("pkg-1.0", {"pkg/__init__.py": "import doctest"})
    world.app({"web.py": "import pkg\napp = 1"})
    assert f"{LIB}/doctest.pyc" in world.files()


def test_the_module_that_sysconfig_puts_together_comes_with_it(world: Any) -> None:
    world.app({"web.py": "import sysconfig\napp = 1"})
    assert f"{LIB}/_sysconfigdata.pyc" in world.files()


def test_a_text_of_the_application_that_names_a_module_reaches_it(world: Any) -> None:
    world.distribution(
        "pkg-1.0", {"pkg/__init__.py": "", "pkg/middleware.py": "class M: ...", "pkg/x.py": ""}
    )
    world.app({"web.py": "M = ['pkg.middleware.M']\nX = 'pkg.x'\nother = 'index.html'\napp = 1"})
    assert {f"{SITE}/pkg/middleware.pyc", f"{SITE}/pkg/x.pyc"} <= set(world.files())


def test_the_application_s_modules_come_before_those_of_the_environment(world: Any) -> None:
    world.distribution("tools-1.0", {"tools.py": ""})
    world.app({"web.py": "import tools\napp = 1", "tools.py": ""})
    files = world.files()
    assert "/app/tools.pyc" in files
    assert f"{SITE}/tools.pyc" not in files


def test_plugins_of_a_group_that_is_loaded_are_reached(world: Any) -> None:
    world.distribution("plug-1.0", {"plug.py": ""}, entry_points="[web.plugins]\nx = plug:Plugin\n")
    world.distribution("other-1.0", {"other.py": ""}, entry_points="[console_scripts]\nx = other:main\n")
    source = "from importlib.metadata import entry_points\nfound = entry_points(group='web.plugins')\napp = 1"
    world.app({"web.py": source})
    files = world.files()
    assert f"{SITE}/plug.pyc" in files
    assert f"{SITE}/other.pyc" not in files


def test_modules_of_a_package_that_is_listed_are_reached(world: Any) -> None:
    world.app(
        {
            "web.py": "import pkgutil\nimport plugins\nlist(pkgutil.iter_modules(plugins.__path__))\napp = 1",
            "plugins/__init__.py": "",
            "plugins/a.py": "",
            "plugins/deep/__init__.py": "",
            "plugins/deep/b.py": "",
        }
    )
    assert {"/app/plugins/a.pyc", "/app/plugins/deep/b.pyc"} <= set(world.files())


def test_a_constant_that_depends_on_a_branch_decides_nothing(world: Any) -> None:
    source = (
        "try:\n    import msvcrt\nexcept ImportError:\n    WINDOWS = False\nelse:\n    WINDOWS = True\n"
        "if WINDOWS:\n    from . import win\nelse:\n    from . import posix\n"
    )
    world.distribution("pkg-1.0", {"pkg/__init__.py": source, "pkg/win.py": "", "pkg/posix.py": ""})
    world.app({"web.py": "import pkg\napp = 1"})
    assert f"{SITE}/pkg/posix.pyc" in world.files()


def test_the_fallback_of_a_module_that_is_there_and_does_not_load_is_taken(world: Any) -> None:
    source = "try:\n    from .fast import run\nexcept ImportError:\n    from .slow import run"
    fast = "import not_installed\nrun = 1"
    world.distribution("pkg-1.0", {"pkg/__init__.py": source, "pkg/fast.py": fast, "pkg/slow.py": "run = 1"})
    world.app({"web.py": "import pkg\napp = 1"})
    assert f"{SITE}/pkg/slow.pyc" in world.files()


def test_what_is_reached_in_spite_of_a_cut_is_not_cut_inside(world: Any) -> None:
    (world.root / "stdlib/unittest").mkdir()
    (world.root / "stdlib/unittest/__init__.py").write_text("def run():\n    from . import runner")
    (world.root / "stdlib/unittest/runner.py").write_text("")
    world.app({"web.py": "import unittest\napp = 1"})
    assert f"{LIB}/unittest/runner.pyc" in world.files()
