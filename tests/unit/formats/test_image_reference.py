"""Names of images in registries."""

from __future__ import annotations

import pytest

from casemate.errors import UsageError
from casemate.formats.image_reference import ImageReference

DIGEST = f"sha256:{'ab' * 32}"


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.12-slim", "docker.io/library/python:3.12-slim"),
        ("team/app", "docker.io/team/app:latest"),
        ("docker.io/team/app:1", "docker.io/team/app:1"),
        ("index.docker.io/team/app:1", "docker.io/team/app:1"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/a/b/c:1", "localhost:5000/a/b/c:1"),
        ("[::1]:5000/app:1", "[::1]:5000/app:1"),
        ("ghcr.io/a/b@" + DIGEST, "ghcr.io/a/b@" + DIGEST),
        ("ghcr.io/a/b:1@" + DIGEST, "ghcr.io/a/b:1@" + DIGEST),
        ("HOST/app:1", "HOST/app:1"),
        ("registry.example/a__b/c-d.e:V_1.0", "registry.example/a__b/c-d.e:V_1.0"),
    ],
)
def test_a_name_is_read_as_docker_reads_it(text: str, full: str) -> None:
    assert str(ImageReference.parse(text)) == full
    assert ImageReference.parse(full) == ImageReference.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "/", ":", "@", "App", "a//b", "a/B", "-a", "a-", "a:", "a:-x", f"a:{'x' * 129}", "a@sha256:abc",
        "a@sha512:" + "0" * 128, "a@", "host.example/", "ho_st.x/a", "a\nb", "a:1\n", "docker://a", "https://h.x/a",
        "h.x/" + "a" * 255, "user@h.x/a", "h.x:port/a", "h.x/a?b", "../../etc.x/passwd", "[::1/a",
    ],
)  # fmt: skip
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        ImageReference.parse(text)
    assert str(refused.value).startswith(
        "name of an image in a registry: expected [HOST[:PORT]/]REPOSITORY[:TAG][@sha256:DIGEST], got"
    )


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.9.9.9", True),
        ("[::1]:5000", True),
        ("localhost.example", False),
        ("10.0.0.1:5000", False),
        ("127.0.0.1.example", False),
        ("docker.io", False),
    ],
)
def test_only_this_machine_is_local(host: str, *, local: bool) -> None:
    assert ImageReference.parse(f"{host}/app").is_local is local


def test_the_hub_is_asked_elsewhere() -> None:
    assert ImageReference.parse("python").api_host == "registry-1.docker.io"


def test_a_name_can_be_pinned() -> None:
    assert str(ImageReference.parse("h.x/a:1").pinned(DIGEST)) == f"h.x/a:1@{DIGEST}"
