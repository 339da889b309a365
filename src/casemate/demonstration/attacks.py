"""Two attacks with what their author really has: the host's files, and a quote that anybody can read."""

from __future__ import annotations

import http.client
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from casemate.adapters.tls_peer import server_certificate
from casemate.builder.bundles.bundle import Bundle
from casemate.builder.contents import Rule
from casemate.builder.layout import ENCLAVE_ROOT
from casemate.builder.packing.image import unpack_image
from casemate.demonstration.stage import Stage
from casemate.errors import ToolchainError
from casemate.formats.eat import EVIDENCE_OID, TaggedEvidence
from casemate.verifier.ratls import KEY_CHECK
from casemate_attester.messages import Attestation, Challenge, ErrorInformation, Request, TeePublicKey

_TIMEOUT = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an attack.

    Attributes:
        refused: Whether it failed, for the reason for which it has to.
        reason: What the attacked side said.
    """

    refused: bool
    reason: str


def replay_against_broker(service: str, broker: str, authority: Path) -> Outcome:
    """Send the quote from the service's certificate to the broker, with a key of our own.

    Args:
        service: Address of the attested service.
        broker: Address of the broker.
        authority: The broker's certificate authority, PEM; the attacker may know it, it is in the image.
    """
    context = ssl.create_default_context(cafile=str(authority))
    parts = urlsplit(broker)
    key = TeePublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key())
    connection = http.client.HTTPSConnection(
        parts.hostname or "", parts.port, timeout=_TIMEOUT, context=context
    )
    try:
        connection.request("POST", "/kbs/v0/auth", Request().to_bytes())
        answer = connection.getresponse()
        cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
        challenge = Challenge.parse(answer.read())
        attestation = Attestation(
            nonce=challenge.nonce, tee_public_key=key, quote=TaggedEvidence.parse(_evidence(service)).quote
        )
        connection.request("POST", "/kbs/v0/attest", attestation.to_bytes(), {"Cookie": cookie})
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ToolchainError("key broker", expected="an answer", got=str(error), where=broker) from error
    finally:
        connection.close()
    if answer.status == http.HTTPStatus.OK:
        return Outcome(refused=False, reason="accepted")
    reason = ErrorInformation.parse(body).detail
    return Outcome(refused=answer.status == http.HTTPStatus.UNAUTHORIZED, reason=reason)


def replay_against_client(stage: Stage, service: str, trust: tuple[str | Path, ...]) -> Outcome:
    """Stand between client and service: show the stolen evidence in a certificate of our own."""
    with _impostor(_evidence(service)) as address:
        answer = stage.casemate("verify", "server", address, "--bundle", stage.bundle, *trust, refused=True)
    failed = [check for check in answer["attestation"]["checks"] if not check["passed"]]
    return Outcome(
        refused=any(check["name"] == KEY_CHECK for check in failed),
        reason="; ".join(
            f"{check['name']}: expected {check['expected']}, got {check['got']}" for check in failed
        )
        or "accepted",
    )


def tamper_with_a_file(stage: Stage) -> Outcome:
    """Run the bundle on a node that has changed one byte of the application's entry point."""
    bundle = Bundle.open(stage.bundle)
    victim = next(file.path for file in bundle.tcb.files if file.reason.rule is Rule.ENTRY_POINT)
    root = stage.folder / "changed-root"
    root.mkdir()
    unpack_image(bundle.image, root)
    changed = root / (ENCLAVE_ROOT + victim).lstrip("/")
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.chmod(0o644)
    changed.write_bytes(content)
    report = stage.casemate(
        "rehearse", stage.bundle, "--platform", stage.platform, "--rootfs", root, refused=True
    )
    findings = [(finding["kind"], finding["path"]) for finding in report.get("findings", ())]
    return Outcome(
        refused=("changed", victim) in findings,
        reason=", ".join(f"{kind}: {path}" for kind, path in findings) or "nothing",
    )


def _evidence(service: str) -> bytes:
    """The evidence extension of the certificate that the service shows to anyone."""
    certificate = x509.load_der_x509_certificate(server_certificate(service, timeout=_TIMEOUT))
    extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(EVIDENCE_OID))
    value = extension.value
    if not isinstance(value, x509.UnrecognizedExtension):
        raise ToolchainError("certificate of the service", expected="an evidence extension", where=service)
    return value.value


@contextmanager
def _impostor(evidence: bytes) -> Iterator[str]:
    """A TLS server of the attacker: own key, stolen evidence. Gives its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        identity = Path(folder) / "impostor.pem"
        identity.write_bytes(_certificate_around(evidence))
        context.load_cert_chain(identity)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = threading.Thread(target=_serve, args=(listener, context), daemon=True)
        served.start()
        yield f"https://localhost:{listener.getsockname()[1]}"
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    served.join(_TIMEOUT)


def _serve(listener: socket.socket, context: ssl.SSLContext) -> None:
    """Shake hands with whoever comes, until the listener is closed."""
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as channel:
                channel.recv(1)


def _certificate_around(evidence: bytes) -> bytes:
    """A private key and a self-signed certificate for it that carries ``evidence``, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "RATLS")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.UnrecognizedExtension(x509.ObjectIdentifier(EVIDENCE_OID), evidence), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)
