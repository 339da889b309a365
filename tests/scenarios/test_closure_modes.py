"""An application answers the same traffic in every closure mode; for mode trace it is recorded first."""

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


def _application(folder: Path, port: int) -> CorpusApplication:
    """One that has a part which no request of its corpus uses."""
    application = CorpusApplication.read(CORPUS / "flask_shop")
    application.copy(folder, port=port, database=None)
    with (folder / "wsgi.py").open("a") as code:
        code.write(UNUSED)
    (folder / "shop/report.py").write_text(
        "import sqlite3\n\n\ndef table():\n    return sqlite3.sqlite_version\n"
    )
    return application


def test_every_mode_answers_the_same_and_a_trace_has_nothing_that_no_run_used(tmp_path: Path) -> None:
    folder, port = tmp_path / "app", a_free_port()
    application = _application(folder, port)
    record, project = folder / "runs.trace", (folder / "casemate.toml")
    build(folder, tmp_path / "module")
    with rehearsed(tmp_path / "module", port, "--record", str(record)):
        expected = ask(application, port, Path())
    once = record.read_bytes()
    with rehearsed(tmp_path / "module", port, "--record", str(record)):
        pass  # a run without traffic opens less, and takes nothing away
    assert Trace.parse(once, "runs.trace").modules
    assert record.read_bytes() == once

    text = project.read_text()
    for name, mode in (("trace", 'mode = "trace"\ntrace = "runs.trace"'), ("all", 'mode = "distribution"')):
        project.write_text(f"{text}\n[closure]\n{mode}\n")
        build(folder, tmp_path / name)
        with rehearsed(tmp_path / name, port) as rehearsal:
            assert ask(application, port, Path()) == expected
        assert rehearsal.report["findings"] == []

    module, trace, whole = (_paths(tmp_path / name) for name in ("module", "trace", "all"))
    assert set(trace) < set(module) < set(whole)
    assert "/app/shop/report.pyc" in module
    assert not any("/shop/report" in path or "/sqlite3/" in path for path in trace)
    assert "recorded" in {file["reason"]["rule"] for file in trace.values()}
    assert {file["reason"]["of"] for file in trace.values()} <= {*trace, None}
