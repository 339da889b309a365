"""Images that a command line names."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.faulty_registry import Fault, FaultyRegistry
from tests.support.foreign_images import Blobs, file, layer, write_layout

from casemate.cli.image_source import fetching, open_image, tell_left_out
from casemate.errors import UsageError
from casemate.settings import Settings
from casemate.sources import LeftOut, LeftOutReason


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    home = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "DOCKER_CONFIG": str(tmp_path / "docker")}
    return Settings.from_environment(home)


def test_an_image_of_this_machine_is_opened(tmp_path: Path, settings: Settings) -> None:
    path = write_layout(tmp_path / "layout", layer(file("a", "a")))

    assert open_image(f"oci:{path}", work=tmp_path, settings=settings).reference == f"oci:{path}"


@pytest.mark.parametrize("text", ["host", "python:3.12", "docker:python", ""])
def test_another_source_is_refused(tmp_path: Path, settings: Settings, text: str) -> None:
    with pytest.raises(UsageError) as refused:
        open_image(text, work=tmp_path, settings=settings)

    assert str(refused.value) == (
        f"image: expected oci:DIR[:TAG], docker-archive:FILE[:REF] or docker://REF@sha256:DIGEST, got {text}"
    )
    assert refused.value.hint == (
        "one that docker or podman keeps: docker save NAME -o FILE, then docker-archive:FILE"
    )


def test_a_file_or_a_folder_alone_is_refused_with_the_form_that_names_it(
    tmp_path: Path, settings: Settings
) -> None:
    (tmp_path / "shop.tar").touch()

    with pytest.raises(UsageError) as file_refused:
        open_image(f"{tmp_path}/shop.tar", work=tmp_path, settings=settings)
    with pytest.raises(UsageError) as folder_refused:
        open_image(f"{tmp_path}", work=tmp_path, settings=settings)

    hint = f"a file that docker save has written: docker-archive:{tmp_path}/shop.tar"
    assert file_refused.value.hint == hint
    assert folder_refused.value.hint == f"a folder with an OCI layout: oci:{tmp_path}"


def test_a_tag_is_refused_with_the_digest_that_it_has(tmp_path: Path, settings: Settings) -> None:
    blobs = Blobs()
    digest = blobs.image(layer(file("a", "a")))["digest"]
    with FaultyRegistry.running(tags={"1": digest}) as server:
        server.add(blobs.content)
        text = f"docker://{server.host}/app:1"

        with pytest.raises(UsageError) as refused:
            open_image(text, work=tmp_path, settings=settings)

        assert str(refused.value) == (
            f"image: expected a digest: a tag may name another image tomorrow, got {text}"
        )
        assert refused.value.hint == f"name what it is now: {text}@{digest}"


def test_an_image_that_was_fetched_needs_no_registry(tmp_path: Path, settings: Settings) -> None:
    blobs = Blobs()
    digest = blobs.image(layer(file("a", "a")))["digest"]
    told: list[str] = []
    with FaultyRegistry.running() as server:
        server.add(blobs.content)
        text = f"docker://{server.host}/app@{digest}"
        first = open_image(text, work=tmp_path, settings=settings, progress=fetching(told.append))
        server.faults = [Fault(".", status=500, times=99)]
        server.asked.clear()

        assert open_image(text, work=tmp_path, settings=settings) == first

        assert server.asked == []
    assert told[-1] == "Fetching the image: 0 of 0 MiB"


def test_what_is_left_out_is_told_a_few_times(capsys: pytest.CaptureFixture[str]) -> None:
    left_out = tuple(LeftOut(path=f"/dev/{number}", reason=LeftOutReason.DEVICE) for number in range(12))

    tell_left_out(left_out, 1012)

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "note: /dev/0 of the image is left out: a device."
    assert lines[10:] == ["note: 1,002 more are left out."]
