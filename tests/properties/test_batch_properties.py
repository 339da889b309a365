"""Whatever stands in a line or in a file of collateral: a result, or an error of ours."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st
from tests.support.kept_collateral import tcb_info_file
from tests.support.sgx_world import good_world

from casemate.cli.verify_batch_judge import Judge, Terms, collateral_of
from casemate.errors import FormatError
from casemate.formats.pem import encode_certificates
from casemate.formats.sgx.collateral_files import TCB_INFO, SignedDocument, certificates_in, crl_in
from casemate.verifier.issuers import Issuers
from casemate.verifier.roots import TrustRoots

WORLD = good_world()
JUDGE = Judge(Terms(roots=TrustRoots.intel(), certificates=None, folders=("/nowhere",), at=None))
MEMBERS = ["quote", "tcb_info", "qe_identity", "root_crl", "pck_crl", "collateral", "at"]
VALUES = st.none() | st.text() | st.integers() | st.booleans() | st.floats() | st.just("/dev/null")


@given(st.binary() | st.dictionaries(st.sampled_from(MEMBERS) | st.text(), VALUES).map(json.dumps))
def test_every_line_has_a_result(line: bytes | str) -> None:
    text = line if isinstance(line, bytes) else line.encode("utf-8", "surrogatepass")
    collateral_of(text)
    result = JUDGE.judge(text)
    assert result.count(b"\n") == 1
    assert list(json.loads(result)) == ["genuine", "tcb_status", "debug", "advisories", "refused_by"]
    assert json.loads(result)["genuine"] is False
    assert json.loads(result)["refused_by"] != []


@given(st.binary() | st.text("0123456789abcdefxX \n").map(str.encode))
def test_any_bytes_may_be_asked_for_a_crl_and_for_certificates(data: bytes) -> None:
    crl_in(data)
    Issuers(certificates_in(data)).of_crl(data)


@given(st.lists(st.binary(min_size=1).map(lambda data: b"\x30" + data)))
def test_certificates_are_found_as_they_were_encoded(chain: list[bytes]) -> None:
    assert certificates_in(encode_certificates(tuple(chain))) == tuple(chain)


DOCUMENT = tcb_info_file(WORLD.collateral)


@given(st.integers(0, len(DOCUMENT) - 1), st.integers(0, 255))
def test_a_changed_document_is_read_or_refused(place: int, value: int) -> None:
    changed = DOCUMENT[:place] + bytes([value]) + DOCUMENT[place + 1 :]
    with contextlib.suppress(FormatError):
        SignedDocument.parse(changed, TCB_INFO)


@given(st.binary())
def test_any_bytes_are_a_document_or_refused(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        SignedDocument.parse(data, TCB_INFO)
