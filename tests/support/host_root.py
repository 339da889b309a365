"""A small image that is made from this machine: its interpreter without packages, and its libraries."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.debian_image import write_layout

from casemate.builder.native.libraries import GLIBC_FILES

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
#: The interpreter in the image.
PYTHON = f"/usr/local/bin/python{VERSION}"


def host_root(root: Path) -> None:
    """The interpreter of this machine at its own place, ``/usr/local/bin/python3`` to lead there, no shell.

    Files are hard links where that can be: nothing may write into them.
    """
    program = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    stdlib = Path(sysconfig.get_path("stdlib"))
    ignored = shutil.ignore_patterns(
        "__pycache__", "test", "site-packages", "dist-packages", "idlelib", "config-*"
    )
    shutil.copytree(stdlib, _in(root, stdlib), ignore=ignored, copy_function=_link, symlinks=True)
    for file in (program, *_libraries(program, *stdlib.glob("lib-dynload/*.so"))):
        _link(str(file), str(_in(root, file)))
    target = root / PYTHON.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    for name in (f"python{VERSION}", "python3", "python"):
        if not os.path.lexists(target.with_name(name)):
            target.with_name(name).symlink_to(program)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n")
    for path in (
        "/etc/ssl/certs/ca-certificates.crt",
        "/usr/lib/ssl/openssl.cnf",
        "/etc/pki/tls/openssl.cnf",
    ):
        if Path(path).is_file():
            shutil.copyfile(path, _in(root, Path(path)))


def host_image(into: Path, files: Mapping[str, str], **config: Any) -> Path:
    """An OCI layout with ``files`` above the interpreter of this machine.

    Args:
        into: A new folder.
        files: Texts by their absolute paths in the image.
        config: Of the image, such as ``Cmd``.
    """
    root = into / "root"
    host_root(root)
    for path, text in files.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    layer = into / "layer.tar"
    subprocess.run(["tar", "--create", f"--file={layer}", f"--directory={root}", "."], check=True)
    shutil.rmtree(root)
    write_layout(into / "layout", [layer], {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], **config})
    return into / "layout"


def _in(root: Path, path: Path) -> Path:
    place = root / str(path).lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _link(source: str, target: str) -> None:
    if os.path.lexists(target):
        return
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)
        shutil.copymode(source, target)


def _libraries(*files: Path) -> Iterator[Path]:
    """As the loader of this machine finds them, each once, with itself."""
    done = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=False)
    found = {match[1] for match in re.finditer(r"(?:=> |^\s*)(/\S+) \(0x", done.stdout, re.MULTILINE)}
    libc = next(Path(path) for path in found if path.endswith("/libc.so.6"))
    # What wheels need of the C library besides.
    for name in (*GLIBC_FILES, "libgcc_s.so.1"):
        if libc.with_name(name).is_file():
            found.add(str(libc.with_name(name)))
    for path in sorted(found):
        yield Path(path)
