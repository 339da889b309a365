"""Reference values: the statement in a bundle, read strictly."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from casemate.adapters.file_keys import FileSigner
from casemate.errors import FormatError, RefusedError
from casemate.formats.dsse import IN_TOTO_TYPE, Envelope
from casemate.formats.reference_values import MAX_STATEMENT_SIZE
from casemate.verifier.reference_values import ReferenceValues

SIGNER = FileSigner.open(Path(__file__).parents[2] / "vectors/measurement/signing-key.pem")
WHERE = "bundle/reference-values.json"


def statement(**sgx: Any) -> dict[str, Any]:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "notes", "digest": {"sha256": "11" * 32}}],
        "predicateType": "urn:casemate:reference-values:v1",
        "predicate": {
            "simulated": True,
            "sgx": {
                "mrenclave": "22" * 32,
                "mrsigner": "33" * 32,
                "isvprodid": 1,
                "isvsvn": 2,
                "attributes": "0400000000000000e700000000000000",
                "attributes_mask": "ffffffffffffffff1bfffffffffffff0",
                "misc_select": "01000000",
            }
            | sgx,
            "gramine": {"version": None},
            "sources": {"lock": "44" * 32},
        },
    }


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


def refusal(data: bytes) -> FormatError:
    with pytest.raises(FormatError) as caught:
        ReferenceValues.parse(data, WHERE)
    return caught.value


def test_a_statement_is_read() -> None:
    values = ReferenceValues.parse(encode(statement()), WHERE)
    assert (values.workload, values.image_digest, values.simulated) == ("notes", "11" * 32, True)
    assert (values.mrenclave, values.mrsigner) == (b"\x22" * 32, b"\x33" * 32)
    assert (values.isvprodid, values.minimum_isvsvn, values.misc_select) == (1, 2, b"\1\0\0\0")
    assert (values.attributes.flags, values.attributes.xfrm) == (5, 0xE7)
    assert values.attributes_mask.to_bytes().hex() == "ffffffffffffffff1bfffffffffffff0"


def test_a_running_enclave_is_expected_to_be_initialised() -> None:
    initialised = statement(attributes="0500000000000000e700000000000000")
    assert ReferenceValues.parse(encode(statement()), WHERE).attributes.flags == 5
    assert ReferenceValues.parse(encode(initialised), WHERE).attributes.flags == 5


def test_values_of_an_unsigned_bundle_are_refused() -> None:
    error = refusal(encode(statement(mrsigner=None)))
    assert str(error) == f"reference values: expected those of a signed bundle, got no mrsigner ({WHERE})"
    assert error.hint == "sign the bundle first: casemate sign BUNDLE --key URI"


def test_values_of_a_debug_enclave_are_refused() -> None:
    error = refusal(encode(statement(attributes="0600000000000000e700000000000000")))
    assert str(error) == f"reference values: expected a production enclave, got a debug enclave ({WHERE})"
    assert error.hint == "build without debug = true: whoever runs a debug enclave reads its memory"


def test_a_statement_beyond_the_limit_is_refused() -> None:
    text = encode(statement())
    assert ReferenceValues.parse(text.ljust(MAX_STATEMENT_SIZE), WHERE).workload == "notes"
    error = refusal(text.ljust(MAX_STATEMENT_SIZE + 1))
    assert str(error) == f"reference values: expected at most 65536 bytes, got 65537 ({WHERE})"


def without(path: str) -> dict[str, Any]:
    document: Any = statement()
    *folders, name = path.split(".")
    inner = document
    for folder in folders:
        inner = inner[int(folder) if folder.isdigit() else folder]
    del inner[name]
    return dict(document)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "Expected `object`, got `array`"),
        (without("_type"), "Object missing required field `_type`"),
        (without("predicate.sgx.mrenclave"), "missing required field `mrenclave` - at `$.predicate.sgx`"),
        (without("predicate.simulated"), "missing required field `simulated` - at `$.predicate`"),
        (statement() | {"extra": 1}, "Object contains unknown field `extra`"),
        (statement(extra=1), "Object contains unknown field `extra` - at `$.predicate.sgx`"),
        (statement(mrenclave="22" * 31), "matching regex"),
        (statement(mrenclave="22" * 32 + "\n"), "matching regex"),
        (statement(mrenclave="AA" * 32), "matching regex"),
        (statement(isvsvn=65536), "Expected `int` <= 65535"),
        (statement(isvsvn=True), "Expected `int`, got `bool`"),
        (statement() | {"subject": []}, "Expected `array` of length >= 1 - at `$.subject`"),
        (statement() | {"predicateType": "urn:other"}, "Invalid enum value 'urn:other'"),
        (statement() | {"subject": [{"name": "../x", "digest": {"sha256": "11" * 32}}]}, "matching regex"),
    ],
)
def test_another_document_is_refused(document: object, reason: str) -> None:
    error = refusal(encode(document))
    assert str(error).startswith(
        "reference values: expected an in-toto statement with the predicate "
        "urn:casemate:reference-values:v1, got "
    )
    assert reason in str(error)
    assert str(error).endswith(f" ({WHERE})")
    assert error.hint == "name reference-values.json of a signed bundle"


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b'{"a":1,"a":2}', "an object with a duplicate key"),
        (b"\xff\xfe\xfd", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_text_that_is_not_strict_json_is_refused(data: bytes, got: str) -> None:
    assert str(refusal(data)) == (
        "reference values: expected an in-toto statement with the predicate "
        f"urn:casemate:reference-values:v1, got {got} ({WHERE})"
    )


def test_deep_nesting_is_refused() -> None:
    assert "recursion" in str(refusal(b"[" * 60_000))


def test_values_in_an_envelope_are_read_with_and_without_a_key() -> None:
    signed = Envelope.sign(IN_TOTO_TYPE, encode(statement()), SIGNER).to_bytes()
    bare = ReferenceValues.parse(encode(statement()), WHERE)

    assert ReferenceValues.parse(signed, WHERE) == bare
    assert ReferenceValues.parse(signed, WHERE, (SIGNER.public_key,)) == bare


def test_values_that_the_named_key_has_not_signed_are_refused() -> None:
    envelope = Envelope.sign(IN_TOTO_TYPE, encode(statement()), SIGNER)
    changed = replace(envelope, unverified=encode(statement()) + b" ").to_bytes()

    with pytest.raises(RefusedError) as refused:
        ReferenceValues.parse(changed, WHERE, (SIGNER.public_key,))
    assert refused.value.subject == "signature of an envelope"
    assert refused.value.where == WHERE


def test_values_without_an_envelope_are_refused_where_a_key_is_named() -> None:
    with pytest.raises(RefusedError) as refused:
        ReferenceValues.parse(encode(statement()), WHERE, (SIGNER.public_key,))
    assert str(refused.value) == (
        "reference values: expected a DSSE envelope, signed by a key that is named, "
        f"got no envelope ({WHERE})"
    )
    assert refused.value.hint == "a signed bundle has one: casemate sign BUNDLE --key URI"
