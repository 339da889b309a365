"""Whatever is sent to the collateral service is read or refused by an error of ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from casemate.collateral.api import read_registration
from casemate.collateral.intake import read_delivery
from casemate.collateral.messages import authority_of, edition_of, need_hex, parse_query, qe_id_of
from casemate.collateral.package import read_package
from casemate.collateral.policies import read_policy
from casemate.collateral.problem import CollateralRefusedError, Problem
from casemate.errors import FormatError, RefusedError
from casemate.verifier.roots import TrustRoots
from casemate.verifier.vouching import Trust

NOW = datetime(2026, 5, 1, tzinfo=UTC)
TRUST = Trust(roots=TrustRoots.intel(), at=NOW)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["00", "0000"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["qe_id", "pce_id", "platforms", "collaterals", "policy", "fmspc", "is_default", "version"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def refusal(read: Callable[[], object]) -> CollateralRefusedError | None:
    """Why something was refused; nothing else may come out."""
    try:
        read()
    except CollateralRefusedError as error:
        return error
    return None


BODIES = st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode())


@given(BODIES)
def test_any_body_is_read_or_refused(body: bytes) -> None:
    readers: list[Callable[[bytes], object]] = [
        read_registration,
        read_policy,
        lambda data: read_delivery(data, TRUST, version=4),
        lambda data: read_delivery(data, TRUST, version=3),
    ]
    for read in readers:
        refused = refusal(partial(read, body))
        assert refused is None or refused.problem in {Problem.INVALID, Problem.INTEGRITY}


@given(st.binary(max_size=300))
def test_any_query_is_read_or_refused(query: bytes) -> None:
    refused = refusal(partial(parse_query, query))
    assert refused is None or refused.problem is Problem.INVALID
    if refused is None:
        judge_parameters(parse_query(query))


@given(st.dictionaries(st.sampled_from(["update", "ca", "fmspc", "qeid"]), st.text(max_size=300)))
def test_any_value_of_a_parameter_is_read_or_refused(parameters: dict[str, Any]) -> None:
    judge_parameters(parameters)


def judge_parameters(parameters: dict[str, str]) -> None:
    readers: list[Callable[[], object]] = [
        lambda: edition_of(parameters),
        lambda: authority_of(parameters),
        lambda: need_hex(parameters, "fmspc", 12),
        lambda: qe_id_of(parameters, "qeid"),
    ]
    for read in readers:
        refused = refusal(read)
        assert refused is None or (refused.problem is Problem.INVALID and refused.to_text().isprintable())


@given(st.lists(st.tuples(st.sampled_from("ab"), st.text("0123456789", max_size=3)), max_size=6))
def test_the_first_of_several_parameters_counts(pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{name}={value}" for name, value in pairs).encode()
    expected: dict[str, str] = {}
    for name, value in pairs:
        expected.setdefault(name, value)
    assert parse_query(query) == expected


@given(st.binary(max_size=300))
def test_anything_is_a_package_or_refused(data: bytes) -> None:
    envelope = json.dumps(
        {
            "payload": base64.b64encode(data).decode(),
            "payloadType": "application/vnd.casemate.collateral-package.v1+json",
            "signatures": [{"keyid": "", "sig": "AA=="}],
        }
    ).encode()
    for package in (data, envelope + b"\n" + data):
        try:
            read_package(package, [], TrustRoots.intel(), NOW, where="package")
        except (FormatError, RefusedError):
            continue
        raise AssertionError(package)
