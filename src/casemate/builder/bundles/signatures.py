"""Whether a bundle is signed as it should be: the SIGSTRUCT, the statements, and that they belong together.

The SIGSTRUCT signs MRENCLAVE, and with it the manifest and every trusted file. What the image says besides,
which sources it was made from and that it is simulated is signed only by the envelopes around reference
values and provenance, so a statement without one is refused unless whoever verifies says otherwise.

Not checked here: what the reference values say. The provenance follows from the rest, and is what binds
``tcb.json`` with its reasons, the bill of materials and ``deployment.json``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from casemate.builder.bundles.parts import IMAGE_SIGNATURE, NONE, BundleCheck, BundleParts
from casemate.builder.signing.sigstruct import EnclaveAttributes, enclave_attributes
from casemate.errors import CasemateError, KeyUnfitError, RefusedError
from casemate.formats.dsse import IN_TOTO_TYPE, Envelope, is_envelope, key_id
from casemate.formats.sgx.sigstruct import EXPONENT, SigStruct
from casemate.formats.slsa import documents_of, provenance
from casemate.keys import RsaPublicKey, require_signature

_NOT_YET: Final = "none, as the bundle has none"
_OF_THE_KEY: Final = "one of the key"
#: What is found where a statement should have an envelope.
UNSIGNED: Final = "none: nobody has signed this statement"
#: How what is found begins where somebody else has signed a statement.
OF_ANOTHER: Final = "one of another key"


def enclave_signature(parts: BundleParts, key: RsaPublicKey | None) -> Iterator[BundleCheck]:
    """The SIGSTRUCT signs this enclave, with the key that the documents name.

    Args:
        parts: The bundle.
        key: Whose signature it must have; ``None`` accepts any signer, and none.
    """
    sigstruct, record, part = parts.sigstruct, parts.record, "app.sig"
    held = NONE if parts.signature is None else hashlib.sha256(parts.signature).hexdigest()
    yield BundleCheck.same("image", "signature", held, parts.holdings.digest_of(IMAGE_SIGNATURE) or NONE)
    recorded = NONE if record.mrsigner is None else record.mrsigner.hex()
    signer = NONE if sigstruct is None else sigstruct.mrsigner.hex()
    yield BundleCheck.same("measurement.json", "MRSIGNER", signer, recorded)
    if key is not None:
        wanted, got = _key_text(key), NONE
        if sigstruct is not None:
            got = _key_text(RsaPublicKey(modulus=sigstruct.modulus, exponent=EXPONENT))
        yield BundleCheck.same(part, "key", wanted, got)
    if sigstruct is None:
        return
    enclave = sigstruct.enclave
    signed = EnclaveAttributes(
        attributes=enclave.attributes,
        attributes_mask=enclave.attributes_mask,
        misc_select=enclave.misc_select,
    )
    yield BundleCheck.same(part, "MRENCLAVE", record.mrenclave.hex(), enclave.mrenclave.hex())
    yield BundleCheck.same(part, "ISVPRODID", parts.enclave.isvprodid, enclave.isvprodid)
    yield BundleCheck.same(part, "ISVSVN", parts.enclave.isvsvn, enclave.isvsvn)
    wanted = attributes_text(enclave_attributes(parts.enclave))
    yield BundleCheck.same(part, "attributes", wanted, attributes_text(signed))
    yield BundleCheck.same(part, "mask of MISCSELECT", "ffffffff", enclave.misc_mask.hex())
    yield BundleCheck.same(part, "signature", "one that its key confirms", _signature_state(sigstruct))
    yield BundleCheck.same(
        part, "quotients of the signature", "those of the signature", _quotients_state(sigstruct)
    )


def _key_text(key: RsaPublicKey) -> str:
    modulus = key.modulus.to_bytes((key.modulus.bit_length() + 7) // 8, "little")
    return f"exponent {key.exponent}, SHA-256 of the modulus {hashlib.sha256(modulus).hexdigest()}"


def _signature_state(sigstruct: SigStruct) -> str:
    key = RsaPublicKey(modulus=sigstruct.modulus, exponent=EXPONENT)
    size = (key.modulus.bit_length() + 7) // 8
    try:
        require_signature(sigstruct.signed_bytes, sigstruct.signature.to_bytes(size, "big"), key)
    except (KeyUnfitError, OverflowError):
        return "another"
    return "one that its key confirms"


def _quotients_state(sigstruct: SigStruct) -> str:
    modulus = sigstruct.modulus
    square = sigstruct.signature * sigstruct.signature
    right = modulus > 0 and (sigstruct.q1, sigstruct.q2) == (
        square // modulus,
        square % modulus * sigstruct.signature // modulus,
    )
    return "those of the signature" if right else "others"


def statement_signatures(
    parts: BundleParts, provenance_key: RsaPublicKey | None, *, accept_unsigned: bool
) -> Iterator[BundleCheck]:
    """Reference values and provenance are signed with the enclave, and not before.

    Args:
        parts: The bundle.
        provenance_key: Who must have signed them; ``None`` takes the key of the enclave's signature.
        accept_unsigned: Whether bare statements are accepted, as an attached signature leaves them.
    """
    documents = {"reference-values.json": parts.reference_values, "provenance.json": parts.provenance}
    key = provenance_key
    if key is None and parts.sigstruct is not None:
        key = RsaPublicKey(modulus=parts.sigstruct.modulus, exponent=EXPONENT)
    for part, data in documents.items():
        if key is None:
            bare = data is None or not is_envelope(data)
            yield BundleCheck.same(part, "signature", _NOT_YET, _NOT_YET if bare else "one")
            continue
        payload, found = _signed_payload(data, key, part)
        accepted = payload is not None and (found == _OF_THE_KEY or accept_unsigned)
        yield BundleCheck.of(part, "signature", passed=accepted, expected=_OF_THE_KEY, got=found)
        if part == "provenance.json" and payload is not None:
            yield from _provenance(parts, payload)


def _provenance(parts: BundleParts, payload: bytes) -> Iterator[BundleCheck]:
    """The provenance follows from the bundle, and names the documents that are in it."""
    part = "provenance.json"
    try:
        named = documents_of(payload, part)
    except CasemateError as error:
        yield BundleCheck.of(part, "form", passed=False, expected="a SLSA provenance", got=str(error))
        return
    for name, digest in parts.documents.items():
        yield BundleCheck.same(name, "digest in the provenance", named.get(name, NONE), digest)
    kept = {name: named[name] for name in parts.documents if name in named}
    derived = provenance(parts.statement, parts.record.manifest_sha256, kept)
    expected, got = (hashlib.sha256(data).hexdigest() for data in (derived, payload))
    yield BundleCheck.same(part, "what follows from the bundle", expected, got)


def statements_are_signed(parts: BundleParts) -> bool | None:
    """Whether both statements are in envelopes, whoever has signed them; ``None`` before signing."""
    if parts.sigstruct is None:
        return None
    return all(data is not None and is_envelope(data) for data in (parts.reference_values, parts.provenance))


def _signed_payload(data: bytes | None, key: RsaPublicKey, part: str) -> tuple[bytes | None, str]:
    """The payload of a document, where it has one that can be looked at, and whose signature it has."""
    if data is None:
        return None, "no such file"
    if not is_envelope(data):
        return data, UNSIGNED
    try:
        return Envelope.parse(data, part).verified(IN_TOTO_TYPE, (key,), part), _OF_THE_KEY
    except RefusedError as error:
        return None, f"{OF_ANOTHER}: {error.got}, not of {key_id(key)}"
    except CasemateError as error:
        return None, str(error)


def attributes_text(attributes: EnclaveAttributes) -> str:
    """Attributes, their mask and MISCSELECT, each in hexadecimal as it lies in memory."""
    return " ".join(
        (
            attributes.attributes.to_bytes().hex(),
            attributes.attributes_mask.to_bytes().hex(),
            attributes.misc_select.hex(),
        )
    )
