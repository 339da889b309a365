"""Building from an image again: the same bytes whatever is kept of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.host_root import host_image

from casemate.cli.main import run
from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"no namespaces here: {available()}"),
]

APPLICATION = {"/srv/app/shop.py": "import json\ndef app(environ, start_response):\n    return []\n"}


def files(bundle: Path) -> dict[str, bytes]:
    paths = sorted(path for path in bundle.rglob("*") if path.is_file())
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in paths}


def kept(cache: Path) -> list[str]:
    """Names of the images that are kept, without the lock."""
    return sorted(path.name for path in (cache / "casemate/images-1").iterdir() if path.is_dir())


def test_a_build_from_a_kept_image_gives_the_same_and_changes_nothing_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    monkeypatch.setenv("UV_CACHE_DIR", os.environ.get("UV_CACHE_DIR") or str(home / "uv"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    config = {"Cmd": ["gunicorn", "-b", "0.0.0.0:8000", "shop:app"], "WorkingDir": "/srv/app"}
    image = host_image(tmp_path / "image", APPLICATION, **config)
    source = ("--from", f"oci:{image}")

    def built(name: str, *options: str) -> dict[str, bytes]:
        folder, bundle = tmp_path / "folder", tmp_path / name
        folder.mkdir(exist_ok=True)
        assert run(["build", str(folder), *source, "-o", str(bundle), *options]) == 0, capsys.readouterr().err
        return files(bundle)

    without = built("without", "--no-cache")
    assert not (cache / "casemate/images-1").exists()
    assert built("first") == without
    (name,) = kept(cache)
    stamp = (cache / f"casemate/images-1/{name}/contents").read_text()

    assert built("again") == without
    assert run(["preflight", str(tmp_path / "folder"), *source]) == 0
    assert run(["init", str(tmp_path / "shop"), *source]) == 0
    assert kept(cache) == [name]
    assert (cache / f"casemate/images-1/{name}/contents").read_text() == stamp

    (module,) = (cache / f"casemate/images-1/{name}/tree/root/srv/app").iterdir()
    module.write_text("evil = True\n")
    assert built("mended") == without
