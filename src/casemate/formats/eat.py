"""Evidence inside a certificate, as the DICE attestation architecture and interoperable RA-TLS put it there.

TCG DICE Attestation Architecture 1.1, section 6.1 (``tcg-dice-TaggedEvidence``, OID 2.23.133.5.4.9), with the
tag and claims of the Confidential Computing Consortium's "Interoperable RA-TLS": CBOR tag 60000 around
``[quote, claims]``, where the quote's report data is SHA-256 of the claims bytes. Intel's SGX SDK, rats-tls
and Gramine since 1.8 make such certificates; the bare quotes of Gramine before 1.8 and of Cosmian are read as
well, and the forms of others are refused by name.

Certificates are read as far as that goes and no further: the evidence takes the place of a signature, and
older Gramine versions make certificates that strict X.509 readers refuse (NULL parameters beside
ecdsa-with-SHA256).

Not checked here: that the claims are those the quote speaks of, or the key that of the certificate; see
:mod:`casemate.verifier.ratls`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from casemate.errors import FormatError
from casemate.formats import cbor, der

#: tcg-dice-TaggedEvidence.
EVIDENCE_OID = "2.23.133.5.4.9"
#: Of Gramine: the encoding of 1.2.840.113741.1337.6, header included, taken for the content of an encoding.
GRAMINE_OID = "0.6.9.42.840.113741.1337.6"
#: Of Cosmian's RA-TLS.
COSMIAN_OID = "1.2.840.113741.1337.6"
#: CBOR tag of ``[ECDSA quote, claims]`` of Intel TEEs.
TEE_QUOTE_TAG = 60000
#: Fields of a TBSCertificate (RFC 5280, section 4.1): [0] the version, and [3] the extensions.
_VERSION = 0xA0
_EXTENSIONS = 0xA3
#: Place of the SubjectPublicKeyInfo behind version, serial, algorithm, issuer, validity and subject.
_PUBLIC_KEY = 6
_CERTIFICATE = "certificate"
#: Bytes of a report's free field.
_REPORT_DATA_SIZE = 64
#: IANA "Named Information Hash Algorithm Registry".
HASH_ALGORITHMS = {1: "sha256", 7: "sha384", 8: "sha512"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TaggedEvidence:
    """What the certificate extension carries.

    Attributes:
        quote: The quote, opaque.
        claims: The claims exactly as they were signed for; the quote's report data is their SHA-256.
        key_hash_algorithm: ``hashlib`` name of the algorithm of ``key_hash``.
        key_hash: Hash of the DER SubjectPublicKeyInfo that the quote speaks for.
    """

    quote: bytes
    claims: bytes
    key_hash_algorithm: str
    key_hash: bytes

    @classmethod
    def parse(cls, extension: bytes) -> TaggedEvidence:
        """Read the value of the extension.

        Raises:
            FormatError: Not tag 60000 around two byte strings, or claims without ``pubkey-hash``. Gramine's
                own verifier accepts claims without a key hash, and with them any key.
        """
        tagged = cbor.loads(extension)
        if not isinstance(tagged, cbor.Tagged) or tagged.tag != TEE_QUOTE_TAG:
            raise FormatError(
                "evidence extension",
                expected=f"CBOR tag {TEE_QUOTE_TAG} (an SGX or TDX quote)",
                got=f"tag {tagged.tag}" if isinstance(tagged, cbor.Tagged) else "no tag",
            )
        match tagged.item:
            case (bytes() as quote, bytes() as claims):
                algorithm, key_hash = _key_hash(claims)
                return cls(quote=quote, claims=claims, key_hash_algorithm=algorithm, key_hash=key_hash)
            case _:
                raise FormatError("evidence extension", expected="two byte strings: quote and claims")


@dataclass(frozen=True, slots=True, kw_only=True)
class BareQuote:
    """A quote without claims, as Gramine before 1.8 and Cosmian put it there; its report data bind the key.

    Attributes:
        quote: The quote, opaque.
        key_hash: What its report data have to begin with, before zeros: SHA-256 of the key.
    """

    quote: bytes
    key_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestedCertificate:
    """A certificate that carries evidence.

    Attributes:
        public_key: Its public key, DER SubjectPublicKeyInfo.
        evidence: What it carries. Beside evidence with claims, a bare quote is not looked at: it could not
            make good what is wrong with the other.
        form: Whose form that is.
    """

    public_key: bytes
    evidence: TaggedEvidence | BareQuote
    form: str

    @property
    def report_data(self) -> bytes:
        """What the quote has to bind, 64 bytes: SHA-256 of the claims or of the key, then zeros."""
        match self.evidence:
            case TaggedEvidence(claims=claims):
                bound = hashlib.sha256(claims).digest()
            case BareQuote(key_hash=bound):
                pass
        return bound.ljust(_REPORT_DATA_SIZE, b"\0")

    @classmethod
    def parse(cls, certificate: bytes) -> AttestedCertificate:
        """Read a DER certificate.

        Raises:
            FormatError: Not X.509 version 3, an extension that stands there twice, or no evidence in a form
                whose binding to the key is understood.
        """
        parts = der.children(der.parse(certificate, where=_CERTIFICATE), where=_CERTIFICATE)
        fields = der.children(parts[0], where=_CERTIFICATE) if len(parts) == 3 else ()
        if len(fields) <= _PUBLIC_KEY or fields[0].tag != _VERSION:
            raise FormatError(_CERTIFICATE, expected="X.509 version 3", got="other fields")
        key = fields[_PUBLIC_KEY].encoded
        extensions = _extensions(fields[-1])
        if EVIDENCE_OID in extensions:
            evidence = TaggedEvidence.parse(extensions[EVIDENCE_OID])
            return cls(public_key=key, evidence=evidence, form="interoperable RA-TLS")
        bare = [oid for oid in _BARE_QUOTES if oid in extensions]
        if len(bare) != 1:
            raise _without_evidence(extensions, len(bare))
        form, hash_key = _BARE_QUOTES[bare[0]]
        quote = BareQuote(quote=extensions[bare[0]], key_hash=hash_key(key))
        return cls(public_key=key, evidence=quote, form=form)


def _hash_of_key(public_key: bytes) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo."""
    return hashlib.sha256(public_key).digest()


def _hash_of_point(public_key: bytes) -> bytes:
    """SHA-256 of the point itself (X9.62, uncompressed), of a curve that the key names.

    The point alone is not the key: on a curve whose parameters a certificate brings itself, with a generator
    that was chosen for it, anybody knows a private key of any point (CVE-2020-0601).

    Raises:
        FormatError: Not a point of a named curve.
    """
    parts = der.children(der.parse(public_key, where=_CERTIFICATE), where=_CERTIFICATE)
    algorithm = der.children(parts[0], where=_CERTIFICATE) if len(parts) == 2 else ()
    named = [part.tag for part in algorithm] == [der.OBJECT_IDENTIFIER] * 2
    if not named or algorithm[0].encoded != _EC_PUBLIC_KEY:
        raise FormatError(
            "public key of the certificate",
            expected="a point of a named curve (RFC 5480), which is all that this form binds",
            got="another kind of key, or a curve with parameters of its own",
        )
    content = der.content_of(parts[1], der.BIT_STRING, where=_CERTIFICATE)
    if not content.startswith(_UNCOMPRESSED):
        raise FormatError(
            "public key of the certificate",
            expected="a point, uncompressed",
            got=content[:2].hex() or "nothing",
        )
    return hashlib.sha256(content[1:]).digest()


#: id-ecPublicKey (RFC 5480, section 2.1.1).
_EC_PUBLIC_KEY: Final = der.encode_oid("1.2.840.10045.2.1")
#: No unused bits, and a point with both of its coordinates.
_UNCOMPRESSED: Final = b"\x00\x04"


#: Extensions that hold a bare quote: whose they are, and what of the key they bind.
_BARE_QUOTES: Final = {
    GRAMINE_OID: ("Gramine before 1.8", _hash_of_key),
    COSMIAN_OID: ("Cosmian", _hash_of_point),
}
#: Extensions of makers whose binding to the key is not read here.
_NOT_READ: Final = {
    "1.2.840.113741.1.13.1": "Intel's SGX SDK in its older form",
    "1.2.840.113556.10.1.1": "Open Enclave (report)",
    "1.2.840.113556.10.1.2": "Open Enclave (evidence)",
    "1.3.6.1.4.1.311.105.1": "Open Enclave (evidence)",
}


def _without_evidence(extensions: Mapping[str, bytes], number: int) -> FormatError:
    foreign = [f"{oid}, {maker}" for oid, maker in _NOT_READ.items() if oid in extensions]
    return FormatError(
        _CERTIFICATE,
        expected=f"one evidence extension ({EVIDENCE_OID})",
        got=str(number) if number else f"one that is not read ({foreign[0]})" if foreign else "none",
        hint="The peer is no RA-TLS service, or one of a format that this version does not read.",
    )


def _extensions(element: der.Element) -> dict[str, bytes]:
    """The values of the extensions that are known here, by their object identifier."""
    wrapped = der.children(element, tag=_EXTENSIONS, where=_CERTIFICATE) if element.tag == _EXTENSIONS else ()
    found: dict[bytes, bytes] = {}
    for extension in der.children(wrapped[0], where=_CERTIFICATE) if len(wrapped) == 1 else ():
        oid, *rest = der.children(extension, where=_CERTIFICATE) or (extension,)
        if oid.encoded in found:
            # RFC 5280, section 4.2: whoever reads the other one would believe something else.
            raise FormatError(
                "extensions of the certificate",
                expected="each at most once",
                got=f"{_KNOWN.get(oid.encoded, oid.encoded.hex())} twice",
            )
        value = rest[-1] if rest else extension
        known = oid.encoded in _KNOWN
        found[oid.encoded] = der.content_of(value, der.OCTET_STRING, where=_CERTIFICATE) if known else b""
    return {_KNOWN[oid]: value for oid, value in found.items() if oid in _KNOWN}


_KNOWN: Final = {der.encode_oid(oid): oid for oid in (EVIDENCE_OID, *_BARE_QUOTES, *_NOT_READ)}


def _key_hash(claims: bytes) -> tuple[str, bytes]:
    """The algorithm and the value of the claim ``pubkey-hash``; other claims are not looked at."""
    decoded = cbor.loads(claims)
    wrapped = decoded.get("pubkey-hash") if isinstance(decoded, dict) else None
    if not isinstance(wrapped, bytes):
        raise FormatError("evidence claims", expected='the claim "pubkey-hash"', got="none")
    match cbor.loads(wrapped):
        case (int() as number, bytes() as value) if number in HASH_ALGORITHMS:
            algorithm = HASH_ALGORITHMS[number]
            size = hashlib.new(algorithm).digest_size
            if len(value) != size:
                raise FormatError(
                    "public key hash", expected=f"{size} bytes of {algorithm}", got=f"{len(value)} bytes"
                )
            return algorithm, value
        case _:
            raise FormatError(
                "public key hash",
                expected="[algorithm, hash] with algorithm " + ", ".join(map(str, HASH_ALGORITHMS)),
            )
