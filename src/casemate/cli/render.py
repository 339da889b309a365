"""``casemate render``: files by which a bundle is made or deployed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from casemate.cli.commands import SuggestingGroup
from casemate.cli.render_dockerfile import command as dockerfile
from casemate.errors import UsageError

if TYPE_CHECKING:
    from casemate.builder.bundles.bundle import Bundle
    from casemate.cluster.objects import KubernetesObject
    from casemate.cluster.workload import Choices, Workload

_BUNDLE = click.Path(exists=True, file_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group(name="render", cls=SuggestingGroup)
def command() -> None:
    """Write the files by which a bundle is made in Docker, or a signed one is deployed."""


command.add_command(dockerfile)


@command.command(name="kubernetes", short_help="Write the objects of BUNDLE for a cluster.")
@click.argument("bundle", type=_BUNDLE)
@click.option("--output", "-o", required=True, type=_FOLDER, help="Folder for the objects, a file for each.")
@click.option("--image", metavar="REF", help="Where the bundle's image is: REGISTRY/NAME[:TAG][@sha256:…].")
@click.option("--namespace", metavar="NAME", help="Namespace of the workload alone.  [default: its name]")
@click.option("--storage", metavar="SIZE", help="Size of the volume of each encrypted folder, such as 1Gi.")
@click.option(
    "--device-group",
    "device_groups",
    metavar="GID",
    type=int,
    multiple=True,
    help="Group that owns /dev/sgx_enclave on the nodes, where it is not open to all.",
)
@click.option("--health-path", metavar="PATH", help="Path that answers 200 while the application is well.")
@click.option(
    "--env",
    "variables",
    metavar="NAME=VALUE",
    multiple=True,
    callback=lambda _context, _option, given: tuple(_variable(text) for text in given),
    help="Value of a variable that [env] of casemate.toml lets pass; repeatable.",
)
@click.option("--allow-simulated", is_flag=True, help="Render a simulated bundle, which no cluster can run.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def kubernetes(
    bundle: Path,
    output: Path,
    image: str | None,
    namespace: str | None,
    *,
    allow_simulated: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Write the objects of BUNDLE for a cluster with Intel's SGX device plugin.

    The image is pinned by the bundle's digest. Without --image it is called localhost/NAME, for nodes into
    which it was loaded by hand.
    """
    from casemate.cluster.objects import kubernetes_objects
    from casemate.cluster.variables import check_variables
    from casemate.cluster.workload import Choices, check, pin_image

    workload = read_workload(bundle)
    name = workload.deployment.name
    choices = Choices(
        namespace=namespace or name,
        image=pin_image(image or f"localhost/{name}", workload.image_digest),
        **chosen,
    )
    check(workload, choices, allow_simulated=allow_simulated)
    check_variables(workload, choices.variables)
    objects = kubernetes_objects(workload, choices)
    _write(output, objects)
    if as_json:
        click.echo(json.dumps(_document(workload, choices, objects, output), indent=2))
        return
    for item in objects:
        click.echo(str(output / item.file))
    _say_what_is_next(workload, output, image)


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError("variable", expected="NAME=VALUE", got=ascii(text)[1:-1], where="--env")
    return name, value


def read_workload(path: Path) -> Workload:
    """What a cluster has to know of the bundle in the folder ``path``.

    Raises:
        UsageError: There is no bundle.
        RefusedError: The bundle is not signed, or its manifest is not the measured one.
        FormatError: One of its files is missing or not what it has to be.
    """
    from casemate.builder.bundles.bundle import Bundle
    from casemate.cluster.workload import Identity, Workload, encrypted_folders
    from casemate.errors import RefusedError
    from casemate.formats.manifest import EnclaveSettings, load_measured_manifest

    bundle = Bundle.open(path)
    measurement = bundle.measurement
    if measurement.mrsigner is None:
        raise RefusedError(
            "bundle without a signature",
            where=str(path),
            hint=f"sign it: casemate sign {path} --key URI",
        )
    manifest = load_measured_manifest(_measured_manifest(bundle, measurement.manifest_sha256))
    return Workload(
        deployment=bundle.deployment,
        enclave=EnclaveSettings.from_manifest(manifest),
        folders=encrypted_folders(manifest),
        identity=Identity(
            mrenclave=measurement.mrenclave.hex(),
            mrsigner=measurement.mrsigner.hex(),
            isvprodid=measurement.isvprodid,
            isvsvn=measurement.isvsvn,
            simulated=measurement.simulated,
        ),
        image_digest=measurement.image_digest,
    )


def _measured_manifest(bundle: Bundle, measured: str) -> bytes:
    """The manifest, refused unless it is the one that was measured: objects must fit what will run."""
    from casemate.errors import RefusedError

    manifest = bundle.manifest
    found = hashlib.sha256(manifest).hexdigest()
    if found != measured:
        raise RefusedError(
            "digest of the manifest",
            expected=measured,
            got=found,
            where=str(bundle.manifest_path),
            hint="the manifest was changed after it was measured; build the bundle again",
        )
    return manifest


def _write(output: Path, objects: tuple[KubernetesObject, ...]) -> None:
    from casemate.builder.writing import write_files
    from casemate.cluster.render import to_yaml
    from casemate.errors import ToolchainError

    files = {output / item.file: to_yaml(item) for item in objects}
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ToolchainError("folder cannot be made", got=error.strerror, where=str(output)) from error
    write_files(files)
    for other in sorted(set(output.glob("*.yaml")) - files.keys()):
        click.echo(f"warning: {other} is not of this bundle and was left as it is", err=True)


def _document(
    workload: Workload, choices: Choices, objects: tuple[KubernetesObject, ...], output: Path
) -> dict[str, Any]:
    return {
        "version": 1,
        "namespace": choices.namespace,
        "image": choices.image,
        "mrenclave": workload.identity.mrenclave,
        "simulated": workload.identity.simulated,
        "files": [
            {
                "path": str(output / item.file),
                "kind": item.body["kind"],
                "name": item.body["metadata"]["name"],
            }
            for item in objects
        ],
    }


def _say_what_is_next(workload: Workload, output: Path, image: str | None) -> None:
    if workload.identity.simulated:
        click.echo("The bundle is simulated: no cluster can run it. The objects are labelled so.", err=True)
        return
    if image is None:
        click.echo(
            f"The image is called localhost/{workload.deployment.name}: load it into the nodes.", err=True
        )
    click.echo(f"kubectl apply -f {output}", err=True)
