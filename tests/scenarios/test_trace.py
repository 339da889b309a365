"""An application is recorded under traffic, built from the record, and answers the same traffic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.corpus import CORPUS, CorpusApplication, a_free_port, ask, build, rehearsed

from casemate.formats.trace import Trace
from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"no rehearsal here: {available()}"),
]
PACKAGES = "/opt/python/lib/python3"
UNUSED = """

@app.get("/report")
def report():
    from shop.report import table

    return table()
"""


def _paths(bundle: Path) -> dict[str, dict[str, Any]]:
    return {file["path"]: file for file in json.loads((bundle / "tcb.json").read_text())["files"]}


def test_the_image_of_a_trace_answers_as_the_recorded_one_and_has_nothing_that_no_run_used(
    tmp_path: Path,
) -> None:
    application = CorpusApplication.read(CORPUS / "flask_shop")
    folder, port = tmp_path / "app", a_free_port()
    application.copy(folder, port=port, database=None)
    with (folder / "wsgi.py").open("a") as code:
        code.write(UNUSED)
    (folder / "shop/report.py").write_text(
        "import sqlite3\n\n\ndef table():\n    return sqlite3.sqlite_version\n"
    )
    record = folder / "runs.trace"

    build(folder, tmp_path / "whole")
    with rehearsed(tmp_path / "whole", port, "--record", str(record)):
        expected = ask(application, port, Path())
    once = record.read_bytes()
    with rehearsed(tmp_path / "whole", port, "--record", str(record)):
        pass  # a run without traffic opens less, and takes nothing away
    with (folder / "casemate.toml").open("a") as project:
        project.write('\n[closure]\nmode = "trace"\ntrace = "runs.trace"\n')
    build(folder, tmp_path / "traced")
    with rehearsed(tmp_path / "traced", port) as rehearsal:
        answers = ask(application, port, Path())

    assert Trace.parse(once, "runs.trace").modules
    assert record.read_bytes() == once
    assert answers == expected
    assert rehearsal.report["findings"] == []
    whole, traced = _paths(tmp_path / "whole"), _paths(tmp_path / "traced")
    assert "/app/shop/report.pyc" in whole
    assert not any("/shop/report" in path or "/sqlite3/" in path for path in traced)
    assert set(traced) < set(whole)
    assert len(traced) < len(whole) * 0.9
    reasons = {file["reason"]["rule"] for file in traced.values()}
    assert "recorded" in reasons
    assert {file["reason"]["of"] for file in traced.values()} <= {*traced, None}
