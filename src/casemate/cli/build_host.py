"""Applications that lie on this machine: its interpreter, and the locked requirements installed for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from casemate.errors import ProjectError
from casemate.project import PROJECT_FILE

if TYPE_CHECKING:
    from casemate.builder.build import Application, Machine
    from casemate.builder.closure import Interpreter
    from casemate.cli.build_platform import Work
    from casemate.formats.trace import Trace
    from casemate.project import Project


def host_application(project: Project, directory: Path, python: Path | None, work: Work) -> Application:
    """Describe the interpreter, install the environment, find what is needed of both."""
    import casemate_attester
    from casemate.adapters.host_python import describe_interpreter, environment_identity, install_environment
    from casemate.builder.build import Application
    from casemate.builder.closure import Sources, find_python_closure, interface_of

    _refuse_paths_of_an_image(project)
    interpreter = describe_interpreter(python or Path(sys.executable))
    source = source_folder(directory, project)
    interface = interface_of(project, source)
    wanted = (directory.resolve(), project.app.requirements, interpreter)
    environment = work.kept.environment(
        environment_identity(*wanted, interface=interface),
        lambda into: install_environment(*wanted, into, interface=interface, progress=work.progress),
    )
    work.progress("Finding what the application needs")
    closure = find_python_closure(
        project,
        Sources(
            application=source,
            environment=(environment,),
            attester=Path(casemate_attester.__file__).parent.parent,
            interpreter=interpreter,
            trace=trace_of(project, directory),
        ),
        work.kept.compiler(interpreter),
        work.kept.reader(),
    )
    return Application(
        project=project,
        folder=directory,
        interpreter=interpreter,
        closure=closure,
        sources=_sources(project, directory, interpreter),
    )


def host_machine(interpreter: Interpreter, work: Work) -> Machine:
    """The libraries and system files of this machine."""
    from casemate.builder.build import Machine
    from casemate.builder.native.system_files import HostSystem
    from casemate.cli.build_platform import ZONES, host_ca_bundle, host_libraries, platform_of

    libraries = host_libraries(interpreter.executable, work)
    return Machine(
        libraries=libraries,
        system=HostSystem(ca_bundle=host_ca_bundle(), zones=Path(ZONES)),
        platform=platform_of(work.gramine, lambda _: libraries),
        epoch=work.settings.source_date_epoch,
    )


def source_folder(directory: Path, project: Project) -> Path:
    """The folder of the application's own files; no link may lead it out of ``directory``."""
    folder = directory.resolve()
    source = folder / project.app.source
    if not source.resolve().is_relative_to(folder):
        raise ProjectError(
            "source",
            expected="a folder inside that of casemate.toml",
            got=f"a link to {source.resolve()}",
            where="casemate.toml: app.source",
            hint="build where the application's files are",
        )
    return source


def trace_of(project: Project, directory: Path) -> Trace | None:
    """The record of runs that casemate.toml names."""
    from casemate.builder.closure.trace import read_trace

    if project.closure.trace is None:
        return None
    return read_trace(directory / project.closure.trace, project.closure.trace)


def file_digests(directory: Path, *names: str | None) -> dict[str, str]:
    """Digests of files below ``directory``, for the statement about an image."""
    from hashlib import sha256

    files = [name for name in names if name is not None]
    return {name: f"sha256:{sha256((directory / name).read_bytes()).hexdigest()}" for name in files}


def _sources(project: Project, directory: Path, interpreter: Interpreter) -> dict[str, str]:
    """What the image is made from, for the statement about it."""
    from casemate import __version__

    digests = file_digests(directory, PROJECT_FILE, project.app.requirements, project.closure.trace)
    return {**digests, "python": interpreter.release, "casemate": __version__}


def _refuse_paths_of_an_image(project: Project) -> None:
    """Refuse what only means something beside ``--from IMAGE``."""
    absolute = [("app.source", project.app.source)]
    absolute += [("closure.include", pattern) for pattern in project.closure.image_patterns]
    for key, text in absolute:
        if text.startswith("/"):
            raise ProjectError(
                key.rpartition(".")[2],
                expected="a path inside the folder of casemate.toml",
                got=f'"{text}", a path of an image',
                where=f"{PROJECT_FILE}: {key}",
                hint="name the image: casemate build --from oci:DIR, docker-archive:FILE or docker://REF",
            )
