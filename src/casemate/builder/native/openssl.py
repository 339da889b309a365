"""What OpenSSL opens by paths that are built into it: its configuration, and providers.

``libcrypto`` has its folders in its text (``OPENSSLDIR: "/usr/lib/ssl"``, ``MODULESDIR: "…"``; OpenSSL's
``crypto/cversion.c``), and they are those of the machine for which it was built. Its configuration decides
which versions of TLS and which strength of keys are accepted, so an image without it would accept other ones.
The provider ``legacy`` is taken when a library that loads providers names it, or when the configuration does.
Engines, and other providers, are taken when ``[closure] include`` names their files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from posixpath import basename
from typing import Final

from casemate.builder.contents import ImageFile, Reason, Rule
from casemate.builder.native.libraries import Places
from casemate.errors import FormatError
from casemate.formats.elf_dynamic import MAGIC, ElfDynamic
from casemate.project.places import is_plain

#: Files that hold libcrypto: its own, and an interpreter into which it is built.
_HOLDERS: Final = re.compile(r"libcrypto[\w-]*\.so.*|python3\.\d+|libpython3.*|_(?:ssl|hashlib)\..*")
_FOLDER: Final = re.compile(rb'[A-Z]+: "(/[\x21\x23-\x7e]{0,4096})"')
_LOADS_PROVIDERS: Final = re.compile(rb"OSSL_PROVIDER_(?:try_)?load")
#: A provider that the configuration activates; ``base`` and ``default`` are part of libcrypto.
_ACTIVATED: Final = re.compile(r"^\s*(legacy|fips)\s*=\s*\S", re.MULTILINE)


def openssl_files(files: Iterable[ImageFile], places: Places) -> tuple[ImageFile, ...]:
    """The files to add, sorted by path; none of those that ``files`` has.

    Args:
        files: What the image holds, libraries included.
        places: Where the files of the build host are.
    """
    image = {file.path: file for file in files}
    added: dict[str, ImageFile] = {}
    for path, file in image.items():
        if _HOLDERS.fullmatch(basename(path)) and not isinstance(file.content, bytes):
            folders = dict(_folders(file.read()))
            for found in _of_library(path, folders, image, places):
                if found.path not in image:
                    added.setdefault(found.path, found)
    return tuple(added[path] for path in sorted(added))


def _folders(data: bytes) -> Iterator[tuple[str, str]]:
    for name in ("OPENSSLDIR", "MODULESDIR"):
        start = data.find(f'{name}: "/'.encode())
        match = _FOLDER.match(data, start) if start >= 0 else None
        if match is not None and is_plain(match[1].decode("ascii")):
            yield name, match[1].decode("ascii")


def _of_library(
    library: str, folders: dict[str, str], image: dict[str, ImageFile], places: Places
) -> Iterator[ImageFile]:
    configuration = f"{folders['OPENSSLDIR']}/openssl.cnf" if "OPENSSLDIR" in folders else ""
    text = _text(configuration, places)
    if text is not None:
        detail = f"{basename(library)} reads its configuration there (OPENSSLDIR)"
        reason = Reason(rule=Rule.SYSTEM_FILE, of=library, detail=detail)
        yield ImageFile(path=configuration, content=places.file(configuration), reason=reason)
    asked = dict.fromkeys(_ACTIVATED.findall(text or ""), configuration)
    module = f"{folders['MODULESDIR']}/legacy.so" if "MODULESDIR" in folders else ""
    if module and places.file(module).is_file():
        loader = next(_loading(basename(library), image), None)
        asked |= {"legacy": loader} if loader is not None else {}
    for name, of in sorted(asked.items()):
        path = f"{folders.get('MODULESDIR', '')}/{name}.so"
        if places.file(path).is_file():
            reason = Reason(rule=Rule.NAMED_LIBRARY, of=of, detail=f"loads the provider {name} (MODULESDIR)")
            yield ImageFile(path=path, content=places.file(path), reason=reason)


def _text(path: str, places: Places) -> str | None:
    file = places.file(path) if path else Path()
    return file.read_text("utf-8", errors="replace") if path and file.is_file() else None


def _loading(library: str, image: dict[str, ImageFile]) -> Iterator[str]:
    """Files of the image that need ``library`` and load the legacy provider by its name."""
    for path, file in image.items():
        if ".so" not in path or isinstance(file.content, bytes):
            continue
        data = file.read()
        if data[: len(MAGIC)] == MAGIC and b"legacy" in data and _LOADS_PROVIDERS.search(data):
            try:
                if library in ElfDynamic.parse(data).needed:
                    yield path
            except FormatError:
                continue  # whoever opens it reports it
