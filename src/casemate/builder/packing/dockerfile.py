"""The Dockerfile by which Docker and Buildah make the bundle that ``casemate build`` makes, and its files.

The builder stage is a base image with Casemate in a virtual environment; what it installs, it installs by
hash. Nothing of it but the bundle and the files of the image goes into another stage: those begin with
nothing, so they hold neither compiler nor pip nor shell.

Not decided here: which base image. Its digest is given, or a build argument asks for it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from casemate.builder.layout import MANIFEST_PREFIX
from casemate.builder.packing.image import ENTRYPOINT, USER
from casemate.errors import UsageError

#: First line of what is written here, so that it may be replaced, and nothing else is.
MARK: Final = "# Written by `casemate render dockerfile`; render it again rather than changing it.\n"
#: Folder beside the Dockerfile for what the builder stage installs. Hidden: it is no part of the application.
FOLDER: Final = ".casemate"
#: Where the bundle that is signed leaves its signature for the stage ``signed``.
SIGNATURE: Final = "app.sig"

_PINNED: Final = re.compile(r"[a-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}")
_WHEEL: Final = re.compile(r"(casemate(?:_attester)?)-[A-Za-z0-9.+_]+-py3-none-any\.whl")
_GRAMINE_LIBRARIES: Final = "/usr/lib/x86_64-linux-gnu/gramine"
#: What Gramine's loader needs beside the C library: by its package a dependency, and in no base image.
_LOADER_LIBRARIES: Final = "/usr/lib/x86_64-linux-gnu/libprotobuf-c.so.1*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a Dockerfile says.

    Attributes:
        name: Name of the workload.
        port: TCP port on which it listens.
        base: Image of the builder stage, by digest; ``None`` for the build argument ``BASE``.
        gramine: Image with the Gramine that will run the bundle, by digest; ``None`` for none, which gives a
            simulated bundle.
        mrenclave: What the bundle has to measure to, hexadecimal; ``None`` for anything.
        epoch: Seconds since 1970 that everything in the image carries.
        wheels: Casemate and its attester, by file name.
    """

    name: str
    port: int
    base: str | None
    gramine: str | None
    mrenclave: str | None
    epoch: int
    wheels: Mapping[str, bytes]


def dockerfile_files(recipe: Recipe) -> dict[str, bytes]:
    """The files of the build context beside the application, by their names relative to it.

    Raises:
        UsageError: An image without its digest, or wheels that are not those of Casemate.
    """
    for image, option in ((recipe.base, "--base"), (recipe.gramine, "--gramine")):
        if image is not None and _PINNED.fullmatch(image) is None:
            raise UsageError(
                "image",
                expected="its digest: NAME[:TAG]@sha256:…",
                got=image,
                where=option,
                hint=f"skopeo inspect --format '{{{{.Digest}}}}' docker://{image.partition('@')[0]} tells it",
            )
    _require_wheels(recipe.wheels)
    return {
        "Dockerfile": dockerfile(recipe).encode(),
        ".dockerignore": ignored().encode(),
        f"{FOLDER}/requirements.txt": requirements(recipe.wheels).encode(),
        **{f"{FOLDER}/{name}": data for name, data in sorted(recipe.wheels.items())},
    }


def _require_wheels(wheels: Mapping[str, bytes]) -> None:
    found = sorted(match[1] for name in wheels if (match := _WHEEL.fullmatch(name)) is not None)
    if found != ["casemate", "casemate_attester"] or len(found) != len(wheels):
        raise UsageError(
            "wheels",
            expected="one of casemate and one of casemate-attester",
            got=", ".join(sorted(wheels)) or "none",
            where="--wheels",
            hint="in the sources of Casemate: uv build --all-packages --wheel -o wheels",
        )


def requirements(wheels: Mapping[str, bytes]) -> str:
    """What the builder stage installs: the wheels, and what Casemate was released with, all by hash."""
    locked = files("casemate.builder").joinpath("toolchain_requirements.txt").read_text("utf-8")
    own = (f"./{name} --hash=sha256:{hashlib.sha256(wheels[name]).hexdigest()}\n" for name in sorted(wheels))
    return f"{MARK}{''.join(own)}{locked}"


def ignored() -> str:
    """``.dockerignore``: what no build looks at, and what must not be sent to one."""
    lines = (
        "# No build looks at what is hidden, nor at caches.",
        "**/.*",
        f"!{FOLDER}",
        "**/__pycache__",
        "**/node_modules",
        "# Images of bundles.",
        "**/image/blobs/sha256",
        "# Private keys do not belong into a build; [secrets] delivers them to the enclave.",
        "**/*.key",
        "**/*.p12",
        "**/*.pfx",
        "**/*key.pem",
    )
    return MARK + "".join(f"{line}\n" for line in lines)


def dockerfile(recipe: Recipe) -> str:
    """The text of the Dockerfile."""
    stages = (_arguments(recipe), _gramine(recipe), _builder(recipe), _BUNDLE, _image(recipe))
    return MARK + _HOW.format(name=recipe.name) + "\n".join(stage for stage in stages if stage)


_HOW: Final = """\
# The build context is the folder of casemate.toml.
#
#   docker build --target bundle --output bundle .     the bundle, which is then signed
#   cp bundle/app.sig . && docker build --target signed -t {name} .

"""

_BUNDLE: Final = """\
# What `casemate build` writes, to be taken out of the build and signed.
FROM scratch AS bundle
COPY --from=builder /casemate/bundle/ /
"""


def _base(recipe: Recipe) -> str:
    """The beginning of the builder stage; a build argument that is left out gives no image at all."""
    if recipe.base is not None:
        return f"FROM {recipe.base} AS builder\n"
    return "FROM ${BASE}@sha256:${BASE_SHA256} AS builder\n"


def _arguments(recipe: Recipe) -> str:
    if recipe.base is not None:
        return ""
    return (
        "# An image with Python, its venv and pip, and its digest: docker build\n"
        "#   --build-arg BASE=NAME --build-arg BASE_SHA256=64 digits\n"
        "ARG BASE\n"
        "ARG BASE_SHA256\n"
    )


def _gramine(recipe: Recipe) -> str:
    return "" if recipe.gramine is None else f"FROM {recipe.gramine} AS gramine\n"


def _builder(recipe: Recipe) -> str:
    build = ["/casemate/venv/bin/casemate", "build", "/casemate/application", "-o", "/casemate/bundle"]
    build += ["--no-cache"]
    copied = ""
    if recipe.gramine is not None:
        build += ["--gramine", "/casemate/gramine"]
        copied = (
            f"COPY --from=gramine {_GRAMINE_LIBRARIES}/ /casemate/gramine/lib/x86_64-linux-gnu/gramine/\n"
            f"COPY --from=gramine {_LOADER_LIBRARIES} /casemate/gramine/lib/x86_64-linux-gnu/\n"
            "COPY --from=gramine /usr/bin/gramine-sgx /casemate/gramine/bin/gramine-sgx\n"
            "ENV LD_LIBRARY_PATH=/casemate/gramine/lib/x86_64-linux-gnu\n"
        )
    if recipe.mrenclave is not None:
        build += ["--expect", recipe.mrenclave]
    return f"""\
{_base(recipe)}\
# No bytecode beside the interpreter's modules, which stay as they are; authorities are those of the base.
ENV PYTHONDONTWRITEBYTECODE=1 UV_SYSTEM_CERTS=true SOURCE_DATE_EPOCH={recipe.epoch}
WORKDIR /casemate
COPY {FOLDER}/ /casemate/wheels/
RUN ["python3", "-m", "venv", "/casemate/venv"]
WORKDIR /casemate/wheels
RUN {_json([*_PIP, "-r", "requirements.txt"])}
{copied}COPY . /casemate/application/
RUN {_json(build)}
RUN {_json(["/casemate/venv/bin/casemate", "unpack", "/casemate/bundle", "-o", "/casemate/image"])}
"""


_PIP: Final = (
    *("/casemate/venv/bin/python", "-m", "pip", "install", "--require-hashes", "--no-deps"),
    *("--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check"),
)


def _image(recipe: Recipe) -> str:
    labels = {"org.opencontainers.image.title": recipe.name}
    if recipe.mrenclave is not None:
        labels["io.casemate.mrenclave"] = recipe.mrenclave
    lines = [
        "# What runs: Gramine's loader and the files of the enclave, and nothing else.",
        "FROM scratch AS image",
        "COPY --from=builder /casemate/image/ /",
        f"USER {USER}",
        f"EXPOSE {recipe.port}",
        "LABEL " + " ".join(f'{name}="{value}"' for name, value in sorted(labels.items())),
    ]
    if recipe.gramine is not None:
        lines.append(f"ENTRYPOINT {_json(ENTRYPOINT)}")
    return "\n".join(lines) + _SIGNED


_SIGNED: Final = f"""

# The same with the signature, which was made outside of this build.
FROM image AS signed
COPY {SIGNATURE} {MANIFEST_PREFIX}.sig

# Without a target: what is not signed yet.
FROM image
"""


def _json(words: list[str] | tuple[str, ...]) -> str:
    """The form of a command that no shell reads."""
    return json.dumps(list(words))
