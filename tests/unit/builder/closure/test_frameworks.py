"""What frameworks look for by name, as rules.toml has it."""

import json
import zlib
from typing import Any

import pytest

from casemate.builder.closure import extensions
from casemate.builder.closure.extensions import names_in_extension
from casemate.builder.closure.rules import load_rules
from casemate.errors import ProjectError

SITE = "/opt/python/lib/python3.11/site-packages"
DJANGO = {
    "django/__init__.py": "",
    "django/apps/__init__.py": "from django.apps import registry",
    "django/apps/registry.py": "",
    "django/conf/__init__.py": "from django.conf import global_settings",
    "django/conf/global_settings.py": "CACHE = 'django.cache.Memory'",
    "django/cache.py": "class Memory: ...",
    "django/db/__init__.py": "from django.db import utils",
    "django/db/utils.py": "",
    "django/db/backends/__init__.py": "",
    "django/db/backends/postgresql/__init__.py": "",
    "django/db/backends/postgresql/base.py": "",
    "django/db/backends/oracle/__init__.py": "",
    "django/db/backends/oracle/base.py": "",
}


def test_django_finds_in_an_installed_application_what_it_looks_for(world: Any) -> None:
    world.distribution("django-1.0", DJANGO)
    world.distribution(
        "blog-1.0",
        {
            "blog/__init__.py": "",
            "blog/models.py": "",
            "blog/apps.py": "",
            "blog/admin.py": "",
            "blog/views.py": "",
            "blog/templatetags/__init__.py": "",
            "blog/templatetags/words.py": "",
            "blog/management/commands/tidy.py": "",
            "blog/migrations/__init__.py": "",
            "blog/migrations/0001_initial.py": "",
            "blog/locale/de/LC_MESSAGES/django.mo": "x",
            "blog/locale/de/LC_MESSAGES/django.po": "x",
        },
    )
    settings = "INSTALLED_APPS = ['blog.apps']\nENGINE = 'django.db.backends.postgresql'"
    world.app(
        {
            "web.py": f"import settings, django.apps, django.conf, django.db\n{settings}\napp = 1",
            "settings.py": "",
        }
    )
    files = set(world.files())
    found = {
        "blog/models.pyc",
        "blog/apps.pyc",
        "blog/admin.pyc",
        "blog/templatetags/words.pyc",
        "blog/management/commands/tidy.pyc",
        "blog/migrations/0001_initial.pyc",
        "blog/locale/de/LC_MESSAGES/django.mo",
        "django/cache.pyc",
        "django/db/backends/postgresql/base.pyc",
    }
    assert {f"{SITE}/{path}" for path in found} <= files
    absent = {"blog/views.pyc", "django/db/backends/oracle/base.pyc", "blog/locale/de/LC_MESSAGES/django.po"}
    assert not {f"{SITE}/{path}" for path in absent} & files


def test_without_django_nobody_looks(world: Any) -> None:
    world.distribution("blog-1.0", {"blog/__init__.py": "", "blog/models.py": "", "blog/admin.py": ""})
    world.app({"web.py": "import blog\napp = 1"})
    assert f"{SITE}/blog/admin.pyc" not in world.files()


def test_numpy_is_whole_for_who_takes_all_of_its_names_by_a_text(world: Any) -> None:
    world.distribution(
        "numpy-2.0", {"numpy/__init__.py": "", "numpy/f2py/__init__.py": "", "numpy/testing/__init__.py": ""}
    )
    world.distribution(
        "array_api_compat-1.0", {"array_api_compat/__init__.py": "", "array_api_compat/numpy/__init__.py": ""}
    )
    world.app({"web.py": "import numpy\napp = 1"})
    assert f"{SITE}/numpy/f2py/__init__.pyc" not in world.files()
    world.app({"web.py": "import array_api_compat.numpy\napp = 1"})
    assert {f"{SITE}/numpy/f2py/__init__.pyc", f"{SITE}/numpy/testing/__init__.pyc"} <= set(world.files())


@pytest.mark.parametrize("call", ["load_dotenv()", "dotenv.find_dotenv()"])
def test_who_is_looked_for_by_its_file_has_one(world: Any, call: str) -> None:
    world.distribution("python_dotenv-1.0", {"dotenv.py": ""})
    world.app({"web.py": f"import dotenv\nfrom dotenv import load_dotenv\n{call}\napp = 1"})
    assert "/app/web.py" in world.files()


def test_names_that_stand_within_each_other_are_found_in_an_extension() -> None:
    data = b"\0pkg._onepkg._twoself__set_name__other.three\0"
    assert set(names_in_extension(data, ("pkg",))) >= {
        "pkg._onepkg._twoself__set_name__other.three",
        "pkg._twoself__set_name__other.three",
    }


def test_an_extension_that_is_made_to_be_read_for_long_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(names_in_extension(b"ab." * 40_000, ("ab",))) == 16
    text = zlib.compress(b"pkg.one ", 9)
    monkeypatch.setattr(extensions, "_MOST_BEGINNINGS", 2)
    assert names_in_extension(text * 2, ("pkg",)) == ("pkg.one",)
    assert names_in_extension(b"\x78\xda" * 2 + text, ("pkg",)) == ()


def test_every_rule_says_why() -> None:
    rules = load_rules()
    reasons = [rule.reason for rule in (*rules.hidden.values(), *rules.cuts, *rules.companions)]
    assert all(len(reason) > 5 for reason in reasons)


def test_an_extension_reaches_a_module_whose_name_runs_into_the_next_word(world: Any) -> None:
    extension = b"\x7fELF\0pkg._firstpkg.inner._secondself__name__\0"
    world.distribution(
        "pkg-1.0",
        {
            "pkg/__init__.py": "from pkg import fast",
            "pkg/fast.so": extension,
            "pkg/_first.py": "",
            "pkg/inner/__init__.py": "",
            "pkg/inner/_second.py": "",
            "pkg/inner/_third.py": "",
        },
    )
    world.app({"web.py": "import pkg\napp = 1"})
    files = world.files()
    assert f"{SITE}/pkg/inner/_second.pyc" in files
    assert f"{SITE}/pkg/inner/_third.pyc" not in files


@pytest.mark.parametrize(
    "arguments",
    [("web.main:app",), ("--app", "web.main"), ("--app=web.main:make()", "run"), ("-Aweb.main", "x")],
)
def test_the_module_that_a_command_names_to_its_server_is_an_entry_point(
    world: Any, arguments: tuple[str, ...]
) -> None:
    world.app({"web/__init__.py": "", "web/main.py": "import json", "unused.py": ""})
    command = json.dumps(["python", "-m", "doctest", *arguments])
    files = world.files(app=f"command = {command}")
    own = [path for path in files if path.startswith("/app/")]
    assert own == ["/app/web/__init__.pyc", "/app/web/main.pyc"]


def test_a_command_that_reaches_nothing_of_the_application_is_refused(world: Any) -> None:
    world.app({"web.py": ""})
    with pytest.raises(ProjectError) as caught:
        world.files(app='command = ["python", "-m", "doctest", "--port", "80", "json"]')
    assert str(caught.value) == (
        "command: expected one that reaches a module of the application, got only the interpreter's and "
        "those of the requirements (casemate.toml: app.command)"
    )
    assert caught.value.hint == (
        'let Casemate serve it: serve = "module:callable"; or name what the program imports: [closure] '
        'include = ["module:NAME"]'
    )
