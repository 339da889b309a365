"""Everything in a bundle is checked against everything else: whatever is changed is refused, and named."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from tests.support.small_bundle import KEY, Small, sign_small, small_bundle

from casemate.adapters.file_keys import FileSigner
from casemate.builder.bundles.bundle import Bundle
from casemate.builder.bundles.verification import (
    _DOCUMENTS,
    BundleVerification,
    require_sound,
    verify_bundle,
)
from casemate.builder.packing.layers import LayerFile, layer_chunks
from casemate.cli.main import run
from casemate.errors import RefusedError
from casemate.formats.dsse import IN_TOTO_TYPE, Envelope
from casemate.formats.manifest import dump_manifest, load_manifest
from casemate.formats.oci import CONFIG_TYPE, LAYER_TYPE, Descriptor, ImageConfig, ImageManifest
from casemate.formats.public_key import public_key_pem
from casemate.formats.sgx.sigstruct import SigStruct
from casemate.simulator.platform_image import platform_image

Change = Callable[[Bundle], None]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    return {
        simulated: sign_small(small_bundle(folder / str(simulated), Small(simulated=simulated))).path
        for simulated in (False, True)
    }


@pytest.fixture
def bundle(originals: dict[bool, Path], tmp_path: Path) -> Bundle:
    return Bundle.open(Path(shutil.copytree(originals[False], tmp_path / "bundle")))


def verify(bundle: Bundle) -> BundleVerification:
    return verify_bundle(bundle, simulated_platform_image=platform_image())


def refused(bundle: Bundle) -> list[str]:
    return [f"{check.part}: {check.name}" for check in verify(bundle).refusals]


@pytest.mark.parametrize("simulated", [True, False])
def test_a_signed_bundle_is_sound(originals: dict[bool, Path], *, simulated: bool) -> None:
    result = verify(Bundle.open(originals[simulated]))

    assert not result.refusals
    assert result.complete
    assert result.simulated is simulated
    assert (result.name, result.mrsigner is None) == ("notes", False)
    require_sound(result)


@pytest.mark.parametrize(("simulated", "version"), [(True, "none"), (False, "1.9")])
def test_the_version_of_gramine_is_shown(
    originals: dict[bool, Path], *, simulated: bool, version: str
) -> None:
    checks = verify(Bundle.open(originals[simulated])).checks
    (check,) = (check for check in checks if check.name == "version of Gramine")
    assert (check.passed, check.expected, check.got) == (True, version, version)


@pytest.mark.parametrize("simulated", [True, False])
def test_a_bundle_that_is_not_signed_is_sound_and_says_so(tmp_path: Path, *, simulated: bool) -> None:
    result = verify(small_bundle(tmp_path / "bundle", Small(simulated=simulated)))

    assert not result.refusals
    assert result.mrsigner is None


def document(name: str, change: Callable[[Any], object]) -> Change:
    def apply(bundle: Bundle) -> None:
        path = bundle.path / name
        value = json.loads(path.read_bytes())
        change(value)
        path.write_text(json.dumps(value))

    return apply


def statement(change: Callable[[Any], object], *, name: str = "reference-values.json") -> Change:
    """The key itself signs something else."""

    def apply(bundle: Bundle) -> None:
        path = bundle.path / name
        value = json.loads(Envelope.parse(path.read_bytes(), name).unverified)
        change(value)
        signed = Envelope.sign(IN_TOTO_TYPE, json.dumps(value).encode(), FileSigner.open(KEY))
        path.write_bytes(signed.to_bytes())

    return apply


def forged(name: str) -> Change:
    """Another payload under the old signature."""

    def apply(bundle: Bundle) -> None:
        path = bundle.path / name
        envelope = Envelope.parse(path.read_bytes(), name)
        path.write_bytes(replace(envelope, unverified=envelope.unverified + b" ").to_bytes())

    return apply


def bare(bundle: Bundle) -> None:
    path = bundle.reference_values_path
    path.write_bytes(Envelope.parse(path.read_bytes(), "").unverified)


def manifest(change: Callable[[Any], object]) -> Change:
    def apply(bundle: Bundle) -> None:
        value = load_manifest(bundle.manifest)
        change(value)
        bundle.manifest_path.write_bytes(dump_manifest(value))

    return apply


def sigstruct(change: Callable[[SigStruct], SigStruct]) -> Change:
    def apply(bundle: Bundle) -> None:
        signed = SigStruct.parse(bundle.signature_path.read_bytes())
        bundle.signature_path.write_bytes(change(signed).to_bytes())

    return apply


def enclave(**fields: Any) -> Change:
    return sigstruct(lambda signed: replace(signed, enclave=replace(signed.enclave, **fields)))


def put(bundle: Bundle, config: ImageConfig, layers: tuple[Descriptor, ...], name: str = "notes") -> None:
    image = bundle.image.documents()
    pointer = bundle.image.add(CONFIG_TYPE, config.to_bytes())
    bundle.image.point_to(ImageManifest(config=pointer, layers=layers), name)
    kept = {pointer.digest, bundle.image.digest, *(layer.digest for layer in layers)}
    for one in (image.index.manifest, image.manifest.config, *image.manifest.layers):
        if one.digest not in kept:
            bundle.image.blob(one).unlink()


def config(**fields: Any) -> Change:
    def apply(bundle: Bundle) -> None:
        image = bundle.image.documents()
        put(bundle, replace(image.config, **fields), image.manifest.layers)

    return apply


def layer(path: str, content: bytes) -> Change:
    """One more layer, with one file, on top of the others."""

    def apply(bundle: Bundle) -> None:
        image = bundle.image.documents()
        data = b"".join(layer_chunks((LayerFile(path=path, content=content),), 0))
        layers = (*image.manifest.layers, bundle.image.add(LAYER_TYPE, data))
        put(bundle, replace(image.config, layers=tuple(one.digest for one in layers)), layers)

    return apply


def without_signature(bundle: Bundle) -> None:
    bundle.signature_path.unlink()


def damaged_layer(bundle: Bundle) -> None:
    path = bundle.image.blob(bundle.image.manifest.layers[-1])
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)


IMAGE = {"image: digest", "reference-values.json: image"}
SBOM = "sbom.cdx.json: what follows from the image"
DERIVED = "provenance.json: what follows from the bundle"
LISTED = "tcb.json: digest in the provenance"
DEPLOYED = "deployment.json: digest in the provenance"
MATERIALS = "sbom.cdx.json: digest in the provenance"
UNSIGNED = {"reference-values.json: signature", "provenance.json: signature"}
MANIFEST = {"measurement.json: digest of the manifest", "measurement.json: MRENCLAVE"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            manifest(lambda it: it["loader"]["env"].update(LD_PRELOAD="/x.so")),
            MANIFEST | {"app.manifest.sgx: settings that no build writes"},
            id="setting of the manifest",
        ),
        pytest.param(
            manifest(lambda it: it.pop("fs")),
            {"app.manifest.sgx: readable"},
            id="manifest without its mounts",
        ),
        pytest.param(
            manifest(lambda it: it["sgx"].update(isvsvn=3)),
            MANIFEST | {"measurement.json: ISVSVN", "app.sig: ISVSVN"},
            id="version in the manifest",
        ),
        pytest.param(
            manifest(lambda it: it["sgx"]["trusted_files"][0].update(sha256="ab" * 32)),
            MANIFEST
            | {
                "image: trusted files that differ in the image",
                "tcb.json: trusted files that it does not list rightly",
                "app.manifest.sgx: settings that no build writes",
            },
            id="trusted digest",
        ),
        pytest.param(
            manifest(lambda it: it["sgx"]["trusted_files"].append(it["sgx"]["trusted_files"][0])),
            MANIFEST
            | {
                "app.manifest.sgx: files that are trusted twice",
                "app.manifest.sgx: settings that no build writes",
            },
            id="file trusted twice",
        ),
        pytest.param(
            document("tcb.json", lambda it: it["files"].pop()),
            {
                SBOM,
                "tcb.json: trusted files that it does not list rightly",
                "tcb.json: sizes that differ in the image",
                "app.manifest.sgx: settings that no build writes",
                LISTED,
            },
            id="file left out of the list",
        ),
        pytest.param(
            document("tcb.json", lambda it: it["files"].append(it["files"][0])),
            {"tcb.json: files that are listed twice", SBOM, LISTED},
            id="file listed twice",
        ),
        pytest.param(
            document("tcb.json", lambda it: it["files"][0].update(size=1)),
            {"tcb.json: sizes that differ in the image", LISTED},
            id="size in the list",
        ),
        pytest.param(
            document("tcb.json", lambda it: it["files"][0]["reason"].update(of="/none")),
            {"tcb.json: reasons that lead to no file", LISTED},
            id="reason in the list",
        ),
        pytest.param(
            document("measurement.json", lambda it: it.update(mrenclave="ab" * 32)),
            {
                *("image: labels", "measurement.json: MRENCLAVE", "app.sig: MRENCLAVE"),
                "reference-values.json: mrenclave",
            },
            id="recorded measurement",
        ),
        pytest.param(
            document("measurement.json", lambda it: it.update(mrsigner="ab" * 32)),
            {"measurement.json: MRSIGNER", "reference-values.json: mrsigner"},
            id="recorded signer",
        ),
        pytest.param(
            document("measurement.json", lambda it: it.update(isvprodid=7)),
            {"measurement.json: ISVPRODID", "reference-values.json: isvprodid"},
            id="recorded product",
        ),
        pytest.param(
            document("measurement.json", lambda it: it.update(attributes="06" + "00" * 15)),
            {"measurement.json: attributes", "reference-values.json: attributes"},
            id="recorded attributes",
        ),
        pytest.param(
            document("measurement.json", lambda it: it.update(manifest_sha256="ab" * 32)),
            {"image: manifest", "measurement.json: digest of the manifest", DERIVED},
            id="recorded manifest",
        ),
        pytest.param(
            document("measurement.json", lambda it: it.update(image_digest="sha256:" + "ab" * 32)),
            {"image: digest"},
            id="recorded image",
        ),
        pytest.param(
            document("measurement.json", lambda it: it["gramine"].update(platform_image_sha256="ab" * 32)),
            {"measurement.json: platform image", "reference-values.json: Gramine"},
            id="recorded platform image",
        ),
        pytest.param(
            document("measurement.json", lambda it: it["gramine"].update(version="0.1")),
            {
                "app.manifest.sgx: settings that no build writes",
                "measurement.json: MRENCLAVE",
                "reference-values.json: Gramine",
            },
            id="version of Gramine that is not known",
        ),
        pytest.param(
            document("measurement.json", lambda it: it["gramine"].update(version=None)),
            {"measurement.json: version of Gramine", "reference-values.json: Gramine"},
            id="no version of Gramine",
        ),
        pytest.param(
            document("measurement.json", lambda it: it.update(simulated=True)),
            {
                *("image: labels", "image: program", "measurement.json: version of Gramine"),
                *("measurement.json: platform image", "measurement.json: MRENCLAVE"),
                "reference-values.json: simulated",
            },
            id="a real bundle called simulated",
        ),
        pytest.param(
            without_signature,
            {"image: signature", "measurement.json: MRSIGNER", *UNSIGNED},
            id="no signature",
        ),
        pytest.param(
            sigstruct(lambda it: replace(it, signature=it.signature ^ 1)),
            {"image: signature", "app.sig: signature", "app.sig: quotients of the signature"},
            id="signature",
        ),
        pytest.param(
            sigstruct(lambda it: replace(it, q1=it.q1 ^ 1)),
            {"image: signature", "app.sig: quotients of the signature"},
            id="first quotient",
        ),
        pytest.param(
            sigstruct(lambda it: replace(it, q2=it.q2 ^ 1)),
            {"image: signature", "app.sig: quotients of the signature"},
            id="second quotient",
        ),
        pytest.param(
            sigstruct(lambda it: replace(it, modulus=it.modulus ^ 2)),
            {
                *("image: signature", "measurement.json: MRSIGNER", "app.sig: signature"),
                "app.sig: quotients of the signature",
                *UNSIGNED,
            },
            id="key of the signature",
        ),
        pytest.param(
            sigstruct(lambda it: replace(it, modulus=0)),
            {
                *("image: signature", "measurement.json: MRSIGNER", "app.sig: signature"),
                "app.sig: quotients of the signature",
                *UNSIGNED,
            },
            id="no key in the signature",
        ),
        pytest.param(
            enclave(isvsvn=9),
            {"image: signature", "app.sig: ISVSVN", "app.sig: signature"},
            id="signed version",
        ),
        pytest.param(
            enclave(isvprodid=9),
            {"image: signature", "app.sig: ISVPRODID", "app.sig: signature"},
            id="signed product",
        ),
        pytest.param(
            enclave(misc_select=b"\1\0\0\0"),
            {"image: signature", "app.sig: attributes", "app.sig: signature"},
            id="signed MISCSELECT",
        ),
        pytest.param(
            enclave(misc_mask=bytes(4)),
            {"image: signature", "app.sig: mask of MISCSELECT", "app.sig: signature"},
            id="signed mask",
        ),
        pytest.param(
            statement(lambda it: it["subject"][0].update(name="payroll")),
            {"reference-values.json: name", DERIVED},
            id="name in the reference values",
        ),
        pytest.param(
            statement(lambda it: it["subject"][0]["digest"].update(sha256="ab" * 32)),
            {"reference-values.json: image", DERIVED},
            id="image in the reference values",
        ),
        pytest.param(
            statement(lambda it: it["predicate"]["sgx"].update(isvsvn=8)),
            {"reference-values.json: isvsvn"},
            id="version in the reference values",
        ),
        pytest.param(
            statement(lambda it: it["predicate"]["gramine"].update(more=1)),
            {"reference-values.json: Gramine"},
            id="Gramine in the reference values",
        ),
        pytest.param(
            document("deployment.json", lambda it: it.update(name="payroll")),
            {"image: name", "image: labels", "reference-values.json: name", SBOM, DEPLOYED},
            id="name of the deployment",
        ),
        pytest.param(
            document("deployment.json", lambda it: it.update(port=443)),
            {"image: port", "deployment.json: port", DEPLOYED},
            id="port of the deployment",
        ),
        pytest.param(
            document("deployment.json", lambda it: it.update(broker={"host": "evil", "port": 1})),
            {"deployment.json: broker", DEPLOYED},
            id="broker of the deployment",
        ),
        pytest.param(
            document(
                "deployment.json",
                lambda it: it.update(
                    variables=[{"name": "A", "one_of": [], "max_length": 1, "absent": "stop"}]
                ),
            ),
            {"deployment.json: variables of the host's", DEPLOYED},
            id="variables of the deployment",
        ),
        pytest.param(
            document("deployment.json", lambda it: it.update(replicas=99)),
            {DEPLOYED},
            id="replicas of the deployment",
        ),
        pytest.param(
            document("tcb.json", lambda it: it["files"][0]["reason"].update(detail="because")),
            {LISTED},
            id="words of a reason in the list",
        ),
        pytest.param(
            lambda it: it.tcb_path.write_bytes(it.tcb_path.read_bytes() + b"\n"),
            {LISTED},
            id="one more line in the list",
        ),
        pytest.param(
            document("measurement.json", lambda it: it.update(isvsvn=7)),
            {"measurement.json: ISVSVN", "reference-values.json: isvsvn"},
            id="recorded version",
        ),
        pytest.param(
            document("measurement.json", lambda it: it.update(attributes_mask="00" * 16)),
            {"measurement.json: attributes", "reference-values.json: attributes_mask"},
            id="recorded mask",
        ),
        pytest.param(
            document("measurement.json", lambda it: it.update(misc_select="01000000")),
            {"measurement.json: attributes", "reference-values.json: misc_select"},
            id="recorded MISCSELECT",
        ),
        pytest.param(
            statement(lambda it: it["predicate"].update(simulated=True)),
            {"reference-values.json: simulated", DERIVED},
            id="reference values called simulated",
        ),
        pytest.param(
            statement(lambda it: it["predicate"]["sgx"].update(mrenclave="ab" * 32)),
            {"reference-values.json: mrenclave", DERIVED},
            id="measurement in the reference values",
        ),
        pytest.param(
            statement(lambda it: it["predicate"]["sgx"].update(mrsigner="ab" * 32)),
            {"reference-values.json: mrsigner", DERIVED},
            id="signer in the reference values",
        ),
        pytest.param(
            statement(lambda it: it["predicate"]["runDetails"].pop("byproducts"), name="provenance.json"),
            {"provenance.json: form"},
            id="provenance of another form",
        ),
        pytest.param(
            statement(lambda it: it["predicate"]["runDetails"]["byproducts"].pop(), name="provenance.json"),
            {LISTED, DERIVED},
            id="provenance that leaves a document out",
        ),
        pytest.param(
            lambda it: it.image.point_to(it.image.manifest, "payroll"),
            {"image: name"},
            id="name in the index of the image",
        ),
        pytest.param(
            config(created="2001-01-01T00:00:00Z"), IMAGE | {"image: labels"}, id="time of the image"
        ),
        pytest.param(config(history=("a", "b", "c", "d")), IMAGE, id="history of the image"),
        pytest.param(config(user="0:0"), IMAGE | {"image: user"}, id="user of the image"),
        pytest.param(config(port=80), IMAGE | {"image: port"}, id="port of the image"),
        pytest.param(config(entrypoint=("/bin/sh",)), IMAGE | {"image: program"}, id="program of the image"),
        pytest.param(config(labels=(("a", "b"),)), IMAGE | {"image: labels"}, id="labels of the image"),
        pytest.param(config(layers=()), IMAGE | {"image: layers of the configuration"}, id="layers"),
        pytest.param(
            layer("/enclave/app/notes.pyc", b"evil"),
            IMAGE
            | {
                *("image: files that are there twice", "image: trusted files that differ in the image"),
                "tcb.json: sizes that differ in the image",
            },
            id="file in the image",
        ),
        pytest.param(
            layer("/enclave/app/more.pyc", b"evil"),
            IMAGE
            | {
                "image: trusted files that differ in the image",
                "tcb.json: sizes that differ in the image",
            },
            id="one more file in the image",
        ),
        pytest.param(
            layer("/casemate/app.manifest.sgx", b"evil"),
            IMAGE | {"image: files that are there twice", "image: manifest"},
            id="manifest in the image",
        ),
        pytest.param(
            layer("/casemate/app.sig", b"evil"),
            IMAGE | {"image: files that are there twice", "image: signature"},
            id="signature in the image",
        ),
        pytest.param(
            layer("/gramine/libpal.so", b"evil"),
            IMAGE
            | {
                *("image: files that are there twice", "measurement.json: platform image"),
                "measurement.json: MRENCLAVE",
            },
            id="platform image in the image",
        ),
        pytest.param(
            layer("/gramine/libsysdb.so", b"evil"),
            IMAGE | {"image: files that are there twice", "app.manifest.sgx: settings that no build writes"},
            id="LibOS in the image",
        ),
        pytest.param(
            statement(lambda it: it["predicate"]["sources"].update(python="2.7")),
            {DERIVED, SBOM, "image: labels"},
            id="sources in the reference values",
        ),
        pytest.param(
            statement(lambda it: it["predicate"].update(more=1), name="provenance.json"),
            {DERIVED},
            id="signed provenance",
        ),
        pytest.param(
            forged("reference-values.json"),
            {"reference-values.json: signature"},
            id="forged reference values",
        ),
        pytest.param(forged("provenance.json"), {"provenance.json: signature"}, id="forged provenance"),
        pytest.param(
            document("sbom.cdx.json", lambda it: it["components"].pop()),
            {SBOM, MATERIALS},
            id="bill of materials",
        ),
        pytest.param(bare, {"reference-values.json: signature"}, id="reference values without a signature"),
        pytest.param(
            lambda it: it.provenance_path.unlink(), {"provenance.json: signature"}, id="no provenance"
        ),
        pytest.param(
            lambda it: (it.path / "image/blobs/sha256/more").write_bytes(b"x"),
            {"folder: files that no step writes"},
            id="one more blob",
        ),
        pytest.param(
            lambda it: (it.path / "image/oci-layout").unlink(), {"image: readable"}, id="missing file"
        ),
        pytest.param(
            lambda it: (it.path / "image/oci-layout").write_text("{}"), {"image: readable"}, id="layout"
        ),
        pytest.param(damaged_layer, {"image: readable"}, id="bytes of a layer"),
        pytest.param(
            lambda it: it.tcb_path.write_bytes(b"{}"), {"tcb.json: readable"}, id="another document"
        ),
        pytest.param(
            lambda it: it.signature_path.write_bytes(b"x"), {"app.sig: readable"}, id="no SIGSTRUCT"
        ),
        pytest.param(
            lambda it: it.manifest_path.write_bytes(b"="), {"app.manifest.sgx: readable"}, id="no TOML"
        ),
        pytest.param(
            lambda it: it.deployment_path.unlink(), {"deployment.json: readable"}, id="missing document"
        ),
    ],
)
def test_what_is_changed_is_refused_and_named(bundle: Bundle, change: Change, expected: set[str]) -> None:
    change(bundle)

    assert set(refused(bundle)) == expected


def files(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


ELSEWHERE = {"app.manifest.sgx": "measurement.json", "app.sig": "image"}


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "one bit": flipped,
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "a folder": folder,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_of_a_bundle_that_is_damaged_is_refused_and_named(
    originals: dict[bool, Path], tmp_path: Path, damage: str
) -> None:
    names = files(originals[False])
    assert {name for name in names if "/" not in name} | {
        "image/index.json",
        "image/oci-layout",
    } == _DOCUMENTS
    assert len(names) == len(_DOCUMENTS) + 7  # manifest, configuration and five layers of the image
    for name in names:
        bundle = Bundle(Path(shutil.copytree(originals[False], tmp_path / "bundle")))
        DAMAGES[damage](bundle.path / name)
        # A manifest that still is one, and a signature that is missing, are told by what speaks of them.
        parts = {"image" if name.startswith("image/") else name, ELSEWHERE.get(name)}
        assert parts & {check.part for check in verify(bundle).refusals}, name
        shutil.rmtree(bundle.path)


def test_parts_that_cannot_be_read_do_not_hide_each_other(bundle: Bundle) -> None:
    bundle.tcb_path.write_bytes(b"{}")
    bundle.reference_values_path.unlink()

    result = verify(bundle)

    assert refused(bundle) == ["tcb.json: readable", "reference-values.json: readable"]
    assert not result.complete
    assert result.to_dict()["sound"] is False


def test_a_configuration_that_the_attester_refuses_is_refused(tmp_path: Path) -> None:
    small = Small(files={"/etc/casemate/workload.json": b"{}"})

    result = verify(small_bundle(tmp_path / "bundle", small))

    assert [check.name for check in result.refusals] == ["configuration of the attester"]


def test_the_first_difference_is_explained_and_the_others_are_named(bundle: Bundle) -> None:
    document("deployment.json", lambda it: it.update(port=443))(bundle)

    with pytest.raises(RefusedError) as error:
        require_sound(verify(bundle))

    assert str(error.value) == "bundle: port: expected 443, got 8443 (image)"
    assert error.value.hint == (
        "Also refused: port (deployment.json), digest in the provenance (deployment.json)."
    )


def test_what_a_hostile_bundle_says_is_one_printable_line(bundle: Bundle) -> None:
    document("tcb.json", lambda it: it["files"][0]["reason"].update(of="/\x1b[2J" * 2000))(bundle)

    (check,) = verify(bundle).refusals

    assert check.got.isprintable()
    assert len(check.got) <= 1000


def test_a_second_key_for_the_provenance_has_to_be_named(tmp_path: Path) -> None:
    second = tmp_path / "second.pem"
    signer = FileSigner.generate(second, bits=3072, exponent=3, ask=None)
    named = tmp_path / "public.pem"
    named.write_bytes(public_key_pem(signer.public_key))
    path = small_bundle(tmp_path / "bundle", Small(simulated=True)).path
    keys = ["--key", f"file:{KEY}", "--provenance-key", f"file:{second}"]

    assert run(["sign", str(path), *keys]) == 0

    assert refused(Bundle.open(path)) == ["reference-values.json: signature", "provenance.json: signature"]
    assert run(["verify", "bundle", str(path)]) == 1
    assert run(["verify", "bundle", str(path), "--provenance-key", str(named)]) == 0


def test_provenance_names_what_the_image_was_made_from(bundle: Bundle) -> None:
    data = bundle.provenance or b""
    document = json.loads(Envelope.parse(data, "provenance.json").unverified)

    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert document["subject"][0]["digest"]["sha256"] == bundle.image.digest.removeprefix("sha256:")
    definition = document["predicate"]["buildDefinition"]
    assert definition["externalParameters"] == {"workload": "notes", "simulated": False}
    assert definition["internalParameters"] == {"gramine": "1.9", "python": "3.11.9"}
    assert [one["name"] for one in definition["resolvedDependencies"]] == ["libpal.so"]
    made, *documents = document["predicate"]["runDetails"]["byproducts"]
    assert {one["name"]: one["digest"]["sha256"] for one in documents} == {
        name: hashlib.sha256((bundle.path / name).read_bytes()).hexdigest()
        for name in ("deployment.json", "sbom.cdx.json", "tcb.json")
    }
    assert made["digest"]["sha256"] == bundle.measurement.manifest_sha256
    assert made["annotations"]["mrenclave"] == bundle.measurement.mrenclave.hex()


def public_key(path: Path, *, own: bool) -> Path:
    key = load_pem_private_key(KEY.read_bytes(), None) if own else generate_private_key(3, 3072)
    path.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


@pytest.mark.parametrize("own", [True, False])
def test_the_key_that_is_named_must_be_that_of_the_signature(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, own: bool
) -> None:
    code = run(
        ["verify", "bundle", str(bundle.path), "--key", str(public_key(tmp_path / "k", own=own)), "--json"]
    )

    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert code == (0 if own else 1)
    assert result["sound"] is own
    assert captured.err.startswith(
        "" if own else "error: bundle: key: expected exponent 3, SHA-256 of the modulus"
    )


def test_a_bundle_that_is_not_signed_is_refused_where_a_key_is_named(tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle")

    assert (
        run(["verify", "bundle", str(bundle.path), "--key", str(public_key(tmp_path / "k", own=True))]) == 1
    )


def test_the_table_ends_in_a_summary(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", "bundle", str(bundle.path)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[-4].endswith(", all passed; --all shows them")
    assert lines[-3:] == [
        "workload: notes",
        f"MRENCLAVE: {bundle.measurement.mrenclave.hex()}",
        f"MRSIGNER: {bundle.measurement.mrsigner.hex() if bundle.measurement.mrsigner else None}",
    ]
