"""The values of ``casemate.toml``, and the default of everything that has one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from casemate_attester.variables import Variable

#: Name of the file in the folder of the application.
PROJECT_FILE: Final = "casemate.toml"

#: What an item of ``[closure] include`` begins with when it is no pattern of files.
INCLUDE_KINDS: Final = ("module:", "library:", "zone:", "file:")

MEBIBYTE: Final = 1024 * 1024


class Interface(Enum):
    """How a server calls the application."""

    WSGI = "wsgi"
    ASGI = "asgi"


class ClosureMode(Enum):
    """How much of the installed environment becomes trusted."""

    MODULE = "module"  # the modules that the import graph reaches
    DISTRIBUTION = "distribution"  # every distribution that it reaches, whole, without tests and headers
    TRACE = "trace"  # what recorded runs opened, and what must never be missing


class Destination(Enum):
    """Where a secret is put."""

    FILE = "file"
    VARIABLE = "variable"
    ENCLAVE_KEY = "enclave-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The table ``[app]``.

    Attributes:
        name: Name of the workload: a DNS label, because Kubernetes objects are named after it.
        source: Folder of the application's own files, relative to ``casemate.toml``; absolute, when it is
            one of the image that ``--from`` names.
        requirements: File with the locked requirements, relative to ``casemate.toml``; ``None`` when the
            application needs nothing but the standard library (``requirements = ""``).
        serve: ``"module:callable"``, a WSGI or ASGI application. Exactly one of ``serve`` and ``command`` is
            given.
        interface: How ``serve`` is called; ``None``: found out by looking at the callable.
        command: ``("python", "-m", "notes")`` for an application that brings its own server.
        port: TCP port on which the enclave listens.
    """

    name: str
    source: str = "."
    requirements: str | None = "uv.lock"
    serve: str | None = None
    interface: Interface | None = None
    command: tuple[str, ...] | None = None
    port: int = 8443


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """The table ``[closure]``: what is taken into the image, and how.

    Attributes:
        mode: How much of the environment is trusted.
        include: What no import statement shows: glob patterns of files relative to ``app.source``, of files
            of an image when they begin with a slash, or
            ``module:NAME``, ``library:NAME``, ``zone:NAME`` and ``file:/PATH``.
        source: Packages that read their own source, and are shipped as source rather than as bytecode.
        trace: File with the record of runs, relative to ``casemate.toml``; given exactly in mode ``trace``.
    """

    mode: ClosureMode = ClosureMode.MODULE
    include: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    trace: str | None = None

    def included(self, kind: str) -> tuple[str, ...]:
        """The names in ``include`` behind ``module:``, ``library:``, ``zone:`` or ``file:``."""
        prefix = f"{kind}:"
        return tuple(item.removeprefix(prefix) for item in self.include if item.startswith(prefix))

    @property
    def patterns(self) -> tuple[str, ...]:
        """The patterns of files below ``app.source`` in ``include``."""
        return tuple(item for item in self.include if not item.startswith((*INCLUDE_KINDS, "/")))

    @property
    def image_patterns(self) -> tuple[str, ...]:
        """The patterns of files of an image, which keep their paths."""
        return tuple(item for item in self.include if item.startswith("/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclave:
    """The table ``[enclave]``.

    Attributes:
        size: Bytes of memory of the enclave; a power of two.
        threads: Most threads at once, Gramine's own three or four among them.
        stack: Bytes of stack of each thread; a multiple of the page.
        isvprodid: Product number that the signature carries, 16 bits.
        isvsvn: Security version that the signature carries, 16 bits.
        debug: Whether the enclave can be debugged, and hence read, from outside. ``sign`` refuses it.
        edmm: Whether memory is added while running (SGX2) rather than when loading.
        preheat: Whether all memory is touched at start, so that no page faults come later; not with ``edmm``.
        exinfo: Whether the processor tells the enclave the address of a page fault, for applications that
            handle SIGSEGV. With ``edmm`` it always does.
        subprocesses: Whether the application may start others; each is an enclave of the same size.
        files: Most files and connections that are open at once, plus one; Gramine before 1.8 has 900.
        brk: Bytes that the heap of the C library may grow by before it takes memory otherwise; ``None``
            leaves Gramine's default of 256 KiB.
        cpu: Features of the processor and what is asked of them: pairs of ``avx``, ``avx512`` or ``amx`` and
            ``unspecified``, ``disabled`` or ``required``, sorted by name.
    """

    size: int = 512 * MEBIBYTE
    threads: int = 16
    stack: int = 2 * MEBIBYTE
    isvprodid: int = 1
    isvsvn: int = 1
    debug: bool = False
    edmm: bool = False
    preheat: bool = False
    exinfo: bool = False
    subprocesses: bool = False
    files: int = 4096
    brk: int | None = None
    cpu: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TmpfsMount:
    """A folder in the enclave's own memory, empty at start and gone at the end."""

    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedMount:
    """A folder whose files lie encrypted on the host.

    Attributes:
        path: Where the application sees it.
        key: Name below ``/dev/attestation/keys`` of the key.
        host: Folder of the host (of the container) that holds the encrypted files.
        recovery: Whether a file that was being written when the host failed can be put back to its last
            state (Gramine 1.9); each flush writes it twice.
    """

    path: str
    key: str
    host: str
    recovery: bool = False


Mount = TmpfsMount | EncryptedMount


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """One line of ``[secrets]``: fetched from the broker after attestation.

    Attributes:
        destination: As written: ``"/run/secrets/db-key"``, ``"env:NAME"``, ``"/dev/attestation/keys/NAME"``.
        kind: What ``destination`` is.
        resource: ``"kbs:///repository/type/tag"``.
    """

    destination: str
    kind: Destination
    resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """The table ``[broker]``.

    Attributes:
        url: ``"https://host:port"``, without a slash at the end.
        ca: File with the certificate (PEM) under which the broker's is accepted; relative to this file.
    """

    url: str
    ca: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubernetes:
    """The table ``[kubernetes]``.

    Attributes:
        platform: Whose device plugin the cluster runs; only Intel's is built.
        replicas: Number of pods.
    """

    platform: str = "intel"
    replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """The table ``[preflight]``.

    Attributes:
        accept: Rules of preflight whose findings do not refuse the build.
    """

    accept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A whole ``casemate.toml``.

    Attributes:
        env: Environment of the application, as pairs sorted by name. Measured, hence public.
        variables: What the host may choose of the environment, by measured rules; sorted by name.
        mounts: Writable folders, sorted by path.
        secrets: Sorted by destination.
        broker: ``None`` for a workload that attests to nobody; then there are no secrets.
    """

    app: App
    closure: Closure = field(default_factory=Closure)
    enclave: Enclave = field(default_factory=Enclave)
    env: tuple[tuple[str, str], ...] = ()
    variables: tuple[Variable, ...] = ()
    mounts: tuple[Mount, ...] = ()
    secrets: tuple[Secret, ...] = ()
    broker: Broker | None = None
    kubernetes: Kubernetes = field(default_factory=Kubernetes)
    preflight: Preflight = field(default_factory=Preflight)
