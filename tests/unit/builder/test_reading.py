"""What is read of a bundle that a stranger has made ends, and fits into memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.small_bundle import Small, sign_small, small_bundle

from casemate.builder.bundles.bundle import Bundle
from casemate.builder.bundles.verification import verify_bundle
from casemate.builder.reading import read_regular
from casemate.simulator.platform_image import platform_image


def refusals(bundle: Bundle) -> list[tuple[str, str, str]]:
    result = verify_bundle(bundle, simulated_platform_image=platform_image())
    return [(check.part, check.name, check.got) for check in result.refusals]


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert read_regular(tmp_path / "file", 3) == b"abc"
    with pytest.raises(OSError, match=r"^\[Errno 27\] more than 2 bytes: '.*/file'$"):
        read_regular(tmp_path / "file", 2)


def test_pipes_devices_and_enormous_files_in_a_bundle_are_refused_as_unreadable(tmp_path: Path) -> None:
    bundle = sign_small(small_bundle(tmp_path / "bundle", Small()))
    for path in (bundle.deployment_path, bundle.tcb_path, bundle.sbom_path):
        path.unlink()
    os.mkfifo(bundle.deployment_path)
    bundle.tcb_path.symlink_to("/dev/zero")
    bundle.sbom_path.touch()
    os.truncate(bundle.sbom_path, 20 << 30)
    index = bundle.image.path / "index.json"
    index.unlink()
    os.mkfifo(index)
    build = "expected a file, got"
    assert refusals(bundle) == [
        ("tcb.json", "readable", f"tcb.json of the bundle: {build} not a regular file ({bundle.tcb_path})"),
        (
            "sbom.cdx.json",
            "readable",
            f"sbom.cdx.json of the bundle: {build} more than 268435456 bytes ({bundle.sbom_path})",
        ),
        (
            "deployment.json",
            "readable",
            f"deployment.json of the bundle: {build} not a regular file ({bundle.deployment_path})",
        ),
        (
            "image",
            "readable",
            f"image of the bundle: expected an OCI layout, got not a regular file ({index})",
        ),
    ]
