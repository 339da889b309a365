"""The nine faults of the Deployments that guides show; a test for each that fails when it comes back.

The numbers are those of the list that the maintainers keep of these faults.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from casemate.cluster.workload import Choices, Workload
from casemate.formats.manifest import EnclaveSettings

Objects = dict[str, dict[str, Any]]
Render = Callable[[Workload, Choices], Objects]
GIBIBYTE = 1 << 30
MEBIBYTE = 1 << 20
#: The volumes that Pod Security "restricted" allows.
VOLUMES_OF_RESTRICTED = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim"}


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"]["containers"], *pod["spec"].get("initContainers", [])]


def admitted(template: dict[str, Any]) -> dict[str, Any]:
    """The pod after Intel's SGX admission webhook (v0.36), restated from what it does to our kind of pod."""
    pod = copy.deepcopy(template)
    annotations = pod["metadata"].setdefault("annotations", {})
    total = 0
    for container in pod["spec"]["containers"]:
        limits, requests = (container["resources"].setdefault(kind, {}) for kind in ("limits", "requests"))
        if "sgx.intel.com/epc" not in limits:
            continue
        total += 1
        limits["sgx.intel.com/enclave"] = requests["sgx.intel.com/enclave"] = 1
        provider = annotations.get("sgx.intel.com/quote-provider")
        if provider == container["name"]:
            limits["sgx.intel.com/provision"] = requests["sgx.intel.com/provision"] = 1
        if provider == "aesmd":
            mounts = container.setdefault("volumeMounts", [])
            if all(mount["mountPath"] != "/var/run/aesmd" for mount in mounts):
                mounts.append({"name": "aesmd-socket", "mountPath": "/var/run/aesmd"})
            if all(volume["name"] != "aesmd-socket" for volume in pod["spec"].get("volumes", [])):
                pod["spec"].setdefault("volumes", []).append({"name": "aesmd-socket"})
    assert total == 1
    return pod


def test_1_the_folder_of_the_aesm_socket_is_mounted_and_not_the_socket(
    template: dict[str, Any], container: dict[str, Any]
) -> None:
    volume = template["spec"]["volumes"][0]
    assert volume["hostPath"] == {"path": "/var/run/aesmd", "type": "DirectoryOrCreate"}
    assert container["volumeMounts"] == [
        {"name": volume["name"], "mountPath": "/var/run/aesmd", "readOnly": True}
    ]


def test_2_the_admission_webhook_finds_its_volume_and_mount_there_and_changes_neither(
    template: dict[str, Any],
) -> None:
    pod = admitted(template)
    assert pod["spec"]["volumes"] == template["spec"]["volumes"]
    for before, after in zip(containers(template), containers(pod), strict=True):
        assert after["volumeMounts"] == before["volumeMounts"]
        assert after["resources"] == before["resources"]


def test_3_the_namespace_allows_the_only_thing_that_pod_security_would_forbid(
    objects: Objects, template: dict[str, Any], container: dict[str, Any]
) -> None:
    namespace = objects["Namespace"]["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    assert {item["metadata"]["namespace"] for kind, item in objects.items() if kind != "Namespace"} == {
        namespace["name"]
    }
    kinds = {kind for volume in template["spec"]["volumes"] for kind in volume if kind != "name"}
    assert kinds - VOLUMES_OF_RESTRICTED == {"hostPath"}
    assert "hostNetwork" not in template["spec"]
    assert "hostPID" not in template["spec"]
    assert "hostIPC" not in template["spec"]
    pod_security = template["spec"]["securityContext"]
    assert pod_security["runAsNonRoot"] is True
    assert pod_security["runAsUser"] != 0
    assert pod_security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_4_no_pod_gets_the_device_of_the_provisioning_key(template: dict[str, Any]) -> None:
    for pod in (template, admitted(template)):
        for container in containers(pod):
            for kind in ("requests", "limits"):
                assert "sgx.intel.com/provision" not in container["resources"][kind]
    assert template["metadata"]["annotations"]["sgx.intel.com/quote-provider"] not in {
        container["name"] for container in containers(template)
    }


def test_4_not_even_a_workload_that_is_called_aesmd_gets_it(
    render: Render, workload: Workload, choices: Choices
) -> None:
    named = replace(workload, deployment=replace(workload.deployment, name="aesmd"))
    pod = admitted(render(named, choices)["Deployment"]["spec"]["template"])
    assert "sgx.intel.com/provision" not in str(pod)


def test_5_the_enclave_device_is_asked_for_even_when_no_webhook_runs(container: dict[str, Any]) -> None:
    assert container["resources"]["limits"]["sgx.intel.com/enclave"] == 1
    assert container["resources"]["requests"]["sgx.intel.com/enclave"] == 1


@pytest.mark.parametrize("size", [64 * MEBIBYTE, 512 * MEBIBYTE, GIBIBYTE, 64 * GIBIBYTE])
def test_5_the_epc_holds_the_whole_enclave_and_what_linux_takes_with_it(
    size: int, render: Render, workload: Workload, choices: Choices
) -> None:
    workload = replace(workload, enclave=EnclaveSettings(size=size, threads=16))
    (container,) = render(workload, choices)["Deployment"]["spec"]["template"]["spec"]["containers"]
    resources = container["resources"]
    assert resources["limits"]["sgx.intel.com/epc"] == resources["requests"]["sgx.intel.com/epc"]
    amount = resources["limits"]["sgx.intel.com/epc"]
    assert amount.endswith("Mi")
    epc = int(amount.removesuffix("Mi")) * MEBIBYTE
    assert size + size // 512 + 4096 <= epc < size + size // 512 + 4096 + MEBIBYTE


def test_6_the_pod_says_where_its_quotes_come_from_and_which_nodes_can_run_it(
    template: dict[str, Any],
) -> None:
    assert template["metadata"]["annotations"]["sgx.intel.com/quote-provider"] == "aesmd"
    assert template["spec"]["nodeSelector"]["intel.feature.node.kubernetes.io/sgx"] == "true"
    assert template["spec"]["tolerations"] == [
        {"key": "sgx.intel.com/epc", "operator": "Exists", "effect": "NoSchedule"}
    ]


def test_6_memory_is_asked_for_and_the_limit_leaves_room_for_swapped_out_enclave_pages(
    container: dict[str, Any],
) -> None:
    assert container["resources"]["requests"]["memory"] == "256Mi"
    assert container["resources"]["limits"]["memory"] == "768Mi"


@pytest.mark.parametrize(
    ("enclave", "seconds"),
    [
        (EnclaveSettings(size=512 * MEBIBYTE), 122),
        (EnclaveSettings(size=64 * GIBIBYTE), 248),
        (EnclaveSettings(size=64 * GIBIBYTE, edmm=True), 120),
    ],
    ids=["512M", "64G", "64G added while running"],
)
def test_6_the_start_may_take_as_long_as_loading_the_enclave_does(
    enclave: EnclaveSettings, seconds: int, render: Render, workload: Workload, choices: Choices
) -> None:
    deployment = render(replace(workload, enclave=enclave), choices)["Deployment"]["spec"]
    (container,) = deployment["template"]["spec"]["containers"]
    probe = container["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == seconds
    assert deployment["progressDeadlineSeconds"] == 600 + seconds
    assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] == 30 + (seconds - 120)


def test_6_probes_come_over_the_network_and_never_run_a_command_outside_the_enclave(
    render: Render, workload: Workload, choices: Choices
) -> None:
    for path in (None, "/healthz"):
        objects = render(workload, replace(choices, health_path=path))
        (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
        probes = {name: probe for name, probe in container.items() if name.endswith("Probe")}
        assert {"startupProbe", "readinessProbe"} <= probes.keys()
        assert ("livenessProbe" in probes) is (path is not None)
        for probe in probes.values():
            (how,) = {"exec", "grpc", "tcpSocket", "httpGet"} & probe.keys()
            assert how in {"tcpSocket", "httpGet"}
            assert probe[how]["port"] == "https"
            if how == "httpGet":
                assert probe[how] == {"scheme": "HTTPS", "path": "/healthz", "port": "https"}
    assert container["ports"] == [{"name": "https", "containerPort": 8443, "protocol": "TCP"}]


def test_6_the_pod_carries_no_token_of_a_service_account(template: dict[str, Any]) -> None:
    assert template["spec"]["automountServiceAccountToken"] is False


def test_6_a_roll_out_never_needs_more_epc_than_the_running_pods(objects: Objects) -> None:
    assert objects["Deployment"]["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }


def test_6_draining_nodes_leaves_all_pods_but_one_and_pods_are_spread_over_nodes(
    objects: Objects, template: dict[str, Any]
) -> None:
    selector = objects["Deployment"]["spec"]["selector"]
    assert objects["PodDisruptionBudget"]["spec"] == {"maxUnavailable": 1, "selector": selector}
    (spread,) = template["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["labelSelector"] == selector


def test_7_nothing_is_said_that_the_enclave_would_ignore_or_an_attacker_could_say(
    template: dict[str, Any],
) -> None:
    for container in containers(template):
        assert not {"command", "args", "env", "envFrom", "workingDir"} & container.keys()
    kinds = {kind for volume in template["spec"]["volumes"] for kind in volume}
    assert not {"secret", "configMap", "projected", "downwardAPI"} & kinds
    assert template["spec"]["enableServiceLinks"] is False


def test_8_the_image_is_pinned_and_the_pod_says_which_measurement_has_to_run(
    template: dict[str, Any], container: dict[str, Any], workload: Workload
) -> None:
    assert container["image"] == f"registry.example/notes@{workload.image_digest}"
    assert {
        name: value
        for name, value in template["metadata"]["annotations"].items()
        if name.startswith("casemate.dev/")
    } == {
        "casemate.dev/mrenclave": "1e" * 32,
        "casemate.dev/mrsigner": "2f" * 32,
        "casemate.dev/isvprodid": "1",
        "casemate.dev/isvsvn": "7",
    }


def test_9_the_pod_brings_no_aesmd_that_would_fight_with_the_one_of_the_node(
    template: dict[str, Any],
) -> None:
    assert len(containers(template)) == 1
    assert containers(template)[0]["name"] == "application"
