"""Envelopes and statements: any bytes give a value or our error; what is written is read."""

from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st

from casemate.errors import FormatError
from casemate.formats.dsse import Envelope, EnvelopeSignature
from casemate.formats.reference_values import read_statement

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_fields = st.fixed_dictionaries(
    {"payload": _json | st.text(), "payloadType": _json | st.text(), "signatures": _json},
    optional={"more": _json},
)
_envelopes = st.builds(
    Envelope,
    payload_type=st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20),
    unverified=st.binary(max_size=50),
    signatures=st.lists(
        st.builds(
            EnvelopeSignature,
            key_id=st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
            signature=st.binary(max_size=50),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
)


@given(_envelopes)
def test_envelopes_are_read_as_written(value: Envelope) -> None:
    assert Envelope.parse(value.to_bytes(), "x") == value


@given(st.binary() | _fields.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_give_an_envelope_or_our_error(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        Envelope.parse(data, "x")


@given(st.binary() | _json.map(lambda value: json.dumps(value).encode()) | _envelopes.map(Envelope.to_bytes))
def test_any_bytes_give_a_statement_or_our_error(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        read_statement(data, "x")
