"""What an application's folder shows to someone who looks."""

from pathlib import Path
from typing import Any

import pytest

from casemate.builder.closure.entry import ApplicationCode
from casemate.builder.closure.survey import Named, survey_application
from casemate.errors import ProjectError
from casemate.project import Interface

FLASK = "from flask import Flask\n"


def write(folder: Path, files: Any) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("source", "interface"),
    [
        ("from flask import Flask\napp = Flask(__name__)", Interface.WSGI),
        ("import flask as f\napp = f.Flask(__name__)", Interface.WSGI),
        ("from fastapi import FastAPI\napp: FastAPI = make()", Interface.ASGI),
        ("from starlette.applications import Starlette\napp = Starlette()", Interface.ASGI),
        ("from django.core.wsgi import get_wsgi_application\napp = get_wsgi_application()", Interface.WSGI),
        ("from django.core.asgi import get_asgi_application\napp = get_asgi_application()", Interface.ASGI),
        ("from flask import Flask\nimport m\napp = m.ProxyFix(Flask(__name__))", Interface.WSGI),
        ("from flask import Flask\ndef make():\n  a = Flask('x')\n  return a\napp = make()", Interface.WSGI),
        ("from flask import Flask\ndef make() -> 'Flask': ...\napp = make()", Interface.WSGI),
        ("def make():\n  from flask import Flask\n  return Flask('x')\napp = make()", Interface.WSGI),
        ("from flask import Flask\nclass App(Flask): ...\napp = App('x')", Interface.WSGI),
        ("class App:\n  async def __call__(self, s, r, w): ...\napp = App()", Interface.ASGI),
        ("class App:\n  def __call__(self, e, s): ...\napp = App()", Interface.WSGI),
        ("def app(environ, start_response): ...", Interface.WSGI),
        ("async def app(scope, receive, send): ...", Interface.ASGI),
        ("from flask import Flask\ntry:\n  app = Flask('x')\nexcept OSError: raise", Interface.WSGI),
        ("from other import app", Interface.ASGI),
        ("from other import make\napp = make()", Interface.ASGI),
        ("app = unknown()", None),
        ("app = app", None),
        ("def make(): return make()\napp = make()", None),
        ("x = 1", None),
    ],
)
def test_the_interface_is_read_from_the_code(tmp_path: Path, source: str, interface: Any) -> None:
    other = "from fastapi import FastAPI\napp = FastAPI()\ndef make():\n  return app\n"
    write(tmp_path, {"web.py": source, "other.py": other})
    assert ApplicationCode(tmp_path).interface("web", "app") is interface


def test_the_likeliest_application_is_chosen(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "shop/__init__.py": f"{FLASK}helper = Flask('x')",
            "shop/web.py": f"{FLASK}app = Flask('x')",
            "shop/wsgi.py": f"{FLASK}app = Flask('x')",
            "tests/app.py": f"{FLASK}app = Flask('x')",
            "uv.lock": "",
        },
    )
    survey = survey_application(tmp_path)
    assert (survey.serve, survey.interface, survey.source) == ("shop.wsgi:app", Interface.WSGI, ".")
    assert (survey.requirements, survey.is_locked, survey.command) == ("uv.lock", True, None)


def test_a_folder_src_is_where_python_looks(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"src/shop/__init__.py": f"{FLASK}app = Flask('x')", "pyproject.toml": "[project]\nname='My_Shop'"},
    )
    survey = survey_application(tmp_path)
    assert (survey.source, survey.serve, survey.name) == ("src", "shop:app", "my-shop")
    assert (survey.requirements, survey.is_locked) == ("uv.lock", False)


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"shop/__init__.py": "", "shop/__main__.py": ""}, ("python", "-m", "shop")),
        ({"run.py": "if __name__ == '__main__':\n  pass"}, ("python", "-m", "run")),
        ({"a.py": "x = 1", "main.py": "if __name__ == '__main__':\n  pass"}, ("python", "-m", "main")),
    ],
    ids=["package", "script", "main"],
)
def test_a_program_is_started_by_its_module(tmp_path: Path, files: Any, command: Any) -> None:
    write(tmp_path, files)
    survey = survey_application(tmp_path)
    assert (survey.command, survey.serve, survey.requirements) == (command, None, None)


def test_a_factory_alone_is_refused_with_the_way_out(tmp_path: Path) -> None:
    write(tmp_path, {"shop.py": f"{FLASK}def create_app():\n  return Flask('x')"})
    with pytest.raises(ProjectError) as caught:
        survey_application(tmp_path)
    assert str(caught.value) == (
        "application: expected an application that a module has made when it is imported, "
        f"got a factory, shop.create_app ({tmp_path})"
    )
    assert caught.value.hint == "add a module wsgi.py with: from shop import create_app; app = create_app()"


def test_a_folder_without_an_application_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"notes.txt": "", "broken.py": "app = ("})
    with pytest.raises(ProjectError) as caught:
        survey_application(tmp_path)
    assert str(caught.value) == (
        "application: expected a WSGI or ASGI application, a package with __main__, or a module with "
        f'`if __name__ == "__main__":`, got none of them ({tmp_path})'
    )


def test_variables_without_a_default_are_found_with_their_place(tmp_path: Path) -> None:
    source = (
        "import os\n"
        "A = os.environ['SHOP_A']\n"
        "B = os.getenv('SHOP_B')\n"
        "C = os.environ.get('SHOP_C')\n"
        "D = os.environ.get('SHOP_D', 'x')\n"
        "E = os.environ.get('SHOP_E') or 'x'\n"
        "os.environ['SHOP_F'] = 'x'\n"
        "G = {}.get('SHOP_G')\n"
        "from flask import Flask\n"
        "app = Flask('x')\n"
    )
    write(tmp_path, {"shop.py": source})
    assert survey_application(tmp_path).variables == (
        Named(name="SHOP_A", where="shop.py:2"),
        Named(name="SHOP_B", where="shop.py:3"),
        Named(name="SHOP_C", where="shop.py:4"),
    )
