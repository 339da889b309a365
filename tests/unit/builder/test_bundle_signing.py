"""Signing a bundle: the signature goes into it and its image, over what can be measured again only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.support.image_files import image_file
from tests.support.projects import project

from casemate.adapters.file_keys import FileSigner
from casemate.builder.bundle import Bundle, new_bundle
from casemate.builder.bundle_signing import sign_bundle
from casemate.builder.contents import Considered
from casemate.builder.image import ImageContents, unpack_image, write_image
from casemate.builder.layers import LayerFile, layer_chunks
from casemate.builder.manifest import LibOs, make_manifest
from casemate.builder.measurement import measure
from casemate.builder.measurement_record import MeasurementRecord
from casemate.builder.reference_values import make_reference_values
from casemate.builder.signing import enclave_attributes
from casemate.builder.tcb import Tcb, TrustedContent
from casemate.builder.writing import write_files
from casemate.cli.main import run
from casemate.errors import FormatError, KeyUnfitError, RefusedError
from casemate.formats.deployment import Deployment
from casemate.formats.manifest import EnclaveSettings, dump_manifest
from casemate.formats.oci import CONFIG_TYPE, LAYER_TYPE, Descriptor, ImageConfig, ImageManifest
from casemate.formats.reference_values import read_statement
from casemate.formats.sgx.sigstruct import NO_DATE, SigStruct
from casemate.keys import RsaPublicKey
from casemate.simulator.platform_image import platform_image

VECTORS = Path(__file__).parents[2] / "vectors/measurement"
KEY = VECTORS / "signing-key.pem"
PAL = (VECTORS / "pal/aligned.so").read_bytes()
LIBOS = b"libos"
FILES = (
    TrustedContent.of(image_file("/app/notes.pyc", b"notes")),
    TrustedContent.of(image_file("/etc/hosts", b"hosts")),
)
Manifest = dict[str, Any]


def manifest_of(text: str = "", *, simulated: bool) -> Manifest:
    libos = LibOs.absent() if simulated else LibOs.of(LIBOS)
    value = project('[enclave]\nsize = "64M"\n' + text)
    return make_manifest(value, FILES, python="3.11", libos=libos)


def bundle_at(
    path: Path, *, simulated: bool, manifest: Manifest | None = None, pal: bytes | None = PAL
) -> Bundle:
    """A bundle of a small application, whose documents agree with ``manifest``."""
    manifest = manifest or manifest_of(simulated=simulated)
    data = dump_manifest(manifest)
    platform = platform_image() if simulated else PAL
    mrenclave = measure(data, platform)
    files = {} if simulated else {"/gramine/libpal.so": pal, "/gramine/libsysdb.so": LIBOS}
    outside = tuple(LayerFile(path=name, content=held) for name, held in files.items() if held is not None)
    with new_bundle(path) as bundle:
        image = write_image(
            bundle.image.path,
            ImageContents(
                name="notes",
                port=8443,
                trusted=FILES,
                outside=outside,
                manifest=data,
                mrenclave=mrenclave.hex(),
                simulated=simulated,
                epoch=0,
            ),
        )
        record = record_of(manifest, platform, image.digest, simulated=simulated)
        statement = make_reference_values("notes", record, {"python": "3.11"})
        write_files(
            {
                bundle.manifest_path: data,
                bundle.measurement_path: record.to_bytes(),
                bundle.tcb_path: Tcb.of("3.11", FILES, Considered(files=2, size=10, left_out=())).to_bytes(),
                bundle.reference_values_path: statement,
                bundle.deployment_path: Deployment.of(project()).to_bytes(),
            }
        )
    return Bundle.open(path)


def record_of(
    manifest: Manifest, platform: bytes, image_digest: str, *, simulated: bool
) -> MeasurementRecord:
    settings = EnclaveSettings.from_manifest(manifest)
    attributes = enclave_attributes(settings)
    data = dump_manifest(manifest)
    return MeasurementRecord(
        simulated=simulated,
        mrenclave=measure(data, platform),
        mrsigner=None,
        isvprodid=settings.isvprodid,
        isvsvn=settings.isvsvn,
        attributes=attributes.attributes,
        attributes_mask=attributes.attributes_mask,
        misc_select=attributes.misc_select,
        gramine_version=None if simulated else "1.9",
        platform_image_sha256=hashlib.sha256(platform).hexdigest(),
        manifest_sha256=hashlib.sha256(data).hexdigest(),
        image_digest=image_digest,
    )


def sign(bundle: Bundle, *, allow_debug: bool = False) -> MeasurementRecord:
    return sign_bundle(
        bundle,
        FileSigner.open(KEY),
        date=NO_DATE,
        allow_debug=allow_debug,
        simulated_platform_image=platform_image(),
    ).record


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("simulated", [True, False])
def test_the_signature_is_in_the_bundle_in_its_documents_and_in_its_image(
    tmp_path: Path, *, simulated: bool
) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=simulated)
    record = sign(bundle)
    signature = SigStruct.parse((bundle.path / "app.sig").read_bytes())
    assert signature.enclave.mrenclave == record.mrenclave == bundle.measurement.mrenclave
    assert record.mrsigner == signature.mrsigner == bundle.measurement.mrsigner
    key = RsaPublicKey(modulus=signature.modulus, exponent=3)
    statement = read_statement(bundle.reference_values, "reference-values.json", (key,))
    assert statement.predicate.sgx.mrsigner == signature.mrsigner.hex()
    assert f"sha256:{statement.subject[0].digest.sha256}" == bundle.image.digest
    root = tmp_path / "root"
    root.mkdir()
    unpack_image(bundle.image, root)
    assert (root / "casemate/app.sig").read_bytes() == signature.to_bytes()


def test_a_real_bundle_has_the_signature_of_its_manifest(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=False)
    assert run(["sign", str(bundle.path), "--key", f"file:{KEY}", "--date", "2026-01-02"]) == 0
    options = [
        "--manifest",
        bundle.manifest_path,
        "--pal",
        VECTORS / "pal/aligned.so",
        "--key",
        f"file:{KEY}",
    ]
    sigfile = tmp_path / "app.sig"
    assert run([str(one) for one in ("sign", *options, "--date", "2026-01-02", "--sigfile", sigfile)]) == 0
    assert bundle.signature == sigfile.read_bytes()


def test_signing_again_gives_the_same_bundle(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    sign(bundle)
    once = files_of(bundle.path)
    sign(bundle)
    assert files_of(bundle.path) == once


def change_record(bundle: Bundle, change: Callable[[dict[str, Any]], None]) -> None:
    document = json.loads(bundle.measurement_path.read_bytes())
    change(document)
    bundle.measurement_path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("manifest", {"manifest_sha256": "00" * 32}),
        ("MRENCLAVE", {"mrenclave": "00" * 32}),
        ("ISVPRODID", {"isvprodid": 9}),
        ("ISVSVN", {"isvsvn": 9}),
        ("attributes", {"attributes": "06" + "00" * 15}),
        ("attributes", {"attributes_mask": "00" * 16}),
        ("attributes", {"misc_select": "01000000"}),
        ("image", {"image_digest": "sha256:" + "00" * 32}),
        ("platform image", {"gramine": {"version": "1.9", "platform_image_sha256": "00" * 32}}),
    ],
)
def test_a_bundle_whose_documents_do_not_agree_with_it_is_refused(
    tmp_path: Path, name: str, change: dict[str, Any]
) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=False)
    change_record(bundle, lambda document: document.update(change))
    before = files_of(bundle.path)
    with pytest.raises(RefusedError) as refused:
        sign(bundle)
    assert refused.value.subject == f"signature over a bundle whose {name} has changed"
    assert (refused.value.where, refused.value.hint) == (
        str(bundle.measurement_path),
        "build the bundle again",
    )
    assert files_of(bundle.path) == before


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    bundle.manifest_path.write_bytes(bundle.manifest + b"# more\n")
    with pytest.raises(RefusedError, match="whose manifest has changed"):
        sign(bundle)


def change_document(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    path.write_bytes(json.dumps(document).encode())


def refusal_of(bundle: Bundle) -> RefusedError:
    """Why ``bundle`` is not signed; nothing in it has changed, and nothing of it is in the answer raw."""
    before = files_of(bundle.path)
    with pytest.raises(RefusedError) as refused:
        sign(bundle, allow_debug=True)
    assert files_of(bundle.path) == before
    return refused.value


EVIL = {"uri": "file:/enclave/opt/python/\x1b[2Jbackdoor.so", "sha256": "ab" * 32}


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda files: files.pop(), "file:/enclave/etc/hosts"),
        (lambda files: files[0].update(sha256="00" * 32), "file:/enclave/app/notes.pyc"),
        (
            lambda files: files.append({**files[0], "path": "/app/more.pyc"}),
            "file:/enclave/app/more.pyc",
        ),
        (
            lambda files: [file.update(path=file["path"] + "x") for file in files],
            (
                "file:/enclave/app/notes.pyc, file:/enclave/app/notes.pycx, file:/enclave/etc/hosts, "
                "file:/enclave/etc/hostsx"
            ),
        ),
    ],
    ids=["one less", "another digest", "one more", "other names"],
)
def test_a_list_of_files_that_is_not_what_the_manifest_trusts_is_refused(
    tmp_path: Path, change: Callable[[Any], None], got: str
) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    change_document(bundle.tcb_path, lambda document: change(document["files"]))
    refused = refusal_of(bundle)
    assert str(refused) == (
        "signature over a bundle whose tcb.json does not list what its manifest trusts: "
        f"expected the same files with the same digests, got {got} ({bundle.tcb_path})"
    )
    assert refused.hint == "build the bundle again"


def test_a_trusted_file_that_the_list_keeps_quiet_about_is_refused(tmp_path: Path) -> None:
    manifest = manifest_of(simulated=True)
    manifest["sgx"]["trusted_files"].append(EVIL | {"uri": "file:/backdoor.so"})
    bundle = bundle_at(tmp_path / "bundle", simulated=True, manifest=manifest)
    assert refusal_of(bundle).got == "file:/backdoor.so"


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda it: it["loader"]["env"].update(LD_PRELOAD={"passthrough": True}), "loader.env.LD_PRELOAD"),
        (lambda it: it["loader"]["env"].update(LD_PRELOAD="/app/x.so"), "loader.env.LD_PRELOAD"),
        (lambda it: it["loader"]["env"].update(LD_LIBRARY_PATH="/tmp"), "loader.env.LD_LIBRARY_PATH"),
        (lambda it: it["loader"]["env"].update({"A B": "x"}), "loader.env.A B"),
        (lambda it: it["loader"]["env"].pop("TZ"), "loader.env.TZ"),
        (lambda it: it["loader"]["argv"].append("x"), "loader.argv"),
        (lambda it: it["loader"].update(uid=0), "loader.uid"),
        (lambda it: it["loader"].update(insecure__use_host_env=True), "loader.insecure__use_host_env"),
        (lambda it: it["loader"]["entrypoint"].update(sha256="11" * 32), "loader.entrypoint.sha256"),
        (lambda it: it["libos"].update(entrypoint="/app/x"), "libos.entrypoint"),
        (lambda it: it["fs"]["root"].update(uri="file:/"), "fs.root.uri"),
        (lambda it: it["fs"]["mounts"].append({"type": "tmpfs", "path": "/app"}), "fs.mounts"),
        (lambda it: it["fs"]["mounts"].append({"type": "tmpfs", "path": "/opt"}), "fs.mounts"),
        (lambda it: it["fs"]["mounts"].append({"path": "/x", "uri": "file:/x"}), "fs.mounts"),
        (
            lambda it: it["fs"]["mounts"].append(
                {"type": "encrypted", "path": "/x", "uri": "file:/x/../y", "key_name": "k"}
            ),
            "fs.mounts",
        ),
        (lambda it: it["sys"].update(disallow_subprocesses=False), "sys.disallow_subprocesses"),
        (lambda it: it["sgx"].update(seal_key={"flags_mask": "00" * 8}), "sgx.seal_key"),
        (lambda it: it["sgx"].update(remote_attestation="none"), "sgx.remote_attestation"),
        (lambda it: it.update({"\x85": 1}), "'\\x85'"),
    ],
)
def test_a_manifest_that_no_build_writes_is_refused(
    tmp_path: Path, change: Callable[[Any], None], place: str
) -> None:
    manifest = manifest_of(simulated=True)
    change(manifest)
    bundle = bundle_at(tmp_path / "bundle", simulated=True, manifest=manifest)
    refused = refusal_of(bundle)
    assert str(refused) == (
        "signature over a bundle with settings that no build writes: expected none, "
        f"got {place} ({bundle.manifest_path})"
    )
    assert refused.hint == (
        "build the bundle again; a manifest of another make is signed with --manifest and --pal"
    )


EVERYTHING = """
threads = 32
stack = "4M"
edmm = true
debug = true
isvprodid = 7
isvsvn = 9
[env]
HOME = "/var"
TZ = "UTC"
TEXT = "a\\nb"
[mounts]
"/var/cache" = "tmpfs"
"/var/notes" = { encrypted = "disk", host = "/srv/notes" }
"/var/other" = { encrypted = "_sgx_mrsigner", host = "/srv/other" }
[secrets]
"/run/secrets/a" = "kbs:///default/notes/a"
"/dev/attestation/keys/disk" = "kbs:///default/notes/d"
[broker]
url = "https://broker"
ca = "ca.pem"
"""


@pytest.mark.parametrize("simulated", [True, False])
def test_whatever_casemate_toml_can_say_is_signed(tmp_path: Path, *, simulated: bool) -> None:
    manifest = manifest_of(EVERYTHING, simulated=simulated)
    bundle = bundle_at(tmp_path / "bundle", simulated=simulated, manifest=manifest)
    assert sign(bundle, allow_debug=True).isvsvn == 9


def test_reference_values_for_another_workload_are_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    change_document(
        bundle.reference_values_path, lambda document: document["subject"][0].update(name="payroll")
    )
    assert str(refusal_of(bundle)) == (
        "signature over a bundle with two names: expected notes, got payroll "
        f"({bundle.reference_values_path})"
    )


def test_an_image_of_another_name_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    bundle.image.point_to(bundle.image.manifest, "payroll")
    assert str(refusal_of(bundle)) == (
        "signature over a bundle with two names: expected notes, got payroll "
        f"({bundle.image.path / 'index.json'})"
    )


def put_image(bundle: Bundle, config: ImageConfig, layers: tuple[Descriptor, ...]) -> None:
    pointer = bundle.image.add(CONFIG_TYPE, config.to_bytes())
    digest = bundle.image.point_to(ImageManifest(config=pointer, layers=layers), "notes")
    change_record(bundle, lambda document: document.update(image_digest=digest))


def test_an_image_that_is_labelled_otherwise_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    image = bundle.image.documents()
    labels = dict(image.config.labels)
    for name, value in {
        "org.opencontainers.image.title": "payroll",
        "io.casemate.mrenclave": "00" * 32,
        "io.casemate.simulated": "false",
        "more": "x",
    }.items():
        changed = tuple(sorted((labels | {name: value}).items()))
        put_image(bundle, replace(image.config, labels=changed), image.manifest.layers)
        refused = refusal_of(bundle)
        assert refused.subject == "signature over a bundle whose image has other labels"
        assert f"{name}='{value}'" in (refused.got or "")
        assert refused.where == str(bundle.image.path)


def layer_with(bundle: Bundle, path: str, content: bytes) -> None:
    """Put a layer with one file on top of the image."""
    image = bundle.image.documents()
    file = LayerFile(path=path, content=content)
    layer = bundle.image.add(LAYER_TYPE, b"".join(layer_chunks((file,), 0)))
    layers = (*image.manifest.layers, layer)
    put_image(bundle, replace(image.config, layers=tuple(one.digest for one in layers)), layers)


def test_an_image_with_another_manifest_on_top_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    layer_with(bundle, "/casemate/app.manifest.sgx", b"another")
    refused = refusal_of(bundle)
    assert refused.subject == "signature over a bundle whose image has another manifest"
    assert refused.expected == hashlib.sha256(bundle.manifest).hexdigest()
    assert refused.got == hashlib.sha256(b"another").hexdigest()


def test_a_platform_image_that_another_layer_covers_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=False)
    layer_with(bundle, "/gramine/libpal.so", PAL + b"more")
    assert refusal_of(bundle).subject == "signature over a bundle whose platform image has changed"


def test_a_configuration_for_other_layers_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    image = bundle.image.documents()
    put_image(bundle, replace(image.config, layers=image.config.layers[:-1]), image.manifest.layers)
    assert refusal_of(bundle).subject == "signature over a bundle whose image has other layers"


def test_an_image_without_the_manifest_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    image = bundle.image.documents()
    put_image(bundle, replace(image.config, layers=()), ())
    with pytest.raises(FormatError) as refused:
        sign(bundle)
    assert str(refused.value) == (
        f"image of the bundle: expected /casemate/app.manifest.sgx, got no such file ({bundle.image.path})"
    )
    assert refused.value.hint == "build the bundle again"


def test_the_name_is_printed_before_everything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    assert run(["sign", str(bundle.path), "--key", f"file:{KEY}"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "name       notes"


def test_a_bundle_that_calls_itself_simulated_or_real_and_is_not_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=False)
    change_record(bundle, lambda document: document.update(simulated=True))
    with pytest.raises(RefusedError, match="whose platform image has changed"):
        sign(bundle)


def test_a_real_bundle_without_its_platform_image_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=False, pal=None)
    with pytest.raises(FormatError) as refused:
        sign(bundle)
    assert str(refused.value) == (
        f"image of the bundle: expected /gramine/libpal.so, got no such file ({bundle.image.path})"
    )


def test_a_real_bundle_with_a_layer_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=False)
    layer = bundle.image.add(LAYER_TYPE, b"x" * 1024)
    image = ImageManifest(config=bundle.image.manifest.config, layers=(layer,))
    digest = bundle.image.point_to(image, "notes")
    change_record(bundle, lambda document: document.update(image_digest=digest))
    assert run(["sign", str(bundle.path), "--key", f"file:{KEY}"]) == 1
    assert capsys.readouterr().err.startswith("error: layer of the image: expected a tar archive, got ")


def test_a_debug_bundle_is_refused_unless_it_is_asked_for(tmp_path: Path) -> None:
    debug = manifest_of("debug = true\n", simulated=True)
    bundle = bundle_at(tmp_path / "bundle", simulated=True, manifest=debug)
    before = files_of(bundle.path)
    with pytest.raises(RefusedError) as refused:
        sign(bundle)
    assert str(refused.value) == (
        f"signature over insecure settings: expected none, got sgx.debug = true ({bundle.manifest_path})"
    )
    assert files_of(bundle.path) == before
    assert sign(bundle, allow_debug=True).attributes.flags == 6


@dataclass
class UnfitSigner:
    """Has a key that no processor accepts."""

    public_key: RsaPublicKey

    def sign(self, data: bytes) -> bytes:
        raise NotImplementedError(data)


def test_a_key_that_is_unfit_is_refused_before_anything_else(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    before = files_of(bundle.path)
    with pytest.raises(KeyUnfitError):
        sign_bundle(
            bundle,
            UnfitSigner(RsaPublicKey(modulus=(1 << 3072) - 1, exponent=65537)),
            date=NO_DATE,
            allow_debug=False,
            simulated_platform_image=platform_image(),
        )
    assert files_of(bundle.path) == before


class ChangingBundle(Bundle):
    """A bundle whose manifest somebody changes as soon as it has been read."""

    __slots__ = ()
    after: ClassVar[bytes]

    @property
    def manifest(self) -> bytes:
        data = self.manifest_path.read_bytes()
        self.manifest_path.write_bytes(self.after)
        return data


def test_what_was_judged_is_signed_whatever_the_manifest_is_by_now(tmp_path: Path) -> None:
    good = manifest_of(simulated=True)
    evil = good | {"loader": good["loader"] | {"insecure__use_host_env": True}}
    bundle = bundle_at(tmp_path / "bundle", simulated=True, manifest=good)
    record = record_of(evil, platform_image(), bundle.image.digest, simulated=True)
    bundle.measurement_path.write_bytes(record.to_bytes())
    ChangingBundle.after = dump_manifest(evil)
    with pytest.raises(RefusedError, match="whose manifest has changed"):
        sign(ChangingBundle(bundle.path))
    assert bundle.signature is None


@dataclass
class ChangingSigner:
    """Somebody changes the documents of a bundle while its key signs."""

    key: FileSigner
    bundle: Bundle

    @property
    def public_key(self) -> RsaPublicKey:
        return self.key.public_key

    def sign(self, data: bytes) -> bytes:
        statement = self.bundle.reference_values_path
        statement.write_bytes(statement.read_bytes().replace(b'"notes"', b'"payroll"'))
        change_record(self.bundle, lambda document: document.update(simulated=False, isvsvn=9))
        layer = self.bundle.image.add(
            LAYER_TYPE, b"".join(layer_chunks((LayerFile(path="/x", content=b""),), 0))
        )
        former = self.bundle.image.manifest
        self.bundle.image.point_to(ImageManifest(config=former.config, layers=(layer,)), "payroll")
        return self.key.sign(data)


def test_what_was_judged_is_published_whatever_the_documents_are_by_now(tmp_path: Path) -> None:
    quiet, loud = (bundle_at(tmp_path / name, simulated=True) for name in ("quiet", "loud"))
    sign(quiet)
    sign_bundle(
        loud,
        ChangingSigner(FileSigner.open(KEY), loud),
        date=NO_DATE,
        allow_debug=False,
        simulated_platform_image=platform_image(),
    )
    assert loud.documents() == quiet.documents()


def test_the_command_says_that_a_signature_is_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    assert run(["sign", str(bundle.path), "--key", f"file:{KEY}", "--json"]) == 0
    out, err = capsys.readouterr()
    record = bundle.measurement
    assert err == "The bundle is simulated: its signature holds on no SGX machine.\n"
    assert json.loads(out) == {
        "version": 1,
        "name": "notes",
        **record.sgx(),
        "date": "0000-00-00",
        "simulated": True,
        "image_digest": record.image_digest,
        "sigfile": str(bundle.signature_path),
    }


def test_a_bundle_and_a_manifest_are_not_signed_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    assert run(["sign", str(bundle.path), "--key", f"file:{KEY}", "--sigfile", "x"]) == 2
    assert capsys.readouterr().err == (
        "error: options of sign: expected a bundle, or --manifest with its options, got both\n"
    )


def test_what_is_no_bundle_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["sign", str(tmp_path), "--key", f"file:{KEY}"]) == 2
    assert capsys.readouterr().err == (
        f"error: bundle: expected a folder that casemate build made, got another folder ({tmp_path})\n"
        "hint: make one with: casemate build DIR -o BUNDLE\n"
    )
