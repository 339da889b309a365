"""Who we are to registries, as docker login keeps it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from casemate.adapters.registry import Credentials, DockerCredentials
from casemate.adapters.registry.challenge import BasicChallenge, BearerChallenge, read_challenges
from casemate.errors import CasemateError, FormatError, ToolchainError

WRITTEN = "Docker's configuration: expected what docker login writes"


def _kept(folder: Path, config: Any) -> DockerCredentials:
    (folder / "config.json").write_text(json.dumps(config))
    return DockerCredentials(folder=folder)


def _auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def _helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, name: str = "test") -> None:
    program = folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_without_a_configuration_we_are_nobody(tmp_path: Path) -> None:
    assert DockerCredentials(folder=tmp_path / "nothing").find("example.com") is None


def test_a_password_is_kept_by_host(tmp_path: Path) -> None:
    kept = _kept(
        tmp_path, {"auths": {"example.com:5000": _auth("me:pass:word"), "example.com": {}}, "HttpHeaders": {}}
    )

    assert kept.find("example.com:5000") == Credentials(username="me", password="pass:word")
    assert kept.find("example.com") is None
    assert kept.find("other.com") is None


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "index.docker.io", "docker.io", "https://registry-1.docker.io"]
)
def test_the_hub_has_several_names(tmp_path: Path, key: str) -> None:
    assert _kept(tmp_path, {"auths": {key: _auth("me:pw")}}).find("docker.io") == Credentials(
        username="me", password="pw"
    )


def test_old_keys_are_urls(tmp_path: Path) -> None:
    kept = _kept(tmp_path, {"auths": {"https://example.com/v2/": _auth("me:pw")}})

    assert kept.find("example.com") is not None


def test_an_identity_token_is_kept(tmp_path: Path) -> None:
    kept = _kept(tmp_path, {"auths": {"example.com": {**_auth("00000000:"), "identitytoken": "token"}}})

    assert kept.find("example.com") == Credentials(username="00000000", identity_token="token")


def test_a_helper_of_one_registry_is_asked_before_the_common_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _helper(
        tmp_path,
        monkeypatch,
        f'cat > {tmp_path}/asked; echo "$1" >> {tmp_path}/asked; '
        """echo '{"ServerURL":"x","Username":"me","Secret":"pw"}'""",
    )
    kept = _kept(
        tmp_path, {"credHelpers": {"example.com": "test"}, "credsStore": "none", "auths": {"example.com": {}}}
    )

    assert kept.find("example.com") == Credentials(username="me", password="pw")
    assert (tmp_path / "asked").read_text() == "example.comget\n"


def test_a_common_helper_is_asked_for_the_hub_by_its_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _helper(
        tmp_path, monkeypatch, f'cat > {tmp_path}/asked; echo \'{{"Username":"<token>","Secret":"refresh"}}\''
    )

    assert _kept(tmp_path, {"credsStore": "test"}).find("docker.io") == Credentials(identity_token="refresh")
    assert (tmp_path / "asked").read_text() == "https://index.docker.io/v1/"


def test_what_a_helper_does_not_know_may_be_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _helper(tmp_path, monkeypatch, 'echo "credentials not found in native keychain"; exit 1')
    kept = _kept(tmp_path, {"credsStore": "test", "auths": {"example.com": _auth("me:pw")}})

    assert kept.find("example.com") == Credentials(username="me", password="pw")
    assert kept.find("other.com") is None


@pytest.mark.parametrize(
    ("script", "got"),
    [("echo secret-thing; exit 2", "exit code 2"), ("echo secret-thing", "something that is no credential")],
    ids=["failed", "no JSON"],
)
def test_a_helper_that_fails_is_said_without_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, got: str
) -> None:
    _helper(tmp_path, monkeypatch, script)

    with pytest.raises(ToolchainError) as refused:
        _kept(tmp_path, {"credsStore": "test"}).find("example.com")

    assert str(refused.value) == (
        "helper of Docker's configuration: expected an answer from docker-credential-test get, "
        f"got {got} ({tmp_path / 'config.json'})"
    )
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("name", ["missing", "../evil", "/bin/sh", "a b", "-x"])
def test_a_helper_that_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(ToolchainError) as refused:
        _kept(tmp_path, {"credsStore": name}).find("example.com")

    assert str(refused.value) == (
        f"helper of Docker's configuration: expected the program docker-credential-{name} on PATH, got none "
        f"({tmp_path / 'config.json'})"
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"auths": {"example.com": {"auth": "secret!"}}},
            "credentials in Docker's configuration: expected base64 of USER:PASSWORD, got something else",
        ),
        (
            {"auths": {"example.com": _auth("secret")}},
            "credentials in Docker's configuration: expected base64 of USER:PASSWORD, got something else",
        ),
        (
            {"auths": []},
            f"{WRITTEN}, got Expected `object`, got `array` - at `$.auths`",
        ),
        ([], f"{WRITTEN}, got Expected `object`, got `array`"),
    ],
    ids=["no base64", "no colon", "a list of registries", "a list"],
)
def test_another_configuration_is_refused(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(FormatError) as refused:
        _kept(tmp_path, config).find("example.com")

    assert str(refused.value) == f"{message} ({tmp_path / 'config.json'})"


def test_a_configuration_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()

    with pytest.raises(CasemateError, match="Docker's configuration cannot be read: got Is a directory"):
        DockerCredentials(folder=tmp_path).find("example.com")


def test_credentials_are_not_printed() -> None:
    assert repr(Credentials(username="me", password="pw", identity_token="token")) == "Credentials()"


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        (
            ['Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push"'],
            BearerChallenge(
                realm="https://auth.example/token", service="registry", scope="repository:a/b:pull,push"
            ),
        ),
        (
            ['bearer realm=https://x/, service = "a\\"b"'],
            BearerChallenge(realm="https://x/", service='a"b', scope=""),
        ),
        (
            ['Basic realm="x"', 'Bearer realm="https://y"'],
            BearerChallenge(realm="https://y", service="", scope=""),
        ),
        (
            ['Basic realm="x", Bearer realm="https://y"'],
            BearerChallenge(realm="https://y", service="", scope=""),
        ),
        (['BASIC realm="registry"'], BasicChallenge()),
        (["Basic"], BasicChallenge()),
        (['Bearer service="x"'], None),
        (['Negotiate abc, Digest realm="x"'], None),
        ([], None),
        (["", ",,,"], None),
    ],
    ids=[
        "Docker's",
        "odd",
        "two headers",
        "two in one",
        "Basic",
        "bare",
        "no realm",
        "others",
        "none",
        "empty",
    ],
)
def test_what_a_registry_wants_is_read(headers: list[str], challenge: object) -> None:
    assert read_challenges(headers) == challenge
