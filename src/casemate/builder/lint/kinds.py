"""What kind of file it is, by its name, and by its content where the name says nothing."""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from casemate.errors import UsageError


class FileKind(Enum):
    """What can be judged; the value is its word on the command line."""

    MANIFEST = "manifest"
    TEMPLATE = "template"
    DOCKERFILE = "dockerfile"


_TEMPLATE_NAME: Final = re.compile(
    r".*\.manifest\.(?:template|j2|jinja2?|in)|.*\.manifest\.toml\.(?:template|j2|jinja2?)"
)
_MANIFEST_NAME: Final = re.compile(r".*\.manifest(?:\.sgx|\.toml)?")
_DOCKERFILE_NAME: Final = re.compile(r"(?:.*\.)?(?:dockerfile|containerfile)(?:\..*)?", re.IGNORECASE)
_MANIFEST_LINE: Final = re.compile(
    r"^[ \t]*(?:\[{0,2}[ \t]*(?:libos|loader|sgx|fs|sys)(?:\.[A-Za-z_\"]|[ \t]*\]))", re.MULTILINE
)
_DOCKERFILE_LINE: Final = re.compile(
    r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*+[ \t]*(?:FROM|ARG)[ \t]+[^\s=]", re.IGNORECASE
)
_JINJA: Final = re.compile(r"\{[{%#]")
#: Characters of a file that are looked at.
_BEGINNING: Final = 1 << 16


def kind_of(data: bytes, where: str) -> FileKind:
    """The kind of a file.

    A file with the name of a rendered manifest is a template all the same when it has Jinja and is no TOML.

    Args:
        data: Its bytes.
        where: Its name.

    Raises:
        UsageError: A kind that no rule is for.
    """
    name = where.rpartition("/")[2]
    beginning = data[:_BEGINNING].decode("utf-8", "replace")
    if _TEMPLATE_NAME.fullmatch(name):
        return FileKind.TEMPLATE
    if _MANIFEST_NAME.fullmatch(name):
        return FileKind.TEMPLATE if is_template(data) else FileKind.MANIFEST
    if _DOCKERFILE_NAME.fullmatch(name) or _DOCKERFILE_LINE.match(beginning):
        return FileKind.DOCKERFILE
    if _MANIFEST_LINE.search(beginning):
        return FileKind.TEMPLATE if is_template(data) else FileKind.MANIFEST
    raise UsageError(
        "kind of file",
        expected="a manifest, a template of one, or a Dockerfile",
        got="something else",
        where=where,
        hint="when it is one of them, say which with --as",
    )


def is_template(data: bytes) -> bool:
    """Whether a manifest has yet to be rendered: Jinja is in it, and outside of strings and comments."""
    from casemate.builder.lint.scanner import scan  # noqa: PLC0415 - only files with Jinja in them need it

    text = data.decode("utf-8", "replace")
    return (
        _JINJA.search(text) is not None and scan(text.replace("\0", " ").replace("\1", " ")).fault is not None
    )
