from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from casemate.cluster.objects import kubernetes_objects
from casemate.cluster.workload import Choices, Identity, Workload
from casemate.formats.deployment import Deployment, Endpoint, Platform
from casemate.formats.manifest import EnclaveSettings

DIGEST = "sha256:" + "ab" * 32
MEBIBYTE = 1 << 20

Objects = dict[str, dict[str, Any]]


@pytest.fixture
def workload() -> Workload:
    return Workload(
        deployment=Deployment(
            name="notes",
            port=8443,
            replicas=2,
            platform=Platform.INTEL,
            broker=Endpoint(host="broker.internal", port=8080),
        ),
        enclave=EnclaveSettings(size=512 * MEBIBYTE, threads=16),
        folders=(),
        identity=Identity(mrenclave="1e" * 32, mrsigner="2f" * 32, isvprodid=1, isvsvn=7, simulated=False),
        image_digest=DIGEST,
    )


@pytest.fixture
def choices() -> Choices:
    return Choices(namespace="notes", image=f"registry.example/notes@{DIGEST}")


@pytest.fixture
def render() -> Callable[[Workload, Choices], Objects]:
    """Every object of a workload, by kind."""
    return lambda workload, choices: {
        item.body["kind"]: dict(item.body) for item in kubernetes_objects(workload, choices)
    }


@pytest.fixture
def objects(render: Callable[[Workload, Choices], Objects], workload: Workload, choices: Choices) -> Objects:
    return render(workload, choices)


@pytest.fixture
def template(objects: Objects) -> dict[str, Any]:
    """Template of the pods."""
    return dict(objects["Deployment"]["spec"]["template"])


@pytest.fixture
def container(template: dict[str, Any]) -> dict[str, Any]:
    """The only container of a pod."""
    (only,) = template["spec"]["containers"]
    return dict(only)
