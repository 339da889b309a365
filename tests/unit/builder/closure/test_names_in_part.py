"""Modules whose names the code puts together, keeps in tables, or gives to something that imports them."""

from typing import Any

import pytest

from casemate.builder.contents import Reason, Rule

SITE = "/opt/python/lib/python3.11/site-packages"


@pytest.mark.parametrize(
    "call",
    [
        "importlib.import_module(f'formats.{kind}')",
        "importlib.import_module('formats.' + kind)",
        "importlib.import_module('formats.%s' % kind)",
        "importlib.import_module('formats.%(kind)s' % names)",
        "importlib.import_module('formats.{}'.format(kind))",
        "importlib.import_module('.'.join(('formats', kind)))",
        "importlib.import_module(f'{formats.__name__}.{kind}')",
        "importlib.import_module('.' + kind, 'formats')",
        "importlib.import_module(f'.{kind}', package=formats.__name__)",
        "__import__(f'formats.{kind}')",
    ],
)
def test_a_name_of_which_a_part_is_known_reaches_every_module_that_it_may_be(world: Any, call: str) -> None:
    world.distribution("formats-1.0", {"formats/__init__.py": "", "formats/a.py": "", "formats/b.py": ""})
    world.app({"web.py": f"import importlib, formats\ndef f(kind, names):\n    {call}\napp = 1"})

    closure = world.closure()

    assert {f"{SITE}/formats/a.pyc", f"{SITE}/formats/b.pyc"} <= {file.path for file in closure.files}
    assert closure.questions == ()


def test_a_part_that_is_unknown_in_the_middle_or_of_a_word_fits_what_fits(world: Any) -> None:
    world.app(
        {
            "web.py": (
                "import importlib\n"
                "def f(x):\n    importlib.import_module(f'lang.{x}.words')\n"
                "    importlib.import_module(f'v_{x}')\n"
                "    importlib.import_module(f'lang.to_{x}')\napp = 1"
            ),
            "lang/__init__.py": "",
            "lang/de/__init__.py": "",
            "lang/de/words.py": "",
            "lang/de/other.py": "",
            "lang/fr/words.py": "",
            "lang/to_it.py": "",
            "lang/tests.py": "",
        }
    )
    paths = {path for path in world.files() if path.startswith("/app/lang")}
    assert paths == {
        "/app/lang/__init__.pyc",
        "/app/lang/de/__init__.pyc",
        "/app/lang/de/words.pyc",
        "/app/lang/fr/words.pyc",
        "/app/lang/to_it.pyc",
    }
    (question,) = world.closure().questions
    assert question.question == "which modules does importlib.import_module(f'v_{x}') import?"


def test_a_pattern_that_fits_no_module_is_a_question(world: Any) -> None:
    world.app({"web.py": "import importlib\ndef f(x):\n    importlib.import_module(f'parts.{x}')\napp = 1"})
    (question,) = world.closure().questions
    assert (question.where, question.question) == (
        "web.py:3",
        "which modules does importlib.import_module(f'parts.{x}') import?",
    )


def test_the_reason_of_such_a_module_is_the_call(world: Any) -> None:
    world.app(
        {
            "web.py": "import importlib\ndef f(x):\n    importlib.import_module(f'parts.{x}')\napp = 1",
            "parts/one.py": "",
        }
    )
    assert world.files()["/app/parts/one.pyc"].reason == Reason(
        rule=Rule.HIDDEN_IMPORT,
        of="/app/web.pyc",
        detail="importlib.import_module(f'parts.{x}') (web.py:3)",
    )


GETATTR = "def __getattr__(name):\n    import importlib\n    return importlib.import_module({})\n"


@pytest.mark.parametrize(
    "asking", ["import pkg\nx = pkg.one", "from pkg import one", "import pkg as p\ndef f(): return p.one"]
)
def test_getattr_that_imports_a_submodule_reaches_the_one_that_is_asked_for(world: Any, asking: str) -> None:
    init = GETATTR.format('f"pkg.{name}"')
    world.distribution("pkg-1.0", {"pkg/__init__.py": init, "pkg/one.py": "", "pkg/two.py": ""})
    world.app({"web.py": f"{asking}\napp = 1"})
    files = world.files()
    assert f"{SITE}/pkg/one.pyc" in files
    assert f"{SITE}/pkg/two.pyc" not in files


@pytest.mark.parametrize(
    "table",
    [
        'TABLE = {"Thing": ".one", "Other": ".two"}',
        'TABLE = {"Thing": "pkg.one", "Other": "pkg.two"}',
        'TABLE = {"Thing": (__spec__.parent, ".one"), "Other": (__spec__.parent, ".two")}',
        'TABLE = {"one": ["Thing", "Third"], "two": ["Other"]}',
    ],
)
def test_a_table_of_lazy_names_reaches_the_module_of_the_name_that_is_asked_for(
    world: Any, table: str
) -> None:
    init = f"{table}\n" + GETATTR.format("TABLE[name]")
    world.distribution("pkg-1.0", {"pkg/__init__.py": init, "pkg/one.py": "", "pkg/two.py": ""})
    world.app({"web.py": "from pkg import Thing\napp = 1"})
    files = world.files()
    assert files[f"{SITE}/pkg/one.pyc"].reason.of == f"{SITE}/pkg/__init__.pyc"
    assert f"{SITE}/pkg/two.pyc" not in files


def test_lazy_loader_attach_is_such_a_table(world: Any) -> None:
    init = (
        "import lazy_loader as lazy\n"
        "__getattr__, __dir__, __all__ = lazy.attach(\n"
        "    __name__, submodules={'one', 'two'}, submod_attrs={'three': ['Thing'], 'four': ['Other']}\n)\n"
    )
    modules = {f"pkg/{name}.py": "" for name in ("one", "two", "three", "four")}
    world.distribution("lazy_loader-1.0", {"lazy_loader.py": "def attach(*a, **k): ..."})
    world.distribution("pkg-1.0", {"pkg/__init__.py": init, **modules})
    world.app({"web.py": "import pkg\nx = pkg.one, pkg.Thing\napp = 1"})
    files = world.files()
    assert {f"{SITE}/pkg/one.pyc", f"{SITE}/pkg/three.pyc"} <= set(files)
    assert not {f"{SITE}/pkg/two.pyc", f"{SITE}/pkg/four.pyc"} & set(files)


def test_lazy_loader_attach_stub_reads_the_stub_which_is_taken_as_well(world: Any) -> None:
    init = (
        "import lazy_loader as lazy\n__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)\n"
    )
    world.distribution("lazy_loader-1.0", {"lazy_loader.py": "def attach_stub(*a): ..."})
    world.distribution(
        "pkg-1.0",
        {
            "pkg/__init__.py": init,
            "pkg/__init__.pyi": "from . import one, two\nfrom .three import Thing\nfrom .four import Other\n",
            **{f"pkg/{name}.py": "" for name in ("one", "two", "three", "four")},
        },
    )
    world.app({"web.py": "import pkg\nx = pkg.one, pkg.Thing\napp = 1"})
    files = world.files()
    assert {f"{SITE}/pkg/one.pyc", f"{SITE}/pkg/three.pyc", f"{SITE}/pkg/__init__.pyi"} <= set(files)
    assert not {f"{SITE}/pkg/two.pyc", f"{SITE}/pkg/four.pyc"} & set(files)


@pytest.mark.parametrize("text", ["pkg.part:run", "pkg.part.run", "pkg.part", "solo:app"])
def test_a_text_that_names_something_in_a_module_reaches_it(world: Any, text: str) -> None:
    world.app({"web.py": f"x = '{text}'\napp = 1", "solo.py": "app = 1", "pkg/part.py": "def run(): ..."})
    assert {"/app/solo.pyc", "/app/pkg/part.pyc"} & set(world.files())


@pytest.mark.parametrize("function", ["exec", "rl_exec"])
def test_imports_in_an_executed_text_are_followed(world: Any, function: str) -> None:
    world.distribution(
        "pkg-1.0", {"pkg/__init__.py": f"{function}('from pkg.settings import *')", "pkg/settings.py": ""}
    )
    world.app({"web.py": "import pkg\napp = 1"})
    assert f"{SITE}/pkg/settings.pyc" in world.files()


def test_a_package_named_to_read_its_data_is_reached(world: Any) -> None:
    reading = 'from importlib import resources\nDATA = "pkg.tables"\ndef f(): return resources.files(DATA)'
    world.distribution(
        "pkg-1.0",
        {
            "pkg/__init__.py": reading,
            "pkg/tables/__init__.py": "",
            "pkg/tables/a.csv": "1",
            "pkg/tables/a.rst": "x",
        },
    )
    world.app({"web.py": "import pkg\napp = 1"})
    # A package with nothing but data: its texts are data as well.
    assert {f"{SITE}/pkg/tables/a.csv", f"{SITE}/pkg/tables/a.rst"} <= set(world.files())


@pytest.mark.parametrize(
    "call",
    [
        "entry_points(group='web.plugins')",
        "entry_points().select(group='web.plugins')",
        "entry_points()['web.plugins']",
        "iter_entry_points('web.plugins')",
        "ExtensionManager('web.plugins')",
    ],
)
def test_plugins_are_reached_wherever_their_group_is_named(world: Any, call: str) -> None:
    points = (
        "[web.plugins]\none = extra.one:run\n[other.plugins]\ntwo = extra.two\n"
        "[console_scripts]\nc = extra.three:main\n"
    )
    modules = {f"extra/{name}.py": "" for name in ("one", "two", "three")}
    world.distribution("extra-1.0", {"extra/__init__.py": "", **modules}, entry_points=points)
    world.app({"web.py": f"def f():\n    return {call}\napp = 1"})
    files = world.files()
    assert files[f"{SITE}/extra/one.pyc"].reason.detail == 'entry point "web.plugins" of extra'
    assert not {f"{SITE}/extra/two.pyc", f"{SITE}/extra/three.pyc"} & set(files)
    assert f"{SITE}/extra-1.0.dist-info/entry_points.txt" in files


def test_a_group_that_a_distribution_names_counts_where_it_loads_plugins_at_all(world: Any) -> None:
    world.distribution("extra-1.0", {"extra.py": ""}, entry_points="[host.plugins]\none = extra\n")
    world.distribution(
        "host-1.0",
        {
            "host/__init__.py": "from host import loading, names",
            "host/names.py": "GROUP = 'host.plugins'",
            "host/loading.py": "from importlib import metadata\ndef f(g): metadata.entry_points(group=g)",
        },
    )
    world.distribution("silent-1.0", {"silent.py": "GROUP = 'host.plugins'"})
    world.app({"web.py": "import silent\napp = 1"})
    assert f"{SITE}/extra.pyc" not in world.files()
    world.app({"web.py": "import host\napp = 1"})
    assert f"{SITE}/extra.pyc" in world.files()


def test_metadata_that_a_call_asks_for_is_taken_though_no_module_is(world: Any) -> None:
    world.distribution("some_thing-1.0", {"some_thing.py": ""})
    world.app({"web.py": "from importlib.metadata import version\nv = version('Some.Thing')\napp = 1"})
    files = world.files()
    assert f"{SITE}/some_thing-1.0.dist-info/METADATA" in files
    assert f"{SITE}/some_thing.pyc" not in files
