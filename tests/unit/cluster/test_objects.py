from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest
import yaml

from casemate.cluster.objects import KubernetesObject, kubernetes_objects
from casemate.cluster.render import to_yaml
from casemate.cluster.workload import Choices, Workload
from casemate.formats.deployment import Endpoint

Objects = dict[str, dict[str, Any]]
Render = Callable[[Workload, Choices], Objects]

#: The oldest that has every field that is used, some between, and the newest whose schemas are here.
VERSIONS = ("1.27", "1.29", "1.31", "1.33", "1.35", kubernetes_validate.latest_version())


def with_folder(workload: Workload) -> Workload:
    deployment = replace(workload.deployment, replicas=1)
    return replace(workload, folders=("/var/lib/notes",), deployment=deployment)


def every_kind_of_workload(workload: Workload, choices: Choices) -> list[tuple[Workload, Choices]]:
    simulated = replace(workload, identity=replace(workload.identity, simulated=True))
    alone = replace(workload, deployment=replace(workload.deployment, broker=None))
    return [
        (workload, choices),
        (with_folder(workload), replace(choices, storage="1Gi")),
        (simulated, replace(choices, device_groups=(107,), health_path="/healthz")),
        (alone, choices),
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_valid_against_the_published_schemas(
    version: str, workload: Workload, choices: Choices
) -> None:
    for one, chosen in every_kind_of_workload(workload, choices):
        for item in kubernetes_objects(one, chosen):
            read_back = yaml.safe_load(to_yaml(item))
            used = kubernetes_validate.validate(read_back, version, strict=True)
            assert version.startswith(used)


def test_the_schemas_notice_a_field_that_does_not_exist(objects: Objects) -> None:
    broken = objects["Deployment"] | {"spec": objects["Deployment"]["spec"] | {"replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.31", strict=True)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x85", "\u2028", "\u2029", "\x0b", "\x0c", "\x1c"])
def test_nothing_in_a_remark_leaves_the_comment(end: str) -> None:
    item = KubernetesObject(file="a.yaml", remark=(f"/data{end}kind: Evil", "more"), body={"kind": "Good"})
    assert to_yaml(item) == b"# /data\n# kind: Evil\n# more\nkind: Good\n"


def test_files_sort_into_the_order_in_which_a_cluster_can_take_them(
    workload: Workload, choices: Choices
) -> None:
    items = kubernetes_objects(with_folder(workload), replace(choices, storage="1Gi"))
    files = [item.file for item in items]
    assert files == sorted(files)
    assert [item.body["kind"] for item in items] == [
        "Namespace",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "Deployment",
        "PodDisruptionBudget",
        "Service",
    ]


def test_the_service_leads_to_the_port_of_the_pods(objects: Objects, template: dict[str, Any]) -> None:
    service = objects["Service"]["spec"]
    assert service["type"] == "ClusterIP"
    assert service["ports"] == [{"name": "https", "port": 443, "targetPort": "https", "protocol": "TCP"}]
    assert service["selector"].items() <= template["metadata"]["labels"].items()
    assert objects["Deployment"]["spec"]["selector"]["matchLabels"] == service["selector"]


def test_pods_may_be_reached_on_their_port_only(objects: Objects, workload: Workload) -> None:
    policy = objects["NetworkPolicy"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"ports": [{"protocol": "TCP", "port": 8443}]}]
    assert policy["podSelector"] == {"matchLabels": objects["Service"]["spec"]["selector"]}


def test_pods_may_reach_name_resolution_and_the_broker_only(objects: Objects) -> None:
    dns, broker = objects["NetworkPolicy"]["spec"]["egress"]
    assert dns == {
        "to": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            },
            {"ipBlock": {"cidr": "169.254.20.10/32"}},
        ],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    }
    assert broker == {"ports": [{"protocol": "TCP", "port": 8080}]}


def egress(render: Render, workload: Workload, choices: Choices, broker: Endpoint | None) -> list[Any]:
    deployment = replace(workload.deployment, broker=broker)
    rules: list[Any] = render(replace(workload, deployment=deployment), choices)["NetworkPolicy"]["spec"][
        "egress"
    ]
    return rules


@pytest.mark.parametrize(("host", "cidr"), [("10.0.0.7", "10.0.0.7/32"), ("fd00::1", "fd00::1/128")])
def test_a_broker_with_an_address_is_allowed_there_and_nowhere_else(
    host: str, cidr: str, render: Render, workload: Workload, choices: Choices
) -> None:
    assert egress(render, workload, choices, Endpoint(host=host, port=8080)) == [
        {"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"protocol": "TCP", "port": 8080}]}
    ]


@pytest.mark.parametrize("host", ["broker.trust.svc", "broker.trust.svc.cluster.local"])
def test_a_broker_in_the_cluster_is_allowed_in_its_namespace(
    host: str, render: Render, workload: Workload, choices: Choices
) -> None:
    _, broker = egress(render, workload, choices, Endpoint(host=host, port=8080))
    assert broker["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "trust"}}}]


def test_a_workload_without_a_broker_may_reach_nobody(
    render: Render, workload: Workload, choices: Choices
) -> None:
    assert egress(render, workload, choices, None) == []


def test_an_encrypted_folder_gets_a_volume_that_one_pod_at_a_time_writes(
    render: Render, workload: Workload, choices: Choices
) -> None:
    objects = render(with_folder(workload), replace(choices, storage="1Gi"))
    claim = objects["PersistentVolumeClaim"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    deployment = objects["Deployment"]["spec"]
    assert deployment["strategy"] == {"type": "Recreate"}
    pod = deployment["template"]["spec"]
    volume = pod["volumes"][1]
    assert volume["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}
    assert pod["containers"][0]["volumeMounts"][1] == {"name": volume["name"], "mountPath": "/var/lib/notes"}
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsUser"]
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", volume["name"])


def test_groups_of_the_device_are_supplementary_and_only_there_when_asked_for(
    render: Render, workload: Workload, choices: Choices, template: dict[str, Any]
) -> None:
    assert "supplementalGroups" not in template["spec"]["securityContext"]
    objects = render(workload, replace(choices, device_groups=(2001, 107, 107)))
    security = objects["Deployment"]["spec"]["template"]["spec"]["securityContext"]
    assert security["supplementalGroups"] == [107, 2001]


def test_everything_of_a_simulated_bundle_says_so(
    render: Render, workload: Workload, choices: Choices
) -> None:
    simulated = replace(workload, identity=replace(workload.identity, simulated=True))
    objects = render(simulated, choices)
    metadata = [item["metadata"] for item in objects.values()]
    metadata.append(objects["Deployment"]["spec"]["template"]["metadata"])
    assert all(item["labels"]["casemate.dev/simulated"] == "true" for item in metadata)


def test_nothing_of_a_real_bundle_says_that_it_is_simulated(objects: Objects) -> None:
    assert "simulated" not in str(objects)


def test_the_same_workload_gives_the_same_bytes_and_its_objects_can_be_read_back(
    workload: Workload, choices: Choices
) -> None:
    once = [to_yaml(item) for item in kubernetes_objects(workload, choices)]
    twice = [to_yaml(item) for item in kubernetes_objects(workload, choices)]
    assert once == twice
    assert [yaml.safe_load(text) for text in once] == [
        item.body for item in kubernetes_objects(workload, choices)
    ]


@pytest.mark.parametrize("text", ["1" * 30 + "e" + "1" * 33, "0123", "y", "n", ".5", "-1", "12Mi"])
def test_texts_that_a_reader_may_take_for_something_else_are_quoted(text: str) -> None:
    item = KubernetesObject(file="x.yaml", remark=(), body={"value": text})
    assert to_yaml(item) == f'value: "{text}"\n'.encode()


def test_remarks_are_comments_above_the_object() -> None:
    item = KubernetesObject(file="x.yaml", remark=("one", "two"), body={"kind": "Service"})
    assert to_yaml(item) == b"# one\n# two\nkind: Service\n"
