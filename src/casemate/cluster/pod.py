"""The pod: one container, one enclave."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from casemate.cluster.workload import MEBIBYTE, Choices, Workload

#: Annotation that Intel's admission webhook acts on: quotes come from the node's AESM.
QUOTE_PROVIDER: Final = "sgx.intel.com/quote-provider"
#: Names that the webhook looks for; with these it finds its volume and mount there and changes nothing.
AESM_VOLUME: Final = "aesmd-socket"
AESM_FOLDER: Final = "/var/run/aesmd"
#: Label that Node Feature Discovery gives to nodes with SGX, by Intel's rule.
SGX_NODE_LABEL: Final = "intel.feature.node.kubernetes.io/sgx"

EPC: Final = "sgx.intel.com/epc"
ENCLAVE_DEVICE: Final = "sgx.intel.com/enclave"

#: Not the workload's name: the webhook gives the provisioning device to a container that has the name of the
#: quote provider, and a workload may be called "aesmd".
_CONTAINER: Final = "application"
_PORT_NAME: Final = "https"
#: Anybody but root; the image's files are readable by all.
_USER: Final = 65532
_CPU_REQUEST: Final = "500m"
_PROBE_SECONDS: Final = 5
_START_PROBE_SECONDS: Final = 2
_PROBE_FAILURES: Final = 3
#: A liveness probe only tells apart a hung application; a busy one must not be restarted.
_LIVENESS_SECONDS: Final = 20


def name_label(workload: Workload) -> dict[str, str]:
    """The label by which Service, policies and Deployment know the pods."""
    return {"app.kubernetes.io/name": workload.deployment.name}


def labels(workload: Workload) -> dict[str, str]:
    """The labels of every object."""
    simulated = {"casemate.dev/simulated": "true"} if workload.identity.simulated else {}
    return name_label(workload) | {"app.kubernetes.io/managed-by": "casemate"} | simulated


def identity_annotations(workload: Workload) -> dict[str, str]:
    """What evidence of these pods has to say; 64 digits do not fit into a label."""
    identity = workload.identity
    return {
        "casemate.dev/mrenclave": identity.mrenclave,
        "casemate.dev/mrsigner": identity.mrsigner,
        "casemate.dev/isvprodid": str(identity.isvprodid),
        "casemate.dev/isvsvn": str(identity.isvsvn),
    }


def volume_name(folder: str) -> str:
    """Name, within the pod, of the volume of an encrypted folder: always the same, never another folder's."""
    return f"folder-{hashlib.sha256(folder.encode()).hexdigest()[:12]}"


def claim_name(workload: Workload, folder: str) -> str:
    """Name of the volume claim of an encrypted folder."""
    return f"{workload.deployment.name}-{volume_name(folder)}"


def pod_template(workload: Workload, choices: Choices) -> dict[str, Any]:
    """Metadata and specification of each pod."""
    return {
        "metadata": {
            "labels": labels(workload),
            "annotations": {QUOTE_PROVIDER: "aesmd"} | identity_annotations(workload),
        },
        "spec": {
            "nodeSelector": {"kubernetes.io/arch": "amd64", SGX_NODE_LABEL: "true"},
            # Nodes that are kept for a resource are by convention tainted with its name.
            "tolerations": [{"key": EPC, "operator": "Exists", "effect": "NoSchedule"}],
            "topologySpreadConstraints": [
                {
                    "maxSkew": 1,
                    "topologyKey": "kubernetes.io/hostname",
                    "whenUnsatisfiable": "ScheduleAnyway",
                    "labelSelector": {"matchLabels": name_label(workload)},
                }
            ],
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": _pod_security(workload, choices),
            "terminationGracePeriodSeconds": workload.stop_seconds,
            "containers": [_container(workload, choices)],
            "volumes": _volumes(workload),
        },
    }


def _pod_security(workload: Workload, choices: Choices) -> dict[str, Any]:
    security: dict[str, Any] = {"runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER}
    if workload.folders:
        security["fsGroup"] = _USER
    if choices.device_groups:
        security["supplementalGroups"] = sorted(set(choices.device_groups))
    return security | {"seccompProfile": {"type": "RuntimeDefault"}}


def _container(workload: Workload, choices: Choices) -> dict[str, Any]:
    """No command and no arguments: the measured manifest fixes them and ignores the pod's.

    Of the environment the manifest lets pass what has a measured rule.
    """
    mounts = [{"name": AESM_VOLUME, "mountPath": AESM_FOLDER, "readOnly": True}]
    mounts += [{"name": volume_name(folder), "mountPath": folder} for folder in workload.folders]
    return {
        "name": _CONTAINER,
        "image": choices.image,
        **_variables(choices),
        "ports": [{"name": _PORT_NAME, "containerPort": workload.deployment.port, "protocol": "TCP"}],
        "resources": _resources(workload),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        **_probes(workload, choices.health_path),
        "volumeMounts": mounts,
    }


def _variables(choices: Choices) -> dict[str, Any]:
    # Kubernetes would replace $(NAME); a doubled dollar stands for one.
    listed = [
        {"name": name, "value": value.replace("$(", "$$(")} for name, value in sorted(choices.variables)
    ]
    return {"env": listed} if listed else {}


def _resources(workload: Workload) -> dict[str, Any]:
    """Requests and limits of the SGX resources are equal, as Kubernetes wants it of extended resources."""
    sgx: dict[str, Any] = {EPC: _mebibytes(workload.epc_bytes), ENCLAVE_DEVICE: 1}
    return {
        "requests": {"cpu": _CPU_REQUEST, "memory": _mebibytes(workload.memory_request_bytes)} | sgx,
        "limits": {"memory": _mebibytes(workload.memory_limit_bytes)} | sgx,
    }


def _probes(workload: Workload, health_path: str | None) -> dict[str, Any]:
    """Probes from outside, over the port that clients use.

    A probe that executes a command would run outside the enclave and say nothing about it. The kubelet does
    not verify the certificate of an HTTPS probe, so the enclave's own will do. Without a path there is no
    liveness probe: a connection says no more than that the process is there, which the kubelet knows.
    """
    tcp = {"tcpSocket": {"port": _PORT_NAME}}
    probes: dict[str, Any] = {
        "startupProbe": tcp
        | {
            "periodSeconds": _START_PROBE_SECONDS,
            "failureThreshold": -(-workload.start_seconds // _START_PROBE_SECONDS),
        }
    }
    if health_path is None:
        return probes | {"readinessProbe": tcp | {"periodSeconds": _PROBE_SECONDS}}
    https = {"httpGet": {"scheme": "HTTPS", "path": health_path, "port": _PORT_NAME}}
    timing = {"timeoutSeconds": _PROBE_SECONDS, "failureThreshold": _PROBE_FAILURES}
    probes["readinessProbe"] = https | {"periodSeconds": _PROBE_SECONDS} | timing
    probes["livenessProbe"] = https | {"periodSeconds": _LIVENESS_SECONDS} | timing
    return probes


def _volumes(workload: Workload) -> list[dict[str, Any]]:
    """The folder of AESM's socket, not the socket: it is made anew whenever AESM restarts."""
    aesm = {"name": AESM_VOLUME, "hostPath": {"path": AESM_FOLDER, "type": "DirectoryOrCreate"}}
    claims = (
        {"name": volume_name(folder), "persistentVolumeClaim": {"claimName": claim_name(workload, folder)}}
        for folder in workload.folders
    )
    return [aesm, *claims]


def _mebibytes(size: int) -> str:
    return f"{size // MEBIBYTE}Mi"
