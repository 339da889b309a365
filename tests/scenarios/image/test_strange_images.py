"""Images that nobody would make by accident."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.debian_image import write_layout
from tests.support.host_root import host_image

from casemate.cli.main import run
from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"no namespaces here: {available()}"),
]


def layout(into: Path, files: dict[str, str], config: dict[str, Any]) -> Path:
    """An image with a few texts, each executable."""
    root = into / "root"
    root.mkdir(parents=True)
    for path, text in files.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)
    subprocess.run(["tar", "--create", f"--file={into}/layer.tar", f"--directory={root}", "."], check=True)
    write_layout(into / "layout", [into / "layer.tar"], config)
    return into / "layout"


@pytest.mark.parametrize(
    ("files", "config", "message"),
    [
        (
            {"/srv/readme": "nothing to run"},
            {"Cmd": ["nginx"]},
            (
                "error: Python in the image: expected a program python3, got none "
                "(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)\n"
                "hint: build from an image whose application is written in Python\n"
            ),
        ),
        (
            {"/usr/bin/python3": "#!/bin/sh\necho gotcha\n"},
            {"Cmd": ["python3", "app.py"]},
            (
                "error: Python interpreter: expected a program for x86-64, got a script "
                "(/usr/bin/python3 in the image)\n"
            ),
        ),
        (
            {"/usr/bin/python3": ""},
            {"Cmd": ["python3"], "WorkingDir": "/srv\n/app"},
            (
                "error: configuration of the image: expected printable characters, got '/srv\\n/app' "
                "(WorkingDir)\n"
            ),
        ),
    ],
    ids=["no Python", "a script", "a line break in a path"],
)
def test_an_image_that_cannot_be_built_from_is_refused_by_name(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    files: dict[str, str],
    config: dict[str, Any],
    message: str,
) -> None:
    image = layout(tmp_path / "image", files, config)
    assert run(["build", str(tmp_path), "--from", f"oci:{image}", "-o", str(tmp_path / "b")]) == 1
    assert capsys.readouterr().err.endswith(message)
    assert not (tmp_path / "b").exists()


def test_code_that_runs_at_the_interpreters_start_stays_in_the_image(
    tmp_path: Path,
) -> None:
    """One that tries to leave a mark on the build host, and to send it something."""
    mark = tmp_path / "mark"
    evil = (
        "import os, socket\n"
        "try:\n"
        f"    os.makedirs({str(mark)!r})\n"
        "except OSError:\n"
        "    pass\n"
        "try:\n"
        '    socket.create_connection(("127.0.0.1", 22), 1)\n'
        f"    os.makedirs({str(mark)!r} + '2')\n"
        "except OSError:\n"
        "    pass\n"
    )
    files = {
        "/srv/app/web.py": "def app(environ, start_response): ...\n",
        "/srv/lib/sitecustomize.py": evil,
        "/srv/lib/usercustomize.py": evil,
    }
    config = {
        "Cmd": ["gunicorn", "web:app"],
        "WorkingDir": "/srv/app",
        "Env": ["PATH=/usr/local/bin", "PYTHONPATH=/srv/lib"],
    }
    image = host_image(tmp_path / "image", files, **config)
    bundle = tmp_path / "bundle"
    assert run(["build", str(tmp_path), "--from", f"oci:{image}", "-o", str(bundle)]) == 0
    assert not mark.exists()
    assert not Path(f"{mark}2").exists()


def test_nothing_of_an_image_is_obeyed_by_the_terminal_or_by_casemate_toml(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {
        "/srv/app/web.py": "def app(environ, start_response): ...\n",
        "/srv/lib/sitecustomize.py": "import sys\nsys.meta_path.append(type('\\x9b2JFinder', (), {})())\n",
    }
    config = {
        "Cmd": ["gunicorn", "web:app"],
        "WorkingDir": "/srv/app",
        "ExposedPorts": {"\x1b[2J": {}},
        "Env": ["PATH=/usr/local/bin", "PYTHONPATH=/srv/lib", "PASSWORD\n[closure]\n#=x", "\x1b]0;TOKEN=x"],
    }
    image = host_image(tmp_path / "image", files, **config)
    (tmp_path / "app").mkdir()
    assert run(["init", str(tmp_path / "app"), "--from", f"oci:{image}"]) == 0
    said = capsys.readouterr()
    assert [line for line in (said.out + said.err).split("\n") if not line.isprintable()] == []
    assert said.err == (
        "note: sitecustomize.\\x9b2JFinder finds modules by code of its own, which is not followed: "
        "an editable installation?\n"
        "note: gunicorn: one process serves in an enclave, by Casemate's server with TLS\n"
        "note: the variable PASSWORD\\n[closure]\\n# is left out: it is no name of a variable\n"
        "note: the variable \\x1b]0;TOKEN is left out: it is no name of a variable\n"
        "note: the image exposes \\x1b[2J: 8443 is taken; [app] port says another\n"
    )
    assert "PASSWORD" not in (tmp_path / "app/casemate.toml").read_text()
