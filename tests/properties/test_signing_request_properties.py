"""Requests and signatures from elsewhere: any bytes give a value or our error; what is written is read."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.support.small_bundle import KEY

from casemate.adapters.file_keys import FileSigner
from casemate.builder.bundles.attached_signature import attached_sigstruct
from casemate.builder.signing.policy import LastRelease
from casemate.builder.signing.request import FILES, SigningRequest, require_request
from casemate.builder.signing.sigstruct import SigningSubject, enclave_identity
from casemate.errors import CasemateError, FormatError, RefusedError
from casemate.formats.manifest import CpuFeature, CpuFeatures, EnclaveSettings
from casemate.formats.sgx.report import MrEnclave, MrSigner
from casemate.formats.sgx.sigstruct import NO_DATE, SigningDate
from casemate.formats.slsa import documents_of

PUBLIC = FileSigner.open(KEY).public_key
_bytes32 = st.binary(min_size=32, max_size=32)
_hex32 = _bytes32.map(bytes.hex)
_number = st.integers(min_value=0, max_value=0xFFFF)
_feature = st.sampled_from(CpuFeature)
_features = st.builds(
    CpuFeatures,
    avx=_feature,
    avx512=_feature,
    amx=_feature,
    mpx=st.sampled_from((CpuFeature.REQUIRED, CpuFeature.DISABLED)),
    pkru=st.sampled_from((CpuFeature.REQUIRED, CpuFeature.DISABLED)),
)
_settings = st.builds(
    EnclaveSettings,
    size=st.just(1 << 28),
    debug=st.booleans(),
    exinfo=st.booleans(),
    isvprodid=_number,
    isvsvn=_number,
    cpu_features=_features,
)
_subjects = st.builds(
    SigningSubject,
    enclave=st.builds(enclave_identity, _bytes32.map(MrEnclave), _settings),
    manifest_sha256=_hex32,
    platform_image_sha256=_hex32,
    gramine_version=st.none() | st.sampled_from(("1.8", "1.9")),
    weaknesses=st.lists(st.text(st.characters(codec="utf-8")), max_size=3).map(tuple),
    name=st.none() | st.from_regex(r"\A[a-z][a-z0-9-]{0,20}\Z"),
    image_digest=st.none() | _hex32.map("sha256:{}".format),
)
_requests = st.builds(
    SigningRequest,
    subject=_subjects,
    date=st.dates().map(SigningDate.of) | st.just(NO_DATE),
    mrsigner=st.none() | _bytes32.map(MrSigner),
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(_requests)
def test_requests_are_read_as_written_and_accepted_for_what_they_were_prepared(value: SigningRequest) -> None:
    files = value.to_files()
    assert SigningRequest.parse(files["request.json"], where="x") == value
    signer = value.mrsigner or MrSigner(bytes(32))
    assert require_request(files, value.subject, signer, where="x") == value.date
    assert len(files["to-be-signed.bin"]) == 256
    text = files["request.txt"].decode()
    assert all(line.isprintable() for line in text.split("\n"))
    assert value.subject.enclave.mrenclave.hex() in text


@given(_requests, st.sampled_from(FILES), st.data())
def test_no_bit_of_a_request_can_be_changed(value: SigningRequest, name: str, data: st.DataObject) -> None:
    files = value.to_files()
    changed = bytearray(files[name])
    at = data.draw(st.integers(min_value=0, max_value=len(changed) - 1))
    changed[at] ^= 1 << data.draw(st.integers(min_value=0, max_value=7))
    signer = value.mrsigner or MrSigner(bytes(32))
    with contextlib.suppress(CasemateError):
        require_request(files | {name: bytes(changed)}, value.subject, signer, where="x")
        raise AssertionError("a changed request was accepted")


def _with(document: dict[str, Any], field: str, value: object) -> bytes:
    return json.dumps(document | {field: value}).encode()


@given(_requests, st.data())
def test_any_document_gives_a_request_or_our_error(value: SigningRequest, data: st.DataObject) -> None:
    document = value.to_dict()
    field = data.draw(st.sampled_from([*document, "more"]))
    with contextlib.suppress(FormatError):
        SigningRequest.parse(_with(document, field, data.draw(_json)), where="x")


@given(st.binary() | _json.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_a_request_a_provenance_and_a_release_or_our_error(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        SigningRequest.parse(data, where="x")
    with contextlib.suppress(FormatError):
        documents_of(data, "x")
    with contextlib.suppress(FormatError):
        LastRelease.parse(data, where="x")


@given(_subjects, st.binary(max_size=400) | st.binary(min_size=384, max_size=384))
def test_any_bytes_in_place_of_a_signature_are_refused(subject: SigningSubject, signature: bytes) -> None:
    with contextlib.suppress(RefusedError):
        attached_sigstruct(subject, signature, date=NO_DATE, key=PUBLIC, where="x")
        raise AssertionError("bytes that nobody has signed were accepted")
