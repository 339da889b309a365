"""From an image's configuration to casemate.toml: folders, interpreters, variables, ports, data."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.builder.closure import ReachedModule
from casemate.builder.foreign import ImageRoot
from casemate.builder.foreign.application import ImageApplication, image_application, workload_name
from casemate.builder.foreign.data import included_files, questions_about_paths
from casemate.builder.foreign.environment import image_variables
from casemate.builder.foreign.interpreter import find_interpreter, home_folder
from casemate.errors import ProjectError
from casemate.formats.foreign_image import ForeignConfig
from casemate.project import parse_project
from casemate.project.template import render_project

WSGI = "def app(environ, start_response): ...\n"
FLASK = "from flask import Flask\napp = Flask(__name__)\n"


@pytest.fixture
def root(tmp_path: Path) -> ImageRoot:
    files = {
        "srv/app/web.py": FLASK,
        "srv/app/app.py": FLASK,
        "srv/lib/shop/__init__.py": WSGI,
        "opt/venv/lib/site-packages/tool/__init__.py": WSGI,
        "opt/venv/bin/gunicorn": "#!/opt/venv/bin/python\n",
        "usr/bin/python3.11": "\x7fELF",
        "usr/bin/run": "#!/usr/bin/env -S python3\n",
        "srv/data/a.csv": "1",
        "srv/data/b/c.csv": "2",
        "srv/data/key.pem": "-----BEGIN PRIVATE KEY-----\nabc\n",
        "etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
        "top.py": WSGI,
    }
    for path, text in files.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    (tmp_path / "opt/venv/bin/python").symlink_to("../../../usr/bin/python3.11")
    (tmp_path / "usr/bin/python3").symlink_to("python3.11")
    return ImageRoot(folder=tmp_path)


def config(
    *cmd: str, working_dir: str = "/srv/app", ports: tuple[str, ...] = (), **env: str
) -> ForeignConfig:
    return ForeignConfig(
        entrypoint=(),
        cmd=cmd,
        env=tuple(env.items()),
        working_dir=working_dir,
        user="",
        ports=ports,
        labels=(),
        diff_ids=(),
    )


def described(root: ImageRoot, image: ForeignConfig) -> ImageApplication:
    packages = ("/opt/venv/lib/site-packages",)
    return image_application(root, image, packages, name="shop", source="oci:shop")


def test_what_a_server_serves_becomes_serve(root: ImageRoot) -> None:
    found = described(root, config("gunicorn", "-w", "2", "web:app", ports=("8000/tcp",), LEVEL="1"))
    project = parse_project(render_project(found.draft).encode(), "casemate.toml")
    app = project.app
    assert (app.name, app.source, app.serve, app.requirements) == ("shop", "/srv/app", "web:app", None)
    assert app.interface is not None
    assert app.interface.value == "wsgi"
    assert app.port == 8000
    assert project.env == (("LEVEL", "1"),)
    assert found.notes == (
        "gunicorn, without -w 2: one process serves in an enclave, by Casemate's server with TLS",
    )


@pytest.mark.parametrize(
    ("image", "source", "runs"),
    [
        (config("python", "-m", "shop", PYTHONPATH="/srv/lib"), "/srv/lib", "python -m shop"),
        (config("gunicorn", "tool:app", working_dir="/"), ".", "tool:app"),
        (config("flask", "run"), "/srv/app", "app:app"),
        (config("flask", "run", FLASK_APP="web.py"), "/srv/app", "web:app"),
        (config("fastapi", "run", "web.py"), "/srv/app", "web:app"),
        (config("python", "web.py"), "/srv/app", "python web.py"),
    ],
    ids=["PYTHONPATH", "installed", "flask looks itself", "FLASK_APP", "fastapi", "a file"],
)
def test_the_folder_is_where_python_finds_the_module(
    root: ImageRoot, image: ForeignConfig, source: str, runs: str
) -> None:
    draft = described(root, image).draft
    assert draft.source == source
    assert (draft.serve or " ".join(draft.command or ())) == runs


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (
            config("gunicorn", "nowhere:app"),
            (
                "module nowhere of the application: expected a file or a folder of that name, got none "
                "(/srv/app in the image; the image starts: gunicorn nowhere:app)"
            ),
        ),
        (
            config("gunicorn", "top:app", working_dir="/"),
            (
                "application in the root of the image: expected a folder of its own, got module top in / "
                "(the image starts: gunicorn top:app)"
            ),
        ),
        (
            config("flask", "run", working_dir="/srv/data"),
            "application for flask: expected wsgi.py or app.py, got none (/srv/data in the image)",
        ),
        (
            config("python", "-m", "/etc"),
            (
                "module /etc of the application: expected a file or a folder of that name, got none "
                "(/srv/app in the image; the image starts: python -m /etc)"
            ),
        ),
    ],
    ids=["nowhere", "root", "nothing for flask", "a path of this machine"],
)
def test_an_application_that_is_not_found_is_refused(
    root: ImageRoot, image: ForeignConfig, message: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        described(root, image)
    assert str(caught.value) == message


def test_what_is_decided_without_being_said_is_noted(root: ImageRoot) -> None:
    found = described(
        root,
        config(
            *("python", "web.py"),
            ports=("80/tcp", "443/tcp"),
            LD_PRELOAD="/lib/x.so",
            DATABASE="/srv/app/notes.db",
            API_TOKEN="abc",
        ),
    )
    assert found.notes == (
        "DATABASE is /srv/app/notes.db, and /srv/app is /app in the enclave: change it in [env]",
        "the variable LD_PRELOAD is left out: no library is loaded before all others",
        "the image exposes 80, 443: 8443 is taken; [app] port says another",
    )
    assert found.secrets == ("API_TOKEN",)
    assert found.draft.env == (("DATABASE", "/srv/app/notes.db"),)


def test_variables_are_sorted_by_what_becomes_of_them() -> None:
    found = image_variables(
        [
            ("PATH", "/bin"),
            ("PYTHON_VERSION", "3.11"),
            ("PYTHONUNBUFFERED", "1"),
            ("A", "1"),
            ("A", "2"),
            ("DB_PASSWORD", "hunter2"),
            ("odd-name", "x"),
            ("BELL", "\a"),
        ]
    )
    assert found.kept == (("A", "2"),)
    assert found.secrets == ("DB_PASSWORD",)
    assert found.left_out == (
        ("odd-name", "it is no name of a variable"),
        ("BELL", "its value cannot stand in a manifest"),
    )


@given(st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=6))
def test_what_is_kept_can_stand_in_casemate_toml(pairs: list[tuple[str, str]]) -> None:
    kept = image_variables(pairs).kept
    text = '[app]\nname = "n"\nserve = "n:app"\n'
    from casemate.project.template import _key, _text

    lines = "".join(f"{_key(name)} = {_text(value)}\n" for name, value in kept)
    assert parse_project(f"{text}[env]\n{lines}".encode(), "casemate.toml").env == tuple(sorted(kept))


@pytest.mark.parametrize(
    ("argv", "python"),
    [
        (("gunicorn", "web:app"), "/opt/venv/bin/python"),
        (("/usr/bin/run",), "/usr/bin/python3"),
        (("python3", "app.py"), "/usr/bin/python3"),
        (("sh", "-c", "gunicorn web:app"), "/usr/bin/python3"),
    ],
)
def test_the_interpreter_is_the_one_that_the_command_line_leads_to(
    root: ImageRoot, argv: tuple[str, ...], python: str
) -> None:
    path = "/opt/venv/bin:/usr/bin" if "gunicorn" in argv else "/usr/bin"
    assert find_interpreter(root, argv, {"PATH": path}, "/srv/app") == python


def test_an_image_without_python_is_refused(root: ImageRoot) -> None:
    with pytest.raises(ProjectError) as caught:
        find_interpreter(root, ("nginx",), {"PATH": "/sbin"}, "/")
    assert str(caught.value) == "Python in the image: expected a program python3, got none (PATH=/sbin)"


@pytest.mark.parametrize(
    ("user", "env", "home"),
    [
        ("", {}, "/root"),
        ("app", {}, "/home/app"),
        ("1000:1000", {}, "/home/app"),
        ("65532", {}, "/"),
        ("app", {"HOME": "/srv"}, "/srv"),
    ],
)
def test_a_user_has_a_home(root: ImageRoot, user: str, env: dict[str, str], home: str) -> None:
    assert home_folder(root, user, env) == home


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("docker://registry.internal/team/Notes:1.2", "notes"),
        ("docker://notes@sha256:abc", "notes"),
        ("oci:build/shop:latest", "shop"),
        ("docker-archive:/srv/my_app.tar.gz", "my-app"),
        ("oci:/", "application"),
    ],
)
def test_a_workload_is_called_as_its_image(reference: str, name: str) -> None:
    assert workload_name(reference) == name


def test_data_keeps_its_path(root: ImageRoot) -> None:
    paths = [file.path for file in included_files(root, ["/srv/data/**/*.csv", "/srv/data/a.csv"], [])]
    assert paths == ["/srv/data/a.csv", "/srv/data/b/c.csv"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("/srv/none/*", 'include "/srv/none/*": expected a pattern that names a file of the image, got none'),
        ("/srv/data/x", 'include "/srv/data/x": expected a pattern that names a file of the image, got none'),
        ("/**", "include: expected a pattern that begins with a folder, got one for the whole image"),
        (
            "/etc/passwd",
            (
                'include "/etc/passwd": expected a path that the enclave does not have of its own, '
                "got /etc/passwd"
            ),
        ),
        ("/srv/data/key.pem", "private key in the application's files: expected nothing secret in an image"),
    ],
)
def test_data_that_cannot_be_taken_is_refused(root: ImageRoot, pattern: str, message: str) -> None:
    with pytest.raises(ProjectError) as caught:
        included_files(root, [pattern], ["/etc/passwd"])
    assert str(caught.value).partition(" (")[0] == message


def module(source: str) -> ReachedModule:
    return ReachedModule(
        name="web",
        is_own=True,
        file="web.py",
        source=source.encode(),
        is_package=False,
        asked_by=None,
        detail="",
    )


def test_paths_that_code_names_and_the_image_has_are_asked_about(root: ImageRoot) -> None:
    code = (
        'A = "/srv/data/a.csv"\nB = "/srv/data/b/"\nC = "/etc/passwd"\nD = "/nowhere"\nE = "/usr/bin/run"\n'
    )
    asked = questions_about_paths(root, [module(code)], source="/srv/app", patterns=[])
    assert [(question.where, question.line) for question in asked] == [
        ("web.py:1", 'include = ["/srv/data/a.csv"]'),
        ("web.py:2", 'include = ["/srv/data/b/**"]'),
    ]
    assert not questions_about_paths(root, [module(code)], source="/srv/app", patterns=["/srv/data/**"])
    no_path = f"'/srv/{'a' * 300}'"
    assert not questions_about_paths(root, [module(no_path)], source="/srv/app", patterns=[])
