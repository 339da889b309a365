"""docs/reference/policy.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from casemate.formats.sgx.collateral import TcbStatus
from casemate.verifier.policy import AnyOf, Freshness
from casemate.verifier.policy_file import FRESHNESS_KEYS, OUTERMOST_KEYS, POLICY_KEYS, PolicyFile
from casemate.verifier.policy_keys import (
    ADVISORY_KEYS,
    ENCLAVE,
    EXEMPTION_KEYS,
    PLATFORM,
    STATUS_KEYS,
    TCB,
    TRUST_DOMAIN,
)

PAGE = (Path(__file__).parents[3] / "docs/reference/policy.md").read_text()
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def keys_of(section: str) -> tuple[str, ...]:
    return tuple(re.findall(r"^\| `(\w+)` \|", SECTIONS[section], re.MULTILINE))


@pytest.mark.parametrize(
    ("section", "known"),
    [
        ("Keys of every policy", POLICY_KEYS),
        ("Keys of the outermost policy", OUTERMOST_KEYS),
        ("[enclave]", ENCLAVE),
        ("[trust_domain]", TRUST_DOMAIN),
        ("[tcb]", TCB),
        ("[platform]", PLATFORM),
        ("[freshness]", FRESHNESS_KEYS),
    ],
)
def test_every_key_is_described(section: str, known: tuple[str, ...]) -> None:
    assert keys_of(section) == tuple(known)


def test_the_keys_of_exceptions_are_described() -> None:
    rows = dict(
        re.findall(r"^\| `(\w+)` \| list of tables \| [^:]+: (.*) \|$", SECTIONS["[tcb]"], re.MULTILINE)
    )
    assert rows == {
        "accept": ", ".join(f"`{key}`" for key in STATUS_KEYS),
        "advisories": ", ".join(f"`{key}`" for key in ADVISORY_KEYS),
    }
    assert "An exemption is a table with `reason` and perhaps `until`." in SECTIONS["Keys of every policy"]
    assert EXEMPTION_KEYS == ("reason", "until")


def test_every_status_is_named() -> None:
    named = set(re.findall(r"`([A-Z]\w+)`", SECTIONS["[tcb]"]))
    assert named == {status.value for status in TcbStatus} - {"UpToDate", "Revoked"}


def test_the_example_is_a_policy() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    found = PolicyFile.parse(example.encode(), "policy.toml", {}.__getitem__)
    assert isinstance(found.policy, AnyOf)
    assert [policy.name for policy in found.policy.policies] == [
        "the release",
        "anything newer of the same product",
    ]
    assert found.policy.strictest_freshness != Freshness()
