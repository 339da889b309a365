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
    GSC = "gsc"
    DOCKERFILE = "dockerfile"


_TEMPLATE_NAME: Final = re.compile(r"(?:.*\.)?manifest(?:\.toml)?\.(?:template|j2|jinja2?|in)")
_MANIFEST_NAME: Final = re.compile(r"(?:.*\.)?manifest(?:\.sgx|\.toml)?")
_DOCKERFILE_NAME: Final = re.compile(r"(?:.*\.)?(?:dockerfile|containerfile)(?:\..*)?", re.IGNORECASE)
#: Files that are something else, whatever lines are in them.
_OTHER_NAME: Final = re.compile(r".*\.(?:c|cfg|go|h|html|ini|js|json|md|py|rs|rst|sh|ya?ml)")
_MANIFEST_LINE: Final = re.compile(
    r"^[ \t]*(?:\[\[?[ \t]*(?:libos|loader|sgx|fs)[ \t]*[.\]]|(?:libos|loader|sgx|fs)\.[A-Za-z_.]+[ \t]*=)",
    re.MULTILINE,
)
_DOCKERFILE_LINE: Final = re.compile(
    r"(?:[ \t]*(?:#[^\n]*)?\r?\n)*+[ \t]*(?:FROM|ARG)[ \t]+[^\s=]", re.IGNORECASE
)
_JINJA: Final = re.compile(r"\{\{[^{}\n]*\}\}|\{%[^\n]*?%\}|\{#[^\n]*?#\}")
#: Jinja at a place of a Dockerfile where Docker has no use for it.
_DOCKERFILE_JINJA: Final = re.compile(
    r"^[ \t]*\{[%#]|^[ \t]*FROM[ \t][^\n]*\{\{", re.MULTILINE | re.IGNORECASE
)
#: Characters of a file that are looked at.
_BEGINNING: Final = 1 << 16


def kind_of(data: bytes, where: str) -> FileKind:
    """The kind of a file.

    What Jinja has yet to render is a template whatever its name, but for measured manifests. A manifest
    that GSC completes looks like any other and has to be named as such.

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
        return _manifest(beginning, name)
    is_other = _OTHER_NAME.fullmatch(name.lower()) is not None
    if _DOCKERFILE_NAME.fullmatch(name) or (not is_other and _DOCKERFILE_LINE.match(beginning)):
        if _DOCKERFILE_JINJA.search(beginning):
            raise _unknown(where, "a template of a Dockerfile", "render it first")
        return FileKind.DOCKERFILE
    if not is_other and _MANIFEST_LINE.search(beginning):
        return _manifest(beginning, name)
    raise _unknown(where, "something else", "when it is one of them, say which with --as")


def _manifest(beginning: str, name: str) -> FileKind:
    is_template = not name.endswith(".sgx") and _JINJA.search(beginning) is not None
    return FileKind.TEMPLATE if is_template else FileKind.MANIFEST


def _unknown(where: str, got: str, hint: str) -> UsageError:
    expected = "a manifest, a template of one, or a Dockerfile"
    return UsageError("kind of file", expected=expected, got=got, where=where, hint=hint)
