"""Which files go with the modules, and which never do."""

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from casemate.builder.closure import Question
from casemate.builder.contents import Reason, Rule
from casemate.errors import ClosureError, ProjectError

SITE = "/opt/python/lib/python3.11/site-packages"
LIB = "/opt/python/lib/python3.11"


def refusal(world: Any, more: str = "", **options: str) -> Any:
    with pytest.raises((ProjectError, ClosureError)) as caught:
        world.closure(more, **options)
    return f"{caught.value}\nhint: {caught.value.hint}"


def test_data_of_a_package_that_is_reached_is_taken(world: Any) -> None:
    world.distribution(
        "pkg-1.0",
        {
            "pkg/__init__.py": "",
            "pkg/cacert.pem": "x",
            "pkg/templates/a.html": "x",
            "pkg/data/deep/b.json": "{}",
            "pkg/_c.pyi": "",
            "pkg/_c.pyx": "",
            "pkg/lib.a": "",
            "pkg/include/x.txt": "",
            "pkg/tests/data.txt": "",
            "pkg/py.typed": "",
            "pkg/LICENSE.txt": "",
            "pkg/sub/__init__.py": "",
            "pkg/sub/data.txt": "",
            "pkg/old.so.1": "",
        },
    )
    world.app({"web.py": "import pkg\napp = 1"})
    found = {path for path in world.files() if path.startswith(f"{SITE}/pkg/")}
    assert found == {
        f"{SITE}/pkg/__init__.pyc",
        f"{SITE}/pkg/cacert.pem",
        f"{SITE}/pkg/templates/a.html",
        f"{SITE}/pkg/data/deep/b.json",
    }


def test_templates_and_static_files_of_the_application_are_taken(world: Any) -> None:
    world.app(
        {
            "web/__init__.py": "app = 1",
            "web/templates/a.html": "x",
            "web/static/a.css": "x",
            "web/notes.db": "x",
            "web/.env": "SECRET=1",
            "web/README.md": "x",
            "web/tests/test_web.py": "x",
            "web/__pycache__/web.cpython-311.pyc": "x",
            "tests/test_web.py": "x",
            "casemate.toml": "x",
            "uv.lock": "x",
            "pyproject.toml": "x",
            ".git/config": "x",
            ".venv/pyvenv.cfg": "x",
        }
    )
    found = {path for path in world.files() if path.startswith("/app/")}
    assert found == {"/app/web/__init__.pyc", "/app/web/templates/a.html", "/app/web/static/a.css"}


def test_templates_beside_a_module_without_a_package_are_taken(world: Any) -> None:
    world.app({"web.py": "app = 1", "templates/a.html": "x", "static/a.css": "x", "other/a.txt": "x"})
    files = world.files()
    assert {"/app/templates/a.html", "/app/static/a.css"} <= set(files)
    assert "/app/other/a.txt" not in files


def test_a_private_key_among_the_data_is_refused(world: Any) -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"
    world.app({"web/__init__.py": "app = 1", "web/tls.pem": key})
    assert refusal(world) == (
        "private key in the application's files: expected nothing secret in an image (/app/web/tls.pem)\n"
        "hint: move it out of the package; [secrets] delivers it to the enclave after attestation"
    )


def test_metadata_of_every_distribution_that_is_reached_is_taken(world: Any) -> None:
    world.distribution("pkg-1.0", {"pkg.py": ""}, entry_points="[x]\ny = pkg:z\n")
    world.distribution("other-1.0", {"other.py": ""})
    world.app({"web.py": "import pkg\napp = 1"})
    files = world.files()
    assert files[f"{SITE}/pkg-1.0.dist-info/METADATA"].reason == Reason(
        rule=Rule.METADATA, of=f"{SITE}/pkg.pyc", detail="metadata of pkg"
    )
    assert f"{SITE}/pkg-1.0.dist-info/entry_points.txt" in files
    assert f"{SITE}/pkg-1.0.dist-info/RECORD" not in files
    assert f"{SITE}/other-1.0.dist-info/METADATA" not in files


def test_a_pattern_takes_files_and_modules(world: Any) -> None:
    world.app(
        {
            "web.py": "app = 1",
            "data/x.csv": "",
            "data/deep/y.csv": "",
            "plugins/p.py": "import json",
            "z.csv": "",
        }
    )
    files = world.files('[closure]\ninclude = ["data/**/*.csv", "plugins/*.py"]')
    assert {
        "/app/data/x.csv",
        "/app/data/deep/y.csv",
        "/app/plugins/p.pyc",
        f"{LIB}/json/__init__.pyc",
    } <= set(files)
    assert not {"/app/z.csv", "/app/plugins/p.py"} & set(files)
    assert files["/app/data/x.csv"].reason.rule is Rule.INCLUDED


def test_a_module_can_be_included_by_name(world: Any) -> None:
    world.app({"web.py": "app = 1"})
    assert f"{LIB}/json/tool.pyc" in world.files('[closure]\ninclude = ["module:json.tool"]')


@pytest.mark.parametrize("pattern", ["nothing/*.csv", "casemate.toml", "uv.lock", ".env", "*.db/**"])
def test_a_pattern_that_names_nothing_is_refused(world: Any, pattern: str) -> None:
    world.app({"web.py": "app = 1", "casemate.toml": "x", "uv.lock": "x", ".env": "x"})
    assert refusal(world, f'[closure]\ninclude = ["{pattern}"]') == (
        f'include "{pattern}": expected a pattern that names a file, got none '
        f"(casemate.toml: closure.include)\n"
        "hint: patterns are relative to app.source; ** stands for any number of folders"
    )


def test_a_module_to_include_that_does_not_exist_is_refused(world: Any) -> None:
    world.app({"web.py": "app = 1"})
    assert refusal(world, '[closure]\ninclude = ["module:no.such"]').startswith(
        'include "module:no.such": expected a module that can be imported, got none'
    )


def test_no_module_is_there_both_as_source_and_as_bytecode(world: Any) -> None:
    world.distribution("pkg-1.0", {"pkg/__init__.py": "from . import part", "pkg/part.py": ""})
    world.app({"web.py": "import pkg\napp = 1"})
    for more in ("", '[closure]\nsource = ["pkg"]', '[closure]\nmode = "distribution"'):
        paths = set(world.files(more))
        assert not [path for path in paths if path.endswith(".py") and f"{path}c" in paths]


def test_a_package_that_is_named_is_shipped_as_source(world: Any) -> None:
    world.distribution("pkg-1.0", {"pkg/__init__.py": "from . import part", "pkg/part.py": "x = 1"})
    world.app({"web.py": "import pkg\napp = 1"})
    files = world.files('[closure]\nsource = ["pkg"]')
    assert files[f"{SITE}/pkg/part.py"].read() == b"x = 1"
    assert f"{SITE}/pkg/part.pyc" not in files
    assert "/app/web.pyc" in files


def test_an_application_that_reads_its_own_source_is_shipped_as_source(world: Any) -> None:
    source = "import inspect\nimport json\n\ndef app(e, s): return inspect.getsource(app)"
    world.app({"web/__init__.py": "from .serve import app", "web/serve.py": source})
    files = world.files()
    assert {"/app/web/__init__.py", "/app/web/serve.py"} <= set(files)
    assert not {"/app/web/__init__.pyc", "/app/web/serve.pyc"} & set(files)


def test_tracebacks_name_the_source_as_the_enclave_would_see_it(world: Any) -> None:
    world.app({"web/__init__.py": "app = 1"})
    world.closure()
    assert "/app/web/__init__.py" in {source.path for source in world.compiled}


def test_a_whole_distribution_is_taken_without_tests_and_headers(world: Any) -> None:
    world.distribution(
        "pkg-1.0",
        {
            "pkg/__init__.py": "",
            "pkg/unused.py": "import json.tool",
            "pkg/tests/test_pkg.py": "",
            "pkg/include/pkg.h": "",
            "pkg/x.pyi": "",
            "pkg/x.a": "",
            "pkg/other/data.bin": "",
            "pkg/_c.abi3.so": "",
            "pkg.libs/libz.so.1": "",
            "../../bin/pkg": "",
        },
    )
    world.app({"web.py": "import pkg\napp = 1"})
    files = world.files('[closure]\nmode = "distribution"')
    assert {path for path in files if path.startswith(f"{SITE}/pkg")} == {
        f"{SITE}/pkg/__init__.pyc",
        f"{SITE}/pkg/unused.pyc",
        f"{SITE}/pkg/other/data.bin",
        f"{SITE}/pkg/_c.abi3.so",
        f"{SITE}/pkg-1.0.dist-info/METADATA",
        f"{SITE}/pkg-1.0.dist-info/RECORD",
    }
    assert f"{LIB}/json/tool.pyc" in files


def test_everything_is_considered_and_what_is_left_out_is_named(world: Any) -> None:
    world.distribution("other-1.0", {"other.py": "1234"})
    world.app({"web.py": "app = 1"})
    closure = world.closure()
    left = closure.considered.left_out
    assert f"{SITE}/other.py" in left
    assert f"{LIB}/test/__init__.py" in left
    assert f"{LIB}/encodings/__init__.py" not in left
    assert f"{SITE}/cheroot/__init__.py" not in left
    assert list(left) == sorted(left)
    count = sum(len(names) for folder in ("stdlib", "env") for _, _, names in os.walk(world.root / folder))
    assert closure.considered.files == count + 1


def test_modules_of_the_application_that_nothing_reaches_are_named_and_not_counted(world: Any) -> None:
    world.app(
        {"web.py": "import shop\napp = 1", "shop/__init__.py": "from . import used", "shop/used.py": ""}
    )
    before = world.closure().considered
    modules = ("plug/a.py", "shop/unused.py", "tests.py", "contest.py")
    tests = ("tests/helper.py", "shop/test/x.py", "test_web.py", "shop/web_test.py", "conftest.py")
    others = (
        ".hidden.py",
        ".cache/x.py",
        "my-tool.py",
        "setup.py",
        "venv/x.py",
        "venv/pyvenv.cfg",
        "notes.txt",
    )
    world.app(dict.fromkeys((*modules, *tests, *others), "x = 1"))
    after = world.closure().considered
    assert set(after.left_out) - set(before.left_out) == {f"/app/{name}" for name in modules}
    assert list(after.left_out) == sorted(after.left_out)
    assert not [path for path in before.left_out if path.startswith("/app/")]
    assert (after.files, after.size) == (before.files, before.size)


def test_packages_installed_into_the_interpreter_itself_are_not_considered(world: Any) -> None:
    world.app({"web.py": "app = 1"})
    before = world.closure().considered
    place = world.root / "stdlib/site-packages"
    place.mkdir()
    (place / "pip.py").write_text("x")
    assert world.closure().considered == before


def test_an_interpreter_that_looks_elsewhere_is_told_where_the_distributions_are(world: Any) -> None:
    world.app({"web.py": "app = 1"})
    world.interpreter = dataclasses.replace(world.interpreter, finds_site_packages=False)
    assert (
        world.files()[f"{LIB}/sitecustomize.py"].content
        == b'import site\n\nsite.addsitedir(__file__.rpartition("/")[0] + "/site-packages")\n'
    )


def test_the_path_file_stands_in_the_place_of_the_interpreter_s_own(world: Any) -> None:
    world.app({"web.py": "import sitecustomize\napp = 1"})
    (world.root / "stdlib/sitecustomize.py").write_text("import wave")
    (world.root / "stdlib/wave.py").write_text("")
    world.interpreter = dataclasses.replace(world.interpreter, finds_site_packages=False)
    files = world.files()
    assert [path for path in files if "sitecustomize" in path] == [f"{LIB}/sitecustomize.py"]
    assert {file.reason.of for file in files.values()} <= {None, *files}


def test_the_closure_does_not_depend_on_the_folder_or_on_the_order_of_its_entries(
    world: Any, second_world: Any
) -> None:
    files = {f"pkg/m{n}.py": "" for n in range(20)}
    source = "".join(f"from . import m{n}\n" for n in range(20))
    world.distribution("pkg-1.0", {"pkg/__init__.py": source, **files})
    second_world.distribution("pkg-1.0", {**dict(reversed(files.items())), "pkg/__init__.py": source})
    for one in (world, second_world):
        one.app({"web.py": "import pkg\napp = 1"})
    first, second = world.closure(), second_world.closure()
    assert [(f.path, f.read(), f.reason) for f in first.files] == [
        (f.path, f.read(), f.reason) for f in second.files
    ]
    assert first.considered.left_out == second.considered.left_out


@pytest.mark.parametrize(
    ("files", "app", "expected"),
    [
        (
            {"web.py": ""},
            'serve = "other:app"\ninterface = "wsgi"',
            (
                "entry point: expected a module other that can be imported, got none "
                "in app.source and in the "
                "requirements (casemate.toml: app.serve)\n"
                "hint: app.source is the folder in which Python would look for the module"
            ),
        ),
        (
            {"web.py": "application = 1"},
            'serve = "web:app"\ninterface = "wsgi"',
            (
                "entry point: expected a name app in module web, got none (casemate.toml: app.serve)\n"
                "hint: web.py has to define it at its top level"
            ),
        ),
        (
            {"web.py": "import sanic\napp = 1"},
            'serve = "web:app"\ninterface = "wsgi"',
            (
                "import sanic: expected a module of the application, of its requirements or of the standard "
                "library, got none (web.py:1)\n"
                "hint: add what provides it to the requirements, and lock them again"
            ),
        ),
        (
            {"web/__init__.py": "from .a import app", "web/a.py": "import sanic\napp = 1"},
            'serve = "web:app"\ninterface = "wsgi"',
            (
                "import sanic: expected a module of the application, of its requirements or of the standard "
                "library, got none (web/a.py:1)\n"
                "hint: add what provides it to the requirements, and lock them again"
            ),
        ),
        (
            {"web.py": f"app = {'-' * 200_000}1"},
            'serve = "web:app"\ninterface = "wsgi"',
            (
                "application's code: expected valid Python, got too deep a nesting (/app/web.py)\n"
                "hint: mend it, or run Casemate with the Python version that it is written for"
            ),
        ),
        (
            {"web.py": "app = (1"},
            'serve = "web:app"\ninterface = "wsgi"',
            (
                "application's code: expected valid Python, got '(' was never closed "
                "(<unknown>, line 1) (/app/web.py)"
                "\nhint: mend it, or run Casemate with the Python version that it is written for"
            ),
        ),
        (
            {"web.py": "from flask import Flask\ndef create_app():\n    return Flask(__name__)\n"},
            'serve = "web:create_app"\ninterface = "wsgi"',
            (
                "serve: expected an application that a module has made when it is imported, got a factory, "
                "web.create_app (casemate.toml: app.serve)\n"
                "hint: add wsgi.py with: from web import create_app; app = create_app(), and say "
                'serve = "wsgi:app"'
            ),
        ),
        (
            {"web.py": "app = make()"},
            'serve = "web:app"',
            (
                'interface of "web:app": expected a WSGI or ASGI application that '
                "reading the code recognises "
                "(casemate.toml: app.serve)\n"
                'hint: say which it is: interface = "wsgi" (Flask, Django) or interface = "asgi" (FastAPI)'
            ),
        ),
        (
            {"web.py": ""},
            'command = ["python", "other.py"]',
            (
                "entry point: expected a file other.py in app.source, got none "
                "(casemate.toml: app.command)\nhint: None"
            ),
        ),
    ],
    ids=[
        *("module", "name", "import", "import of a submodule", "nesting", "syntax", "factory"),
        *("interface", "script"),
    ],
)
def test_an_entry_point_that_does_not_import_is_refused(
    world: Any, files: Any, app: str, expected: str
) -> None:
    world.app(files)
    assert refusal(world, app=app) == expected


@pytest.mark.parametrize(
    "source",
    [
        "try:\n    import sanic\nexcept ImportError:\n    sanic = None",
        "def f():\n    import sanic",
        "import sys\nif sys.platform == 'win32':\n    import sanic",
        "if unknown():\n    import sanic",
        "import contextlib\nwith contextlib.suppress(ImportError):\n    import sanic",
    ],
    ids=["guarded", "lazy", "other platform", "undecided", "suppressed"],
)
def test_an_optional_import_may_be_missing(world: Any, source: str) -> None:
    (world.root / "stdlib/contextlib.py").write_text("")
    world.app({"web.py": f"{source}\napp = 1"})
    assert "/app/web.pyc" in world.files()


def test_an_import_that_empty_requirements_cannot_provide_is_refused_with_the_way_to_a_lock(
    world: Any,
) -> None:
    world.app({"web.py": "import sanic\napp = 1"})
    with pytest.raises(ProjectError) as caught:
        world.closure(app='requirements = ""\nserve = "web:app"\ninterface = "wsgi"')
    assert caught.value.hint == (
        "write what provides it into requirements.in, run `uv pip compile --generate-hashes requirements.in "
        '-o requirements.lock`, and write requirements = "requirements.lock" in casemate.toml, '
        'where it says ""'
    )


@pytest.mark.parametrize(
    "source",
    [
        "from json import *",
        "def __getattr__(name): ...",
        "if x():\n    app = 1",
        "for app in (): ...",
        "import json as app",
    ],
    ids=["star", "any name", "in a branch", "loop", "import"],
)
def test_a_name_that_the_module_may_define_is_accepted(world: Any, source: str) -> None:
    world.app({"web.py": source})
    assert "/app/web.pyc" in world.files()


def test_a_program_is_an_entry_point_with_its_main_block(world: Any) -> None:
    source = "if __name__ == '__main__':\n    import json"
    world.app({"web.py": source, "pkg/__init__.py": "", "pkg/__main__.py": source})
    for command, entry in (
        ('["python", "-m", "web"]', "/app/web.pyc"),
        ('["python", "web.py"]', "/app/web.pyc"),
        ('["python", "-m", "pkg"]', "/app/pkg/__main__.pyc"),
    ):
        files = world.files(app=f"command = {command}")
        assert {entry, f"{LIB}/json/__init__.pyc"} <= set(files)
        assert world.closure(app=f"command = {command}").interface is None


def test_an_import_that_only_the_running_code_knows_becomes_a_question(world: Any) -> None:
    source = "import importlib\n\ndef load(name):\n    return importlib.import_module(name)\n"
    world.app({"web/__init__.py": "app = 1\nfrom . import plugins", "web/plugins.py": source})
    assert world.closure().questions == (
        Question(
            where="web/plugins.py:4",
            question="which modules does importlib.import_module(name) import?",
            line='[closure] include = ["module:NAME"]  # NAME: what it may import, one entry for each',
        ),
    )
    assert len(world.closure('[closure]\ninclude = ["web/*.py"]').questions) == 1
    assert world.closure('[closure]\ninclude = ["module:json"]').questions == ()


@pytest.mark.parametrize(
    "expression",
    [
        "'xml' + '.dom.' + 'minidom'",
        "f'xml.dom.minidom'",
        "f'xml.{\"dom\"}.minidom'",
        "f'{__package__}.part'",
        "__package__ + '.part'",
    ],
)
def test_a_name_put_together_from_constants_is_no_question(world: Any, expression: str) -> None:
    write_xml = {"xml/__init__.py": "", "xml/dom/__init__.py": "", "xml/dom/minidom.py": ""}
    world.distribution("xml-1.0", write_xml)
    source = f"import importlib\napp = importlib.import_module({expression})"
    world.app({"web/__init__.py": source, "web/part.py": ""})
    assert world.closure().questions == ()
    assert {f"{SITE}/xml/dom/minidom.pyc", "/app/web/part.pyc"} & set(world.files())


@pytest.mark.parametrize(
    "expression", ["f'{name}.part'", "f'x{1!r}'", "f'x{\"y\":>9}'", "'x' * 2", "'x' + name", "b'xml'"]
)
def test_a_name_that_constants_do_not_give_is_one(world: Any, expression: str) -> None:
    source = f"import importlib\nfrom os import name\napp = importlib.import_module({expression})"
    world.app({"web.py": source})
    assert len(world.closure().questions) == 1


def test_a_module_that_is_included_as_a_pattern_is_refused_with_the_right_words(world: Any) -> None:
    world.app({"web.py": "app = 1"})
    assert refusal(world, '[closure]\ninclude = ["xml.dom.minidom"]') == (
        'include "xml.dom.minidom": expected a pattern that names a file, got none '
        "(casemate.toml: closure.include)\n"
        'hint: write "module:xml.dom.minidom" if it is a module; '
        "patterns are relative to app.source; ** stands for any number of folders"
    )


def test_a_library_is_not_asked_about(world: Any) -> None:
    world.distribution("pkg-1.0", {"pkg.py": "import importlib\ndef f(n): importlib.import_module(n)"})
    world.app({"web.py": "import pkg\napp = 1"})
    assert world.closure().questions == ()


def test_a_library_s_file_that_is_not_python_is_left_out(world: Any) -> None:
    world.distribution(
        "pkg-1.0", {"pkg/__init__.py": "def f():\n    from . import old", "pkg/old.py": "print 1"}
    )
    world.app({"web.py": "import pkg\napp = 1"})
    assert f"{SITE}/pkg/old.pyc" not in world.files()


def test_an_interpreter_newer_than_the_one_that_reads_is_refused(world: Any) -> None:
    world.app({"web.py": "app = 1"})
    world.interpreter = dataclasses.replace(world.interpreter, version="3.99", release="3.99.0")
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert refusal(world) == (
        "code for Python 3.99: expected a Casemate that runs on that version or a newer one, "
        f"got one that runs on {own} ({world.interpreter.executable})\n"
        f"hint: install Casemate with Python 3.99, or build with --python for {own}"
    )


COPY = "copy what the image needs into that folder, or remove the link"


@pytest.mark.parametrize(
    ("link", "more"),
    [
        ("web/data/hosts.yml", ""),
        ("web/templates", ""),
        ("web/__init__.py", ""),
        ("web/inner.py", ""),
        ("web/inner", ""),
        ("web/_fast.so", ""),
        ("extra/hosts.yml", '[closure]\ninclude = ["extra/*.yml"]'),
        ("extra/job.py", '[closure]\ninclude = ["extra/*.py"]'),
    ],
)
def test_a_link_out_of_the_application_is_refused(world: Any, tmp_path: Path, link: str, more: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in ("__init__.py", "hosts.yml", "inner.py"):
        (outside / name).write_text("app = 1")
    files = {"web/__init__.py": "from web import inner, _fast\napp = 1", "web/inner.py": "", "extra/x": ""}
    world.app({name: text for name, text in files.items() if not name.startswith(link)})
    place = world.root / "app" / link
    place.parent.mkdir(parents=True, exist_ok=True)
    is_folder = not place.suffix
    place.symlink_to(outside if is_folder else outside / "hosts.yml")
    if link == "web/templates":  # folders of data are not followed at all
        assert not any("hosts" in path for path in world.files(more))
        return
    reached = "inner/__init__.py" if link == "web/inner" else place.name
    assert refusal(world, more) == (
        f"file that would go into the image: expected one that lies in {world.root}/app, got a link to "
        f"{outside / ('__init__.py' if is_folder else 'hosts.yml')} "
        f"({place.parent.relative_to(world.root / 'app')}/{reached})\nhint: {COPY}"
    )


def test_a_link_within_the_application_is_taken_as_what_it_names(world: Any) -> None:
    world.app({"web/__init__.py": "app = 1", "shared/a.yml": "x"})
    (world.root / "app/web/a.yml").symlink_to("../shared/a.yml")
    assert world.files()["/app/web/a.yml"].read() == b"x"


def test_an_application_whose_folder_is_a_link_is_taken(world: Any) -> None:
    world.app({"web/__init__.py": "app = 1", "web/a.yml": "x"})
    (world.root / "app").rename(world.root / "real")
    (world.root / "app").symlink_to("real")
    assert world.files()["/app/web/a.yml"].read() == b"x"


@pytest.mark.parametrize("name", ["cacert.pem", "inner.py"])
def test_a_link_out_of_the_environment_is_refused(world: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").write_text("")
    world.distribution("pkg-1.0", {"pkg/__init__.py": "from pkg import inner"})
    (world.root / "env/pkg" / name).symlink_to(tmp_path / "outside")
    world.app({"web.py": "import pkg\napp = 1"})
    assert refusal(world) == (
        f"file that would go into the image: expected one that lies in {world.root}/env, got a link to "
        f"{tmp_path}/outside (pkg/{name})\nhint: {COPY}"
    )


def test_a_file_whose_name_moves_the_cursor_is_refused(world: Any) -> None:
    world.app({"web/__init__.py": "app = 1", "web/\x1b[2Ja.yml": "x"})
    assert refusal(world) == (
        f"name of a file: expected no control characters, got 'web/\\x1b[2Ja.yml' ({world.root}/app)\n"
        "hint: rename it: it would be listed among the trusted files, and listings would not show it"
    )
