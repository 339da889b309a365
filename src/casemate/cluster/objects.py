"""The objects of a workload, as values, for plain Kubernetes with Intel's SGX device plugin.

Each follows the published schema of its API version; the same workload gives the same objects every time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from casemate.cluster import network
from casemate.cluster.pod import claim_name, labels, name_label, pod_template
from casemate.cluster.workload import Choices, Workload

_HTTPS_PORT: Final = 443
#: Kubernetes' own default; a roll-out may take that long on top of the start of a pod.
_ROLL_OUT_SECONDS: Final = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesObject:
    """One object, and what its reader should know.

    Attributes:
        file: Name of its file; the order of names is the order in which a cluster can take the objects.
        remark: Lines for the reader, written as a comment.
        body: The object.
    """

    file: str
    remark: tuple[str, ...]
    body: Mapping[str, Any]


def kubernetes_objects(workload: Workload, choices: Choices) -> tuple[KubernetesObject, ...]:
    """Every object of the workload, in the order in which a cluster can take them."""
    return (
        _namespace(workload, choices),
        _network_policy(workload, choices),
        *(_claim(workload, choices, folder) for folder in workload.folders),
        _deployment(workload, choices),
        _disruption_budget(workload, choices),
        _service(workload, choices),
    )


def _metadata(workload: Workload, choices: Choices, name: str | None = None) -> dict[str, Any]:
    return {
        "name": name or workload.deployment.name,
        "namespace": choices.namespace,
        "labels": labels(workload),
    }


def _namespace(workload: Workload, choices: Choices) -> KubernetesObject:
    return KubernetesObject(
        file="10-namespace.yaml",
        remark=(
            "A namespace for this workload alone. Pod Security must be `privileged` for one reason: its pods",
            "mount the folder of the node's AESM socket (hostPath), without which Gramine gets no quote.",
            "In all else they keep to `restricted`.",
        ),
        body={
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": choices.namespace,
                "labels": labels(workload) | {"pod-security.kubernetes.io/enforce": "privileged"},
            },
        },
    )


def _network_policy(workload: Workload, choices: Choices) -> KubernetesObject:
    return KubernetesObject(
        file="20-networkpolicy.yaml",
        remark=(
            "In: the application's port. Out: name resolution and the key broker. Policies add up: what else",
            "the application has to reach belongs into a policy of its own. Where the broker is a Service of",
            "this cluster, the port that counts is the one that its pods listen on.",
        ),
        body={
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": _metadata(workload, choices),
            "spec": {
                "podSelector": {"matchLabels": name_label(workload)},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": network.ingress(workload.deployment),
                "egress": network.egress(workload.deployment),
            },
        },
    )


def _claim(workload: Workload, choices: Choices, folder: str) -> KubernetesObject:
    name = claim_name(workload, folder)
    return KubernetesObject(
        file=f"30-{name}.yaml",
        remark=(f"{folder}: files that the enclave encrypts before they leave it.",),
        body={
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": _metadata(workload, choices, name),
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": choices.storage}},
            },
        },
    )


def _deployment(workload: Workload, choices: Choices) -> KubernetesObject:
    return KubernetesObject(
        file="40-deployment.yaml",
        remark=(
            "Command, arguments and environment are the measured manifest's; the pod's would be ignored.",
            "The annotations say which measurement has to run. They prove nothing: attest the service.",
            "No provision device: quotes come from AESM, and only AESM needs it. Where a node gives",
            "/dev/sgx_enclave to a group and not to all, render again with that group's id: --device-group.",
        ),
        body={
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": _metadata(workload, choices),
            "spec": {
                "replicas": workload.deployment.replicas,
                "selector": {"matchLabels": name_label(workload)},
                "strategy": _strategy(workload),
                "progressDeadlineSeconds": _ROLL_OUT_SECONDS + workload.start_seconds,
                "template": pod_template(workload, choices),
            },
        },
    )


def _strategy(workload: Workload) -> dict[str, Any]:
    """Never more pods than replicas: a surplus pod would wait for EPC that the nodes may not have."""
    if workload.folders:
        return {"type": "Recreate"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}


def _disruption_budget(workload: Workload, choices: Choices) -> KubernetesObject:
    return KubernetesObject(
        file="50-poddisruptionbudget.yaml",
        remark=("Nodes are drained one pod of this workload at a time.",),
        body={
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": _metadata(workload, choices),
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": name_label(workload)}},
        },
    )


def _service(workload: Workload, choices: Choices) -> KubernetesObject:
    return KubernetesObject(
        file="60-service.yaml",
        remark=(
            "TLS ends inside the enclave. Put only what passes TLS through in front of it: a proxy that ends",
            "TLS reads everything, and its clients can no longer verify the enclave.",
        ),
        body={
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(workload, choices),
            "spec": {
                "type": "ClusterIP",
                "selector": name_label(workload),
                "ports": [
                    {"name": "https", "port": _HTTPS_PORT, "targetPort": "https", "protocol": "TCP"},
                ],
            },
        },
    )
