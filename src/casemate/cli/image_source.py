"""Images that a command line names, on this machine or in registries, and how registries are reached."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from casemate.errors import UsageError

if TYPE_CHECKING:
    from casemate.adapters.registry import Registry
    from casemate.formats.image_reference import ImageReference
    from casemate.settings import Settings
    from casemate.sources import LeftOut, Progress, SourceImage

FORMS: Final = "oci:DIR[:TAG], docker-archive:FILE[:REF] or docker://REF@sha256:DIGEST"
_DOCKER: Final = "docker://"
#: Entries that are told of one by one.
_MOST_TOLD: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryOptions:
    """How a command line wants registries to be reached.

    Attributes:
        plain_http: Without TLS.
        ca: File with the authorities that certify them; ``None`` for the system's.
    """

    plain_http: bool = False
    ca: Path | None = None


def registry_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that talk to registries, given to them as ``registry``."""

    @click.option(
        "--ca",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="PEM",
        help="Authorities that certify the registry.  [default: the system's, or $SSL_CERT_FILE]",
    )
    @click.option(
        "--plain-http",
        is_flag=True,
        help="Talk to the registry without TLS: whoever is on the way reads and changes everything, "
        "credentials too.",
    )
    @functools.wraps(function)
    def wrapped(*arguments: Any, ca: Path | None, plain_http: bool, **options: Any) -> Any:
        return function(*arguments, registry=RegistryOptions(plain_http=plain_http, ca=ca), **options)

    return wrapped


def open_registry(reference: ImageReference, options: RegistryOptions, settings: Settings) -> Registry:
    """The registry of ``reference``, asked as who ``docker login`` has made us.

    Raises:
        UsageError: An option or a setting cannot be used.
    """
    from casemate.adapters.registry import DockerCredentials, Registry, Way

    host = reference.api_host.rpartition(":")[0] if ":" in reference.api_host else reference.api_host
    proxy = None if reference.is_local else settings.proxy_for(host.lower())
    return Registry(
        reference,
        DockerCredentials(folder=settings.docker),
        way=Way(plain_http=options.plain_http, ca=options.ca, proxy=proxy),
    )


def open_image(
    text: str,
    *,
    work: Path,
    settings: Settings,
    options: RegistryOptions | None = None,
    progress: Progress | None = None,
) -> SourceImage:
    """The image that ``text`` names, its documents checked; layers from a registry are fetched.

    Args:
        text: ``oci:DIR[:TAG]``, ``docker-archive:FILE[:REF]`` or ``docker://REF@sha256:…``.
        work: A folder for what has to be kept for as long as the image is used.
        settings: What the environment decides: the cache of fetched layers, Docker's configuration.
        options: How to reach a registry.
        progress: Called with bytes of layers that are fetched.

    Raises:
        UsageError: It is none of these, names nothing, or names by a tag what may be another image tomorrow.
        FormatError: What it names is no image for this platform, or not what its digests say.
        RegistryError: The registry does not give it.
        ToolchainError: It cannot be read.
    """
    from casemate.sources import local_source, open_local

    if text.startswith(_DOCKER):
        return _pull(text, settings, options or RegistryOptions(), progress)
    source = local_source(text)
    if source is None:
        raise UsageError("image", expected=FORMS, got=ascii(text)[1:-1], hint=_form_hint(text))
    return open_local(source, work=work)


def _form_hint(text: str) -> str:
    """How to name what ``text`` may mean: a file, a folder, or an image that a daemon keeps."""
    with contextlib.suppress(OSError):  # a name that is too long
        if text and Path(text).is_file():
            return f"a file that docker save has written: docker-archive:{text}"
        if text and Path(text).is_dir():
            return f"a folder with an OCI layout: oci:{text}"
    return "one that docker or podman keeps: docker save NAME -o FILE, then docker-archive:FILE"


def _pull(text: str, settings: Settings, options: RegistryOptions, progress: Progress | None) -> SourceImage:
    from casemate.adapters.registry import BlobCache, pull, resolve
    from casemate.formats.image_reference import ImageReference

    reference = ImageReference.parse(text.removeprefix(_DOCKER))
    registry = open_registry(reference, options, settings)
    if reference.digest is None:
        digest = resolve(registry)
        raise UsageError(
            "image",
            expected="a digest: a tag may name another image tomorrow",
            got=text,
            hint=f"name what it is now: {_DOCKER}{reference.pinned(digest)}",
        )
    return pull(registry, BlobCache(folder=settings.cache / "blobs"), progress=progress)


def fetching(tell: Callable[[str], None]) -> Progress:
    """Says in words how much of an image has been fetched."""
    return lambda done, total: tell(f"Fetching the image: {done >> 20} of {total >> 20} MiB")


def tell_left_out(left_out: tuple[LeftOut, ...], count: int) -> None:
    """Say on standard error what of an image is not there: devices, names that no manifest can have.

    Args:
        left_out: Those of them that are listed.
        count: How many there are.
    """
    for entry in left_out[:_MOST_TOLD]:
        click.echo(f"note: {entry.path} of the image is left out: {entry.reason.value}.", err=True)
    more = count - _MOST_TOLD
    if more > 0:
        click.echo(f"note: {more:,} more are left out.", err=True)


@contextmanager
def shown_bytes(title: str) -> Iterator[Progress]:
    """Shows on a terminal how many bytes are done; nothing in a pipe."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(title, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)
