"""What ``casemate verify bundle`` shows a person."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.small_bundle import small_bundle

from casemate.cli.main import run


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return small_bundle(tmp_path / "bundle").path


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    run(["verify", "bundle", *map(str, arguments)])
    return capsys.readouterr().out.splitlines()


def test_where_all_is_well_only_the_summary_is_shown(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others = shown(capsys, bundle)

    assert first.startswith("checks: ")
    assert first.endswith(", all passed; --all shows them")
    assert [line.split(":")[0] for line in others] == ["workload", "MRENCLAVE", "MRSIGNER"]


def test_with_all_every_check_is_shown_with_what_was_compared(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = shown(capsys, bundle, "--all")

    end = lines.index("")
    assert lines[0].split() == ["check", "expected", "found"]
    assert lines[end + 1] == f"checks: {end - 1}, all passed; --all shows them"
    assert all("  ok  " in line for line in lines[1:end])


def test_what_is_refused_is_shown_without_the_rest(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deployment = bundle / "deployment.json"
    deployment.write_bytes(deployment.read_bytes().replace(b"8443", b"443"))

    table = shown(capsys, bundle)
    lines = table[: table.index("")]

    assert [line.split("  ")[0] for line in lines] == ["check", "image: port", "deployment.json: port"]
    assert lines[1].split() == ["image:", "port", "refused", "443", "8443"]
    assert lines[2].split() == ["deployment.json:", "port", "refused", "8443", "443"]
