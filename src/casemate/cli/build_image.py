"""Applications that lie in an image: with its interpreter, its packages and its libraries."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import click

from casemate.cli.terminal import printable
from casemate.errors import ClosureError, FormatError, ProjectError, UsageError
from casemate.project import PROJECT_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from casemate.adapters.image_python import ImagePython
    from casemate.builder.build import Application, Machine
    from casemate.builder.closure import Compiler, Interpreter, PythonClosure
    from casemate.builder.foreign import ImageRoot
    from casemate.builder.foreign.application import ImageApplication
    from casemate.builder.foreign.running import ImagePrograms
    from casemate.builder.native.system_files import HostSystem
    from casemate.cli.build_keeping import Keeping
    from casemate.cli.build_platform import Work
    from casemate.cli.image_source import RegistryOptions
    from casemate.formats.foreign_image import ForeignConfig
    from casemate.project import Project
    from casemate.settings import Settings
    from casemate.sources import SourceImage

#: What the attester needs of the ``cryptography`` that the image has.
_OLDEST_CRYPTOGRAPHY = 44
_ATTESTER = "/.casemate/attester/casemate_attester"
_RUNTIME = "/.casemate/runtime"
_PATH_VARIABLES = ("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE", "LD_LIBRARY_PATH")
_APPLICATION = "/.casemate/application"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRequest:
    """The image that a command line names.

    Attributes:
        source: ``oci:…``, ``docker-archive:…`` or ``docker://…``.
        registry: How to reach a registry; ``None`` for the usual way.
        gsc_manifest: A manifest for GSC, to be followed; ``None``: there is none.
        save: Where the ``casemate.toml`` goes that was built; ``None``: nowhere.
    """

    source: str
    registry: RegistryOptions | None = None
    gsc_manifest: Path | None = None
    save: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedImage:
    """An image, unpacked, and its interpreter.

    Attributes:
        image: What was opened.
        root: Its files.
        run: Runs its programs.
        program: The interpreter of the application, absolute in the image.
        python: The same, to be asked.
        interpreter: What it is.
        glibc: Version of its C library.
        packages: Folders of the image in which it looks for distributions, in order.
        empty: A folder of this machine without files.
    """

    image: SourceImage
    root: ImageRoot
    run: ImagePrograms
    program: str
    python: ImagePython
    interpreter: Interpreter
    glibc: tuple[int, int]
    packages: tuple[str, ...]
    empty: Path

    @property
    def env(self) -> dict[str, str]:
        """The image's environment."""
        return dict(self.image.config.env)


@contextmanager
def opened_image(
    request: ImageRequest, settings: Settings, progress: Callable[[str], None], kept: Keeping
) -> Iterator[OpenedImage]:
    """Unpack an image and describe its interpreter; its files are there for the length of the context.

    Args:
        request: Which image.
        settings: Where fetched layers are kept.
        progress: Is told what happens next.
        kept: What former builds have kept.
    """
    from casemate.adapters.confined_programs import ConfinedPrograms
    from casemate.builder.foreign import ImageRoot
    from casemate.builder.foreign.interpreter import find_interpreter
    from casemate.cli.image_root import unpacked_root
    from casemate.cli.image_source import fetching, open_image

    if not request.source.isprintable():
        raise UsageError("source", expected="printable characters", got=ascii(request.source), where="--from")
    with TemporaryDirectory(prefix="casemate-") as scratch:
        work, empty = (Path(scratch).resolve() / name for name in ("work", "empty"))
        for place in (work, empty):
            place.mkdir()
        progress("Opening the image")
        image = open_image(
            request.source,
            work=work,
            settings=settings,
            options=request.registry,
            progress=fetching(progress),
        )
        root, config = ImageRoot(folder=unpacked_root(image, kept, progress)), image.config
        _require_printable(config)
        progress("Asking the image's interpreter")
        program = find_interpreter(
            root, (*config.entrypoint, *config.cmd), dict(config.env), config.working_dir
        )
        yield _described(image, root, ConfinedPrograms(root), program, empty)


def _require_printable(config: ForeignConfig) -> None:
    """See that what is made into paths is one."""
    env = dict(config.env)
    texts = {"WorkingDir": config.working_dir, "User": config.user}
    texts |= {name: env[name] for name in ("PATH", "HOME", *_PATH_VARIABLES) if name in env}
    for name, text in texts.items():
        if not text.isprintable():
            raise FormatError(
                "configuration of the image",
                expected="printable characters",
                got=ascii(text)[:80],
                where=name,
            )


def _described(
    image: SourceImage, root: ImageRoot, run: ImagePrograms, program: str, empty: Path
) -> OpenedImage:
    from casemate.adapters.image_python import ImagePython
    from casemate.builder.foreign.interpreter import home_folder

    python = ImagePython(root, run, program)
    interpreter, glibc = python.describe()
    _require_readable(interpreter.version)
    env = dict(image.config.env)
    search = python.search_path({**env, "HOME": home_folder(root, image.config.user, env)})
    for finder in search.finders:
        _note(f"{finder} finds modules by code of its own, which is not followed: an editable installation?")
    return OpenedImage(
        image=image,
        root=root,
        run=run,
        program=program,
        python=python,
        interpreter=interpreter,
        glibc=glibc,
        packages=tuple(_packages(root, interpreter, search.folders)),
        empty=empty,
    )


def _packages(root: ImageRoot, interpreter: Interpreter, folders: Sequence[str]) -> Iterator[str]:
    """Folders of the search path that are not the standard library's."""
    own = {interpreter.stdlib, interpreter.dynload}
    for path in folders:
        place = root.file(path)
        if place.is_file():
            _note(f"{path} is an archive on the path of modules, which is not read")
        elif place.resolve() == root.folder:
            _note("the root of the image is on the path of modules, and nothing is taken from there")
        elif place.is_dir() and place.resolve() not in own:
            own.add(place.resolve())
            yield path


def _require_readable(version: str) -> None:
    """Refuse code that the Python which runs Casemate may not be able to read."""
    own = sys.version_info[:2]
    if tuple(int(part) for part in version.split(".")) > own:
        raise ClosureError(
            f"code for Python {version}",
            expected="a Casemate that runs on that version or a newer one",
            got=f"one that runs on {own[0]}.{own[1]}",
            where="the image",
            hint=f"install Casemate with Python {version}: uv tool install --python {version} casemate",
        )


@contextmanager
def image_parts(request: ImageRequest, directory: Path, work: Work) -> Iterator[tuple[Application, Machine]]:
    """The application of an image, and the files of its system.

    Args:
        request: Which image.
        directory: The folder of ``casemate.toml``; where there is none, the image's configuration decides.
        work: What the build has.
    """
    from casemate.cli.build import read_project

    if (directory / PROJECT_FILE).is_file():
        read_project(directory)  # a mistake in it is told before an image is fetched and unpacked
    with opened_image(request, work.settings, work.progress, work.kept) as opened:
        project, sources = _project(opened, directory, request)
        source = _source(opened, project, directory, is_told=PROJECT_FILE in sources)
        runtime = _runtime(opened, project, source, work)
        root = _root_beside(opened.root, runtime, source)
        closure = _closure(opened, project, (source, runtime, root), work, directory)
        yield (
            _application(opened, project, closure, directory, sources),
            _machine(opened, root, project, work),
        )


def derived(opened: OpenedImage, request: ImageRequest) -> ImageApplication:
    """What the image's configuration says of its application."""
    from casemate.builder.foreign.application import image_application, workload_name

    return image_application(
        opened.root,
        opened.image.config,
        opened.packages,
        name=workload_name(opened.image.reference),
        source=request.source,
    )


def tell(application: ImageApplication) -> None:
    """Say what was decided, and which variables were not copied."""
    for note in application.notes:
        _note(note)
    for name in application.secrets:
        _warn_of_secret(name, "the image")


def _warn_of_secret(name: str, place: str) -> None:
    click.echo(
        f"warning: {printable(name)}, set in {printable(place)}, looks like a secret and is not copied: "
        f'[secrets] "env:{name}" = "kbs:///default/NAME/TAG" delivers it.',
        err=True,
    )


def _note(text: str) -> None:
    click.echo(f"note: {printable(text)}", err=True)


def _project(opened: OpenedImage, directory: Path, request: ImageRequest) -> tuple[Project, dict[str, str]]:
    """What ``casemate.toml`` says, or what the image's configuration does; and digests of what was read."""
    from casemate.builder.writing import write_files
    from casemate.cli.build_host import file_digests
    from casemate.project import parse_project
    from casemate.project.template import render_project

    sources = {"image": opened.image.digest}
    if (directory / PROJECT_FILE).is_file():
        data = (directory / PROJECT_FILE).read_bytes()
        sources |= file_digests(directory, PROJECT_FILE)
    else:
        application = derived(opened, request)
        tell(application)
        data = render_project(application.draft).encode()
    if request.gsc_manifest is not None:
        data = _with_gsc_manifest(data, request, request.gsc_manifest, opened.root)
        sources |= file_digests(request.gsc_manifest.parent, request.gsc_manifest.name)
        if request.save is None:
            text = "\n".join(map(printable, data.decode().split("\n")))
            click.echo(f"What is built, as {PROJECT_FILE} says it:\n\n{text}", err=True)
    project = parse_project(data, PROJECT_FILE)
    if request.save is not None:
        write_files({request.save: data})
    requirements = project.app.requirements
    if requirements is not None and (directory / requirements).is_file():
        _note(f"{requirements} is not read: what the image has installed is taken")
    return project, {**sources, **file_digests(directory, project.closure.trace)}


def _with_gsc_manifest(data: bytes, request: ImageRequest, manifest: Path, root: ImageRoot) -> bytes:
    """A ``casemate.toml`` with what a manifest for GSC says above it."""
    import tomllib

    import tomli_w

    from casemate.builder.foreign.gsc import convert_gsc_manifest, merged
    from casemate.cli.reading import read_file
    from casemate.project import parse_project

    parse_project(data, PROJECT_FILE)
    converted = convert_gsc_manifest(read_file(manifest), str(manifest), root)
    for key, reason in converted.notes:
        _note(f"{key}: {reason}")
    for name in converted.secrets:
        _warn_of_secret(name, str(manifest))
    text = tomli_w.dumps(merged(tomllib.loads(data.decode()), converted))
    return f"# casemate build --from {request.source} --gsc-manifest {manifest.name}\n\n{text}".encode()


def _source(opened: OpenedImage, project: Project, directory: Path, *, is_told: bool) -> Path:
    """The folder of the application's own files: in the image, or beside ``casemate.toml``."""
    from casemate.cli.build_host import source_folder

    path = project.app.source
    if not path.startswith("/"):
        return source_folder(directory, project) if is_told else opened.empty
    folder = opened.root.file(path)
    if not folder.is_dir() or folder.resolve() == opened.root.folder:
        raise ProjectError(
            "source",
            expected="a folder of the image",
            got="its root" if folder.is_dir() else "none",
            where=f'{PROJECT_FILE}: app.source = "{path}"',
        )
    return folder.resolve()


def _runtime(opened: OpenedImage, project: Project, source: Path, work: Work) -> Path:
    """A folder with what Casemate adds to the image's packages."""
    from casemate.adapters.host_python import install_runtime, runtime_identity
    from casemate.builder.closure import interface_of

    interface = interface_of(project, source)
    present = _distributions([opened.root.file(path) for path in opened.packages])
    version = present.get("cryptography", "")
    major = re.match("[0-9]{1,6}", version)
    if version and int(major[0] if major else 0) < _OLDEST_CRYPTOGRAPHY:
        raise ProjectError(
            "cryptography in the image",
            expected=f"{_OLDEST_CRYPTOGRAPHY} or newer, which attestation needs",
            got=version,
            where=opened.image.reference,
            hint="install a newer one in the image",
        )
    wanted = (opened.interpreter.version, opened.glibc, interface, set(present))
    return work.kept.environment(runtime_identity(*wanted), lambda into: install_runtime(*wanted, into))


def _distributions(folders: Sequence[Path]) -> dict[str, str]:
    """Normalised names of the distributions in ``folders`` with their versions, the first's of two."""
    found: dict[str, str] = {}
    for folder in folders:
        for kind in (".dist-info", ".egg-info"):
            for place in folder.glob(f"*{kind}"):
                name, _, version = place.name.removesuffix(kind).partition("-")
                found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return found


def _root_beside(root: ImageRoot, runtime: Path, source: Path) -> ImageRoot:
    """The image with the folders of this machine from which files are taken besides."""
    import casemate_attester

    beside = {_ATTESTER: Path(casemate_attester.__file__).parent, _RUNTIME: runtime}
    if not source.is_relative_to(root.folder):
        beside[_APPLICATION] = source
    return replace(root, beside=beside)


def _closure(
    opened: OpenedImage, project: Project, places: tuple[Path, Path, ImageRoot], work: Work, directory: Path
) -> PythonClosure:
    import casemate_attester
    from casemate.builder.closure import Sources, find_python_closure
    from casemate.builder.foreign.data import included_files, questions_about_paths
    from casemate.cli.build_host import trace_of

    source, runtime, root = places
    packages = [folder for path in opened.packages if (folder := root.file(path).resolve()) != source]
    work.progress("Finding what the application needs")
    sources = Sources(
        application=source,
        environment=(*packages, runtime),
        attester=Path(casemate_attester.__file__).parent.parent,
        interpreter=opened.interpreter,
        trace=trace_of(project, directory),
    )
    with _installed_in_the_image():
        closure = find_python_closure(project, sources, _compiler(opened, work), work.kept.reader())
    include = project.closure.image_patterns
    more = included_files(root, include, (file.path for file in closure.files))
    asked = questions_about_paths(root, closure.modules, source=project.app.source, patterns=include)
    return replace(
        closure,
        files=tuple(sorted((*closure.files, *more), key=lambda file: file.path)),
        questions=tuple(sorted((*closure.questions, *asked), key=lambda question: question.where)),
    )


@contextmanager
def _installed_in_the_image() -> Iterator[None]:
    """What cannot be imported is mended where it is installed."""
    try:
        yield
    except ProjectError as error:
        if not error.subject.startswith("import "):
            raise
        raise ProjectError(
            error.subject,
            expected="a module of the application, or one that the image has",
            got=error.got,
            where=error.where,
            hint="install what provides it in the image, for the interpreter that its command line starts",
        ) from error


def _compiler(opened: OpenedImage, work: Work) -> Compiler:
    """Compiles with the image's interpreter.

    What it has compiled is kept for this image alone: another one with the same program might have another
    standard library, and what that compiles is its own word.
    """
    from casemate.adapters.host_python import COMPILE
    from casemate.builder.cache import key_of
    from casemate.builder.closure.compiling import KeepingCompiler

    if work.kept.cache is None:
        return opened.python.compile
    identity = key_of("image", opened.image.digest, opened.program, COMPILE.read_bytes())
    return KeepingCompiler(compiler=opened.python.compile, cache=work.kept.cache, identity=identity)


def _application(
    opened: OpenedImage, project: Project, closure: PythonClosure, directory: Path, sources: dict[str, str]
) -> Application:
    from casemate import __version__
    from casemate.builder.build import Application

    return Application(
        project=project,
        folder=directory,
        interpreter=opened.interpreter,
        closure=closure,
        sources={**sources, "python": opened.interpreter.release, "casemate": __version__},
    )


def _machine(opened: OpenedImage, root: ImageRoot, project: Project, work: Work) -> Machine:
    """The libraries and system files of the image; Gramine's own loader runs with this machine's."""
    from casemate.adapters.image_loader import image_search_rules
    from casemate.builder.build import Machine
    from casemate.builder.native.libraries import LibrarySources
    from casemate.cli.build_platform import host_libraries, platform_of

    program = opened.root.path(opened.interpreter.executable)
    libraries = LibrarySources(
        files=root,
        rules=image_search_rules(opened.root, opened.run, program, opened.env),
        glibc=work.gramine.glibc if work.gramine is not None else None,
        places=root,
    )
    return Machine(
        libraries=libraries,
        system=_system(opened.root, project),
        platform=platform_of(work.gramine, lambda _: host_libraries(Path(sys.executable), work)),
        epoch=work.settings.source_date_epoch,
    )


def _system(root: ImageRoot, project: Project) -> HostSystem:
    """Authorities and time zones of the image, else of this machine."""
    from casemate.builder.native.system_files import DEFAULT_TIME_ZONE, HostSystem, time_zone
    from casemate.cli.build_platform import CA_BUNDLES, ZONES, host_ca_bundle

    bundle = next((root.file(path) for path in CA_BUNDLES if root.identity(path) is not None), None)
    if bundle is None:
        bundle = host_ca_bundle()
        _note(f"the image has no certificate authorities: those of this machine are taken ({bundle})")
    zones = root.file(ZONES)
    if not zones.is_dir():
        zones = Path(ZONES)
        if time_zone(project).removeprefix(":") != DEFAULT_TIME_ZONE:
            _note(f"the image has no time zones: those of this machine are taken ({zones})")
    return HostSystem(ca_bundle=bundle, zones=zones)
