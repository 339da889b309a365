"""A bundle is what a rebuild gives, bit for bit; what is not is named file by file, with its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.small_bundle import FILES, PAL, Small, sign_small, small_bundle

from casemate.builder.bundles.bundle import Bundle
from casemate.builder.bundles.parts import require_parts
from casemate.builder.bundles.rebuild import compare_rebuild
from casemate.builder.bundles.tcb import Tcb
from casemate.errors import UsageError


def refused(given: Bundle, rebuilt: Bundle) -> list[str]:
    checks = compare_rebuild(require_parts(given), require_parts(rebuilt))
    return [check.name for check in checks if not check.passed]


@pytest.mark.parametrize("signed", [False, True])
def test_the_same_sources_give_the_same_bundle_whether_it_is_signed_or_not(
    tmp_path: Path, *, signed: bool
) -> None:
    given = small_bundle(tmp_path / "given")
    if signed:
        sign_small(given)

    assert refused(given, small_bundle(tmp_path / "rebuilt")) == []


def test_a_changed_file_is_named_with_the_reason_for_which_it_is_there(tmp_path: Path) -> None:
    given = sign_small(small_bundle(tmp_path / "given", Small(files=FILES | {"/app/notes.pyc": b"evil"})))
    rebuilt = small_bundle(tmp_path / "rebuilt")

    checks = [
        check for check in compare_rebuild(require_parts(given), require_parts(rebuilt)) if not check.passed
    ]

    names = [check.name for check in checks]
    assert names[:3] == [
        "file /casemate/app.manifest.sgx",
        "file /enclave/app/notes.pyc",
        "MRENCLAVE",
    ]
    digest = next(file.sha256 for file in rebuilt.tcb.files if file.path == "/app/notes.pyc")
    assert checks[1].expected == digest
    assert checks[1].got.endswith(", there by import: for /app/notes.pyc")


@pytest.mark.parametrize("more_in_bundle", [True, False])
def test_a_file_that_only_one_of_them_has_is_named(tmp_path: Path, *, more_in_bundle: bool) -> None:
    more = Small(files=FILES | {"/app/more.pyc": b"more"})
    one, two = small_bundle(tmp_path / "more", more), small_bundle(tmp_path / "less")
    given, rebuilt = (one, two) if more_in_bundle else (two, one)

    assert "file /enclave/app/more.pyc" in refused(given, rebuilt)


def test_inputs_that_explain_the_difference_come_first(tmp_path: Path) -> None:
    given = small_bundle(tmp_path / "given", Small(sources={"uv.lock": "sha256:1"}))
    rebuilt = small_bundle(tmp_path / "rebuilt", Small(simulated=True))

    assert refused(given, rebuilt)[:3] == ["Gramine", "source python", "source uv.lock"]


def test_another_platform_image_is_named(tmp_path: Path) -> None:
    given = small_bundle(tmp_path / "given", Small(pal=PAL + b"\0"))

    assert refused(given, small_bundle(tmp_path / "rebuilt"))[:1] == ["file /gramine/libpal.so"]


def test_what_a_cluster_is_told_is_compared(tmp_path: Path) -> None:
    given = small_bundle(tmp_path / "given")
    document = json.loads(given.deployment_path.read_bytes())
    given.deployment_path.write_text(json.dumps(document | {"replicas": 9}))

    assert refused(given, small_bundle(tmp_path / "rebuilt")) == ["deployment.json"]


def test_a_list_with_other_reasons_is_refused(tmp_path: Path) -> None:
    given = small_bundle(tmp_path / "given", Small(reasons={"/app/notes.pyc": "/etc/hosts"}))

    assert refused(given, small_bundle(tmp_path / "rebuilt")) == ["tcb.json"]


@pytest.mark.parametrize(
    ("left_out", "names"), [("/app/scratch.py", []), ("/opt/python/lib/python3.11/wave.py", ["tcb.json"])]
)
def test_a_module_that_only_one_working_copy_has_and_no_image_is_no_difference(
    tmp_path: Path, left_out: str, names: list[str]
) -> None:
    given = small_bundle(tmp_path / "given")
    document = json.loads(given.tcb_path.read_bytes())
    given.tcb_path.write_bytes(Tcb.parse(json.dumps(document | {"left_out": [left_out]}).encode()).to_bytes())

    assert refused(given, small_bundle(tmp_path / "rebuilt")) == names


def test_a_bundle_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "given")
    bundle.tcb_path.write_bytes(b"{}")

    with pytest.raises(UsageError) as error:
        require_parts(bundle)
    assert error.value.subject == "tcb.json of the bundle"
