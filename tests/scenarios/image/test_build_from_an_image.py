"""Images with this machine's interpreter, built from, compared and refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.host_root import host_image

from casemate.builder.packing.image import ImageLayout
from casemate.cli.main import run
from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"no namespaces here: {available()}"),
]

APPLICATION = {
    "/srv/app/shop.py": (
        "from pathlib import Path\n"
        "import colours.names\n"
        'PRICES = Path("/srv/prices/today.txt")\n'
        "def app(environ, start_response):\n"
        '    start_response("200 OK", [])\n'
        "    return [PRICES.read_bytes(), colours.names.RED]\n"
    ),
    "/srv/app/never.py": "raise SystemExit\n",
    "/srv/lib/colours/__init__.py": "",
    "/srv/lib/colours/names.py": 'RED = b"red"\n',
    "/srv/prices/today.txt": "bread 3\n",
    "/srv/prices/old/yesterday.txt": "bread 2\n",
}
CONFIG: dict[str, Any] = {
    "Cmd": ["gunicorn", "-w", "4", "-b", "0.0.0.0:8000", "shop:app"],
    "WorkingDir": "/srv/app",
    "Env": [
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH=/srv/lib",
        "GREETING=hello",
        "DB_PASSWORD=hunter2-hunter2",
    ],
    "ExposedPorts": {"8000/tcp": {}},
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return host_image(tmp_path_factory.mktemp("image"), APPLICATION, **CONFIG)


def built(image: Path, folder: Path, bundle: Path, *options: str) -> Path:
    assert run(["build", str(folder), "--from", f"oci:{image}", "-o", str(bundle), *options]) == 0
    return bundle


def files(bundle: Path) -> dict[str, Any]:
    return {file["path"]: file for file in json.loads((bundle / "tcb.json").read_bytes())["files"]}


def test_an_image_says_what_becomes_of_its_application(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = built(image, tmp_path, tmp_path / "bundle")
    err = capsys.readouterr().err
    assert (
        "note: gunicorn, without -w 4: one process serves in an enclave, by Casemate's server with TLS\n"
        in err
    )
    assert (
        "warning: DB_PASSWORD, set in the image, looks like a secret and is not copied: "
        '[secrets] "env:DB_PASSWORD" = "kbs:///default/NAME/TAG" delivers it.\n'
    ) in err
    assert (
        "question: shop.py:3: the image has /srv/prices/today.txt, which the enclave has not: is it opened?\n"
        '  include = ["/srv/prices/today.txt"]\n'
    ) in err
    trusted = files(bundle)
    assert "/app/shop.pyc" in trusted
    assert "/app/never.pyc" not in trusted
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"/opt/python/lib/python{version}/site-packages/colours/names.pyc" in trusted
    assert not any(path.startswith("/srv") for path in trusted)
    manifest = (bundle / "app.manifest.sgx").read_text()
    assert "hello" in manifest
    assert "hunter2" not in manifest + err
    deployment = json.loads((bundle / "deployment.json").read_bytes())
    assert deployment["port"] == 8000


def test_two_builds_give_the_same_bytes_with_and_without_the_cache_and_name_the_image(
    image: Path, tmp_path: Path
) -> None:
    first = built(image, tmp_path, tmp_path / "first")
    rebuild = ["--rebuild", str(tmp_path), "--from", f"oci:{image}", "--accept-unsigned-statements"]
    assert run(["verify", "bundle", str(first), *rebuild]) == 0
    index = json.loads((image / "index.json").read_bytes())
    statement = json.loads((first / "reference-values.json").read_bytes())
    assert statement["predicate"]["sources"]["image"] == index["manifests"][0]["digest"]


def test_init_writes_what_build_reads_from_the_image_and_data_keeps_its_path(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "shop"
    assert run(["init", str(folder), "--from", f"oci:{image}"]) == 0
    assert capsys.readouterr().out == f"Wrote {folder}/casemate.toml: shop:app\n"
    project = folder / "casemate.toml"
    text = project.read_text()
    assert 'source = "/srv/app"' in text
    assert '# DB_PASSWORD = ""  # set in the image, and looks like a secret\n' in text
    assert "hunter2" not in text
    same, derived = built(image, folder, tmp_path / "same"), built(image, tmp_path, tmp_path / "derived")
    for name in ("app.manifest.sgx", "tcb.json"):
        assert (same / name).read_bytes() == (derived / name).read_bytes()
    project.write_text(f'{text}\n[closure]\ninclude = ["/srv/prices/**"]\n')
    more = built(image, folder, tmp_path / "more")
    assert set(files(more)) - set(files(same)) == {"/srv/prices/today.txt", "/srv/prices/old/yesterday.txt"}
    assert "question" not in capsys.readouterr().err.partition("more")[2]


def test_the_same_application_gives_the_same_layer_from_this_machine_and_from_an_image(
    image: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder, source in ((here, "."), (there, "/srv/app")):
        folder.mkdir()
        (folder / "casemate.toml").write_text(
            f'[app]\nname = "shop"\nsource = "{source}"\nrequirements = ""\nserve = "shop:app"\n'
            'interface = "wsgi"\n'
        )
    text = APPLICATION["/srv/app/shop.py"].replace("import colours.names\n", "")
    text = text.replace(", colours.names.RED", "")
    (here / "shop.py").write_text(text)
    plain = host_image(tmp_path / "plain", {"/srv/app/shop.py": text}, **CONFIG)
    host, foreign = tmp_path / "host", tmp_path / "foreign"
    assert run(["build", str(here), "-o", str(host)]) == 0
    built(plain, there, foreign)
    one, other = (ImageLayout(bundle / "image").manifest.layers for bundle in (host, foreign))
    differences = [number for number, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]]
    assert differences == [], files(host).keys() ^ files(foreign).keys()


@pytest.mark.slow
def test_a_rehearsal_answers_as_the_image_would(image: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "casemate.toml").write_text(
        '[app]\nname = "shop"\nsource = "/srv/app"\ncommand = ["python", "-m", "once"]\n'
        '[closure]\ninclude = ["/srv/prices/*"]\n'
    )
    once = {
        **APPLICATION,
        "/srv/app/once.py": "import shop\nprint(b''.join(shop.app({}, lambda *_: None)))\n",
    }
    other = host_image(tmp_path / "image", once, **CONFIG)
    bundle = built(other, folder, tmp_path / "bundle")
    done = subprocess.run(
        [sys.executable, "-m", "casemate", "rehearse", str(bundle), "--timeout", "60"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "b'bread 3\\nred'" in done.stdout
    assert done.returncode == 0


def test_a_manifest_for_gsc_is_followed_and_what_has_no_counterpart_is_named(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, saved = tmp_path / "shop.manifest", tmp_path / "saved.toml"
    manifest.write_text(
        'sgx.enclave_size = "1G"\nsgx.max_threads = 32\nsgx.isvsvn = 3\n'
        'sgx.trusted_files = ["file:/srv/prices/today.txt"]\nsgx.seal_key.misc_mask = "0x0"\n'
        'loader.env.LEVEL = "high"\n[[fs.mounts]]\ntype = "tmpfs"\npath = "/var/cache/shop"\n'
    )
    bundle = built(
        image, tmp_path, tmp_path / "b", "--gsc-manifest", str(manifest), "--save-project", str(saved)
    )
    assert "note: sgx.seal_key.misc_mask: left as Gramine has it\n" in capsys.readouterr().err
    assert "/srv/prices/today.txt" in files(bundle)
    measured = json.loads((bundle / "measurement.json").read_bytes())
    assert measured["isvsvn"] == 3 if "isvsvn" in measured else True
    folder = tmp_path / "again"
    folder.mkdir()
    (folder / "casemate.toml").write_bytes(saved.read_bytes())
    again = built(image, folder, tmp_path / "b2")
    assert (again / "app.manifest.sgx").read_bytes() == (bundle / "app.manifest.sgx").read_bytes()


def test_a_link_to_a_file_of_this_machine_is_one_to_a_file_of_the_image(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("of the build host\n")
    image = host_image(tmp_path / "image", APPLICATION, **CONFIG)
    root = tmp_path / "more"
    (root / "srv/prices").mkdir(parents=True)
    (root / "srv/prices/leak.txt").symlink_to(secret)
    layer = tmp_path / "more.tar"
    subprocess.run(["tar", "--create", f"--file={layer}", f"--directory={root}", "."], check=True)
    from tests.support.debian_image import write_layout

    write_layout(tmp_path / "layout", [tmp_path / "image/layer.tar", layer], CONFIG)
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "casemate.toml").write_text(
        '[app]\nname = "shop"\nsource = "/srv/app"\nserve = "shop:app"\ninterface = "wsgi"\n'
        '[closure]\ninclude = ["/srv/prices/**"]\n'
    )
    bundle = built(tmp_path / "layout", folder, tmp_path / "bundle")
    assert image.exists()
    assert "/srv/prices/today.txt" in files(bundle)
    assert "/srv/prices/leak.txt" not in files(bundle)
