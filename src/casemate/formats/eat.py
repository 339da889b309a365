"""Evidence inside a certificate, as the DICE attestation architecture and interoperable RA-TLS put it there.

TCG DICE Attestation Architecture 1.1, section 6.1 (``tcg-dice-TaggedEvidence``, OID 2.23.133.5.4.9), with the
tag and claims of the Confidential Computing Consortium's "Interoperable RA-TLS": CBOR tag 60000 around
``[quote, claims]``, where the quote's report data is SHA-256 of the claims bytes.

Certificates are read as far as that goes and no further: the evidence takes the place of a signature, and
older Gramine versions make certificates that strict X.509 readers refuse (NULL parameters beside
ecdsa-with-SHA256).

Not checked here: that the claims are those the quote speaks of, or the key that of the certificate; see
:mod:`casemate.verifier.ratls`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from casemate.errors import FormatError
from casemate.formats import cbor, der

#: tcg-dice-TaggedEvidence.
EVIDENCE_OID = "2.23.133.5.4.9"
#: CBOR tag of ``[ECDSA quote, claims]`` of Intel TEEs.
TEE_QUOTE_TAG = 60000
#: Fields of a TBSCertificate (RFC 5280, section 4.1): [0] the version, and [3] the extensions.
_VERSION = 0xA0
_EXTENSIONS = 0xA3
#: Place of the SubjectPublicKeyInfo behind version, serial, algorithm, issuer, validity and subject.
_PUBLIC_KEY = 6
_CERTIFICATE = "certificate"
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
class AttestedCertificate:
    """A certificate that carries evidence.

    Attributes:
        public_key: Its public key, DER SubjectPublicKeyInfo.
        evidence: What it carries.
    """

    public_key: bytes
    evidence: TaggedEvidence

    @classmethod
    def parse(cls, certificate: bytes) -> AttestedCertificate:
        """Read a DER certificate.

        Raises:
            FormatError: Not X.509 version 3, or without exactly one well-formed evidence extension.
        """
        parts = der.children(der.parse(certificate, where=_CERTIFICATE), where=_CERTIFICATE)
        fields = der.children(parts[0], where=_CERTIFICATE) if len(parts) == 3 else ()
        if len(fields) <= _PUBLIC_KEY or fields[0].tag != _VERSION:
            raise FormatError(_CERTIFICATE, expected="X.509 version 3", got="other fields")
        return cls(
            public_key=fields[_PUBLIC_KEY].encoded,
            evidence=TaggedEvidence.parse(_evidence_extension(fields[-1])),
        )


def _evidence_extension(element: der.Element) -> bytes:
    """The value of the one evidence extension."""
    wrapped = der.children(element, tag=_EXTENSIONS, where=_CERTIFICATE) if element.tag == _EXTENSIONS else ()
    extensions = der.children(wrapped[0], where=_CERTIFICATE) if len(wrapped) == 1 else ()
    wanted = der.encode_oid(EVIDENCE_OID)
    found = []
    for extension in extensions:
        oid, *rest = der.children(extension, where=_CERTIFICATE) or (extension,)
        if oid.encoded == wanted and rest:
            found.append(der.content_of(rest[-1], der.OCTET_STRING, where=_CERTIFICATE))
    if len(found) != 1:
        raise FormatError(
            _CERTIFICATE,
            expected=f"one evidence extension ({EVIDENCE_OID})",
            got=str(len(found)) if found else "none",
            hint="The peer is no RA-TLS service, or one of a format that this version does not read.",
        )
    return found[0]


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
