"""What ``casemate demo`` shows to a person; tests/scenarios plays the whole of it."""

from __future__ import annotations

import pytest

from casemate.cli.demo import _Display


def test_the_table_of_trusted_files_stands_where_the_steps_stand(capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"image_files": 4000, "image_bytes": 80 << 20, "trusted_files": 400, "trusted_bytes": 16 << 20}
    _Display(quiet=False).trusted_files(facts)
    title, *rows = capsys.readouterr().out.splitlines()
    assert title.rstrip() == "  Trusted computing base: files that the enclave may open"
    assert rows
    assert all(row.startswith("  ") and not row.startswith("   ") for row in rows)
    assert any("1 : 10.0" in row and "1 : 5.0" in row for row in rows)
