"""A bundle on a simulated platform: what is checked before it runs, and the command that runs it."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from casemate.adapters.file_keys import FileSigner
from casemate.adapters.platform_directory import save_platform
from casemate.builder.bundles.bundle import Bundle
from casemate.builder.bundles.measurement_record import MeasurementRecord
from casemate.builder.bundles.tcb import Tcb, TrustedContent
from casemate.builder.contents import Considered, ImageFile, Reason, Rule
from casemate.builder.enclave.measurement import measure
from casemate.builder.packing.image import ImageContents, write_image
from casemate.builder.signing.policy import SigningPolicy
from casemate.builder.signing.sigstruct import enclave_attributes, make_sigstruct, measured_subject
from casemate.errors import RehearsalError
from casemate.formats.manifest import EnclaveSettings, load_manifest, with_defaults
from casemate.formats.sgx.sigstruct import NO_DATE
from casemate.rehearsal.loading import stage_of, start_enclave
from casemate.rehearsal.sandbox import available
from casemate.simulator.platform import SimulatedPlatform
from casemate.simulator.platform_image import platform_image

sandboxed = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"cannot rehearse here: {available()}"),
]
_HINT = "build and sign the bundle again; nothing in it may be changed by hand"

Make = Callable[[str], Bundle]


@pytest.fixture
def make(image: Any, tmp_path: Path) -> Make:
    """Makes a bundle around a program."""

    def build(program: str) -> Bundle:
        image.write("/app/main.py", textwrap.dedent(program))
        image.manifest["loader"]["entrypoint"] = {"uri": "file:/gramine/libsysdb.so", "sha256": "00" * 32}
        image.manifest.update(with_defaults(image.manifest))
        manifest = image.measured()
        mrenclave = measure(manifest, platform_image())
        trusted = tuple(
            TrustedContent(
                file=ImageFile(
                    path=path.removeprefix("/enclave"),
                    content=image.rootfs / path.lstrip("/"),
                    executable="/bin/" in path or "/lib/" in path,
                    reason=Reason(rule=Rule.INCLUDED, of=None, detail="this test includes it"),
                ),
                size=(image.rootfs / path.lstrip("/")).stat().st_size,
                sha256=digest,
            )
            for path, digest in sorted(image.trusted.items())
        )
        bundle = Bundle(tmp_path / "bundle")
        layout = write_image(
            bundle.path / "image",
            ImageContents(
                name="small",
                port=8443,
                trusted=trusted,
                outside=(),
                manifest=manifest,
                mrenclave=mrenclave.hex(),
                simulated=True,
                epoch=0,
                sources={},
            ),
        )
        bundle.manifest_path.write_bytes(manifest)
        considered = Considered(files=2, size=3, left_out=("/opt/left-out",))
        bundle.tcb_path.write_bytes(Tcb.of("3.11", trusted, considered).to_bytes())
        attributes = enclave_attributes(EnclaveSettings.from_manifest(load_manifest(manifest)))
        record = MeasurementRecord(
            simulated=True,
            mrenclave=mrenclave,
            mrsigner=None,
            isvprodid=0,
            isvsvn=0,
            attributes=attributes.attributes,
            attributes_mask=attributes.attributes_mask,
            misc_select=attributes.misc_select,
            gramine_version=None,
            platform_image_sha256=hashlib.sha256(platform_image()).hexdigest(),
            manifest_sha256=hashlib.sha256(manifest).hexdigest(),
            image_digest=layout.digest,
        )
        bundle.measurement_path.write_bytes(record.to_bytes())
        return bundle

    return build


@pytest.fixture(scope="session")
def signer(tmp_path_factory: pytest.TempPathFactory) -> FileSigner:
    key = rsa.generate_private_key(public_exponent=3, key_size=3072)
    path = tmp_path_factory.mktemp("key") / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return FileSigner.open(path)


def sign(bundle: Bundle, signer: FileSigner) -> None:
    subject = measured_subject(bundle.manifest, platform_image(), policy=SigningPolicy(), where="test")
    sigstruct = make_sigstruct(subject.enclave, date=NO_DATE, signer=signer)
    bundle.signature_path.write_bytes(sigstruct.to_bytes())
    record = replace(bundle.measurement, mrsigner=sigstruct.mrsigner)
    bundle.measurement_path.write_bytes(record.to_bytes())


def test_the_enclave_is_measured_from_the_manifest(make: Make, platform: SimulatedPlatform) -> None:
    bundle = make("pass")
    enclave = start_enclave(bundle, platform, bundle.path)
    assert enclave.mrenclave == measure(bundle.manifest, platform_image())
    assert enclave.mrsigner == bytes(32)
    assert enclave.attributes.flags == 0x5  # INIT and MODE64BIT


def test_a_signed_bundle_has_its_signer(make: Make, platform: SimulatedPlatform, signer: FileSigner) -> None:
    bundle = make("pass")
    sign(bundle, signer)
    assert start_enclave(bundle, platform, bundle.path).mrsigner == bundle.measurement.mrsigner


def test_a_manifest_that_is_not_the_measured_one_is_refused(make: Make, platform: SimulatedPlatform) -> None:
    bundle = make("pass")
    measured = bundle.measurement.manifest_sha256
    bundle.manifest_path.write_bytes(bundle.manifest + b"\n")
    with pytest.raises(RehearsalError) as caught:
        start_enclave(bundle, platform, bundle.path)
    found = hashlib.sha256(bundle.manifest).hexdigest()
    assert str(caught.value) == f"manifest of the bundle: expected {measured}, got {found}"
    assert caught.value.hint == _HINT


def test_a_measurement_that_the_manifest_does_not_give_is_refused(
    make: Make, platform: SimulatedPlatform
) -> None:
    bundle = make("pass")
    changed = bundle.manifest + b"\n"
    bundle.manifest_path.write_bytes(changed)
    record = replace(bundle.measurement, manifest_sha256=hashlib.sha256(changed).hexdigest())
    bundle.measurement_path.write_bytes(record.to_bytes())
    with pytest.raises(RehearsalError) as caught:
        start_enclave(bundle, platform, bundle.path)
    found = measure(changed, platform_image()).hex()
    assert str(caught.value) == f"MRENCLAVE of the bundle: expected {record.mrenclave.hex()}, got {found}"


def test_a_signature_that_does_not_hold_is_refused(
    make: Make, platform: SimulatedPlatform, signer: FileSigner
) -> None:
    bundle = make("pass")
    sign(bundle, signer)
    changed = bytearray(bundle.signature or b"")
    changed[1024] ^= 1  # ISVPRODID
    bundle.signature_path.write_bytes(changed)
    with pytest.raises(RehearsalError) as caught:
        start_enclave(bundle, platform, bundle.path)
    assert str(caught.value) == "SIGSTRUCT of the bundle: got a wrong signature"


def test_a_signature_of_another_enclave_is_refused(
    make: Make, platform: SimulatedPlatform, signer: FileSigner, image: Any
) -> None:
    first = make("pass")
    sign(first, signer)
    signature, record = first.signature, first.measurement
    second_program = "print()"
    image.write("/app/main.py", second_program)
    manifest = image.measured()
    first.manifest_path.write_bytes(manifest)
    mrenclave = measure(manifest, platform_image())
    record = replace(record, mrenclave=mrenclave, manifest_sha256=hashlib.sha256(manifest).hexdigest())
    first.measurement_path.write_bytes(record.to_bytes())
    assert first.signature == signature
    with pytest.raises(RehearsalError) as caught:
        start_enclave(first, platform, first.path)
    assert str(caught.value).startswith(f"SIGSTRUCT of the bundle: expected {mrenclave.hex()}, got ")


def test_a_signer_that_did_not_sign_is_refused(
    make: Make, platform: SimulatedPlatform, signer: FileSigner
) -> None:
    bundle = make("pass")
    sign(bundle, signer)
    bundle.signature_path.unlink()
    with pytest.raises(RehearsalError) as caught:
        start_enclave(bundle, platform, bundle.path)
    claimed = bundle.measurement.mrsigner
    assert claimed is not None
    assert str(caught.value) == f"MRSIGNER of the bundle: expected {claimed.hex()}, got {'00' * 32}"


def test_the_stage_is_the_unpacked_image(make: Make, platform: SimulatedPlatform, tmp_path: Path) -> None:
    bundle = make("pass")
    private = tmp_path / "private"
    private.mkdir()
    stage = stage_of(bundle, platform, None)(private)
    assert stage.rootfs == private / "image"
    assert (stage.rootfs / "enclave/app/main.py").read_text() == "pass"
    assert stage.left_out == ("/opt/left-out",)
    assert stage.reasons["/app/main.py"] == "this test includes it"
    assert stage.notes == (
        "MRENCLAVE is that of a simulated platform image, not of an installed Gramine",
        (
            "the bundle is not signed: no processor would start it, and its quotes name a signer that is "
            "all zeros"
        ),
    )


def casemate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "casemate", *arguments], capture_output=True, text=True, check=False
    )


class TestCommand:
    pytestmark = sandboxed

    def test_the_application_speaks_and_the_report_follows_on_standard_error(self, make: Make) -> None:
        bundle = make("print('hello')")
        done = casemate("rehearse", bundle.path)
        assert (done.returncode, done.stdout) == (0, "hello\n")
        mrenclave = bundle.measurement.mrenclave.hex()
        assert f"0 refused, exit code 0; simulated MRENCLAVE {mrenclave}" in done.stderr
        assert "note: the bundle is not signed" in done.stderr

    def test_the_document(self, make: Make, tmp_path: Path) -> None:
        bundle = make("import sys; print('hello'); open('/opt/left-out')")
        platform = SimulatedPlatform.create(datetime.now(UTC))
        save_platform(platform, tmp_path / "platform")
        done = casemate("rehearse", bundle.path, "--platform", tmp_path / "platform", "--json")
        document = json.loads(done.stdout)
        assert done.returncode == 1
        assert "hello" in done.stderr
        assert "error: application in the rehearsal: expected exit code 0, got 1" in done.stderr
        assert document.pop("seconds") > 0
        assert document.pop("opened") > 3
        assert len(document["platform"].pop("root_sha256")) == 64
        assert document.pop("notes")
        assert document == {
            "version": 1,
            "exit_code": 1,
            "failed": True,
            "stop": None,
            "runtime": "sandbox",
            "simulated": True,
            "platform": {},
            "mrenclave": bundle.measurement.mrenclave.hex(),
            "mrsigner": "00" * 32,
            "error": None,
            "findings": [
                {
                    "path": "/opt/left-out",
                    "kind": "missing",
                    "pid": 1,
                    "process": Path(sys.executable).resolve().name[:15],
                    "asked_by": "/app/main.py:1 <module>",
                    "stack": ["/app/main.py:1 <module>"],
                    "reason": None,
                    "answer": None,
                    "remedy": (
                        "the image has files of the application and its requirements only; keep what is read "
                        "in the folder of [app] source and name it in [closure] include"
                    ),
                }
            ],
        }

    def test_what_was_refused_is_said_on_whole_lines_with_what_to_do(self, make: Make) -> None:
        name = "/app/" + "long" * 30
        bundle = make(
            f"""
            for path, mode in (({name!r}, "r"), ("/app/new", "w"), ("/app/other", "w")):
                try:
                    open(path, mode)
                except OSError:
                    pass
            """
        )
        done = casemate("rehearse", bundle.path)
        assert done.stderr.splitlines()[:5] == [
            f"refused: missing {name}, asked for by /app/main.py:4 <module>",
            "refused: read-only /app/new, asked for by /app/main.py:4 <module>",
            "refused: read-only /app/other, asked for by /app/main.py:4 <module>",
            (
                f"what to do about {name}: add it to [closure] include in casemate.toml and build again; "
                "where [app] source has no such file, the application lacks it here as it does outside"
            ),
            (
                "what to do about /app/new and 1 more: the image is read-only, the application's own folder "
                "too; let it write below /tmp, or in another folder that [mounts] of casemate.toml names: "
                '"/var/lib/NAME" = "tmpfs"'
            ),
        ]

    def test_a_changed_file_of_a_node_is_named_with_the_reason_for_which_it_is_trusted(
        self, make: Make, platform: SimulatedPlatform, tmp_path: Path
    ) -> None:
        bundle = make("print('hello')")
        node = tmp_path / "node"
        node.mkdir()
        stage = stage_of(bundle, platform, None)(node)
        (stage.rootfs / "enclave/app/main.py").write_text("print('other')")
        done = casemate("rehearse", bundle.path, "--rootfs", stage.rootfs, "--json")
        document = json.loads(done.stdout)
        assert done.returncode == 1
        assert document["exit_code"] == 2
        (finding,) = document["findings"]
        assert (finding["path"], finding["kind"]) == ("/app/main.py", "changed")
        assert finding["reason"] == "this test includes it"

    def test_time_can_be_limited(self, make: Make) -> None:
        done = casemate("rehearse", make("import time; time.sleep(600)").path, "--timeout", "0.2", "--json")
        document = json.loads(done.stdout)
        assert done.returncode == 0
        assert (document["exit_code"], document["stop"], document["failed"]) == (143, "timeout", False)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_signals_are_handed_on_as_sigterm(self, make: Make, number: signal.Signals) -> None:
        program = """
            import signal, sys, time
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            print("ready", flush=True)
            while True:
                time.sleep(0.1)
        """
        command = [sys.executable, "-m", "casemate", "rehearse", make(program).path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(number)
            _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors.decode()
        assert b"exit code 0" in errors

    def test_something_that_is_no_bundle_is_refused(self, tmp_path: Path) -> None:
        done = casemate("rehearse", tmp_path / "nothing")
        assert done.returncode == 2
        assert done.stderr.startswith(
            "error: bundle: expected a folder that casemate build made, got nothing"
        )
