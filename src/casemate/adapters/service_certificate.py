"""A TLS identity for a development broker: a certificate authority that signs one certificate and is gone."""

from __future__ import annotations

import ipaddress
import os
import shutil
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from casemate.errors import ServiceError

#: How long the certificates are good. The authority's key is not kept, so none of them can be renewed alone.
VALIDITY = timedelta(days=365)
#: For clocks that are a little behind.
_BACKDATED = timedelta(minutes=5)


def make_service_certificates(folder: Path, names: Sequence[str], now: datetime) -> None:
    """Make ``ca.pem``, ``cert.pem`` and ``key.pem`` in ``folder``, which is absent or empty.

    Args:
        folder: Where they go; all three appear at once.
        names: DNS names and IP addresses of the service, at least one.
        now: Start of the validity.

    Raises:
        ServiceError: The folder holds something already, or cannot be written.
    """
    key, certificate, authority = _issue(names, now)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write(draft / "key.pem", key, mode=0o600)
            _write(draft / "cert.pem", certificate, mode=0o644)
            _write(draft / "ca.pem", authority, mode=0o644)
            draft.chmod(0o755)
            draft.replace(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise ServiceError(
            "TLS folder",
            expected="an empty or absent folder that can be written",
            got=error.strerror or str(error),
            where=str(folder),
            hint="name another folder with --tls",
        ) from error


def _write(path: Path, content: bytes, *, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _issue(names: Sequence[str], now: datetime) -> tuple[bytes, bytes, bytes]:
    """The PEM texts of the service's key, its certificate and its authority."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    service_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Casemate development broker CA")])
    service_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Casemate development broker")])
    authority = (
        _builder(authority_name, authority_name, authority_key.public_key(), authority_key, now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    service = (
        _builder(service_name, authority_name, service_key.public_key(), authority_key, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    key = service_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key, service.public_bytes(Encoding.PEM), authority.public_bytes(Encoding.PEM)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise ServiceError("TLS name", expected="a DNS name in ASCII or an IP address", got=name) from error
