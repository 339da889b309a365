"""Rows of a collateral store: what was written is read again, and nothing else is taken for a name."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from casemate.collateral.names import (
    CertificateAuthority,
    EnclaveRole,
    EvaluationNumbersName,
    IdentityName,
    Kind,
    PckCrlName,
    RootCrlName,
    TcbInfoName,
    Tee,
    Update,
)
from casemate.collateral.sql_rows import from_entry, from_name, from_time, to_entry, to_name, to_time
from casemate.collateral.store import Entry
from casemate.errors import FormatError

editions = st.one_of(st.sampled_from(Update), st.integers(1, 999_999_999))
names = st.one_of(
    st.builds(
        TcbInfoName,
        tee=st.sampled_from(Tee),
        fmspc=st.text("0123456789abcdef", min_size=12, max_size=12),
        edition=editions,
        version=st.sampled_from((3, 4)),
    ),
    st.builds(IdentityName, role=st.sampled_from(EnclaveRole), edition=editions),
    st.builds(EvaluationNumbersName, tee=st.sampled_from(Tee)),
    st.builds(PckCrlName, authority=st.sampled_from(CertificateAuthority)),
    st.builds(RootCrlName),
)
times = st.datetimes(timezones=st.just(UTC))
entries = st.builds(
    Entry,
    name=names,
    body=st.binary(),
    issuer_chain=st.binary(),
    fetched_at=times,
    begins=times,
    ends=times,
    evaluation_number=st.none() | st.integers(0, 2**31),
)
texts = st.text() | st.recursive(
    st.none() | st.integers() | st.text() | st.sampled_from(("4", "sgx", "standard", "00606a000000")),
    lambda parts: st.lists(parts, max_size=5),
).map(json.dumps)


@given(entries)
def test_an_entry_comes_back_from_its_row(entry: Entry) -> None:
    assert to_entry(from_entry(entry)) == entry


@given(times)
def test_a_time_comes_back_from_its_number(moment: datetime) -> None:
    assert to_time(from_time(moment)) == moment


@given(kind=st.text() | st.sampled_from(Kind).map(lambda kind: kind.value), text=texts)
def test_any_text_is_a_name_in_its_one_spelling_or_refused(kind: str, text: str) -> None:
    try:
        name = to_name(kind, text)
    except FormatError:
        return
    assert from_name(name) == (kind, json.dumps(json.loads(text)))
