"""What the manifest of a bundle decides, as an application sees it when it is rehearsed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

_PROJECT = """
[app]
name = "probe"
requirements = ""
command = ["python", "probe.py"]

[enclave]
size = "256M"
files = 1000
stack = "4M"

[env]
LEVEL = { pass = true, one_of = ["info", "debug"], default = "info" }
REGION = { pass = true, pattern = "[a-z]{2}-[a-z]+-[0-9]", max_length = 20, required = false }
"""
_PROGRAM = """
import json, os, pwd, resource

def importing(name):
    try:
        __import__(name)
    except BaseException as error:
        return type(error).__name__
    return "imported"

print(json.dumps({
    "level": os.environ.get("LEVEL"),
    "region": os.environ.get("REGION"),
    "home": os.environ.get("HOME"),
    "user": [os.getuid(), os.getgid(), pwd.getpwuid(os.getuid()).pw_name],
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    "stack": resource.getrlimit(resource.RLIMIT_STACK)[0],
    "imports": {name: importing(name) for name in ("json", "nowhere", "json.nowhere", "tkinter")},
}))
"""


def _casemate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("casemate")), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | environment,
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("probe")
    (folder / "casemate.toml").write_text(_PROJECT)
    (folder / "probe.py").write_text(_PROGRAM)
    built = _casemate("build", str(folder), "-o", str(folder / "bundle"))
    assert built.returncode == 0, built.stderr
    return str(folder / "bundle")


def _rehearsed(bundle: str, *options: str, **environment: str) -> dict[str, Any]:
    done = _casemate("rehearse", bundle, *options, **environment)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_application_is_the_user_with_the_limits_that_the_manifest_says(bundle: str) -> None:
    seen = _rehearsed(bundle, LEVEL="debug", HOME="/evil")

    assert seen["user"] == [1000, 1000, "app"]
    assert (seen["files"], seen["stack"]) == (1000, 4 << 20)
    assert seen["home"] == "/tmp"
    assert (seen["level"], seen["region"]) == ("info", None)


def test_an_import_of_what_is_not_in_the_image_is_an_import_error(bundle: str) -> None:
    imports = _rehearsed(bundle)["imports"]

    assert imports.pop("json") == "imported"
    assert set(imports.values()) == {"ModuleNotFoundError"}


def test_the_host_chooses_what_the_rules_allow(bundle: str) -> None:
    passed = ("--pass", "LEVEL", "--pass", "REGION")

    seen = _rehearsed(bundle, *passed, LEVEL="debug", REGION="eu-central-1")

    assert (seen["level"], seen["region"]) == ("debug", "eu-central-1")
    refused = _casemate("rehearse", bundle, *passed, LEVEL="trace")
    assert refused.stdout == ""
    assert 'variable LEVEL: expected one of "info", "debug", got another text of length 5' in refused.stderr
    assert refused.returncode != 0
