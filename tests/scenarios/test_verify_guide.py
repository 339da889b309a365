"""The guide to verifying quotes, run as it is printed, before two simulated machines."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.console import run_session
from tests.support.kept_collateral import write_certificates, write_collateral
from tests.support.sgx_world import MRENCLAVE, PRODUCTION, enclave

from casemate.formats.sgx.report import DEBUG, Attributes
from casemate.simulator.platform import SimulatedPlatform

GUIDE = Path(__file__).parents[2] / "docs/guides/verify.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader is: the quotes of two machines lie in ``fleet``."""
    platform = SimulatedPlatform.create(datetime.now(UTC).replace(microsecond=0))
    fleet = tmp_path / "fleet"
    names = write_collateral(platform.collateral, fleet)
    write_certificates(platform.collateral, fleet)
    (fleet / "collateral.json").write_bytes(platform.collateral.to_json())
    (fleet / "root.pem").write_bytes(platform.root_certificate)
    (fleet / "mrenclave").write_text(MRENCLAVE.hex())
    debug = Attributes(flags=PRODUCTION.flags | DEBUG, xfrm=PRODUCTION.xfrm)
    (fleet / "node-1.quote").write_bytes(enclave(platform).quote(bytes(64)))
    (fleet / "node-2.quote").write_bytes(enclave(platform, attributes=debug).quote(bytes(64)))
    files = {member: Path(path).name for member, path in names.items()}
    lines = [{"quote": f"node-{number}.quote", **files} for number in (1, 2)]
    lines.append({"quote": "node-3.quote", "collateral": "collateral.json"})
    (fleet / "batch.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "build").mkdir()
    return tmp_path


def test_the_guide_to_verifying_quotes(folder: Path) -> None:
    guide = GUIDE.read_text().replace("(…/node-3.quote)", f"({folder}/node-3.quote)")
    assert run_session(guide, folder) == 5


def test_the_guide_makes_a_quote_to_begin_with(tmp_path: Path) -> None:
    guide = GUIDE.read_text()
    program = re.findall(r"^```python\n(.*?)^```", guide, flags=re.DOTALL | re.MULTILINE)
    first = re.findall(r"^```console\n(.*?)^```", guide, flags=re.DOTALL | re.MULTILINE)[0]
    (tmp_path / "begin.py").write_text(program[0])
    session = f"```console\n$ python begin.py\n{first}```\n"
    assert len(program) == 1
    assert run_session(session, tmp_path) == 2


def test_the_guide_names_every_member() -> None:
    from casemate.cli.verify_batch_judge import Line, Result

    cells = re.findall(r"^\| (`.*?) \|", GUIDE.read_text(), flags=re.MULTILINE)
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == {*Line.__struct_fields__, *Result.__struct_fields__}
