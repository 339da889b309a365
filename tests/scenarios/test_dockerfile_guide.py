"""The guide to Docker: its commands run; and what Buildah builds is what a machine builds."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import uv
from tests.support.console import run_session

from casemate.builder.bundles.bundle import Bundle

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/guides/dockerfile.md"
PROJECT = '[app]\nname = "hello"\nserve = "hello:app"\ninterface = "wsgi"\nrequirements = ""\n'
CODE = 'def app(environ, start_response):\n    start_response("200 OK", [])\n    return [b"hello"]\n'
AUTHORITIES = Path("/etc/ssl/certs")

#: Run in a mount namespace of its own: a machine with the files of the base image.
ON_THAT_MACHINE = """
set -e
mount -t proc proc "$1/proc"
mount --bind /etc/ssl/certs "$1/etc/ssl/certs"
export PYTHONDONTWRITEBYTECODE=1 UV_SYSTEM_CERTS=true HOME=/home/someone
chroot "$1" python3 -m venv /home/someone/venv
chroot "$1" sh -c 'cd /home/someone/app/.casemate && exec /home/someone/venv/bin/pip install --quiet \
    --require-hashes --no-deps -r requirements.txt'
chroot "$1" /home/someone/venv/bin/casemate build /home/someone/app -o /home/someone/bundle
"""


def wheels(folder: Path) -> Path:
    command = (uv.find_uv_bin(), "build", "--quiet", "--all-packages", "--wheel", "-o", str(folder))
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


@pytest.mark.slow
def test_the_commands_of_the_guide(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for name in ("pyproject.toml", "uv.lock", "src", "attester", "README.md", "CHANGELOG.md", "LICENSE"):
        (tmp_path / name).symlink_to(ROOT / name)
    assert run_session(GUIDE.read_text(), tmp_path) == 6


def why_not() -> str | None:
    """Why nothing can be built with Buildah here."""
    missing = [name for name in ("buildah", "debootstrap", "unshare") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    return None if os.geteuid() == 0 else "debootstrap and mounts need root"


class Buildah:
    """Images in a store of its own, built without namespaces and without a registry."""

    def __init__(self, store: Path) -> None:
        places = ("--root", str(store / "root"), "--runroot", str(store / "run"))
        self._command = ("buildah", "--storage-driver", "vfs", *places)

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run((*self._command, *arguments), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def image_of(self, root: Path, name: str) -> str:
        """An image of the files below ``root``; its digest."""
        container = self("from", "scratch")
        self("add", "--quiet", container, str(root), "/")
        self("commit", "--quiet", container, name)
        self("rm", container)
        return self("images", "--format", "{{.Digest}}", name).removeprefix("sha256:")

    def build(self, context: Path, digest: str, target: str) -> None:
        arguments = ("--build-arg", "BASE=localhost/base", "--build-arg", f"BASE_SHA256={digest}")
        volume = ("-v", f"{AUTHORITIES}:{AUTHORITIES}:ro")
        isolation = ("--isolation", "chroot", "--network", "host")
        self(
            "bud",
            *isolation,
            *arguments,
            *volume,
            "--target",
            target,
            "-t",
            f"localhost/{target}",
            str(context),
        )

    def files(self, target: str, into: Path) -> Path:
        container = self("from", f"localhost/{target}")
        shutil.copytree(self("mount", container), into, symlinks=True)
        self("umount", container)
        self("rm", container)
        return into

    def config(self, target: str) -> dict[str, object]:
        inspected = json.loads(self("inspect", "--type", "image", f"localhost/{target}"))
        config: dict[str, object] = inspected["OCIv1"]["config"]
        return config


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(why_not() is not None, reason=f"nothing is built here: {why_not()}")
def test_buildah_makes_the_bundle_that_a_machine_with_the_same_files_makes(tmp_path: Path) -> None:
    root, app = tmp_path / "root", tmp_path / "app"
    packages = "--include=python3,python3-venv,ca-certificates"
    subprocess.run(("debootstrap", "--variant=minbase", packages, "bookworm", str(root)), check=True)
    app.mkdir()
    (app / "casemate.toml").write_text(PROJECT)
    (app / "hello.py").write_text(CODE)
    (app / ".env").write_text("SECRET=1\n")
    folder = str(wheels(tmp_path / "wheels"))
    render = (sys.executable, "-m", "casemate", "render", "dockerfile", str(app), "-o", str(app))
    subprocess.run((*render, "--wheels", folder), check=True)
    buildah = Buildah(tmp_path / "store")
    digest = buildah.image_of(root, "localhost/base")

    buildah.build(app, digest, "bundle")
    shutil.copytree(app, root / "home/someone/app")
    subprocess.run(("unshare", "-m", "sh", "-c", ON_THAT_MACHINE, "sh", str(root)), check=True)

    made = buildah.files("bundle", tmp_path / "made")
    assert different(made, root / "home/someone/bundle") == []
    again = (sys.executable, "-m", "casemate", "render", "dockerfile", str(made), "-o", str(app))
    subprocess.run((*again, "--wheels", folder), check=True)
    buildah.build(app, digest, "image")
    image = buildah.files("image", tmp_path / "image")
    unpack = (sys.executable, "-m", "casemate", "unpack", str(made), "-o", str(tmp_path / "unpacked"))
    subprocess.run(unpack, check=True)
    assert different(image, tmp_path / "unpacked") == []
    config = buildah.config("image")
    assert config["User"] == "10001:10001"
    assert "Entrypoint" not in config  # simulated: there is nothing to run
    labels = config["Labels"]
    assert isinstance(labels, dict)
    assert labels["io.casemate.mrenclave"] == Bundle(made).measurement.mrenclave.hex()


def different(one: Path, other: Path) -> list[str]:
    """Names of files that only one folder has, or that hold other bytes."""
    names = {
        path.relative_to(folder).as_posix()
        for folder in (one, other)
        for path in folder.rglob("*")
        if not path.is_dir()
    }
    _, mismatch, errors = filecmp.cmpfiles(one, other, sorted(names), shallow=False)
    return mismatch + errors
