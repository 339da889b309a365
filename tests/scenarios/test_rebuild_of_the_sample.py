"""The sample is rebuilt from its source, and a signed bundle of it is compared bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.sample_bundle import Conditions, build_sample
from tests.support.small_bundle import KEY

from casemate.cli.main import run

pytestmark = pytest.mark.slow

HERE = Conditions(
    folder="notes", umask=0o022, hash_seed="7", locale="C.UTF-8", zone="UTC", seconds_later=1_700_000_000
)


def test_a_signed_bundle_is_verified_against_its_source_and_every_change_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    bundle, _ = build_sample(tmp_path, HERE)
    source = tmp_path / "notes"
    assert run(["sign", str(bundle), "--key", f"file:{KEY}"]) == 0
    capsys.readouterr()

    code = run(["verify", "bundle", str(bundle), "--rebuild", str(source), "--json"])

    document = json.loads(capsys.readouterr().out)
    assert [check for check in document["checks"] if not check["passed"]] == []
    assert (code, document["sound"]) == (0, True)

    (source / "notes/store.py").write_text((source / "notes/store.py").read_text() + "\nMORE = 1\n")
    code = run(["verify", "bundle", str(bundle), "--rebuild", str(source), "--json"])

    refused = [check for check in json.loads(capsys.readouterr().out)["checks"] if not check["passed"]]
    assert code == 1
    assert "file /enclave/app/notes/store.pyc" in [check["name"] for check in refused]
    assert {check["part"] for check in refused} == {"rebuild"}
