"""The application in an image, as its configuration tells it: what becomes of it in ``casemate.toml``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from posixpath import normpath
from typing import Final

from casemate.builder.closure.entry import ApplicationCode
from casemate.builder.foreign.command_line import Start, read_start, shown
from casemate.builder.foreign.environment import ImageVariables, image_variables
from casemate.builder.foreign.root import ImageRoot
from casemate.builder.foreign.servers import Served
from casemate.errors import ProjectError
from casemate.formats.foreign_image import ForeignConfig
from casemate.project import Interface
from casemate.project.template import Draft

_DEFAULT_PORT: Final = 8443
_PORT: Final = re.compile("[0-9]{1,5}")
_NAME: Final = re.compile(r"[\w-]{1,200}")
#: What Flask and FastAPI look for when nobody says what is served, and the object that they take.
_USUAL_MODULES: Final = {"flask": ("wsgi", "app"), "fastapi": ("main", "app", "api")}
_USUAL_NAMES: Final = ("app", "application", "api")
_FACTORIES: Final = ("create_app", "make_app")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageApplication:
    """What an image's configuration says of its application.

    Attributes:
        draft: The ``casemate.toml`` that says the same.
        notes: What was decided, dropped or left open, one line each.
        secrets: Names of variables that look like secrets and were not copied.
    """

    draft: Draft
    notes: tuple[str, ...]
    secrets: tuple[str, ...]


def image_application(
    root: ImageRoot, config: ForeignConfig, packages: Sequence[str], *, name: str, source: str
) -> ImageApplication:
    """Read the application's start from the configuration of its image.

    Args:
        root: The image.
        config: Its configuration.
        packages: Folders of the image in which its interpreter looks for distributions, in order.
        name: For the workload.
        source: The image as ``--from`` named it, for the text.

    Raises:
        ProjectError: It cannot be told what is started; the hint has lines for ``casemate.toml``.
    """
    argv = (*config.entrypoint, *config.cmd)
    env = dict(config.env)
    start = read_start(argv, env, config.working_dir, exists=lambda path: root.identity(path) is not None)
    where = shown(argv)
    variables = image_variables((*config.env, *start.env))
    served = _named(root, start, env) if start.served is not None else None
    module = _module(start, served)
    folder = _folder(root, module, [start.folder, *_paths(env)], packages, where)
    interface = _interface(root, served, folder, packages)
    port, port_note = _port(config, start.served)
    draft = Draft(
        name=name,
        source=folder or ".",
        requirements=None,
        is_locked=True,
        serve=f"{served.module}:{served.name}" if served else None,
        interface=interface.value if interface else None,
        command=start.command,
        port=port,
        env=variables.kept,
        unset=[(variable, "set in the image, and looks like a secret") for variable in variables.secrets],
        secrets=(),
        mounts=(),
        broker=None,
        image=source,
    )
    notes = (*_notes(start, config, folder, variables), *port_note)
    return ImageApplication(draft=draft, notes=notes, secrets=variables.secrets)


def workload_name(reference: str) -> str:
    """A DNS label from the name of an image: ``notes`` for ``registry.internal/team/notes:1.2``."""
    text = re.sub(r"^[a-z-]+:(//)?|@sha256:.*$", "", reference).rstrip("/")
    last = re.sub(r"(\.tar)?:[\w][\w.-]*$|\.tar(\.gz)?$", "", text.rpartition("/")[2])
    return re.sub(r"[^a-z0-9]+", "-", last.lower()).strip("-")[:63].strip("-") or "application"


def _named(root: ImageRoot, start: Start, env: dict[str, str]) -> Served:
    """What is served, with module and object where the server would have looked for them itself."""
    served = start.served
    assert served is not None  # noqa: S101 - asked for only then; says so to the type checker
    if served.module is not None and served.name is not None:
        return served
    target = served.module or (env.get("FLASK_APP") if served.server == "flask" else None)
    folder = normpath(start.folder)
    target = target or next(
        (name for name in _USUAL_MODULES[served.server] if _has_module(root, folder, name)), None
    )
    if target is None:
        expected = " or ".join(f"{name}.py" for name in _USUAL_MODULES[served.server])
        raise ProjectError(
            f"application for {served.server}", expected=expected, got="none", where=f"{folder} in the image"
        )
    module, _, name = target.partition(":")
    module = module.removeprefix("./").removesuffix(".py").replace("/", ".")
    name = served.name or name or _object(root, folder, module)
    return replace(served, module=module, name=name)


def _object(root: ImageRoot, folder: str, module: str) -> str:
    code = ApplicationCode(root.file(folder))
    for name in _USUAL_NAMES:
        if code.interface(module, name) is not None:
            return name
    for factory in _FACTORIES:
        if code.made_by(module, factory) is not None:
            raise ProjectError(
                "application",
                expected="an application that a module has made when it is imported",
                got=f"a factory, {module}.{factory}",
                where=f"{folder} in the image",
                hint=f"add a module wsgi.py with: from {module} import {factory}; app = {factory}()",
            )
    return _USUAL_NAMES[0]


def _module(start: Start, served: Served | None) -> str:
    """The module that is imported first; a file's is its name."""
    if served is not None:
        return served.module or ""
    command = start.command or ()
    return command[2] if command[1] == "-m" else command[1].removesuffix(".py")


def _paths(env: dict[str, str]) -> Iterator[str]:
    return (normpath(path) for path in env.get("PYTHONPATH", "").split(":") if path.startswith("/"))


def _folder(
    root: ImageRoot, module: str, folders: Sequence[str], packages: Sequence[str], where: str
) -> str | None:
    """The folder with the application's own files; ``None`` when it is installed as a distribution."""
    top = module.partition(".")[0]
    for folder in folders:
        if not _has_module(root, folder, top):
            continue
        if folder == "/":
            raise ProjectError(
                "application in the root of the image",
                expected="a folder of its own",
                got=f"module {top} in /",
                where=where,
                hint="copy the application into a folder such as /srv/app, and make that WORKDIR",
            )
        return folder
    if any(_has_module(root, folder, top) for folder in packages):
        return None
    raise ProjectError(
        f"module {module} of the application",
        expected="a file or a folder of that name",
        got="none",
        where=f"{', '.join(folders)} in the image; {where}",
        hint='write casemate.toml with the folder that holds it: [app] source = "/FOLDER/OF/THE/IMAGE"',
    )


def _has_module(root: ImageRoot, folder: str, name: str) -> bool:
    place = root.file(folder)
    # A command line is a stranger's: what is no name could be a path of this machine, or a pattern.
    return _NAME.fullmatch(name) is not None and (
        (place / name).is_dir() or (place / f"{name}.py").is_file() or any(place.glob(f"{name}.*.so"))
    )


def _interface(
    root: ImageRoot, served: Served | None, folder: str | None, packages: Sequence[str]
) -> Interface | None:
    """As reading the code tells; otherwise as the server would have called it."""
    if served is None:
        return None
    for place in [folder] if folder else packages:
        found = ApplicationCode(root.file(place)).interface(served.module or "", served.name or "")
        if found is not None:
            return found
    return served.interface or Interface.WSGI


def _port(config: ForeignConfig, served: Served | None) -> tuple[int, tuple[str, ...]]:
    if served is not None and served.port is not None:
        return served.port, ()
    exposed = [port.partition("/")[0] for port in config.ports if port.endswith("/tcp") or "/" not in port]
    if len(exposed) == 1 and _PORT.fullmatch(exposed[0]) and 0 < int(exposed[0]) < 65536:
        return int(exposed[0]), ()
    what = "exposes no port" if not exposed else f"exposes {', '.join(exposed)}"
    return _DEFAULT_PORT, (f"the image {what}: {_DEFAULT_PORT} is taken; [app] port says another",)


def _notes(
    start: Start, config: ForeignConfig, folder: str | None, variables: ImageVariables
) -> Iterator[str]:
    served = start.served
    if served is not None:
        dropped = f", without {', '.join(served.dropped)}" if served.dropped else ""
        yield f"{served.server}{dropped}: one process serves in an enclave, by Casemate's server with TLS"
    if folder is not None and folder != normpath(config.working_dir):
        yield f"the working folder {config.working_dir} is not that of the application: it becomes {folder}"
    for name, value in variables.kept:
        if folder is not None and (value == folder or value.startswith(f"{folder}/")) and folder != "/app":
            yield f"{name} is {value}, and {folder} is /app in the enclave: change it in [env]"
    for name, reason in variables.left_out:
        yield f"the variable {name} is left out: {reason}"
