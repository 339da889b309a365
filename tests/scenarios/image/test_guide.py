"""The guide about images, run as it is printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scenarios.image.test_build_from_an_image import APPLICATION, CONFIG
from tests.support.console import run_session
from tests.support.host_root import host_image

from casemate.rehearsal.sandbox import available

ROOT = Path(__file__).parents[3]
MANIFEST = """\
sgx.enclave_size = "1G"
sgx.max_threads = 32
sgx.trusted_files = ["file:/srv/prices/"]
sys.enable_sigterm_injection = true
loader.env.CURRENCY = "EUR"

[[fs.mounts]]
type = "tmpfs"
path = "/var/cache/shop"
"""

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.skipif(bool(available()), reason=f"no namespaces here: {available()}"),
]


def test_from_an_image_that_exists(tmp_path: Path) -> None:
    start = ["gunicorn", "--workers", "4", "--bind", "0.0.0.0:8000", "shop:app"]
    env = [variable for variable in CONFIG["Env"] if not variable.startswith("GREETING")]
    image = host_image(tmp_path / "made", APPLICATION, **{**CONFIG, "Cmd": start, "Env": env})
    (tmp_path / "build").mkdir()
    image.rename(tmp_path / "build/shop-image")
    (tmp_path / "build/shop.manifest").write_text(MANIFEST)
    assert run_session((ROOT / "docs/guides/from-an-image.md").read_text(), tmp_path) >= 7
