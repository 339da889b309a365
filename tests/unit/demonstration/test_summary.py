"""A demonstration succeeds only when each of its facts is as it should be."""

import json
from pathlib import Path

import pytest

from casemate.demonstration.stage import Stage
from casemate.demonstration.summary import complaints, write_summary
from casemate.errors import ToolchainError

GOOD = {
    "image_files": 9000,
    "image_bytes": 300_000_000,
    "trusted_files": 700,
    "trusted_bytes": 30_000_000,
    "mrenclave": "ab" * 32,
    "mrsigner": "cd" * 32,
    "simulated": True,
    "attestation": {"status": "UpToDate", "reasons": []},
    "secret_released": True,
    "https_status": 200,
    "ratls_verified": True,
    "tampered_file_refused": True,
    "replayed_quote_refused": True,
}


def test_a_good_summary_has_no_complaints() -> None:
    assert complaints(GOOD) == ()


@pytest.mark.parametrize("field", sorted(GOOD))
def test_every_field_is_missed_when_it_is_absent(field: str) -> None:
    assert len(complaints({key: value for key, value in GOOD.items() if key != field})) == 1


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("simulated", False, "simulated: expected True, got False"),
        ("secret_released", False, "secret_released: expected True, got False"),
        ("https_status", 500, "https_status: expected 200, got 500"),
        ("ratls_verified", False, "ratls_verified: expected True, got False"),
        ("tampered_file_refused", False, "tampered_file_refused: expected True, got False"),
        ("replayed_quote_refused", False, "replayed_quote_refused: expected True, got False"),
        ("attestation", {"status": "OutOfDate"}, "attestation.status: expected UpToDate, got OutOfDate"),
        ("trusted_files", 0, "trusted_files: expected a figure, got none"),
    ],
)
def test_a_wrong_fact_is_named(field: str, value: object, complaint: str) -> None:
    assert complaints({**GOOD, field: value}) == (complaint,)


def test_the_summary_is_written_whole(tmp_path: Path) -> None:
    write_summary(GOOD, tmp_path / "summary.json")
    assert json.loads((tmp_path / "summary.json").read_text()) == {"version": 1, **GOOD}
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_a_folder_with_other_files_is_never_cleared(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    stage = Stage(folder=tmp_path, sample=tmp_path, say=print)
    with pytest.raises(ToolchainError) as refused:
        stage.clear()
    assert str(refused.value) == (
        "folder of the demonstration: expected an empty folder, or that of an earlier demonstration,"
        f" got other files ({tmp_path})"
    )
    assert refused.value.hint == "Name another folder with --output."
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
