"""``ctypes.util.find_library`` in an enclave: a table in place of programs that cannot be run.

CPython answers it by running ``ldconfig``, ``gcc``, ``objdump`` or ``ld``, none of which an enclave has or
could run (``sys.disallow_subprocesses``); it would answer ``None``, and ``CDLL(None)`` is the process itself.
The libraries of an image are known when it is built, so a table answers: a file of its own that ``site``
imports at every start, listed among the trusted files with its reason, and there only where ``ctypes.util``
is. The module ``ctypes.util`` stays as it is; its function is replaced once it has been loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from posixpath import basename, dirname
from typing import Final

from casemate.builder.contents import ImageFile, Reason, Rule
from casemate.builder.layout import standard_library
from casemate.builder.native.libraries import ENCLAVE_LIBRARY_PATH

#: The module that site imports at every start.
SITE_CUSTOMIZATION: Final = "sitecustomize"
_LIBRARY: Final = re.compile(r"lib(.+?)\.so((?:\.\d+)*)")
_TEMPLATE: Final = """\
import sys

# ctypes.util.find_library would run programs to find a library; this enclave runs none, and has these.
_LIBRARIES = {table}


class _FindLibrary:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "ctypes.util":
            return None
        from _frozen_importlib_external import PathFinder

        sys.meta_path.remove(_FindLibrary)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                module.find_library = find_library

            spec.loader.exec_module = exec_module
        return spec


def find_library(name):
    return _LIBRARIES.get(name)


sys.meta_path.insert(0, _FindLibrary)
"""


def with_find_library(files: Iterable[ImageFile], version: str) -> tuple[ImageFile, ...]:
    """``files`` and the answers of ``find_library``, where ``ctypes.util`` is among them.

    Args:
        files: The image, libraries included.
        version: Of the interpreter: ``"3.11"``.
    """
    image = {file.path: file for file in files}
    folder = standard_library(version)
    forms = (f"{folder}/ctypes/util{ending}" for ending in (".pyc", ".py"))
    util = next((form for form in forms if form in image), None)
    if util is None:
        return tuple(image.values())
    path = f"{folder}/{SITE_CUSTOMIZATION}.py"
    text = _TEMPLATE.replace("{table}", json.dumps(_table(image), indent=4, sort_keys=True))
    former = image.get(path)
    if former is None:
        detail = "answers ctypes.util.find_library, which cannot run programs in an enclave"
        reason = Reason(rule=Rule.INTERPRETER, of=util, detail=detail)
        image[path] = ImageFile(path=path, content=text.encode(), reason=reason)
    else:
        detail = f"{former.reason.detail}; and answers ctypes.util.find_library"
        content = former.read() + b"\n" + text.encode()
        image[path] = replace(former, content=content, reason=replace(former.reason, detail=detail))
    return tuple(image.values())


def _table(paths: Iterable[str]) -> dict[str, str]:
    """Names as ``find_library`` takes them, and the sonames; of several versions the highest."""
    best: dict[str, tuple[tuple[int, ...], str]] = {}
    for path in paths:
        match = _LIBRARY.fullmatch(basename(path))
        if dirname(path) in ENCLAVE_LIBRARY_PATH and match is not None:
            version = tuple(int(part) for part in match[2].split(".") if part)
            best[match[1]] = max(best.get(match[1], ((), "")), (version, basename(path)))
    return {name: soname for name, (_, soname) in best.items()}
