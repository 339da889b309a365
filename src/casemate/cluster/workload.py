"""What is deployed, and how much of a node it takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from casemate.errors import FormatError, RefusedError, UsageError
from casemate.formats.deployment import Deployment
from casemate.formats.manifest import EnclaveSettings
from casemate.project.places import is_plain

MEBIBYTE: Final = 1 << 20
GIBIBYTE: Final = 1 << 30

_PAGE: Final = 4096
#: Pages of enclave that one page of version numbers stands for; Linux takes that page from the EPC as well.
_PAGES_PER_VERSION_PAGE: Final = 512
#: EADD and EEXTEND take a second per GiB on an idle node; after a reboot a node starts all its pods at once.
_LOAD_SECONDS_PER_GIBIBYTE: Final = 2
#: Gramine's start, a quote, the exchange with the broker, and the imports of a large application.
_START_SECONDS: Final = 120
#: What a request may take to end after SIGTERM.
_DRAIN_SECONDS: Final = 30
#: Host side of Gramine and its buffers. Enclave pages are EPC and no memory until they are swapped out.
_HOST_MEMORY: Final = 256 * MEBIBYTE

#: RFC 1035 label: what a Service may be called in every version of Kubernetes.
_SERVICE_NAME: Final = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_NAMESPACE: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_QUANTITY: Final = re.compile(r"[1-9][0-9]{0,9}(Mi|Gi|Ti)")
_HEALTH_PATH: Final = re.compile(r"/[A-Za-z0-9._~/-]{0,200}")
#: Registry, path and tag, by the grammar of the distribution project's reference package.
_PATH_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE_NAME: Final = re.compile(
    rf"(?:[A-Za-z0-9.-]+(?::[0-9]{{1,5}})?/)?{_PATH_PART}(?:/{_PATH_PART})*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?"
)
_LARGEST_GROUP: Final = 2**31 - 1
#: Namespaces that belong to the cluster itself.
_TAKEN_NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What evidence of the workload says, as Kubernetes annotations carry it.

    Attributes:
        mrenclave: 64 hexadecimal digits.
        mrsigner: 64 hexadecimal digits.
        isvprodid: Product number.
        isvsvn: Security version.
        simulated: Whether the measurement stands for a software platform, which no cluster has.
    """

    mrenclave: str
    mrsigner: str
    isvprodid: int
    isvsvn: int
    simulated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A signed bundle, as far as a cluster is concerned.

    Attributes:
        deployment: What the project says about its deployment.
        enclave: The settings of the enclave, from the measured manifest.
        folders: Folders of the container that hold files the enclave encrypts; writable and lasting.
        identity: What evidence of it says.
        image_digest: ``sha256:…`` of the image manifest.
    """

    deployment: Deployment
    enclave: EnclaveSettings
    folders: tuple[str, ...]
    identity: Identity
    image_digest: str

    @property
    def epc_bytes(self) -> int:
        """EPC that one pod takes: the enclave, its version pages and its control page, in whole MiB.

        With EDMM pages are added while running and ``enclave.size`` is the most there can be.
        """
        pages = self.enclave.size // _PAGE
        version_pages = -(-pages // _PAGES_PER_VERSION_PAGE)
        return _round_up((pages + version_pages + 1) * _PAGE, MEBIBYTE)

    @property
    def memory_request_bytes(self) -> int:
        """Ordinary memory that one pod needs while its enclave stays in the EPC."""
        return _HOST_MEMORY

    @property
    def memory_limit_bytes(self) -> int:
        """Ordinary memory that one pod may take: EPC pages that are swapped out count as the pod's memory."""
        return _HOST_MEMORY + self.enclave.size

    @property
    def load_seconds(self) -> int:
        """Seconds that adding the enclave's pages may take before the first instruction runs."""
        if self.enclave.edmm:
            return 0
        return _LOAD_SECONDS_PER_GIBIBYTE * -(-self.enclave.size // GIBIBYTE)

    @property
    def start_seconds(self) -> int:
        """Seconds after which a workload that does not listen yet is held for broken."""
        return _START_SECONDS + self.load_seconds

    @property
    def stop_seconds(self) -> int:
        """Seconds from SIGTERM to SIGKILL: requests end, and the enclave's pages are removed."""
        return _DRAIN_SECONDS + self.load_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the person who deploys decides, and the bundle cannot know.

    Attributes:
        namespace: Namespace of the workload, and of nothing else.
        image: Full reference of the image, with the digest.
        storage: Size of the volume of each encrypted folder, a Kubernetes quantity; ``None`` without folders.
        device_groups: Group ids that own ``/dev/sgx_enclave`` on the nodes, where it is not open to all.
        health_path: Path that answers 200 while the application is well; ``None``: a connection is enough.
        variables: Names and values of the variables that the enclave lets the host choose.
    """

    namespace: str
    image: str
    storage: str | None = None
    device_groups: tuple[int, ...] = ()
    health_path: str | None = None
    variables: tuple[tuple[str, str], ...] = ()


def encrypted_folders(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The folders of the container that the manifest mounts encrypted, sorted, each once.

    Args:
        manifest: What :func:`casemate.formats.manifest.load_measured_manifest` gave.

    Raises:
        FormatError: An encrypted folder whose address is no absolute path in its shortest form, or is not
            printable.
    """
    mounts = (mount for mount in manifest["fs"]["mounts"] if mount.get("type") == "encrypted")
    return tuple(sorted({_folder(mount.get("uri")) for mount in mounts}))


def _folder(uri: object) -> str:
    path = uri.removeprefix("file:") if isinstance(uri, str) and uri.startswith("file:/") else ""
    if not is_plain(path):
        raise FormatError(
            "encrypted folder",
            expected='uri = "file:/…" with an absolute path in its shortest form, without control characters',
            got=f"uri = {uri!a}",
            where="fs.mounts",
            hint="mend the folder's host in [mounts] of casemate.toml, and build the bundle again",
        )
    return path


def pin_image(reference: str, digest: str) -> str:
    """``reference`` with the digest of the bundle's image.

    Args:
        reference: ``registry/name``, with a tag, a digest, both or neither.
        digest: ``sha256:…`` of the bundle's image manifest.

    Raises:
        UsageError: The reference is none.
        RefusedError: It carries the digest of another image.
    """
    name, at, given = reference.partition("@")
    if not _IMAGE_NAME.fullmatch(name):
        raise UsageError(
            "image", expected="REGISTRY/NAME[:TAG]@sha256:…", got=f'"{reference}"', where="--image"
        )
    if at and given != digest:
        raise RefusedError(
            "digest of the image",
            expected=digest,
            got=given,
            where="--image",
            hint="push this bundle's image and name what was pushed; no other image has this measurement",
        )
    return f"{name}@{digest}"


def check(workload: Workload, choices: Choices, *, allow_simulated: bool) -> None:
    """Refuse what could not run, or would run otherwise than its objects say.

    Raises:
        RefusedError: A simulated bundle that nobody asked for; pods that would share encrypted files.
        UsageError: A choice that Kubernetes would not take, or that is missing.
    """
    if workload.identity.simulated and not allow_simulated:
        raise RefusedError(
            "simulated bundle",
            expected="one that was measured with a real platform image",
            got='"simulated": true',
            where="measurement.json",
            hint="build where Gramine is installed; --allow-simulated renders it all the same, marked",
        )
    if workload.folders and workload.deployment.replicas > 1:
        raise RefusedError(
            "replicas with an encrypted folder",
            expected="1, because two enclaves cannot write the same encrypted files",
            got=str(workload.deployment.replicas),
            where="casemate.toml: kubernetes.replicas",
            hint="set replicas = 1, or keep the data in a database outside",
        )
    _check_choices(workload, choices)


def _check_choices(workload: Workload, choices: Choices) -> None:
    name = workload.deployment.name
    if not _SERVICE_NAME.fullmatch(name):
        raise UsageError(
            "name of the workload",
            expected="a name that begins with a letter, as a Service needs it",
            got=f'"{name}"',
            where="casemate.toml: app.name",
        )
    if not _NAMESPACE.fullmatch(choices.namespace) or choices.namespace in _TAKEN_NAMESPACES:
        raise UsageError(
            "namespace",
            expected="a DNS label that is not one of the cluster's own namespaces",
            got=f'"{choices.namespace}"',
            where="--namespace",
        )
    if choices.health_path is not None and not _HEALTH_PATH.fullmatch(choices.health_path):
        raise UsageError(
            "health path",
            expected='a path such as "/healthz"',
            got=f'"{choices.health_path}"',
            where="--health-path",
        )
    for group in choices.device_groups:
        if not 0 < group <= _LARGEST_GROUP:
            raise UsageError(
                "device group",
                expected=f"a group id from 1 to {_LARGEST_GROUP}",
                got=str(group),
                where="--device-group",
            )
    _check_storage(workload, choices.storage)


def _check_storage(workload: Workload, storage: str | None) -> None:
    if workload.folders and storage is None:
        raise UsageError(
            "size of the volume",
            expected=f"--storage for {', '.join(workload.folders)}",
            got="none",
            hint="for example --storage 1Gi",
        )
    if storage is not None and not workload.folders:
        raise UsageError(
            "size of the volume",
            expected="none: the bundle has no encrypted folder",
            got=storage,
            where="--storage",
        )
    if storage is not None and not _QUANTITY.fullmatch(storage):
        raise UsageError(
            "size of the volume", expected='a size such as "1Gi"', got=f'"{storage}"', where="--storage"
        )


def _round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
