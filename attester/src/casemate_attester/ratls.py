"""RA-TLS: a certificate that carries evidence for its own key.

The format is the one of the CCC Attestation SIG's "Interoperable RA-TLS" (TCG DICE extension 2.23.133.5.4.9),
which Gramine since 1.8 and Intel's SGX SDK use::

    extension = CBOR tag 60000 ([ quote, claims ])
    claims    = CBOR { "pubkey-hash": CBOR [ 1 (SHA-256), SHA-256(SubjectPublicKeyInfo) ] }
    REPORTDATA of the quote = SHA-256(claims), then zeros

The certificate is signed with its own key; that signature proves nothing. A peer has to verify the quote,
compare the report data with the claims and the claims with the key, and pay no attention to name and dates:
the time inside an enclave is what the host says it is, and anybody can take any name.
"""

import datetime as dt
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from casemate_attester.binding import REPORT_DATA_BYTES, ReportData
from casemate_attester.cbor import Tagged, encode

__all__ = ["EVIDENCE_OID", "Identity", "claims_for", "issue_identity"]

EVIDENCE_OID = x509.ObjectIdentifier("2.23.133.5.4.9")
_TEE_QUOTE_TAG = 60000
#: SHA-256 in the IANA registry "Named Information Hash Algorithm".
_SHA256 = 1
_NAME = "Casemate workload"
#: Dates that say nothing, see above. The second is RFC 5280's for "no well-defined expiration" (section
#: 4.1.2.5).
_NOT_BEFORE = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
_NOT_AFTER = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A key that exists nowhere but in this enclave, and the certificate that says so."""

    private_key: ec.EllipticCurvePrivateKey = field(repr=False)
    certificate: x509.Certificate


def claims_for(key: ec.EllipticCurvePublicKey) -> bytes:
    """The claims that bind ``key``."""
    public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encode({"pubkey-hash": encode((_SHA256, hashlib.sha256(public).digest()))})


def issue_identity(quote_for: Callable[[ReportData], bytes]) -> Identity:
    """A fresh P-256 key with its certificate.

    Args:
        quote_for: Gives a quote for report data.
    """
    private_key = ec.generate_private_key(ec.SECP256R1())
    claims = claims_for(private_key.public_key())
    digest = hashlib.sha256(claims).digest()
    quote = quote_for(ReportData(digest.ljust(REPORT_DATA_BYTES, b"\0")))
    evidence = encode(Tagged(tag=_TEE_QUOTE_TAG, item=(quote, claims)))
    return Identity(private_key=private_key, certificate=_certificate(private_key, evidence))


def _certificate(private_key: ec.EllipticCurvePrivateKey, evidence: bytes) -> x509.Certificate:
    """The self-signed certificate (RFC 5280); evidence is not critical, so any client can connect."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    public_key = private_key.public_key()
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.UnrecognizedExtension(EVIDENCE_OID, evidence), critical=False)
        .sign(private_key, hashes.SHA256())
    )
