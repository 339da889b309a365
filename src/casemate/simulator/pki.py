"""The certificate authorities of a simulated platform: Intel's names and profile, keys of its own.

Intel SGX PCK Certificate and Certificate Revocation List Profile Specification 1.5. Names, extensions and
their order are those of Intel's certificates, so that a verifier can tell them from genuine ones by the root
key alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from casemate.errors import FormatError
from casemate.formats.pem import encode_certificates, parse_certificates
from casemate.formats.sgx.pck import EXTENSION_OID

ROOT_NAME = "Intel SGX Root CA"
TCB_SIGNING_NAME = "Intel SGX TCB Signing"
PCK_NAME = "Intel SGX PCK Certificate"

_ROOT_CRL_URL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
_PCK_CRL_URL = "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca={}&encoding=der"

#: Certificates are this old when a platform is made; they are never younger than what they sign.
CERTIFICATE_AGE = timedelta(days=365)
_ROOT_LIFE = timedelta(days=30 * 365)
_CA_LIFE = timedelta(days=15 * 365)
_LEAF_LIFE = timedelta(days=7 * 365)


class PckAuthority(Enum):
    """Which of Intel's two authorities certifies a platform's PCK; the value is Intel's word in URLs."""

    PLATFORM = "platform"
    PROCESSOR = "processor"

    @property
    def common_name(self) -> str:
        """The authority's name."""
        return f"Intel SGX PCK {self.value.capitalize()} CA"

    @property
    def crl_url(self) -> str:
        """Where its CRL would be published."""
        return _PCK_CRL_URL.format(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate and its key.

    Attributes:
        certificate: DER.
        key: The private key; never printed.
    """

    certificate: bytes
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def name(self) -> x509.Name:
        """The subject."""
        return x509.load_der_x509_certificate(self.certificate).subject

    @property
    def serial(self) -> int:
        """The serial number."""
        return x509.load_der_x509_certificate(self.certificate).serial_number

    def sgx_extension(self) -> bytes:
        """The content of Intel's SGX extension.

        Raises:
            FormatError: The certificate has none.
        """
        extensions = x509.load_der_x509_certificate(self.certificate).extensions
        for extension in extensions:
            if isinstance(extension.value, x509.UnrecognizedExtension):
                return extension.value.value
        raise FormatError("PCK certificate", expected=f"the extension {EXTENSION_OID}", got="none")

    def certify(self, data: bytes) -> bytes:
        """The one signature of this identity over ``data``, r and s in 64 bytes; always the same (RFC 6979).

        A platform certifies a quoting enclave once and hands that signature out with every quote.
        """
        return raw_signature(self.key, data, deterministic=True)

    def sign(self, data: bytes) -> bytes:
        """ECDSA with SHA-256 over ``data``: r and s, 64 bytes."""
        return raw_signature(self.key, data)

    def certificate_pem(self) -> bytes:
        """The certificate, PEM."""
        return encode_certificates((self.certificate,))

    def key_pem(self) -> bytes:
        """The private key, PKCS #8 PEM, not encrypted."""
        return private_key_pem(self.key)

    @classmethod
    def from_pem(cls, certificate: bytes, key: bytes, *, where: str) -> Identity:
        """Read what :meth:`certificate_pem` and :meth:`key_pem` wrote.

        Raises:
            FormatError: Not one certificate, or not a P-256 key.
        """
        found = parse_certificates(certificate, where=where)
        if len(found) != 1:
            raise FormatError("certificate", expected="one", got=str(len(found)), where=where)
        return cls(certificate=found[0], key=load_private_key(key, where=where))


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorities:
    """Who signs for one simulated platform.

    Attributes:
        root: The root.
        pck_ca: Signs the PCK certificate and its CRL.
        tcb_signer: Signs TCB info and QE identity.
    """

    root: Identity
    pck_ca: Identity
    tcb_signer: Identity

    @classmethod
    def create(cls, now: datetime, authority: PckAuthority) -> Authorities:
        """Fresh keys and their certificates, as if made a year before ``now``."""
        root_key, ca_key, signer_key = (new_key() for _ in range(3))
        root = issue_certificate(
            key=root_key,
            issuer=None,
            profile=CertificateProfile(
                common_name=ROOT_NAME,
                not_before=now - CERTIFICATE_AGE,
                life=_ROOT_LIFE,
                crl_url=_ROOT_CRL_URL,
                path_length=1,
            ),
        )
        pck_ca = issue_certificate(
            key=ca_key,
            issuer=root,
            profile=CertificateProfile(
                common_name=authority.common_name,
                not_before=now - CERTIFICATE_AGE,
                life=_CA_LIFE,
                crl_url=_ROOT_CRL_URL,
                path_length=0,
            ),
        )
        tcb_signer = issue_certificate(
            key=signer_key,
            issuer=root,
            profile=CertificateProfile(
                common_name=TCB_SIGNING_NAME,
                not_before=now - CERTIFICATE_AGE,
                life=_LEAF_LIFE,
                crl_url=_ROOT_CRL_URL,
            ),
        )
        return cls(root=root, pck_ca=pck_ca, tcb_signer=tcb_signer)

    def issue_pck(self, now: datetime, authority: PckAuthority, sgx_extension: bytes) -> Identity:
        """A PCK and its certificate with Intel's SGX extension."""
        profile = CertificateProfile(
            common_name=PCK_NAME,
            not_before=now - CERTIFICATE_AGE,
            life=_LEAF_LIFE,
            crl_url=authority.crl_url,
            sgx_extension=sgx_extension,
        )
        return issue_certificate(key=new_key(), issuer=self.pck_ca, profile=profile)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateProfile:
    """What a certificate says.

    Attributes:
        common_name: Common name of the subject; the rest of the name is Intel's.
        not_before: From when it is valid.
        life: For how long it is valid.
        crl_url: Where its issuer's CRL would be.
        path_length: For an authority, how many may stand below it; ``None`` for others.
        sgx_extension: Content of Intel's SGX extension, for PCK certificates.
    """

    common_name: str
    not_before: datetime
    life: timedelta
    crl_url: str
    path_length: int | None = None
    sgx_extension: bytes | None = None


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def private_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key, PKCS #8 PEM, not encrypted."""
    return key.private_bytes(Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def load_private_key(data: bytes, *, where: str) -> ec.EllipticCurvePrivateKey:
    """Read what :func:`private_key_pem` wrote.

    Raises:
        FormatError: Not a P-256 key.
    """
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise FormatError("private key", expected="PKCS #8 PEM", got="something else", where=where) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise FormatError("private key", expected="a P-256 key", got="another kind of key", where=where)
    return key


def raw_signature(key: ec.EllipticCurvePrivateKey, data: bytes, *, deterministic: bool = False) -> bytes:
    """ECDSA with SHA-256 over ``data``: r and s, big-endian, 64 bytes; the same ones if ``deterministic``."""
    algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=deterministic)
    r, s = decode_dss_signature(key.sign(data, algorithm))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def public_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key, x and y, big-endian, 64 bytes."""
    point = key.public_key().public_bytes(Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return point[1:]


def issue_certificate(
    *, key: ec.EllipticCurvePrivateKey, issuer: Identity | None, profile: CertificateProfile
) -> Identity:
    """A certificate for ``key``; signed by itself when ``issuer`` is ``None``."""
    subject = _name(profile.common_name)
    signing_key = issuer.key if issuer else key
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    is_authority = profile.path_length is not None
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.name if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(profile.not_before)
        .not_valid_after(profile.not_before + profile.life)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False
        )
        .add_extension(_distribution_point(profile.crl_url), critical=False)
        .add_extension(key_id, critical=False)
        .add_extension(_key_usage(is_authority=is_authority), critical=True)
        .add_extension(
            x509.BasicConstraints(ca=is_authority, path_length=profile.path_length),
            critical=True,
        )
    )
    if profile.sgx_extension is not None:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(EXTENSION_OID), profile.sgx_extension)
        builder = builder.add_extension(extension, critical=False)
    certificate = builder.sign(signing_key, hashes.SHA256())
    return Identity(certificate=certificate.public_bytes(Encoding.DER), key=key)


def issue_crl(
    issuer: Identity, *, this_update: datetime, next_update: datetime, revoked: tuple[int, ...] = ()
) -> bytes:
    """A CRL of ``issuer``, DER, with the serial numbers ``revoked``."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.name)
        .last_update(this_update)
        .next_update(next_update)
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False
        )
    )
    for serial in revoked:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(serial)
            .revocation_date(this_update)
            .add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
        )
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Intel Corporation"),
            x509.NameAttribute(NameOID.LOCALITY_NAME, "Santa Clara"),
            x509.NameAttribute(NameOID.STATE_OR_PROVINCE_NAME, "CA"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        ]
    )


def _distribution_point(url: str) -> x509.CRLDistributionPoints:
    point = x509.DistributionPoint(
        full_name=[x509.UniformResourceIdentifier(url)], relative_name=None, reasons=None, crl_issuer=None
    )
    return x509.CRLDistributionPoints([point])


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=not is_authority,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
