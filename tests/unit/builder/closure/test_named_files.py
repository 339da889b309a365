"""Files and folders that the application's code names."""

from typing import Any

import pytest

from casemate.builder.contents import Reason, Rule


@pytest.mark.parametrize(
    "code",
    [
        "from pathlib import Path\nx = Path(__file__).parent / 'prices.csv'",
        "from pathlib import Path\nx = Path(__file__).with_name('prices.csv')",
        "x = open('prices.csv')",
        "import os\nx = os.path.join(os.path.dirname(__file__), 'prices.csv')",
        "NAME = 'prices.csv'",
        "x = open('./prices.csv')",
    ],
)
def test_a_file_that_the_code_names_is_taken(world: Any, code: str) -> None:
    world.app({"web.py": f"{code}\napp = 1", "prices.csv": "1", "other.csv": "2"})
    files = world.files()
    assert "/app/prices.csv" in files
    assert "/app/other.csv" not in files


def test_its_reason_is_the_words(world: Any) -> None:
    world.app({"web.py": "\nx = open('prices.csv')\napp = 1", "prices.csv": "1"})
    assert world.files()["/app/prices.csv"].reason == Reason(
        rule=Rule.PACKAGE_DATA, of="/app/web.pyc", detail='"prices.csv" (web.py:2)'
    )


@pytest.mark.parametrize(
    "code",
    [
        "from pathlib import Path\nx = Path(__file__).parent / 'words'",
        "x = dict(LOCALE_PATHS=['words'])",
        "LOCALE_PATHS = ['words']",
        "import os\nx = os.path.join('..', 'words')",
        "from starlette.staticfiles import StaticFiles\nx = StaticFiles(directory='words')",
    ],
)
def test_a_folder_is_taken_where_it_is_part_of_a_path(world: Any, code: str) -> None:
    try_import = code.replace("from starlette.staticfiles import StaticFiles\n", "StaticFiles = dict\n")
    world.app({"web.py": f"{try_import}\napp = 1", "words/de/a.mo": "1", "words/notes.md": ""})
    assert "/app/words/de/a.mo" in world.files()
    assert "/app/words/notes.md" not in world.files()


@pytest.mark.parametrize("code", ["x = {'data': 1}", "x = 'data'", "print('data')", "x = ['data', 'more']"])
def test_a_word_that_is_also_the_name_of_a_folder_is_just_a_word(world: Any, code: str) -> None:
    world.app({"web.py": f"{code}\napp = 1", "data/private.csv": "1"})
    assert "/app/data/private.csv" not in world.files()


def test_modules_in_a_named_folder_are_taken_as_source_and_followed(world: Any) -> None:
    world.app(
        {
            "web.py": "from pathlib import Path\nx = Path(__file__).parent / 'steps'\napp = 1",
            "steps/0001_first.py": "import doctest, helper",
            "steps/template.mako": "x",
            "helper.py": "",
        }
    )
    files = world.files()
    assert {"/app/steps/0001_first.py", "/app/steps/template.mako", "/app/helper.pyc"} <= set(files)
    assert "/app/steps/0001_first.pyc" not in files


def test_names_are_looked_up_in_the_folders_around_the_module(world: Any) -> None:
    world.app(
        {
            "web.py": "import pkg.inner.part\napp = 1",
            "pkg/__init__.py": "",
            "pkg/inner/__init__.py": "",
            "pkg/inner/part.py": "x = open('settings.ini'), open('../beside.txt')",
            "settings.ini": "",
            "pkg/beside.txt": "",
        }
    )
    assert {"/app/settings.ini", "/app/pkg/beside.txt"} <= set(world.files())


def test_what_settings_name_is_taken_too_one_step_far(world: Any) -> None:
    world.app(
        {
            "web.py": "x = open('alembic.ini')\napp = 1",
            "alembic.ini": "[alembic]\nscript_location = %(here)s/steps\nmore: more.toml\n",
            "steps/env.py": "",
            "more.toml": "third = 'third.csv'",
            "third.csv": "1",
        }
    )
    files = world.files()
    assert {"/app/alembic.ini", "/app/steps/env.py", "/app/more.toml"} <= set(files)
    assert "/app/third.csv" not in files


@pytest.mark.parametrize("name", ["state.db", ".env", "tests/cases.csv", "../outside.csv", "module.py"])
def test_what_is_hidden_written_or_elsewhere_is_left_alone(world: Any, name: str) -> None:
    world.app({"web.py": f"x = open('{name}')\napp = 1", name: "x = 1"})
    assert not [path for path in world.files() if path.endswith(name.rpartition("/")[2])]


def test_a_package_is_not_taken_whole_because_a_path_has_its_name(world: Any) -> None:
    code = "from pathlib import Path\nx = Path(__file__).parent / 'pkg'\napp = 1"
    world.app({"web.py": code, "pkg/__init__.py": "", "pkg/unused.py": ""})
    assert "/app/pkg/unused.py" not in world.files()


def test_a_private_key_that_the_code_names_is_refused(world: Any) -> None:
    key = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----\n"
    world.app({"web.py": "x = open('server.pem')\napp = 1", "server.pem": key})
    with pytest.raises(Exception, match="private key in the application's files"):
        world.closure()
