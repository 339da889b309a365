"""``casemate init``."""

import json
from pathlib import Path
from typing import Any

import pytest

from casemate.cli.main import run
from casemate.project import Interface, parse_project

FLASK = "import os\nfrom flask import Flask\napp = Flask('x')\nkey = os.environ['SHOP_KEY_FILE']\n"


@pytest.fixture
def shop(tmp_path: Path) -> Any:
    (tmp_path / "shop.py").write_text(FLASK)
    (tmp_path / "uv.lock").touch()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "shop"\n')
    (tmp_path / "ca.pem").touch()
    return tmp_path


def read(folder: Path) -> Any:
    return parse_project((folder / "casemate.toml").read_bytes(), "casemate.toml")


def test_what_is_written_describes_the_application(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", str(shop)]) == 0
    project = read(shop)
    assert (project.app.name, project.app.serve, project.app.interface) == (
        "shop",
        "shop:app",
        Interface.WSGI,
    )
    assert project.app.requirements == "uv.lock"
    told = capsys.readouterr()
    assert told.out == f"Wrote {shop}/casemate.toml: shop:app\n"
    assert told.err == "SHOP_KEY_FILE has no value yet; the application reads it in shop.py:4.\n"
    assert '# SHOP_KEY_FILE = ""  # shop.py:4' in (shop / "casemate.toml").read_text()


def test_options_fill_it(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        *("--env", "SHOP_KEY_FILE=/run/secrets/key", "--env", "TZ=a=b", "--mount", "/var/lib/shop=tmpfs"),
        *("--secret", "/run/secrets/key=kbs:///default/shop/key", "--port", "9443"),
        *("--broker", "https://broker:1", "--broker-ca", "ca.pem", "--json"),
    ]
    assert run(["init", str(shop), *arguments]) == 0
    project = read(shop)
    assert project.env == (("SHOP_KEY_FILE", "/run/secrets/key"), ("TZ", "a=b"))
    assert [mount.path for mount in project.mounts] == ["/var/lib/shop"]
    assert [secret.resource for secret in project.secrets] == ["kbs:///default/shop/key"]
    assert project.app.port == 9443
    assert project.broker is not None
    assert (project.broker.url, project.broker.ca) == ("https://broker:1", "ca.pem")
    assert json.loads(capsys.readouterr().out) == {
        "version": 1,
        "configuration": str(shop / "casemate.toml"),
        "name": "shop",
        "serve": "shop:app",
        "interface": "wsgi",
        "command": None,
        "requirements": "uv.lock",
        "unprovided_modules": [],
        "unset_variables": [],
    }


def test_a_ca_elsewhere_is_named_by_its_place(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    ca = tmp_path_factory.mktemp("elsewhere") / "ca.pem"
    ca.touch()
    assert run(["init", str(shop), "--broker", "https://b", "--broker-ca", str(ca)]) == 0
    broker = read(shop).broker
    assert broker is not None
    assert broker.ca == str(ca)


@pytest.mark.parametrize("folder", [".", "link"])
def test_a_ca_inside_that_is_given_by_its_whole_path_is_named_relative_to_the_file(
    shop: Path, tmp_path_factory: pytest.TempPathFactory, folder: str
) -> None:
    (shop / "keys").mkdir()
    (shop / "keys/ca.pem").touch()
    link = tmp_path_factory.mktemp("elsewhere") / "link"
    link.symlink_to(shop)
    directory = shop if folder == "." else link
    for ca in (shop / "keys/ca.pem", link / "keys/ca.pem"):
        options = ["--broker", "https://b", "--broker-ca", str(ca), "--force"]
        assert run(["init", str(directory), *options]) == 0
        broker = read(shop).broker
        assert broker is not None
        assert broker.ca == "keys/ca.pem"


def test_a_ca_inside_is_named_relative_to_the_file(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "keys").mkdir()
    (shop / "keys/ca.pem").touch()
    monkeypatch.chdir(shop / "keys")
    (shop / "ca.pem").unlink()
    assert run(["init", str(shop), "--broker", "https://b", "--broker-ca", "ca.pem"]) == 0
    broker = read(shop).broker
    assert broker is not None
    assert broker.ca == "keys/ca.pem"


def test_a_file_that_is_there_is_replaced_only_when_asked(
    shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "casemate.toml").write_text("mine")
    assert run(["init", str(shop)]) == 1
    assert capsys.readouterr().err == (
        f"error: casemate.toml: expected none yet, got one that is there ({shop}/casemate.toml)\n"
        "hint: --force replaces it\n"
    )
    assert (shop / "casemate.toml").read_text() == "mine"
    assert run(["init", str(shop), "--force"]) == 0
    assert read(shop).app.name == "shop"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--env", "X"], 2, "error: --env: expected NAME=VALUE, got X\n"),
        (["--env", "X=1", "--env", "X=2"], 2, "error: --env: expected each name once, got X twice\n"),
        (
            ["--mount", "/x=disk"],
            2,
            (
                "error: --mount: expected /x=tmpfs, got /x=disk\n"
                "hint: encrypted folders are written into casemate.toml by hand\n"
            ),
        ),
        (["--broker", "https://b"], 2, "error: --broker and --broker-ca: expected both, got one of them\n"),
        (
            ["--broker", "https://b", "--broker-ca", "none.pem"],
            2,
            "error: --broker-ca: expected a file, got none.pem\n",
        ),
        (
            ["--broker", "http://b", "--broker-ca", "ca.pem"],
            1,
            (
                'error: url: expected "https://host:port", got "http://b" (casemate.toml: broker.url)\n'
                "hint: a broker that is spoken to without TLS could be anybody\n"
            ),
        ),
        (
            ["--secret", "/run/secrets/k=kbs:///a/b/c"],
            1,
            (
                "error: [secrets] without [broker]: expected a [broker] that holds the secrets "
                '(casemate.toml: secrets)\nhint: add [broker] with url = "https://…" '
                'and ca = "broker-ca.pem"\n'
            ),
        ),
    ],
)
def test_a_wrong_option_is_refused_and_nothing_is_written(
    shop: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    before = sorted(shop.iterdir())
    assert run(["init", str(shop), *arguments]) == code
    assert capsys.readouterr().err == message
    assert sorted(shop.iterdir()) == before


def test_a_missing_lock_is_said(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "uv.lock").unlink()
    assert run(["init", str(shop)]) == 0
    assert "uv.lock is missing; `uv lock` makes it.\n" in capsys.readouterr().err
    assert "# missing: run `uv lock`" in (shop / "casemate.toml").read_text()


def test_requirements_that_pin_nothing_are_said(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "uv.lock").unlink()
    (shop / "requirements.txt").write_text("flask==3.1.3\nsqlalchemy\n")
    assert run(["init", str(shop)]) == 0
    assert (
        "warning: requirement: expected one version, written NAME==VERSION, got sqlalchemy "
        "(requirements.txt): run `uv pip compile --generate-hashes requirements.txt -o requirements.lock`, "
        'and write requirements = "requirements.lock"; or `uv lock`, and requirements = "uv.lock"\n'
    ) in capsys.readouterr().err


def test_a_program_with_its_own_server_and_nothing_to_install(tmp_path: Path) -> None:
    (tmp_path / "job.py").write_text("if __name__ == '__main__':\n    print(1)\n")
    assert run(["init", str(tmp_path)]) == 0
    project = read(tmp_path)
    assert project.app.command == ("python", "-m", "job")
    assert project.app.requirements is None


def test_modules_that_nothing_provides_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "shop.py").write_text(
        "import json\nimport prices, flask.json\nfrom . import x\ntry:\n    import orjson\n"
        "except ImportError:\n    pass\napp = flask.Flask('x')\n"
    )
    (tmp_path / "wsgi.py").write_text("from flask import Flask\napp = Flask('x')\n")
    (tmp_path / "prices.py").touch()
    assert run(["init", str(tmp_path)]) == 0
    assert capsys.readouterr().err == (
        "warning: no lock file provides flask (shop.py:2): list what does in requirements.in, run "
        "`uv pip compile --generate-hashes requirements.in -o requirements.lock`, and write requirements = "
        '"requirements.lock" in casemate.toml.\n'
    )
    assert (
        'requirements = ""                 # to be changed: nothing provides flask; name a lock file\n'
        in (tmp_path / "casemate.toml").read_text()
    )


def test_a_program_that_nothing_shows_to_be_one_is_refused_with_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.py").write_text("print(1)\n")
    assert run(["init", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        "error: application: expected a WSGI or ASGI application, a package with __main__, or a module with "
        f'`if __name__ == "__main__":`, got none of them ({tmp_path})\n'
        'hint: put what starts the program below `if __name__ == "__main__":`, or write casemate.toml by '
        'hand, with command = ["python", "job.py"] in [app]\n'
    )
