"""What images start: servers, programs, wrappers and shells; and what cannot be told."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.builder.foreign.command_line import Start, read_start
from casemate.builder.foreign.servers import SERVERS
from casemate.errors import ProjectError
from casemate.project import Interface

WSGI, ASGI = Interface.WSGI, Interface.ASGI


def read(line: str) -> Start:
    env = {"PORT": "9000", "EMPTY": ""}
    return read_start(shlex.split(line), env, "/srv/app", exists=lambda path: "missing" not in path)


@pytest.mark.parametrize(
    ("line", "target", "interface", "port", "dropped"),
    [
        ("gunicorn web:app", "web:app", WSGI, None, ()),
        ("gunicorn -w 4 -b :8000 web:app", "web:app", WSGI, 8000, ("-w 4",)),
        ("gunicorn -w4 --bind=0.0.0.0:80 --preload a.b:c.d", "a.b:c.d", WSGI, 80, ("-w 4", "--preload")),
        ("gunicorn --bind [::]:8001 web", "web:application", WSGI, 8001, ()),
        ("gunicorn -b unix:/run/web.sock web:app", "web:app", WSGI, None, ()),
        (
            "gunicorn -k uvicorn.workers.UvicornWorker web:app",
            "web:app",
            ASGI,
            None,
            ("-k uvicorn.workers.UvicornWorker",),
        ),
        ("/opt/venv/bin/gunicorn --log-file - web:app", "web:app", WSGI, None, ("--log-file -",)),
        ("uvicorn web:app --host 0.0.0.0 --port 80", "web:app", ASGI, 80, ("--host 0.0.0.0",)),
        ("python -m uvicorn web:app --proxy-headers", "web:app", ASGI, None, ("--proxy-headers",)),
        ("python3.11 /usr/local/bin/uvicorn web:app", "web:app", ASGI, None, ()),
        ("hypercorn -b 0.0.0.0:443 wsgi:web:app", "web:app", WSGI, 443, ()),
        ("hypercorn web:app", "web:app", ASGI, None, ()),
        ("waitress-serve --listen=*:8080 --threads=8 web:app", "web:app", WSGI, 8080, ("--threads 8",)),
        ("daphne -p 8001 -b 0.0.0.0 web:app", "web:app", ASGI, 8001, ("-b 0.0.0.0",)),
        ("granian --interface wsgi --port 99 web:app", "web:app", WSGI, 99, ("--interface wsgi",)),
        ("flask --app hello:site run -p 5000", "hello:site", WSGI, 5000, ()),
        ("flask run --host=0.0.0.0", "None:None", WSGI, None, ("--host 0.0.0.0",)),
        ("fastapi run app/main.py --app api --port 80", "app/main.py:api", ASGI, 80, ()),
        ("tini -g -- gunicorn web:app", "web:app", WSGI, None, ()),
        ("dumb-init gunicorn web:app", "web:app", WSGI, None, ()),
        ("uv run --frozen gunicorn web:app", "web:app", WSGI, None, ()),
        ("poetry run gunicorn web:app", "web:app", WSGI, None, ()),
        ("sh -c 'exec gunicorn -b :$PORT web:app'", "web:app", WSGI, 9000, ()),
        ("/bin/bash -c 'gunicorn -b :${OTHER:-7000} web:app'", "web:app", WSGI, 7000, ()),
    ],
)
def test_a_server_says_what_it_serves(
    line: str, target: str, interface: Interface, port: int | None, dropped: tuple[str, ...]
) -> None:
    start = read(line)
    served = start.served
    assert served is not None
    assert f"{served.module}:{served.name}" == target
    assert (served.interface, served.port, served.dropped) == (interface, port, dropped)
    assert (start.command, start.folder) == (None, "/srv/app")


@pytest.mark.parametrize(
    ("line", "command", "folder"),
    [
        ("python app.py --fast", ("python", "app.py", "--fast"), "/srv/app"),
        ("python3 -u -X dev src/app.py", ("python", "app.py"), "/srv/app/src"),
        ("python -m notes --port 3", ("python", "-m", "notes", "--port", "3"), "/srv/app"),
        ("/usr/bin/env python3 /opt/app/run.py", ("python", "run.py"), "/opt/app"),
        ("sh -c 'cd src && python app.py'", ("python", "app.py"), "/srv/app/src"),
        ("./run.py", ("python", "run.py"), "/srv/app"),
    ],
)
def test_a_program_is_a_command(line: str, command: tuple[str, ...], folder: str) -> None:
    start = read(line)
    assert (start.served, start.command, start.folder) == (None, command, folder)


def test_folders_and_variables_of_the_command_line_count() -> None:
    start = read("env LEVEL=1 gunicorn --chdir web -e COLOUR=red app:app")
    assert start.folder == "/srv/app/web"
    assert start.env == (("LEVEL", "1"), ("COLOUR", "red"))
    assert read("uvicorn --app-dir /opt/site web:app").folder == "/opt/site"


HINT = 'write casemate.toml with [app] source = "/FOLDER/OF/THE/IMAGE" and '
EITHER = HINT + 'serve = "module:object" or command = ["python", "-m", "module"]'


@pytest.mark.parametrize(
    ("line", "got", "hint"),
    [
        (
            "/docker-entrypoint.sh gunicorn web:app",
            "a script, /docker-entrypoint.sh",
            HINT + 'serve = "web:app"',
        ),
        ("/docker-entrypoint.sh", "a script, /docker-entrypoint.sh", EITHER),
        ("sh -c 'migrate && gunicorn web:app'", "a shell that does more than start one program", EITHER),
        ("sh -c 'gunicorn -b :$NOBODY web:app'", "$NOBODY, which the image does not set", EITHER),
        ("sh run.sh", "a shell script, run.sh", EITHER),
        ("bash", "a shell", EITHER),
        ("celery -A tasks worker", "a program, celery", EITHER),
        ("python", "Python without a module or a file", EITHER),
        ("python -c 'print(1)'", "Python without a module or a file", EITHER),
        ("python missing.py", "/srv/app/missing.py, which the image does not have", EITHER),
        (
            "gunicorn -c conf.py web:app",
            "-c conf.py, which may decide more and is not read",
            HINT + 'serve = "web:app"',
        ),
        (
            "gunicorn --fancy web:app",
            "an option --fancy whose meaning is not known here",
            HINT + 'serve = "module:object"',
        ),
        ("gunicorn", "no module", HINT + 'serve = "module:object"'),
        ("uvicorn web", "web without the name of an object", HINT + 'serve = "module:object"'),
        (
            "gunicorn 'web:create_app()'",
            "a factory, web:create_app()",
            "add a module wsgi.py with: from web import create_app; app = create_app()",
        ),
        (
            "uvicorn --factory web:make",
            "a factory, web:make",
            "add a module wsgi.py with: from web import make; app = make()",
        ),
        (
            "python manage.py runserver",
            "manage.py runserver",
            'write casemate.toml with [app] source = "/srv/app" and serve = "PROJECT.wsgi:application"',
        ),
        ("", "none", HINT + 'serve = "module:object"'),
    ],
)
def test_what_cannot_be_told_is_a_question_with_lines_for_casemate_toml(
    line: str, got: str, hint: str
) -> None:
    with pytest.raises(ProjectError) as caught:
        read(line)
    assert caught.value.got == got
    assert caught.value.hint == hint
    assert str(caught.value).endswith(f"(the image starts: {shlex.join(shlex.split(line))})")


WORDS = st.sampled_from(
    [*SERVERS, "sh", "-c", "env", "A=1", "tini", "--", "python", "-m", "web:app", "run", "-b", ":80", "--x=1"]
)


@given(st.lists(WORDS | st.text(max_size=12), max_size=8))
def test_any_command_line_is_read_or_refused_in_our_words(words: list[str]) -> None:
    try:
        start = read_start(words, {}, "/srv/app", exists=lambda _: True)
    except ProjectError:
        return
    assert (start.served is None) != (start.command is None)
