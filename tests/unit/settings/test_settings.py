"""What the environment decides, and every default."""

from __future__ import annotations

from pathlib import Path

import pytest

from casemate.errors import UsageError
from casemate.settings import Settings


def test_an_empty_environment_gives_every_default() -> None:
    assert Settings.from_environment({}) == Settings(
        cache=Path.home() / ".cache" / "casemate",
        gramine_key=Path.home() / ".config" / "gramine" / "enclave-key.pem",
        gramine=None,
        library_path=(),
        source_date_epoch=0,
        docker=Path.home() / ".docker",
        https_proxy=None,
        no_proxy=(),
    )


def test_everything_can_be_set() -> None:
    environment = {
        "XDG_CACHE_HOME": "/cache",
        "XDG_CONFIG_HOME": "/config",
        "CASEMATE_GRAMINE": "/opt/gramine",
        "LD_LIBRARY_PATH": "/opt/a:relative::/opt/b;/opt/c",
        "SOURCE_DATE_EPOCH": "1700000000",
        "DOCKER_CONFIG": "/docker",
        "HTTPS_PROXY": "http://proxy:3128",
        "NO_PROXY": "localhost, .Internal,",
    }

    assert Settings.from_environment(environment) == Settings(
        cache=Path("/cache/casemate"),
        gramine_key=Path("/config/gramine/enclave-key.pem"),
        gramine=Path("/opt/gramine"),
        library_path=("/opt/a", "/opt/b", "/opt/c"),
        source_date_epoch=1_700_000_000,
        docker=Path("/docker"),
        https_proxy="http://proxy:3128",
        no_proxy=("localhost", "internal"),
    )


def test_the_largest_time_that_a_layer_can_carry_is_the_limit() -> None:
    assert Settings.from_environment({"SOURCE_DATE_EPOCH": "8589934591"}).source_date_epoch == 2**33 - 1
    with pytest.raises(UsageError):
        Settings.from_environment({"SOURCE_DATE_EPOCH": "8589934592"})


@pytest.mark.parametrize("text", ["-1", "now", "1.5", "\N{FULLWIDTH DIGIT ONE}", " 1"])
def test_a_time_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        Settings.from_environment({"SOURCE_DATE_EPOCH": text})
    assert str(refused.value) == (
        f"SOURCE_DATE_EPOCH: expected seconds since 1970, less than 2^33, got {text} (the environment)"
    )


@pytest.mark.parametrize("host", ["localhost", "internal", "registry.internal"])
def test_no_proxy_names_hosts_and_domains(host: str) -> None:
    environment = {"https_proxy": "http://proxy:3128", "no_proxy": "localhost,.internal"}

    assert Settings.from_environment(environment).proxy_for(host) is None


def test_other_hosts_are_behind_the_proxy() -> None:
    environment = {"https_proxy": "http://proxy:3128", "no_proxy": "localhost,.internal"}

    assert Settings.from_environment(environment).proxy_for("notinternal") == "http://proxy:3128"


def test_the_proxy_is_not_printed() -> None:
    assert "secret" not in repr(Settings.from_environment({"HTTPS_PROXY": "http://user:secret@proxy:3128"}))
