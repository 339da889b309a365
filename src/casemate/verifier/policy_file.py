"""A policy as a file: TOML, in which every key is known.

A file is one policy, and policies may stand within it under ``all_of`` and ``any_of``. What stands outside
holds for everything inside; a key stands once on the way from the outermost policy to an innermost one, so
that nothing inside can undo what stands around it. Whatever makes an exception carries its reason.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from casemate.errors import FormatError, ProjectError
from casemate.formats.public_key import parse_public_key
from casemate.project.reading import Table, nearest_hint, quote, type_name
from casemate.verifier.policy import AllOf, AnyOf, AppraisalPolicy, Freshness, Policy
from casemate.verifier.policy_keys import (
    ENCLAVE,
    PLATFORM,
    TCB,
    TRUST_DOMAIN,
    WHY,
    duration,
    fixed_bytes,
    lone_exemption,
    read_section,
)
from casemate.verifier.reference_values import ReferenceValues, appraisal_policy

#: Bytes of a policy.
MAX_POLICY_SIZE: Final = 256 * 1024
#: Policies within each other, and all of them together.
MAX_DEPTH: Final = 8
MAX_POLICIES: Final = 1000
#: The version of the form.
VERSION: Final = 1

_SECTIONS: Final = {
    "enclave": ENCLAVE,
    "trust_domain": TRUST_DOMAIN,
    "tcb": TCB,
    "platform": PLATFORM,
}
_MEMBERS: Final = ("all_of", "any_of")
#: Keys of every policy, and those of the outermost one besides.
POLICY_KEYS: Final = ("name", "reference", "keys", "report_data", *_SECTIONS, "debug", *_MEMBERS)
OUTERMOST_KEYS: Final = ("version", "freshness")
FRESHNESS_KEYS: Final = ("expiry_grace", "reason", "max_age", "min_evaluation_number")

#: Gives the bytes of a file that the policy names, by the name as it stands there.
Read = Callable[[str], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFile:
    """What a policy file says.

    Attributes:
        policy: The policy.
        simulated: Whether its reference values are those of simulated bundles; ``None`` without any.
    """

    policy: Policy
    simulated: bool | None

    @classmethod
    def parse(cls, data: bytes, where: str, read: Read) -> PolicyFile:
        """Read a policy file.

        Args:
            data: TOML text.
            where: Its name, for errors.
            read: Gives the files that it names.

        Raises:
            FormatError: Not TOML, a key that is not known, or a value that is not what it must be.
            RefusedError: Reference values that none of their keys has signed.
            CasemateError: What ``read`` raises.
        """
        if len(data) > MAX_POLICY_SIZE:
            raise FormatError(
                "policy", expected=f"at most {MAX_POLICY_SIZE} bytes", got=str(len(data)), where=where
            )
        try:
            return _File(where, read).parse(_load(data, where))
        except ProjectError as error:
            raise FormatError(
                error.subject, expected=error.expected, got=error.got, where=error.where, hint=error.hint
            ) from error


def _load(data: bytes, where: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FormatError(
            "encoding of the policy", expected="UTF-8", got=f"byte {data[error.start]:#04x}", where=where
        ) from error
    # Nesting without end and integers of thousands of digits.
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise FormatError("policy", expected="TOML", got=str(error), where=where) from error


class _File:
    """One policy file while it is read."""

    def __init__(self, where: str, read: Read) -> None:
        self._where = where
        self._read = read
        self._policies = 0
        self._simulated: bool | None = None

    def parse(self, values: Mapping[str, Any]) -> PolicyFile:
        """The whole file."""
        table = Table(values, name="", where=self._where)
        self._refuse_unknown(table, (*OUTERMOST_KEYS, *POLICY_KEYS))
        version = values.get("version")
        if not isinstance(version, int) or isinstance(version, bool) or version != VERSION:
            raise table.error(
                "version",
                "version of the policy",
                expected=str(VERSION),
                got=str(values.get("version", "none"))[:40],
                hint=f"write version = {VERSION} at the top",
            )
        freshness = _freshness(self._section(table, "freshness"))
        policy = self._policy(table, {"freshness": freshness}, 1)
        return PolicyFile(policy=policy, simulated=self._simulated)

    def _policy(self, table: Table, around: Mapping[str, Any], depth: int) -> Policy:
        """One policy, with what stands around it."""
        self._policies += 1
        if depth > MAX_DEPTH or self._policies > MAX_POLICIES:
            raise table.error(
                "any_of",
                "policies",
                expected=f"at most {MAX_POLICIES}, and {MAX_DEPTH} within each other",
                got="more",
            )
        given = {**around, **self._own(table, around)}
        name = table.optional_text("name")
        members = {key: self._members(table, key, given, depth) for key in _MEMBERS if key in table.values}
        match members:
            case {"all_of": every, "any_of": either}:
                return AllOf(policies=(*every, AnyOf(policies=either)), name=name)
            case {"all_of": every}:
                return AllOf(policies=every, name=name)
            case {"any_of": either}:
                return AnyOf(policies=either, name=name)
            case _:
                return AppraisalPolicy(name=name, **given)

    def _members(self, table: Table, key: str, given: Mapping[str, Any], depth: int) -> tuple[Policy, ...]:
        """The policies within a policy; there has to be one."""
        values = table.values[key]
        if not isinstance(values, list) or not values or not all(isinstance(one, dict) for one in values):
            got = "an empty list" if values == [] else type_name(values)
            raise table.error(
                key, key, expected="at least one policy", got=got, hint=f"write each of them under [[{key}]]"
            )
        tables = [
            Table(one, name=f"{_prefix(table)}{key}[{number}]", where=self._where)
            for number, one in enumerate(values, start=1)
        ]
        for one in tables:
            self._refuse_unknown(one, POLICY_KEYS)
        return tuple(self._policy(one, given, depth + 1) for one in tables)

    def _own(self, table: Table, around: Mapping[str, Any]) -> dict[str, Any]:
        """What one policy says itself, as arguments of :class:`AppraisalPolicy`."""
        own: dict[str, Any] = {}
        for key, more in self._parts(table):
            twice = [argument for argument in more if argument in own or argument in around]
            if twice:
                raise table.error(
                    key,
                    f"{key}: {twice[0]}",
                    expected="to be said once",
                    got="said again, here or by a policy around this one",
                    hint="say it only in the innermost policies, where they differ",
                )
            own |= more
        return own

    def _parts(self, table: Table) -> Iterator[tuple[str, dict[str, Any]]]:
        if "reference" in table.values or "keys" in table.values:
            yield "reference", self._reference(table)
        if "report_data" in table.values:
            yield "report_data", {"report_data": fixed_bytes(table, "report_data", 64)}
        for key, section in _SECTIONS.items():
            if key in table.values:
                yield key, read_section(self._section(table, key), section)
        if "debug" in table.values:
            yield "debug", {"debug": lone_exemption(self._section(table, "debug"))}

    def _reference(self, table: Table) -> dict[str, Any]:
        """The reference values of a signed bundle."""
        file = table.required_text("reference", 'name them: reference = "BUNDLE/reference-values.json"')
        names = table.texts("keys", ())
        if not names:
            raise table.error(
                "keys",
                "keys of the reference values",
                expected="at least one public key",
                got="none",
                hint='say who must have signed them: keys = ["release.pem"]',
            )
        keys = tuple(parse_public_key(self._read(name), where=name) for name in names)
        values = ReferenceValues.parse(self._read(file), file, keys)
        if self._simulated not in (None, values.simulated):
            raise table.error(
                "reference",
                "reference values",
                expected="real or simulated ones in a policy",
                got="both",
                hint="a simulated platform must not stand for a real one: write two policies",
            )
        self._simulated = values.simulated
        policy = appraisal_policy(values)
        return {name: getattr(policy, name) for name in _REFERENCE_ARGUMENTS}

    def _section(self, table: Table, key: str) -> Table:
        value = table.values.get(key, {})
        if not isinstance(value, dict):
            raise table.error(key, f"type of {key}", expected="a table", got=type_name(value))
        return Table(value, name=f"{_prefix(table)}{key}", where=self._where)

    def _refuse_unknown(self, table: Table, known: tuple[str, ...]) -> None:
        for key in table.values:
            if key not in known:
                raise FormatError(
                    f"unknown key {quote(key)}",
                    expected="a key of a policy",
                    where=table.place(key),
                    hint="it stands in the outermost policy only"
                    if key in OUTERMOST_KEYS
                    else nearest_hint(key, known),
                )


_REFERENCE_ARGUMENTS: Final = (
    "mrenclaves",
    "mrsigner",
    "isvprodid",
    "min_isvsvn",
    "attributes",
    "attributes_mask",
    "misc_select",
)


def _prefix(table: Table) -> str:
    return f"{table.name}." if table.name else ""


def _freshness(table: Table) -> Freshness:
    table.refuse_unknown(FRESHNESS_KEYS)
    grace = timedelta(0)
    reason = None
    if "expiry_grace" in table.values or "reason" in table.values:
        grace = duration(table, "expiry_grace")
        reason = table.required_text("reason", WHY)
    least = None
    if "min_evaluation_number" in table.values:
        least = table.number("min_evaluation_number", 0, lowest=0, highest=1 << 31)
    return Freshness(
        expiry_grace=grace,
        max_age=duration(table, "max_age") if "max_age" in table.values else None,
        min_evaluation_number=least,
        reason=reason,
    )
