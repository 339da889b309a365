"""The guide to signing with a key that is elsewhere, run as it is printed: the officer has only OpenSSL."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.support.console import run_session

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_release_is_signed_by_an_officer_with_openssl_alone(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    guide = (ROOT / "docs/guides/signing.md").read_text()
    assert run_session(guide, tmp_path) >= 20
