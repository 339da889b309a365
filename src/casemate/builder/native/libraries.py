"""The shared libraries that the files of an image need, and where they go.

What a library is found by decides its place: one that lies relative to ``$ORIGIN`` in the interpreter or the
application stays where it is, so that the same search path finds it again; the C library's own go to
:data:`~casemate.builder.layout.GLIBC_ROOT`, all others to :data:`~casemate.builder.layout.NATIVE_ROOT`, and
``LD_LIBRARY_PATH`` of the manifest names both. :func:`check_libraries` then resolves every ELF file of the
finished image inside the image: what it finds is what the enclave will find.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from posixpath import basename, dirname, normpath
from typing import Final, Protocol

from casemate.builder.closure.values import NamedByCode
from casemate.builder.contents import ImageFile, Reason, Rule
from casemate.builder.layout import APPLICATION_ROOT, GLIBC_ROOT, NATIVE_ROOT, PYTHON_HOME
from casemate.builder.native.loader import Edge, FoundBy, LibraryFiles, LoadedObject, Loader, SearchRules
from casemate.builder.packing.layers import LayerFile
from casemate.errors import ClosureError, FormatError
from casemate.formats.elf_dynamic import LOADABLE_TYPES, MAGIC, ElfDynamic, ElfIdentity

#: What ``LD_LIBRARY_PATH`` is inside the enclave.
ENCLAVE_LIBRARY_PATH: Final = (GLIBC_ROOT, NATIVE_ROOT)

#: The files that only work with one build of the C library. ``libcrypt`` is not among them.
GLIBC_FILES: Final = frozenset(
    {
        "ld-linux-x86-64.so.2",
        "libBrokenLocale.so.1",
        "libanl.so.1",
        "libc.so.6",
        "libc_malloc_debug.so.0",
        "libdl.so.2",
        "libm.so.6",
        "libmvec.so.1",
        "libnsl.so.1",
        "libnss_compat.so.2",
        "libnss_dns.so.2",
        "libnss_files.so.2",
        "libnss_hesiod.so.2",
        "libpthread.so.0",
        "libresolv.so.2",
        "librt.so.1",
        "libthread_db.so.1",
        "libutil.so.1",
    }
)
_ELF_START: Final = 64
#: The highest number in the soname of a library that is looked for without one.
_HIGHEST_VERSION: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedLibrary:
    """A library that another one opens by name, so that no ``DT_NEEDED`` shows it.

    Attributes:
        name: What is opened.
        opened_by: Name of the library that opens it.
        unless_version: A symbol version; when ``opened_by`` defines it, it no longer opens the library.
        why: The occasion.
    """

    name: str
    opened_by: str
    unless_version: str | None = None
    why: str


#: Not here, because applications work without: gconv modules of the C library (Python has its own codecs),
#: NSS modules other than files and dns, libidn2 (Python encodes host names itself). What Python code opens is
#: found with it, OpenSSL's providers by :mod:`casemate.builder.native.openssl`.
NAMED_LIBRARIES: Final = (
    NamedLibrary(
        name="libgcc_s.so.1", opened_by="libc.so.6", why="pthread_cancel, pthread_exit and backtrace"
    ),
    NamedLibrary(
        name="libnss_files.so.2",
        opened_by="libc.so.6",
        unless_version="GLIBC_2.34",
        why="/etc/hosts, /etc/passwd",
    ),
    NamedLibrary(
        name="libnss_dns.so.2",
        opened_by="libc.so.6",
        unless_version="GLIBC_2.34",
        why="names of hosts from DNS",
    ),
)


class Places(Protocol):
    """What a file of this machine is called where its loader sees it, and back."""

    def path(self, file: Path, /) -> str:
        """The path that the loader sees."""
        ...

    def file(self, path: str, /) -> Path:
        """The file of this machine."""
        ...


class PlacesHere:
    """The loader of this machine sees its files under their own paths."""

    def path(self, file: Path, /) -> str:
        """The same."""
        return str(file)

    def file(self, path: str, /) -> Path:
        """The same."""
        return Path(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class LibrarySources:
    """Where libraries are taken from.

    Attributes:
        files: The files that the loader sees: the build host's, or those of an image.
        rules: The rules of that loader.
        glibc: Name -> file of the C library that goes into the image instead of the host's: Gramine's.
            ``None`` takes the host's, which only a simulated enclave can use.
        places: Where on this machine those files are.
    """

    files: LibraryFiles
    rules: SearchRules
    glibc: Mapping[str, Path] | None
    places: Places = field(default_factory=PlacesHere)


def find_libraries(
    files: Iterable[ImageFile],
    *,
    executable: str,
    sources: LibrarySources,
    named: Iterable[NamedByCode] = (),
) -> tuple[ImageFile, ...]:
    """The libraries that have to be added to ``files``, sorted by path.

    Args:
        files: What the image holds so far; ELF files among them are opened by the process, in any order.
        executable: Path in the enclave of the program; one of ``files``.
        sources: Where to look.
        named: What code opens by name. A name for which nothing is found is left out, unless it is required.

    Raises:
        ClosureError: A library is not found; or one name means two different files to two parts of the
            process, which would take whichever comes first.
    """
    shipped = {file.path: file for file in files}
    loader = Loader(sources.files, sources.rules, _seen(shipped[executable], sources))
    placement = _Placement(shipped, loader, executable, sources)
    placement.add(loader.start)
    alone: dict[str | None, ClosureError] = {}
    for path in sorted(shipped):
        if path != executable and _is_library(shipped[path], sources.rules.machine):
            seen = _seen(shipped[path], sources)
            try:
                opened, edges = loader.open(seen)
            except ClosureError as error:
                alone[sources.files.identity(seen)] = error
                continue
            placement.knows(opened, path)
            placement.add(edges)
    placement.refuse(alone)
    placement.add_named()
    for asked in named:
        placement.add_asked(asked)
    return tuple(sorted(placement.added.values(), key=lambda file: file.path))


def _seen(file: ImageFile, sources: LibrarySources) -> str:
    if isinstance(file.content, bytes):
        raise ClosureError("ELF file", expected="a file of this machine", got="bytes", where=file.path)
    return sources.places.path(file.content)


def _start(file: ImageFile) -> bytes:
    if isinstance(file.content, bytes):
        return file.content[:_ELF_START]
    with file.content.open("rb") as stream:
        return stream.read(_ELF_START)


def _is_library(file: ImageFile, machine: int) -> bool:
    """Whether the loader of ``machine`` could open ``file``."""
    start = _start(file)
    if start[: len(MAGIC)] != MAGIC:
        return False
    try:
        identity = ElfIdentity.parse(start)
    except FormatError as error:
        raise ClosureError("ELF file", got=str(error), where=file.path) from error
    return identity.bits == 64 and identity.machine == machine and identity.type in LOADABLE_TYPES


def libraries_outside(program: Path, sources: LibrarySources) -> tuple[LayerFile, ...]:
    """What a program needs that runs in the image and outside of the enclave: Gramine's own loader.

    The host's C library and other libraries, in the first of the folders in which its loader looks by
    default.

    Raises:
        ClosureError: A library is not found, or the program is no dynamic one.
    """
    loader = Loader(sources.files, sources.rules, str(program.resolve()))
    interpreter = loader.interpreter
    if interpreter is None:
        return ()
    folder = sources.rules.default_folders[0]
    places = {interpreter.path: interpreter}
    places |= {
        f"{folder}/{edge.name}": edge.target for edge in loader.start if edge.target is not interpreter
    }
    return tuple(
        LayerFile(path=path, content=Path(target.path), executable=target is interpreter)
        for path, target in places.items()
    )


class _Placement:
    """Collects the libraries of one image and gives each its place."""

    def __init__(
        self, shipped: Mapping[str, ImageFile], loader: Loader, executable: str, sources: LibrarySources
    ) -> None:
        self.added: dict[str, ImageFile] = {}
        self._shipped = shipped
        self._loader = loader
        self._sources = sources
        self._places: dict[int, str] = {id(loader.program): executable}
        self._objects: list[LoadedObject] = []  # keeps every object alive, so that its id stays its own
        self._by_name: dict[str, LoadedObject] = {}
        self._add_interpreter(executable)

    def _add_interpreter(self, executable: str) -> None:
        interpreter = self._loader.interpreter
        if interpreter is None or basename(interpreter.path) not in GLIBC_FILES:
            raise ClosureError(
                "C library of the interpreter",
                expected="glibc for x86-64 (ld-linux-x86-64.so.2)",
                got="a static program" if interpreter is None else interpreter.path,
                where=self._loader.program.path,
                hint="build with a Python that is linked with glibc, such as Debian's or python.org's",
            )
        name = basename(interpreter.path)
        self.knows(interpreter, f"{GLIBC_ROOT}/{name}")
        reason = _needed(executable, f"PT_INTERP {interpreter.path}")
        self._put(f"{GLIBC_ROOT}/{name}", interpreter, name, reason)

    def knows(self, loaded: LoadedObject, path: str) -> None:
        """The place of an object is ``path``, whatever found it."""
        self._objects.append(loaded)
        self._places.setdefault(id(loaded), path)

    def add(self, edges: Iterable[Edge]) -> None:
        """Place the targets of ``edges``; each requester has its place already."""
        for edge in edges:
            name, target = edge.name, edge.target
            self._objects.extend((edge.requester, target))
            self._refuse_second_meaning(name, target)
            path = self._places.get(id(target)) or self._place(name, target)
            self._places.setdefault(id(target), path)
            of = self._places[id(edge.requester)]
            self._put(path, target, name, _needed(of, _told(name, target)))
            if dirname(path) == NATIVE_ROOT and name not in (basename(path), target.dynamic.soname):
                again = _needed(path, f"DT_NEEDED {name}, another name")
                self._put(f"{NATIVE_ROOT}/{name}", target, name, again)

    def add_named(self) -> None:
        """Add what libraries of the image open by name."""
        for known in NAMED_LIBRARIES:
            caller = self._by_name.get(known.opened_by)
            if caller is None or known.unless_version in self._shipped_versions(known.opened_by, caller):
                continue
            opened, edges = self._loader.open_name(known.name, caller)
            path = self._places.get(id(opened)) or self._place(known.name, opened)
            self.knows(opened, path)
            self._refuse_second_meaning(known.name, opened)
            detail = f"{known.opened_by} opens {known.name} for {known.why}"
            reason = Reason(rule=Rule.NAMED_LIBRARY, of=self._places[id(caller)], detail=detail)
            self._put(path, opened, known.name, reason)
            self.add(edges)

    def refuse(self, alone: Mapping[str | None, ClosureError]) -> None:
        """Raise why a file cannot be opened, unless it is loaded for another one that finds what it needs."""
        brought = {known.identity for known in self._by_name.values()}
        for identity, error in alone.items():
            if identity not in brought:
                raise error

    def add_asked(self, asked: NamedByCode) -> None:
        """Add what Python code opens by name, if the loader finds it."""
        failure: ClosureError | None = None
        for name in _names(asked.name, self._sources.rules):
            if name in self._by_name:
                return
            if self._is_without(name):
                continue
            try:
                opened, edges = self._loader.open_name(name, self._loader.program)
            except ClosureError as error:
                failure = failure or error
                continue
            path = self._places.get(id(opened)) or self._place(name, opened)
            self.knows(opened, path)
            self._refuse_second_meaning(name, opened)
            self._put(path, opened, name, asked.reason)
            self.add(edges)
            return
        if asked.required and failure is not None:
            raise failure

    def _is_without(self, name: str) -> bool:
        """Whether the library is one of the C library, and Gramine does not bring it."""
        glibc = self._sources.glibc
        return name in GLIBC_FILES and glibc is not None and name not in glibc

    def _shipped_versions(self, name: str, host: LoadedObject) -> tuple[str, ...]:
        """Symbol versions of the library that goes into the image, which may not be the host's."""
        replacement = (self._sources.glibc or {}).get(name)
        if replacement is None:
            return host.dynamic.version_definitions
        return ElfDynamic.parse(replacement.read_bytes()).version_definitions

    def _place(self, name: str, target: LoadedObject) -> str:
        if name in GLIBC_FILES:
            return f"{GLIBC_ROOT}/{name}"
        entry, owner = target.entry, target.owner
        if owner is not None and entry is not None and id(owner) in self._places:
            origin = dirname(self._places[id(owner)])
            folder = normpath(self._sources.rules.expand(entry, origin))
            named_by_path = target.found_by is FoundBy.PATH
            if named_by_path or ("ORIGIN" in entry and _is_inside(folder, PYTHON_HOME, APPLICATION_ROOT)):
                return f"{folder}/{basename(target.path)}"
        return f"{NATIVE_ROOT}/{name}"

    def _put(self, path: str, target: LoadedObject, name: str, reason: Reason) -> None:
        if path in self._shipped or path in self.added:
            return
        content = self._sources.places.file(target.path)
        glibc = self._sources.glibc
        if name in GLIBC_FILES and glibc is not None:
            if self._is_without(name):
                raise ClosureError(
                    f"library {name} of Gramine's C library",
                    expected="one of its files",
                    got="no such file",
                    where=f"needed by {reason.of}",
                    hint="Gramine does not bring this library; what needs it cannot run there",
                )
            content = glibc[name]
            reason = replace(reason, rule=Rule.GRAMINE)
        self.added[path] = ImageFile(
            path=path, content=content, executable=name.startswith("ld-linux"), reason=reason
        )

    def _refuse_second_meaning(self, name: str, target: LoadedObject) -> None:
        if name in GLIBC_FILES:
            self._by_name.setdefault(name, target)
            return
        first = self._by_name.setdefault(name, target)
        if first.identity != target.identity and _differ(self._sources.files, first, target):
            raise ClosureError(
                f"library {name}",
                expected="one file of this name in one process",
                got=f"{first.path} and {target.path}",
                hint="whichever is loaded first would be used: install versions that share the library",
            )


def _needed(of: str, detail: str) -> Reason:
    return Reason(rule=Rule.NEEDED_LIBRARY, of=of, detail=detail)


def _names(asked: str, rules: SearchRules) -> tuple[str, ...]:
    """Names that the loader can be asked for: those that ``ldconfig -p`` lists for a name without ``.so``."""
    if ".so" in asked:
        return (asked,)
    form = re.compile(rf"lib{re.escape(asked)}\.so((?:\.\d+)*)")
    known = {name: form.fullmatch(name) for name in rules.cache}
    versions = {
        name: tuple(int(part) for part in match[1].split(".") if part)
        for name, match in known.items()
        if match is not None
    }
    listed = sorted(versions, key=lambda name: versions[name], reverse=True)
    # An image may have no cache; there the loader looks in its folders, and so do we, for any version.
    guessed = (f"lib{asked}.so.{number}" for number in range(_HIGHEST_VERSION, -1, -1))
    return (*listed, *guessed, f"lib{asked}.so")


def _told(name: str, target: LoadedObject) -> str:
    """How a library was found, without paths that change from build to build."""
    if target.entry is not None and target.owner is not None:
        return f"DT_NEEDED {name}, found by {target.found_by.value} {target.entry}"
    return f"DT_NEEDED {name}, found as {target.path} by {target.found_by.value}"


def _is_inside(folder: str, *roots: str) -> bool:
    return any(PurePosixPath(folder).is_relative_to(root) for root in roots)


def _differ(files: LibraryFiles, first: LoadedObject, second: LoadedObject) -> bool:
    return files.read(first.path) != files.read(second.path)


class _ImageTree:
    """The files of an image, as the loader in the enclave sees them."""

    def __init__(self, files: Iterable[ImageFile], interpreter: str | None) -> None:
        self._files = {file.path: file for file in files}
        if interpreter is not None and interpreter not in self._files:
            # Gramine looks for the file name of PT_INTERP in LD_LIBRARY_PATH (libos_rtld.c, find_interp).
            found = self._files.get(f"{GLIBC_ROOT}/{basename(interpreter)}")
            if found is not None:
                self._files[interpreter] = replace(found, path=interpreter)

    def identity(self, path: str) -> str | None:
        path = normpath(path)
        return path if path in self._files else None

    def read(self, path: str) -> bytes:
        return self._files[normpath(path)].read()


def check_libraries(files: Iterable[ImageFile], *, executable: str, machine: int) -> None:
    """Resolve every ELF file of an image inside the image, with the enclave's ``LD_LIBRARY_PATH``.

    Raises:
        ClosureError: A library is not found there, or does not define a symbol version that is needed of it.
    """
    image = {file.path: file for file in files}
    rules = SearchRules(
        machine=machine,
        library_path=ENCLAVE_LIBRARY_PATH,
        cache={},
        default_folders=(),
        lib="lib",
        platform="x86_64",
    )
    interpreter = ElfDynamic.parse(image[executable].read()).interpreter
    tree = _ImageTree(image.values(), interpreter)
    loader = Loader(tree, rules, executable)
    _check_versions(loader.start)
    brought = {edge.target.identity for edge in loader.start}
    alone: dict[str, ClosureError] = {}
    for path in sorted(image):
        if path != executable and _is_library(image[path], machine):
            try:
                edges = loader.open(path)[1]
            except ClosureError as error:
                alone[path] = error
                continue
            _check_versions(edges)
            brought |= {edge.target.identity for edge in edges}
    # A library may find what it needs by the DT_RPATH of who needs it, and by nothing else.
    for path, refusal in alone.items():
        if tree.identity(path) not in brought:
            raise refusal


def _check_versions(edges: Iterable[Edge]) -> None:
    for edge in edges:
        defined = edge.target.dynamic.version_definitions
        needed = {
            version
            for need in edge.requester.dynamic.version_needs
            if need.library == edge.name
            for version in need.versions
        }
        missing = sorted(needed - set(defined))
        if defined and missing:  # a library without versions satisfies every need: the loader only warns
            raise ClosureError(
                f"symbol versions of {edge.name}",
                expected=", ".join(missing),
                got=f"{edge.target.path}, which ends at {_newest(defined, missing[0])}",
                where=f"needed by {edge.requester.path}",
                hint="build where the libraries are not newer than those that go into the image",
            )


def _newest(defined: tuple[str, ...], like: str) -> str:
    """The highest version among ``defined`` of the family of ``like``: ``GLIBC_2.36`` for ``GLIBC_2.41``."""
    family = like.rpartition("_")[0] + "_"
    numbered = [
        (tuple(int(part) for part in name.removeprefix(family).split(".")), name)
        for name in defined
        if name.startswith(family) and name.removeprefix(family).replace(".", "").isdigit()
    ]
    return max(numbered)[1] if numbered else "none of them"
