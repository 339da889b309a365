"""Images as people have them: Debian 12 with Python, requirements and an application, as an OCI layout.

The root file system is made by debootstrap once and kept in a cache folder; other kinds of base images are
made from it without another download:

* ``debian``: ``debian:12`` with Debian's own Python;
* ``slim``: as ``python:3.11-slim``, the interpreter in ``/usr/local`` with its library beside, no manuals;
* ``distroless``: no shell, no ``ldconfig`` and hence no ``ld.so.cache``;
* ``wolfi``: as ``distroless``, with apk's database in place of dpkg's.

Making one needs root (debootstrap does), and the network when the cache is empty.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import uv

SUITE: Final = "bookworm"
VERSION: Final = "3.11"
#: What the base has beside debootstrap's smallest set. Applications of the corpus need these libraries.
PACKAGES: Final = ("python3", "libpython3.11", "ca-certificates", "tzdata")
MIRROR: Final = "http://deb.debian.org/debian"
#: Raised when a recipe below gives other files.
RECIPE: Final = 1

_PLATFORM: Final = "x86_64-manylinux_2_36"
_SECONDS: Final = 900
_DIST_PACKAGES: Final = f"usr/local/lib/python{VERSION}/dist-packages"


@dataclass(frozen=True, kw_only=True)
class DebianImage:
    """An image.

    Attributes:
        layout: OCI layout with this one image, tagged ``latest``: ``casemate build --from oci:LAYOUT``.
        root: What a container of it would have as its root.
        packages: Where in the image the requirements are, absolute.
        python: The interpreter in the image, absolute.
    """

    layout: Path
    root: Path
    packages: str
    python: str

    @property
    def source(self) -> str:
        """What ``--from`` takes."""
        return f"oci:{self.layout}"


@dataclass(frozen=True, kw_only=True)
class Start:
    """What the image's configuration says of the application's start.

    Attributes:
        cmd: Its arguments; a program, when there is no entry point.
        entrypoint: The program.
        env: Pairs, beside ``PATH`` and what the base image sets.
        working_dir: Where the application lies, too.
        ports: That are exposed.
        user: As ``USER`` writes it.
    """

    cmd: Sequence[str]
    entrypoint: Sequence[str] = ()
    env: Mapping[str, str] | None = None
    working_dir: str = "/srv/app"
    ports: Sequence[int] = (8000,)
    user: str = ""


def why_not() -> str | None:
    """Why such an image cannot be made here; ``None`` when it can."""
    if os.geteuid() != 0:
        return "debootstrap needs root"
    if shutil.which("debootstrap", path=_path()) is None:
        return "debootstrap is not installed"
    return None


def debian_image(
    requirements: Path | str,
    application: Path,
    into: Path,
    *,
    start: Start,
    base: str = "debian",
    venv: str | None = None,
) -> DebianImage:
    """An image with ``requirements`` installed and ``application`` copied to its working folder.

    Args:
        requirements: A requirements file, or its text; every line pins a version. Only wheels are taken.
        application: Folder whose files become ``start.working_dir``.
        into: A new folder for layout and root.
        start: How the image starts.
        base: One of the bases that the module lists.
        venv: Folder of the image for a virtual environment, such as ``/opt/venv``; otherwise requirements go
            where that base's own pip puts them.
    """
    root, layout = into / "root", into / "layout"
    packages = _packages(venv)
    into.mkdir(parents=True, exist_ok=True)
    lower = base_root(base)
    _copy(lower, root)
    python = f"/usr/local/bin/python{VERSION}" if base == "slim" else f"/usr/bin/python{VERSION}"
    layers = [base_layer(base)]
    upper = into / "requirements"
    if _install(requirements, upper, packages, venv, python):
        _overlay(upper, root)
        _compile(root, f"/{packages}", python)
        _copy(root / packages, upper / packages, over=True)
        layers.append(_layer(upper, into / "requirements.tar.gz"))
    shutil.rmtree(upper)
    code = into / "application"
    shutil.copytree(application, code / start.working_dir.lstrip("/"), symlinks=True)
    _overlay(code, root)
    layers.append(_layer(code, into / "application.tar.gz"))
    shutil.rmtree(code)
    write_layout(layout, layers, image_config(start, base, venv))
    return DebianImage(
        layout=layout,
        root=root,
        packages=f"/{packages}",
        python=f"{venv}/bin/python" if venv else python,
    )


def image_config(start: Start, base: str, venv: str | None) -> dict[str, Any]:
    """The part ``config`` of the image's configuration, as ``docker build`` writes it."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env = {"PATH": f"{venv}/bin:{path}" if venv else path}
    if base == "slim":
        env |= {
            "LANG": "C.UTF-8",
            "PYTHON_VERSION": "3.11.2",
            "GPG_KEY": "A035C8C19219BA821ECEA86B64E628F8D684696D",
        }
    if venv:
        env["VIRTUAL_ENV"] = venv
    env |= dict(start.env or {})
    return {
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Entrypoint": list(start.entrypoint) or None,
        "Cmd": list(start.cmd) or None,
        "WorkingDir": start.working_dir,
        "ExposedPorts": {f"{port}/tcp": {} for port in start.ports},
        "User": start.user,
    }


def write_layout(layout: Path, layers: Sequence[Path], config: Mapping[str, Any]) -> None:
    """An OCI layout of one image, tagged ``latest``, from tar files, each with or without gzip."""
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)
    described = [_blob(blobs, layer) for layer in layers]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": {key: value for key, value in config.items() if value},
        "rootfs": {"type": "layers", "diff_ids": [_diff_id(layer) for layer in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _document(blobs, document, "application/vnd.oci.image.config.v1+json"),
        "layers": described,
    }
    entry = _document(blobs, manifest, manifest["mediaType"])
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(
        json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": [entry],
            }
        )
    )


def base_root(base: str) -> Path:
    """The root file system of a base image, kept in the cache; not to be changed."""
    return _made(base, "root", _RECIPES[base])


def base_layer(base: str) -> Path:
    """The same as a layer without compression."""
    folder = base_root(base)

    def make(target: Path) -> None:
        _tar(folder, target)

    return _made(base, "tar", make)


def _cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(repr((SUITE, PACKAGES, RECIPE)).encode()).hexdigest()[:12]
    return home / "casemate-tests" / f"debian-{key}"


def _made(base: str, kind: str, make: Callable[[Path], None]) -> Path:
    """``make`` into the cache, once, whoever else asks at the same time."""
    folder = _cache()
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{base}.{kind}"
    with _locked(folder / f"{base}.{kind}.lock"):
        if not target.exists():
            unfinished = folder / f"{base}.{kind}.unfinished"
            if unfinished.is_dir():
                shutil.rmtree(unfinished)
            make(unfinished)
            unfinished.rename(target)
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _run(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": _path(), "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    done = subprocess.run(
        command, env=environment, text=True, capture_output=True, timeout=_SECONDS, check=False, **options
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done


def _debian(folder: Path) -> None:
    _run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(folder), MIRROR)
    for pattern in (
        "var/cache/apt/archives/*.deb",
        "var/cache/apt/*.bin",
        "var/lib/apt/lists/*",
        "var/log/*.log",
    ):
        for file in folder.glob(pattern):
            if file.is_file():
                file.unlink()
    for device in (folder / "dev").iterdir():
        if device.is_symlink() or not device.is_dir():
            device.unlink()
    (folder / f"usr/bin/python{VERSION}").stat()


def _slim(folder: Path) -> None:
    """The interpreter where ``python:3.11-slim`` has it, as a small program with a shared library."""
    _copy(base_root("debian"), folder)
    for part in ("doc", "man", "locale", "info", "lintian"):
        shutil.rmtree(folder / "usr/share" / part, ignore_errors=True)
    local = folder / "usr/local"
    library = f"libpython{VERSION}.so.1.0"
    (local / "lib").mkdir(exist_ok=True)
    (folder / "usr/lib/x86_64-linux-gnu" / library).rename(local / "lib" / library)
    (local / "lib" / f"libpython{VERSION}.so").symlink_to(library)
    shutil.rmtree(local / f"lib/python{VERSION}", ignore_errors=True)
    (folder / f"usr/lib/python{VERSION}").rename(local / f"lib/python{VERSION}")
    stdlib = local / f"lib/python{VERSION}"
    (stdlib / "sitecustomize.py").unlink(missing_ok=True)
    for name in (folder / "usr/bin").glob("python3*"):
        name.unlink()
    shutil.rmtree(folder / "usr/lib/python3", ignore_errors=True)
    program = local / f"bin/python{VERSION}"
    _run(
        *(
            "gcc",
            "-x",
            "c",
            "-",
            "-o",
            str(program),
            f"-L{local}/lib",
            f"-l:{library}",
            "-Wl,--allow-shlib-undefined",
        ),
        input="int Py_BytesMain(int, char **);\nint main(int c, char **v) { return Py_BytesMain(c, v); }\n",
    )
    for name in ("python3", "python"):
        (local / "bin" / name).symlink_to(f"python{VERSION}")
    _run("chroot", str(folder), "ldconfig")


def _distroless(folder: Path) -> None:
    """No shell, no package manager, no ``ldconfig``."""
    _copy(base_root("debian"), folder)
    for place in ("usr/bin", "usr/sbin"):
        for file in (folder / place).iterdir():
            if not file.name.startswith("python3"):
                file.unlink()
    (folder / "usr/bin/python").symlink_to(f"/usr/bin/python{VERSION}")
    for part in (
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "var/lib/dpkg",
        "etc/apt",
        "usr/lib/apt",
    ):
        shutil.rmtree(folder / part, ignore_errors=True)
    (folder / "etc/ld.so.cache").unlink()


def _wolfi(folder: Path) -> None:
    _copy(base_root("distroless"), folder)
    database = folder / "usr/lib/apk/db/installed"
    database.parent.mkdir(parents=True)
    database.write_text("P:python-3.11\nV:3.11.2-r0\nA:x86_64\n\n")
    _replace(
        folder / "etc/os-release", b'ID=wolfi\nNAME="Wolfi"\nPRETTY_NAME="Wolfi"\nVERSION_ID="20230201"\n'
    )


_RECIPES: Final[dict[str, Callable[[Path], None]]] = {
    "debian": _debian,
    "slim": _slim,
    "distroless": _distroless,
    "wolfi": _wolfi,
}


def _packages(venv: str | None) -> str:
    if venv:
        return f"{venv.lstrip('/')}/lib/python{VERSION}/site-packages"
    return _DIST_PACKAGES


def _install(requirements: Path | str, upper: Path, packages: str, venv: str | None, python: str) -> bool:
    """Into ``upper``, as pip would; whether there is anything."""
    text = requirements.read_text() if isinstance(requirements, Path) else requirements
    if venv:
        _virtual_environment(upper / venv.lstrip("/"), python)
    target = upper / packages
    target.mkdir(parents=True, exist_ok=True)
    if not text.strip():
        return venv is not None
    _run(
        *(uv.find_uv_bin(), "pip", "install", "--quiet", "--target", str(target), "--python", sys.executable),
        *("--python-version", VERSION, "--python-platform", _PLATFORM, "--only-binary", ":all:"),
        *("--no-config", "--no-progress", "--link-mode", "copy", "-r", "-"),
        input=text,
    )
    (target / ".lock").unlink(missing_ok=True)
    scripts = upper / (venv.lstrip("/") if venv else "usr/local") / "bin"
    scripts.mkdir(parents=True, exist_ok=True)
    shebang = f"#!{venv}/bin/python" if venv else f"#!{python}"
    for script in (target / "bin").iterdir() if (target / "bin").is_dir() else ():
        data = script.read_bytes()
        # uv writes a script that a shell and Python both read when the path of the interpreter is long.
        data = re.sub(rb"\A#!/bin/sh\n'''exec'.*?\n' '''\n", shebang.encode() + b"\n", data, flags=re.DOTALL)
        data = re.sub(rb"\A#!.*python.*\n", shebang.encode() + b"\n", data)
        (scripts / script.name).write_bytes(data)
        (scripts / script.name).chmod(0o755)
    shutil.rmtree(target / "bin", ignore_errors=True)
    return True


def _virtual_environment(folder: Path, python: str) -> None:
    (folder / "bin").mkdir(parents=True)
    (folder / "pyvenv.cfg").write_text(
        f"home = {Path(python).parent}\ninclude-system-site-packages = false\nversion = 3.11.2\n"
    )
    (folder / "bin/python").symlink_to(python)
    for name in ("python3", f"python{VERSION}"):
        (folder / "bin" / name).symlink_to("python")
    (folder / "lib64").symlink_to("lib")


def _compile(root: Path, folder: str, python: str) -> None:
    """The bytecode that pip leaves beside the modules, by modification time."""
    _run("chroot", str(root), python, "-m", "compileall", "-q", folder)


def _copy(source: Path, target: Path, *, over: bool = False) -> None:
    """A copy whose files are hard links where that can be: nothing writes into an existing file here."""
    target.parent.mkdir(parents=True, exist_ok=True)
    arguments = [f"{source}/.", str(target)] if over else [str(source), str(target)]
    command = ("cp", "-a", *(("-f",) if over else ()), *arguments)
    if over or subprocess.run(("cp", "-al", *arguments), capture_output=True, check=False).returncode != 0:
        if not over:
            shutil.rmtree(target, ignore_errors=True)
        _run(*command)


def _overlay(upper: Path, root: Path) -> None:
    _run("cp", "-a", "--remove-destination", f"{upper}/.", str(root))


def _replace(file: Path, data: bytes) -> None:
    """Not written in place: it may be a hard link into the cache, or a link to elsewhere."""
    mode = file.stat().st_mode if file.exists() else 0o644
    file.unlink(missing_ok=True)
    file.write_bytes(data)
    file.chmod(mode & 0o7777)


def _tar(folder: Path, target: Path) -> None:
    _run(
        "tar",
        "--create",
        f"--file={target}",
        "--numeric-owner",
        "--sort=name",
        f"--directory={folder}",
        ".",
    )


def _layer(folder: Path, target: Path) -> Path:
    plain = target.with_suffix("")
    _tar(folder, plain)
    with gzip.GzipFile(target, "wb", compresslevel=1, mtime=0) as stream, plain.open("rb") as source:
        shutil.copyfileobj(source, stream, 1 << 20)
    plain.unlink()
    return target


def _blob(blobs: Path, layer: Path) -> dict[str, Any]:
    digest = _digest(layer)
    target = blobs / digest
    if not target.exists():
        try:
            target.hardlink_to(layer)
        except OSError:
            shutil.copyfile(layer, target)
    compression = "+gzip" if layer.suffix == ".gz" else ""
    return {
        "mediaType": f"application/vnd.oci.image.layer.v1.tar{compression}",
        "digest": f"sha256:{digest}",
        "size": layer.stat().st_size,
    }


@cache
def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _diff_id(layer: Path) -> str:
    if layer.suffix != ".gz":
        return f"sha256:{_digest(layer)}"
    with gzip.open(layer) as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"  # type: ignore[arg-type]  # reads


def _document(blobs: Path, value: Any, media_type: str) -> dict[str, Any]:
    data = json.dumps(value).encode()
    digest = hashlib.sha256(data).hexdigest()
    (blobs / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}
