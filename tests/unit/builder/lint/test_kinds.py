"""What kind a file is, by name and content; and what is none is refused by name."""

from __future__ import annotations

import pytest

from casemate.builder.lint.kinds import FileKind, kind_of
from casemate.errors import UsageError

TOML = b'libos.entrypoint = "/a"\n'
JINJA = b'libos.entrypoint = "{{ entrypoint }}"\n'


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a/python.manifest", TOML, FileKind.MANIFEST),
        ("python.manifest.sgx", TOML, FileKind.MANIFEST),
        ("manifest.toml", b"", FileKind.MANIFEST),
        ("python.manifest", JINJA, FileKind.TEMPLATE),
        ("python.manifest.sgx", JINJA, FileKind.MANIFEST),
        ("python.manifest.template", TOML, FileKind.TEMPLATE),
        ("manifest.template", TOML, FileKind.TEMPLATE),
        ("python.manifest.j2", TOML, FileKind.TEMPLATE),
        ("x.toml", b"[loader.env]\nA = 1\n", FileKind.MANIFEST),
        ("x", JINJA, FileKind.TEMPLATE),
        ("Dockerfile", b"", FileKind.DOCKERFILE),
        ("x/Dockerfile.prod", b"", FileKind.DOCKERFILE),
        ("prod.dockerfile", b"RUN docker inspect --format '{{.Id}}'", FileKind.DOCKERFILE),
        ("Containerfile", b"", FileKind.DOCKERFILE),
        ("x", b"# a\n\nARG V=1\nFROM a\n", FileKind.DOCKERFILE),
    ],
)
def test_kinds_are_known_by_name_and_content(name: str, data: bytes, kind: FileKind) -> None:
    assert kind_of(data, name) is kind


@pytest.mark.parametrize(
    ("name", "data", "got"),
    [
        ("x.txt", b"hello", "something else"),
        ("casemate.toml", b'[app]\nname = "x"\n', "something else"),
        ("x.py", b"sgx.a = 1\n", "something else"),
        ("x", b"\xff\x00", "something else"),
        ("Dockerfile.template", b"{% extends 'x' %}\n", "a template of a Dockerfile"),
    ],
)
def test_other_kinds_are_refused_by_name(name: str, data: bytes, got: str) -> None:
    with pytest.raises(UsageError) as refused:
        kind_of(data, name)
    expected = "a manifest, a template of one, or a Dockerfile"
    assert str(refused.value) == f"kind of file: expected {expected}, got {got} ({name})"
    assert refused.value.hint is not None
