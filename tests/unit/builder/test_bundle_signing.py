"""Signing a bundle: the signature goes into it and its image, over what can be measured again only."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.support.small_bundle import (
    KEY,
    PAL,
    VECTORS,
    Small,
    sign_small,
    sign_with,
    small_bundle,
    small_manifest,
)

from casemate.adapters.file_keys import FileSigner
from casemate.builder.bundles.bundle import Bundle
from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.builder.bundles.signing import put_signature, signable_bundle
from casemate.builder.enclave.measurement import measure
from casemate.builder.packing.image import unpack_image
from casemate.builder.packing.layers import LayerFile, layer_chunks
from casemate.builder.signing.policy import SigningPolicy
from casemate.builder.signing.sigstruct import make_sigstruct
from casemate.cli.main import run
from casemate.errors import RefusedError, ToolchainError
from casemate.formats.gramine_versions import VERSIONS
from casemate.formats.manifest import dump_manifest
from casemate.formats.oci import CONFIG_TYPE, LAYER_TYPE, Descriptor, ImageConfig, ImageManifest
from casemate.formats.reference_values import read_statement
from casemate.formats.sgx.sigstruct import NO_DATE, SigStruct
from casemate.keys import RsaPublicKey
from casemate.simulator.platform_image import platform_image

Manifest = dict[str, Any]


def manifest_of(text: str = "", *, simulated: bool) -> Manifest:
    return small_manifest(Small(settings=text, simulated=simulated))


def bundle_at(
    path: Path,
    *,
    simulated: bool,
    settings: str = "",
    manifest: Manifest | None = None,
    pal: bytes | None = PAL,
) -> Bundle:
    """A bundle of a small application, whose documents agree with ``manifest``."""
    return small_bundle(path, Small(simulated=simulated, settings=settings, manifest=manifest, pal=pal))


def sign(bundle: Bundle, *, allow_debug: bool = False) -> MeasurementRecord:
    return sign_with(bundle, FileSigner.open(KEY), SigningPolicy(allow_insecure=allow_debug))


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
    ("change", "message", "others"),
    [
        pytest.param(
            {"manifest_sha256": "00" * 32},
            "manifest: expected {zeros}, got {manifest} ({image})",
            "digest of the manifest (measurement.json)",
            id="manifest",
        ),
        pytest.param(
            {"mrenclave": "00" * 32},
            "labels: expected io.casemate.mrenclave={zeros}, io.casemate.simulated=false, "
            "io.casemate.sources={sources}, org.opencontainers.image.created=1970-01-01T00:00:00Z, "
            "org.opencontainers.image.title=notes, got io.casemate.mrenclave={mrenclave}, "
            "io.casemate.simulated=false, "
            "io.casemate.sources={sources}, org.opencontainers.image.created=1970-01-01T00:00:00Z, "
            "org.opencontainers.image.title=notes ({image})",
            "MRENCLAVE (measurement.json), mrenclave (reference-values.json)",
            id="MRENCLAVE",
        ),
        pytest.param(
            {"isvprodid": 9},
            "ISVPRODID: expected 1, got 9 ({measurement})",
            "isvprodid (reference-values.json)",
            id="ISVPRODID",
        ),
        pytest.param(
            {"isvsvn": 9},
            "ISVSVN: expected 1, got 9 ({measurement})",
            "isvsvn (reference-values.json)",
            id="ISVSVN",
        ),
        pytest.param(
            {"misc_select": "01000000"},
            "attributes: expected {attributes} 00000000, got {attributes} 01000000 ({measurement})",
            "misc_select (reference-values.json)",
            id="MISCSELECT",
        ),
        pytest.param(
            {"image_digest": "sha256:" + "00" * 32},
            "digest: expected sha256:{zeros}, got {digest} ({image})",
            "image",
            id="image",
        ),
        pytest.param(
            {"gramine": {"version": "1.9", "platform_image_sha256": "00" * 32}},
            "platform image: expected {platform}, got {zeros} ({measurement})",
            "Gramine (reference-values.json)",
            id="platform image",
        ),
    ],
)
def test_a_bundle_whose_documents_do_not_agree_with_it_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str, others: str
) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=False)
    record = bundle.measurement
    known = {
        "zeros": "00" * 32,
        "manifest": record.manifest_sha256,
        "mrenclave": record.mrenclave.hex(),
        "digest": record.image_digest,
        "platform": record.platform_image_sha256,
        "attributes": f"{record.attributes.to_bytes().hex()} {record.attributes_mask.to_bytes().hex()}",
        "image": bundle.image.path,
        "measurement": bundle.measurement_path,
        "sources": dict(bundle.image.documents().config.labels)["io.casemate.sources"],
    }
    change_record(bundle, lambda document: document.update(change))

    refused = refusal_of(bundle)

    assert str(refused) == "bundle to sign: " + message.format(**known)
    hint = f"build the bundle again; casemate verify bundle {bundle.path} shows every difference"
    assert refused.hint == (hint if others == "image" else f"{hint}. Also refused: {others}")


def test_a_changed_manifest_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    bundle.manifest_path.write_bytes(bundle.manifest + b"# more\n")
    refused = refusal_of(bundle)
    assert refused.subject == "bundle to sign: digest of the manifest"
    assert refused.where == str(bundle.measurement_path)


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
        (lambda files: files.pop(), "{last} (missing)"),
        (lambda files: files[0].update(sha256="00" * 32), "{first} ({digest} became {zeros})"),
        (
            lambda files: files.append({**files[0], "path": "/app/more.pyc"}),
            "/enclave/app/more.pyc (one more)",
        ),
    ],
    ids=["one less", "another digest", "one more"],
)
def test_a_list_of_files_that_is_not_what_the_manifest_trusts_is_refused(
    tmp_path: Path, change: Callable[[Any], None], got: str
) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    first, *_, last = bundle.tcb.files
    change_document(bundle.tcb_path, lambda document: change(document["files"]))
    refused = refusal_of(bundle)
    known = {
        "first": f"/enclave{first.path}",
        "last": f"/enclave{last.path}",
        "digest": first.sha256,
        "zeros": "00" * 32,
    }
    assert str(refused) == (
        "bundle to sign: trusted files that it does not list rightly: expected none, "
        f"got {got.format(**known)} ({bundle.tcb_path})"
    )


def test_a_trusted_file_that_the_list_keeps_quiet_about_is_refused(tmp_path: Path) -> None:
    manifest = manifest_of(simulated=True)
    manifest["sgx"]["trusted_files"].append(EVIL | {"uri": "file:/backdoor.so"})
    bundle = bundle_at(tmp_path / "bundle", simulated=True, manifest=manifest)
    assert refusal_of(bundle).got == "/backdoor.so (missing)"


@pytest.mark.parametrize(
    ("change", "place"),
    [
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
        (lambda it: it["sys"].update(disallow_subprocesses=0), "sys.disallow_subprocesses"),
        (lambda it: it["sys"].update(enable_sigterm_injection=False), "sys.enable_sigterm_injection"),
        (lambda it: it["sys"].update(brk={"max_size": "0K"}), "sys.brk"),
        (lambda it: it["sys"].update(fds={"limit": True}), "sys.fds.limit"),
        (lambda it: it["sgx"].update(preheat_enclave=False), "sgx.preheat_enclave"),
        (lambda it: it["sgx"].update(edmm_enable=True), "sgx.use_exinfo"),
        (lambda it: it["sgx"].update(cpu_features={"pkru": "required"}), "sgx.cpu_features"),
        (lambda it: it["sgx"].update(seal_key={"flags_mask": "00" * 8}), "sgx.seal_key"),
        (lambda it: it["sgx"].update(remote_attestation="none"), "sgx.remote_attestation"),
        (lambda it: it.update({"\x85": 1}), "\N{REPLACEMENT CHARACTER}"),
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
        f"bundle to sign: settings that no build writes: expected none, got {place} ({bundle.manifest_path})"
    )
    assert refused.hint == (
        f"build the bundle again; casemate verify bundle {bundle.path} shows every difference; "
        "a manifest of another make is signed with --manifest and --pal"
    )


@pytest.mark.parametrize("name", ["LD_PRELOAD", "LEVEL"])
def test_a_variable_that_passes_without_a_rule_is_refused(tmp_path: Path, name: str) -> None:
    manifest = manifest_of(simulated=True)
    manifest["loader"]["env"][name] = {"passthrough": True}
    refused = refusal_of(bundle_at(tmp_path / "bundle", simulated=True, manifest=manifest))
    assert name in f"{refused.got}"
    assert "variables of the host's without a rule" in f"{refused} {refused.hint}"


EVERYTHING = """
threads = 32
stack = "4M"
brk = "1M"
files = 900
edmm = true
subprocesses = true
cpu = { avx = "required", avx512 = "required", amx = "disabled" }
debug = true
isvprodid = 7
isvsvn = 9
[env]
HOME = "/var"
TZ = "UTC"
TEXT = "a\\nb"
LEVEL = { pass = true, one_of = ["info", "debug"], default = "info" }
OMP_NUM_THREADS = { pass = true, pattern = "[1-8]", max_length = 1 }
[mounts]
"/var/cache" = "tmpfs"
"/var/notes" = { encrypted = "disk", host = "/srv/notes" }
"/var/other" = { encrypted = "_sgx_mrsigner", host = "/srv/other" }
"/var/safe" = { encrypted = "disk", host = "/srv/safe", recovery = true }
[secrets]
"/run/secrets/a" = "kbs:///default/notes/a"
"/dev/attestation/keys/disk" = "kbs:///default/notes/d"
[broker]
url = "https://broker"
ca = "ca.pem"
"""


@pytest.mark.parametrize("simulated", [True, False])
def test_whatever_casemate_toml_can_say_is_signed(tmp_path: Path, *, simulated: bool) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=simulated, settings=EVERYTHING)
    assert sign(bundle, allow_debug=True).isvsvn == 9


@pytest.mark.parametrize("version", VERSIONS)
def test_bundles_for_every_version_of_gramine_are_signed(tmp_path: Path, version: str) -> None:
    bundle = small_bundle(
        tmp_path / "bundle", Small(version=version, settings="exinfo = true\npreheat = true\n")
    )
    assert sign(bundle).gramine_version == version


def test_a_bundle_in_the_form_of_another_version_is_refused(tmp_path: Path) -> None:
    new, old = (small_manifest(Small(version=version)) for version in ("1.8", "1.7"))
    bundle = small_bundle(tmp_path / "bundle", Small(version="1.7", manifest=old | {"sys": new["sys"]}))
    assert refusal_of(bundle).got == "sys.fds"


def test_reference_values_for_another_workload_are_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    change_document(
        bundle.reference_values_path, lambda document: document["subject"][0].update(name="payroll")
    )
    assert str(refusal_of(bundle)) == (
        f"bundle to sign: name: expected notes, got payroll ({bundle.reference_values_path})"
    )


def test_an_image_of_another_name_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    bundle.image.point_to(bundle.image.manifest, "payroll")
    assert str(refusal_of(bundle)) == (
        f"bundle to sign: name: expected notes, got payroll ({bundle.image.path})"
    )


def put_image(bundle: Bundle, config: ImageConfig, layers: tuple[Descriptor, ...]) -> None:
    former = bundle.image.documents()
    pointer = bundle.image.add(CONFIG_TYPE, config.to_bytes())
    digest = bundle.image.point_to(ImageManifest(config=pointer, layers=layers), "notes")
    kept = {pointer.digest, digest, *(layer.digest for layer in layers)}
    for one in (former.index.manifest, former.manifest.config, *former.manifest.layers):
        if one.digest not in kept:
            bundle.image.blob(one).unlink()
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
        assert refused.subject == "bundle to sign: labels"
        assert f"{name}={value}" in (refused.got or "")
        assert refused.where == str(bundle.image.path)


def layer_with(bundle: Bundle, path: str, content: bytes) -> None:
    """Put a layer with one file on top of the image."""
    image = bundle.image.documents()
    file = LayerFile(path=path, content=content)
    layer = bundle.image.add(LAYER_TYPE, b"".join(layer_chunks((file,), 0)))
    layers = (*image.manifest.layers, layer)
    put_image(bundle, replace(image.config, layers=tuple(one.digest for one in layers)), layers)


@pytest.mark.parametrize(
    ("path", "other"),
    [
        ("/casemate/app.manifest.sgx", "manifest (image)"),
        ("/gramine/libpal.so", "platform image (measurement.json)"),
    ],
)
def test_a_file_of_the_image_that_another_layer_covers_is_refused(
    tmp_path: Path, path: str, other: str
) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=False)
    layer_with(bundle, path, PAL + b"more")
    refused = refusal_of(bundle)
    assert refused.subject == "bundle to sign: files that are there twice"
    assert refused.got == path
    assert other in (refused.hint or "")


def test_a_configuration_for_other_layers_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    image = bundle.image.documents()
    put_image(bundle, replace(image.config, layers=image.config.layers[:-1]), image.manifest.layers)
    assert refusal_of(bundle).subject == "bundle to sign: layers of the configuration"


def test_an_image_without_the_manifest_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    image = bundle.image.documents()
    put_image(bundle, replace(image.config, layers=()), ())
    assert str(refusal_of(bundle)) == (
        f"bundle to sign: manifest: expected {bundle.measurement.manifest_sha256}, got none "
        f"({bundle.image.path})"
    )


def test_a_trusted_file_that_is_another_in_the_image_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    layer_with(bundle, "/enclave/app/more.pyc", b"more")
    refused = refusal_of(bundle)
    assert refused.subject == "bundle to sign: trusted files that differ in the image"
    assert refused.got == "/enclave/app/more.pyc (one more)"


def test_a_stray_file_in_the_folder_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    (bundle.path / "notes.txt").touch()
    assert str(refusal_of(bundle)) == (
        f"bundle to sign: files that no step writes: expected none, got notes.txt ({bundle.path})"
    )


def test_a_bundle_of_which_a_part_cannot_be_read_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    bundle.deployment_path.unlink()
    where = bundle.deployment_path
    assert str(refusal_of(bundle)) == (
        "bundle to sign: readable: expected what casemate writes, got deployment.json of the bundle: "
        f"expected a file, got No such file or directory ({where}) ({where})"
    )


def test_a_stray_signature_of_a_higher_version_is_a_step_back(tmp_path: Path) -> None:
    later = sign_small(bundle_at(tmp_path / "later", simulated=True, settings="isvprodid = 1\nisvsvn = 5\n"))
    bundle = bundle_at(tmp_path / "bundle", simulated=True, settings="isvprodid = 1\nisvsvn = 4\n")
    bundle.signature_path.write_bytes(later.signature_path.read_bytes())
    assert str(refusal_of(bundle)) == (
        f"ISVSVN: expected at least 5, which was signed last, got 4 ({bundle.manifest_path})"
    )


@pytest.mark.parametrize("spoil", ["no room for blobs", "a folder in the way"])
def test_a_bundle_that_cannot_be_written_stays_as_it_was(tmp_path: Path, spoil: str) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    signable = signable_bundle(bundle, policy=SigningPolicy(), simulated_platform_image=platform_image())
    signer = FileSigner.open(KEY)
    sigstruct = make_sigstruct(signable.subject.enclave, date=NO_DATE, signer=signer)
    if spoil == "a folder in the way":
        bundle.provenance_path.mkdir()
    else:
        blobs = bundle.image.path / "blobs/sha256"
        blobs.rename(blobs.with_name("elsewhere"))
    before = files_of(bundle.path)

    with pytest.raises(ToolchainError, match="file cannot be written"):
        put_signature(signable, sigstruct, statement_signer=signer)

    assert files_of(bundle.path) == before


def test_the_name_is_printed_before_everything_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    assert run(["sign", str(bundle.path), "--key", f"file:{KEY}"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "name       notes"


def test_a_bundle_that_calls_itself_simulated_or_real_and_is_not_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=False)
    change_record(bundle, lambda document: document.update(simulated=True))
    refused = refusal_of(bundle)
    assert refused.subject == "bundle to sign: labels"
    assert "platform image (measurement.json)" in (refused.hint or "")


def test_a_real_bundle_without_its_platform_image_is_refused(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=False, pal=None)
    assert str(refusal_of(bundle)) == (
        f"bundle to sign: platform image: expected none, got {bundle.measurement.platform_image_sha256} "
        f"({bundle.measurement_path})"
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
    assert capsys.readouterr().err.startswith(
        "error: bundle to sign: readable: expected what casemate writes, "
        "got layer of the image: expected a tar archive, got "
    )


def test_a_debug_bundle_is_refused_unless_it_is_asked_for(tmp_path: Path) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True, settings="debug = true\n")
    before = files_of(bundle.path)
    with pytest.raises(RefusedError) as refused:
        sign(bundle)
    assert str(refused.value) == (
        f"signature over insecure settings: expected none, got sgx.debug = true ({bundle.manifest_path})"
    )
    assert files_of(bundle.path) == before
    assert sign(bundle, allow_debug=True).attributes.flags == 6


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
    ChangingBundle.after = dump_manifest(evil)
    signable = signable_bundle(
        ChangingBundle(bundle.path), policy=SigningPolicy(), simulated_platform_image=platform_image()
    )
    assert bundle.manifest == dump_manifest(evil)
    assert signable.subject.enclave.mrenclave == measure(dump_manifest(good), platform_image())


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
    sign_with(loud, ChangingSigner(FileSigner.open(KEY), loud))
    assert loud.documents() == quiet.documents()


def test_a_signature_that_is_not_made_is_not_called_simulated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = bundle_at(tmp_path / "bundle", simulated=True)
    missing = tmp_path / "none.pem"
    assert run(["sign", str(bundle.path), "--key", f"file:{missing}"]) == 1
    assert capsys.readouterr().err == (
        f"error: key file cannot be read: got No such file or directory ({missing})\n"
        "hint: give the path of a PEM file: --key file:KEY.pem\n"
    )


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
        "statements_signed": True,
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


def test_a_secret_in_the_environment_is_not_signed_unless_its_rule_is_accepted(tmp_path: Path) -> None:
    settings = '[env]\nAPI_TOKEN = "k3Xn8Qw2Zr7Lp5Vd1Ty9Hb4Mc6Gf0Sj"\n'
    bundle = bundle_at(tmp_path / "bundle", simulated=True, settings=settings)

    refused = refusal_of(bundle)

    assert refused.subject == "signature over a weak manifest: loader.env.API_TOKEN"
    assert "k3Xn8Qw2" not in str(refused)
    assert (refused.hint or "").endswith(" Or accept it by its name: --accept secret-in-env.")
    sign_with(bundle, FileSigner.open(KEY), SigningPolicy(accepted=frozenset({"secret-in-env"})))
    assert bundle.signature is not None
