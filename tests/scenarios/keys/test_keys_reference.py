"""The examples in docs/reference/keys.md, run as they are printed there."""

from __future__ import annotations

from pathlib import Path

from tests.support.console import run_session
from tests.support.softhsm import SoftHsm

from casemate.cli.key_uri import PROVIDERS, UNFIT_SERVICES

ROOT = Path(__file__).parents[3]
VECTORS = ROOT / "tests/vectors/measurement"
DOCUMENT = (ROOT / "docs/reference/keys.md").read_text()


def test_the_examples_run_as_printed(tmp_path: Path) -> None:
    softhsm = SoftHsm.make(tmp_path)
    (tmp_path / "app.manifest.sgx").symlink_to(VECTORS / "defaults/app.manifest.sgx")
    (tmp_path / "libpal.so").symlink_to(VECTORS / "pal/aligned.so")
    assert run_session(DOCUMENT, tmp_path, SOFTHSM2_CONF=str(softhsm.configuration)) >= 9


def test_every_kind_of_key_is_described() -> None:
    for scheme in (*PROVIDERS, *UNFIT_SERVICES):
        assert f"`{scheme}:" in DOCUMENT
