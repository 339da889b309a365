"""The variables of an image that its application keeps in an enclave."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from casemate.builder.lint.secrets import secret_reason
from casemate.project.places import is_variable

#: What base images, installers and servers set for themselves; the enclave has its own, or needs none.
_NOT_THE_APPLICATIONS: Final = re.compile(
    "PATH|HOME|HOSTNAME|LANG|LANGUAGE|LC_.*|TERM|PWD|SHLVL|SHELL|USER|GPG_KEY|DEBIAN_FRONTEND|VIRTUAL_ENV"
    "|LD_LIBRARY_PATH|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|TMPDIR|WEB_CONCURRENCY"
    "|PYTHON_(VERSION|PIP_VERSION|SETUPTOOLS_VERSION|SHA256|GET_PIP_URL|GET_PIP_SHA256)"
    "|PYTHON(PATH|HOME|UNBUFFERED|DONTWRITEBYTECODE|FAULTHANDLER|HASHSEED|IOENCODING|UTF8|NOUSERSITE|OPTIMIZE"
    "|SAFEPATH|STARTUP|WARNINGS|PYCACHEPREFIX)"
    "|(PIP|UV|POETRY|PIPENV|PDM|CONDA|MAMBA)_.*|FLASK_(APP|ENV|DEBUG|RUN_.*)|GUNICORN_CMD_ARGS|UVICORN_.*"
)
#: Values that cannot stand in a manifest.
_UNWRITABLE: Final = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]|'''")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageVariables:
    """The variables of an image, sorted by what becomes of them.

    Attributes:
        kept: Pairs for ``[env]``.
        secrets: Names of those that look like secrets; their values are not copied.
        left_out: Names of those that mean something to the application and cannot be kept, with the reason.
    """

    kept: tuple[tuple[str, str], ...]
    secrets: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def image_variables(env: Iterable[tuple[str, str]]) -> ImageVariables:
    """Decide about each variable of an image, in their order.

    Args:
        env: Names and values; of a name that occurs twice the last counts.
    """
    kept: dict[str, str] = {}
    secrets: dict[str, None] = {}
    left_out: dict[str, str] = {}
    for name, value in dict(env).items():
        if _NOT_THE_APPLICATIONS.fullmatch(name):
            continue
        if name == "LD_PRELOAD":
            left_out[name] = "no library is loaded before all others"
        elif not is_variable(name):
            left_out[name] = "it is no name of a variable"
        elif secret_reason(name, value) is not None:
            secrets[name] = None
        elif _UNWRITABLE.search(value):
            left_out[name] = "its value cannot stand in a manifest"
        else:
            kept[name] = value
    return ImageVariables(kept=tuple(kept.items()), secrets=tuple(secrets), left_out=tuple(left_out.items()))
