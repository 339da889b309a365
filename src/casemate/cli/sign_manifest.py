"""``casemate sign --manifest``: what stands in for ``gramine-sgx-sign``."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import click

from casemate.cli.gramine_version import (
    chosen_version,
    gramine_version_option,
    require_version_of,
    tell_version,
)
from casemate.cli.key_uri import PROVIDERS, open_key
from casemate.cli.reading import read_file
from casemate.cli.signing_options import SigningOptions, enclave_signature, open_keys, prepare
from casemate.errors import FormatError, ToolchainError, UsageError

if TYPE_CHECKING:
    from casemate.adapters.gramine_installation import GramineInstallation
    from casemate.builder.signing.sigstruct import SigningSubject
    from casemate.builder.trusted.digest_cache import DigestCache
    from casemate.builder.trusted.trusted_files import Expansion
    from casemate.formats.gramine_versions import GramineVersion
    from casemate.formats.manifest import MeasuredManifest
    from casemate.formats.sgx.sigstruct import SigStruct

#: The LibOS of a manifest that names none, and whose rules hold.
_Gramine = tuple["Path | None", "GramineVersion"]

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FILE: Final = click.Path(dir_okay=False, path_type=Path)
_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
_OUTPUT_SUFFIX: Final = ".manifest.sgx"
_INPUT_SUFFIX: Final = ".manifest"
_TEMPLATE_SUFFIX: Final = ".template"
#: What no escape takes from make: behind a semicolon it runs commands, and SHELL=… says with what.
_NOT_IN_RULES: Final = re.compile(r"[\x00-\x1f\x7f;=\\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestForm:
    """The options of the form that takes a manifest.

    Attributes:
        manifest: What is signed.
        pal: Gramine's platform image; ``None`` takes that of an installed Gramine.
        output: Where the complete manifest goes.
        sigfile: Where the signature goes; ``None`` derives it from the manifest's name.
        gramine_version: Whose layout is measured; ``None`` takes the newest that is known.
        chroot: The folder in which trusted files are looked for.
        depfile: Where the files go that the output depends on, for make and ninja.
        plugin: A signing plugin of Gramine.
        quiet: Whether the enclave's parts are left out of what is printed.
        cache: Whether digests of earlier runs are good enough.
    """

    manifest: Path | None
    pal: Path | None
    output: Path | None
    sigfile: Path | None
    gramine_version: str | None
    chroot: Path | None
    depfile: Path | None
    plugin: str | None
    quiet: bool
    cache: bool

    def with_key(self, options: SigningOptions, plugin_arguments: Sequence[str]) -> SigningOptions:
        """``options`` with the key as ``gramine-sgx-sign`` finds it: a plugin's, a path, or the usual one.

        Raises:
            UsageError: No manifest is named; no key is named and there is none in the usual place, or there
                are two.
        """
        if self.plugin is not None and self.plugin != "file":
            if options.key_uri is not None:
                raise UsageError("options of sign", expected="--key or --with", got="both")
            import shlex

            uri = f"plugin:{shlex.join([self.plugin, *plugin_arguments])}"
            if any(argument.startswith("--help") for argument in plugin_arguments):
                open_key(uri)  # shows what the plugin takes, and leaves
            return replace(options, key_uri=uri)
        _manifest(self)
        if plugin_arguments:
            raise UsageError("options of sign", expected="no others", got=" ".join(plugin_arguments))
        if options.key_uri is not None:
            return replace(options, key_uri=_key_uri(options.key_uri))
        if options.prepare is not None or options.attach is not None:
            return options
        return replace(options, key_uri=f"file:{_usual_key()}")


def manifest_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of the form that takes a manifest; they arrive as the fields of its form."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _refuse_passphrase(_: click.Context, __: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise UsageError(
            "passphrase on the command line",
            expected="none: everybody on this machine sees it in the list of processes",
            got="one",
            hint="change it; then leave the option out to be asked on the terminal, or give "
            "--passphrase-fd N or --passphrase-env NAME",
        )


_OPTIONS: Final = (
    click.option("--manifest", "-m", type=_FILE, help="The manifest to sign."),
    click.option(
        "--pal",
        "--libpal",
        "-l",
        type=_FILE,
        help="Gramine's platform image, libpal.so for SGX.  [default: an installed one]",
    ),
    click.option("--output", "-o", type=_NEW_FILE, help="Where the complete manifest goes (….manifest.sgx)."),
    click.option(
        "--sigfile",
        "-s",
        type=_NEW_FILE,
        help="Where the signature goes.  [default: the manifest's name with .sig for .manifest]",
    ),
    gramine_version_option,
    click.option("--chroot", type=_FOLDER, help="Look for trusted files in this folder, as their root."),
    click.option(
        "--depfile", type=_NEW_FILE, help="Where the files go that the output depends on, for make and ninja."
    ),
    click.option(
        "--with",
        "plugin",
        metavar="PLUGIN",
        help="Sign with a plugin of gramine-sgx-sign, whose options follow; like --key plugin:PLUGIN.",
    ),
    click.option(
        "--passphrase",
        "--password",
        "-p",
        metavar="TEXT",
        expose_value=False,
        callback=_refuse_passphrase,
        help="Refused: what is on a command line, everybody on the machine can read.",
    ),
    click.option(
        "--quiet/--verbose", "-q/-v", default=False, help="Print nothing, or of what the enclave is made."
    ),
    click.option(
        "--cache/--no-cache",
        default=False,
        help="Take digests of files that have not changed from earlier runs; not for a release.",
    ),
)


@contextmanager
def _collected_later() -> Iterator[None]:
    """Look for no garbage meanwhile: tens of thousands of entries are made and none of them thrown away."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_collected_later()
def sign_manifest_form(form: ManifestForm, options: SigningOptions, *, as_json: bool) -> dict[str, Any]:
    """Sign the enclave of a manifest; write the signature, and the complete manifest where asked to.

    With ``--prepare`` only the request is written: a manifest that is not complete is expanded again when the
    signature is attached, and has to come to the same then.

    Raises:
        UsageError: An option is missing.
        CasemateError: What reading, measuring and signing raise; nothing has been written then.
    """
    from casemate.builder.signing.sigstruct import measured_subject
    from casemate.builder.writing import write_files
    from casemate.formats.gramine_versions import gramine_version

    manifest = _manifest(form)
    policy = options.policy()
    platform = _platform(form)
    version = chosen_version(form.gramine_version)
    completed = _completed(manifest, form, (platform.libos, gramine_version(version)))
    subject = measured_subject(
        completed.manifest, platform.image, policy=policy, where=str(manifest), gramine_version=version
    )
    about = {"gramine_version": version, "digests_from_cache": completed.from_cache}
    if options.prepare is not None:
        document = prepare(subject, options, policy) | about
        _tell(form)
        return document
    signer, _ = open_keys(options, policy)
    sigstruct = enclave_signature(subject, options, policy, signer)
    sigfile = form.sigfile or _sigfile(manifest, form.output)
    files = _files(form, completed, sigstruct, sigfile, _dependencies(form, options, completed, platform))
    write_files(files)
    if not (form.quiet or as_json):
        click.echo(_listing(completed.manifest, platform.image, subject), nl=False)
    if not form.quiet:
        click.echo(f"Wrote {' and '.join(map(str, files))}.", err=True)
    _tell(form)
    return _document(sigstruct) | about | {"manifest": str(form.output or manifest), "sigfile": str(sigfile)}


class _Platform(NamedTuple):
    """Gramine's files.

    Attributes:
        path: Where the platform image is.
        image: Its bytes.
        libos: The LibOS of a manifest that names none.
    """

    path: Path
    image: bytes
    libos: Path | None


class _Completed(NamedTuple):
    """What is measured.

    Attributes:
        manifest: It.
        paths: Its trusted files on this machine; ``None`` when it was complete and nobody has looked.
        from_cache: How many digests were not taken now.
    """

    manifest: MeasuredManifest
    paths: tuple[str, ...] | None
    from_cache: int


def _manifest(form: ManifestForm) -> Path:
    if form.manifest is None:
        raise UsageError(
            "options of sign",
            expected="a bundle, or --manifest",
            got="neither",
            hint="casemate sign BUNDLE signs what casemate build made; --manifest stands in for "
            "gramine-sgx-sign",
        )
    if form.depfile is not None and form.output is None:
        raise UsageError("options of sign", expected="--output with --depfile", got="no --output")
    return form.manifest


def _tell(form: ManifestForm) -> None:
    if not form.quiet:
        tell_version(form.gramine_version)


def _key_uri(key: str) -> str:
    """A path, which is what ``gramine-sgx-sign`` takes, is a key in a file.

    What begins like a URI is one: a file of such a name, in sources that somebody else wrote, is no key.
    """
    scheme, separator, _ = key.partition(":")
    if not separator or (scheme not in PROVIDERS and Path(key).is_file()):
        return f"file:{key}"
    return key


def _usual_key() -> Path:
    from casemate.settings import Settings

    path = Settings.from_environment().gramine_key
    if not path.is_file():
        raise UsageError(
            "signing key",
            expected=f"--key, or a key at {path}",
            got="neither",
            hint=f"name the key with --key URI, or make one there: casemate key generate file:{path}",
        )
    return path


def _platform(form: ManifestForm) -> _Platform:
    if form.pal is None:
        installation = _installation()
        if installation is None:
            _no_platform_image()
        require_version_of(installation, form.gramine_version)
        path = installation.platform_image
        return _Platform(path, read_file(path), installation.libos)
    beside = form.pal.resolve().parent.parent / "libsysdb.so"
    return _Platform(form.pal, read_file(form.pal), beside if beside.is_file() else None)


def _installation() -> GramineInstallation | None:
    from casemate.adapters.gramine_installation import find_gramine
    from casemate.settings import Settings

    return find_gramine(Settings.from_environment().gramine)


def _no_platform_image() -> NoReturn:
    raise UsageError(
        "platform image",
        expected="--pal, or an installed Gramine",
        got="neither",
        hint="--pal takes lib/gramine/sgx/libpal.so; CASEMATE_GRAMINE names the prefix of a Gramine that is "
        "not in /usr, /usr/local or /opt/gramine",
    )


def _completed(path: Path, form: ManifestForm, gramine: _Gramine) -> _Completed:
    """What is measured; an error that says nothing of what to do leads to who can explain it."""
    try:
        return _complete(path, form, gramine)
    except FormatError as error:
        if error.hint is not None:
            raise
        hint = f"casemate lint {path} explains it"
        if path.name.endswith(_TEMPLATE_SUFFIX):
            hint = f"render the template first, with gramine-manifest, and sign what it writes; {hint}"
        raise FormatError(
            error.subject, expected=error.expected, got=error.got, where=error.where, hint=hint
        ) from error


def _complete(path: Path, form: ManifestForm, gramine: _Gramine) -> _Completed:
    """A complete manifest as it stands, byte for byte, else its expansion."""
    from casemate.formats.manifest import (
        MeasuredManifest,
        load_manifest,
        missing_for_measurement,
        with_defaults,
    )

    data = read_file(path)
    manifest = load_manifest(data)
    _, version = gramine
    missing = missing_for_measurement(manifest, version)
    if not missing and (form.output is None or with_defaults(manifest, version) == manifest):
        return _Completed(MeasuredManifest.strictly(data, manifest, missing), None, 0)
    if form.output is None:
        raise UsageError(
            "manifest that is not yet complete",
            expected="--output, for its expansion is what is measured",
            got=f"none, and no {missing[0]}",
            where=str(path),
            hint="add --output APP.manifest.sgx; Gramine loads that file",
        )
    expansion = _expansion(manifest, form, gramine)
    measured = MeasuredManifest.of(expansion.manifest, version)
    return _Completed(measured, expansion.paths, expansion.from_cache)


def _expansion(manifest: Mapping[str, Any], form: ManifestForm, gramine: _Gramine) -> Expansion:
    from casemate.builder.trusted.trusted_files import expand_manifest

    libos, version = gramine
    cache = _cache() if form.cache else None
    expansion = expand_manifest(
        manifest,
        libos=None if libos is None else str(libos),
        chroot=None if form.chroot is None else str(form.chroot),
        cache=cache,
        version=version,
    )
    if cache is not None:
        cache.save()
        if expansion.from_cache:
            click.echo(
                f"{expansion.from_cache} digests were not taken again: not for a release, which is signed "
                "without --cache.",
                err=True,
            )
    return expansion


def _cache() -> DigestCache:
    from casemate.builder.trusted.digest_cache import DigestCache
    from casemate.settings import Settings

    cache = DigestCache.open(Settings.from_environment().cache)
    if cache.warning is not None:
        click.echo(f"warning: {cache.warning}", err=True)
    return cache


def _sigfile(manifest: Path, output: Path | None) -> Path:
    """The name that ``gramine-sgx-sign`` gives; a manifest that is signed as it stands has two suffixes."""
    name = str(manifest)
    if output is None and name.endswith(_OUTPUT_SUFFIX):
        return Path(name.removesuffix(_OUTPUT_SUFFIX) + ".sig")
    return Path(name.removesuffix(_INPUT_SUFFIX) + ".sig")


def _files(
    form: ManifestForm, completed: _Completed, sigstruct: SigStruct, sigfile: Path, dependencies: bytes | None
) -> dict[Path, bytes]:
    files = {} if form.output is None else {form.output: completed.manifest.data}
    files[sigfile] = sigstruct.to_bytes()
    if form.depfile is not None and dependencies is not None:
        files[form.depfile] = dependencies
    return files


def _dependencies(
    form: ManifestForm, options: SigningOptions, completed: _Completed, platform: _Platform
) -> bytes | None:
    """What ``--depfile`` asks for: a rule of make without a recipe."""
    if form.depfile is None:
        return None
    from casemate.builder.trusted.trusted_files import expand_files
    from casemate.formats.manifest import trusted_files

    paths = completed.paths
    if paths is None:
        chroot = None if form.chroot is None else str(form.chroot)
        files = expand_files(trusted_files(completed.manifest.value), chroot=chroot)
        paths = tuple(file.path for file in files)
    key = (options.key_uri or "").partition(":")
    keys = (key[2],) if key[0] == "file" else ()
    lines = [f"{_word(str(form.output))}:"]
    lines += [_word(path) for path in (*paths, str(platform.path), *keys)]
    return (" \\\n\t".join(lines) + "\n").encode("utf-8", "surrogateescape")


def _word(path: str) -> str:
    """``path`` as make and ninja read it.

    Raises:
        ToolchainError: Make would read it as something else: a recipe, a variable, another line.
    """
    found = _NOT_IN_RULES.search(path)
    if found is not None:
        raise ToolchainError(
            "name in a depfile",
            expected="no control characters, semicolons, = and backslashes, which make would obey",
            got=ascii(found[0]),
            where=path,
            hint="rename the file, or leave out --depfile",
        )
    return path.replace("$", "$$").replace(" ", "\\ ").replace("#", "\\#")


def _listing(manifest: MeasuredManifest, image: bytes, subject: SigningSubject) -> str:
    from casemate.builder.enclave.measurement import DEFAULT_GRAMINE_VERSION, layout_of
    from casemate.cli.enclave_listing import enclave_listing

    layout = layout_of(manifest, image, subject.gramine_version or DEFAULT_GRAMINE_VERSION)
    return enclave_listing(manifest.value, layout, subject.enclave.mrenclave)


def _document(sigstruct: SigStruct) -> dict[str, Any]:
    enclave = sigstruct.enclave
    return {
        "version": 1,
        "mrenclave": enclave.mrenclave.hex(),
        "mrsigner": sigstruct.mrsigner.hex(),
        "isvprodid": enclave.isvprodid,
        "isvsvn": enclave.isvsvn,
        "attributes": enclave.attributes.to_bytes().hex(),
        "attributes_mask": enclave.attributes_mask.to_bytes().hex(),
        "misc_select": enclave.misc_select.hex(),
        "date": str(sigstruct.date),
    }
