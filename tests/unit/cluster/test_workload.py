from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from casemate.cluster.workload import Choices, Workload, check, encrypted_folders, pin_image
from casemate.errors import CasemateError, FormatError, RefusedError, UsageError

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("reference", "pinned"),
    [
        ("registry.example/notes", f"registry.example/notes@{DIGEST}"),
        ("registry.example:5000/team/notes:1.0", f"registry.example:5000/team/notes:1.0@{DIGEST}"),
        (f"notes@{DIGEST}", f"notes@{DIGEST}"),
    ],
)
def test_an_image_is_pinned_to_the_digest_of_the_bundle(reference: str, pinned: str) -> None:
    assert pin_image(reference, DIGEST) == pinned


def test_another_image_than_that_of_the_bundle_is_refused() -> None:
    other = "sha256:" + "cd" * 32
    with pytest.raises(RefusedError) as refusal:
        pin_image(f"notes@{other}", DIGEST)
    assert str(refusal.value) == f"digest of the image: expected {DIGEST}, got {other} (--image)"
    assert refusal.value.hint == (
        "push this bundle's image and name what was pushed; no other image has this measurement"
    )


@pytest.mark.parametrize(
    "reference", ["", "@", "Notes", "a b", "notes@", "notes:", "/notes", "https://notes"]
)
def test_what_is_no_image_is_refused(reference: str) -> None:
    with pytest.raises(CasemateError):
        pin_image(reference, DIGEST)


def test_the_encrypted_folders_are_those_that_the_manifest_mounts() -> None:
    mounts = [
        {"type": "tmpfs", "path": "/tmp"},
        {"type": "encrypted", "path": "/b", "uri": "file:/var/b", "key_name": "k"},
        {"type": "encrypted", "path": "/a", "uri": "file:/var/a", "key_name": "k"},
        {"type": "encrypted", "path": "/c", "uri": "file:/var/a", "key_name": "k"},
        {"path": "/d", "uri": "file:/var/d"},
    ]
    assert encrypted_folders({"fs": {"mounts": mounts}}) == ("/var/a", "/var/b")


@pytest.mark.parametrize(
    "uri",
    [
        *(
            None,
            1,
            "dev:tty",
            "file:relative",
            "file:/",
            "file://a",
            "file:/a/",
            "file:/a/../b",
            "file:/a/./b",
        ),
        *(
            "file:/a\nkind: ClusterRoleBinding",
            "file:/a\r",
            "file:/a\x85b",
            "file:/a\u2028b",
            "file:/\x1b[2J",
        ),
    ],
)
def test_an_encrypted_folder_that_is_no_plain_path_is_refused(uri: object) -> None:
    with pytest.raises(FormatError) as refusal:
        encrypted_folders({"fs": {"mounts": [{"type": "encrypted", "path": "/a", "uri": uri}]}})
    assert str(refusal.value) == (
        'encrypted folder: expected uri = "file:/…" with an absolute path in its shortest form, '
        f"without control characters, got uri = {uri!a} (fs.mounts)"
    )
    assert refusal.value.hint == (
        "mend the folder's host in [mounts] of casemate.toml, and build the bundle again"
    )


def test_what_can_run_is_not_refused(workload: Workload, choices: Choices) -> None:
    check(workload, choices, allow_simulated=False)
    check(workload, choices, allow_simulated=True)


def test_a_simulated_bundle_is_refused_unless_it_is_named(workload: Workload, choices: Choices) -> None:
    simulated = replace(workload, identity=replace(workload.identity, simulated=True))
    with pytest.raises(RefusedError) as refusal:
        check(simulated, choices, allow_simulated=False)
    assert str(refusal.value) == (
        "simulated bundle: expected one that was measured with a real platform image, "
        'got "simulated": true (measurement.json)'
    )
    assert refusal.value.hint == (
        "build where Gramine is installed; --allow-simulated renders it all the same, marked"
    )
    check(simulated, choices, allow_simulated=True)


def test_pods_that_would_share_encrypted_files_are_refused(workload: Workload, choices: Choices) -> None:
    with pytest.raises(RefusedError) as refusal:
        check(replace(workload, folders=("/data",)), replace(choices, storage="1Gi"), allow_simulated=False)
    assert str(refusal.value) == (
        "replicas with an encrypted folder: expected 1, because two enclaves cannot write the same "
        "encrypted files, got 2 (casemate.toml: kubernetes.replicas)"
    )


def test_the_size_of_a_volume_is_asked_for_and_never_guessed(workload: Workload, choices: Choices) -> None:
    single = replace(workload, folders=("/data",), deployment=replace(workload.deployment, replicas=1))
    with pytest.raises(UsageError) as refusal:
        check(single, choices, allow_simulated=False)
    assert str(refusal.value) == "size of the volume: expected --storage for /data, got none"
    assert refusal.value.hint == "for example --storage 1Gi"
    check(single, replace(choices, storage="1Gi"), allow_simulated=False)


def test_a_name_that_no_service_can_have_is_refused(workload: Workload, choices: Choices) -> None:
    named = replace(workload, deployment=replace(workload.deployment, name="3d-notes"))
    with pytest.raises(UsageError) as refusal:
        check(named, choices, allow_simulated=False)
    assert str(refusal.value) == (
        "name of the workload: expected a name that begins with a letter, as a Service needs it, "
        'got "3d-notes" (casemate.toml: app.name)'
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"namespace": "kube-system"},
            (
                "namespace: expected a DNS label that is not one of the cluster's own namespaces, "
                'got "kube-system" (--namespace)'
            ),
        ),
        (
            {"namespace": "No_Name"},
            (
                "namespace: expected a DNS label that is not one of the cluster's own namespaces, "
                'got "No_Name" (--namespace)'
            ),
        ),
        (
            {"health_path": "healthz"},
            'health path: expected a path such as "/healthz", got "healthz" (--health-path)',
        ),
        (
            {"device_groups": (0,)},
            "device group: expected a group id from 1 to 2147483647, got 0 (--device-group)",
        ),
        (
            {"storage": "1Gi"},
            "size of the volume: expected none: the bundle has no encrypted folder, got 1Gi (--storage)",
        ),
    ],
    ids=["system namespace", "no label", "no path", "root group", "storage for nothing"],
)
def test_choices_that_kubernetes_would_not_take_are_refused(
    change: dict[str, Any], message: str, workload: Workload, choices: Choices
) -> None:
    with pytest.raises(UsageError) as refusal:
        check(workload, replace(choices, **change), allow_simulated=False)
    assert str(refusal.value) == message


def test_a_size_that_is_none_is_refused(workload: Workload, choices: Choices) -> None:
    single = replace(workload, folders=("/data",), deployment=replace(workload.deployment, replicas=1))
    with pytest.raises(UsageError) as refusal:
        check(single, replace(choices, storage="1 GB"), allow_simulated=False)
    assert str(refusal.value) == 'size of the volume: expected a size such as "1Gi", got "1 GB" (--storage)'
