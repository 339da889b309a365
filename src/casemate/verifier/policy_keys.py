"""The sections of a policy file: what may stand in each, and what it becomes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, TypeAlias

from casemate.formats.sgx.collateral import TcbStatus
from casemate.formats.sgx.report import Attributes
from casemate.formats.sgx.td_report import TdAttributes
from casemate.project.reading import Table, quote, type_name
from casemate.verifier.policy import AcceptedAdvisory, AcceptedStatus, Exemption

_DURATION: Final = re.compile(r"([1-9][0-9]{0,4})([dhm])")
_UNITS: Final = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
_ADVISORY: Final = re.compile(r"INTEL-SA-[0-9]{5}")
#: What to do where a reason is missing.
WHY: Final = 'say why, as people will read it: reason = "…"'

#: Reads one key of a section.
_Reader: TypeAlias = Callable[[Table, str], Any]
#: Key -> (argument of AppraisalPolicy, reader).
Section: TypeAlias = Mapping[str, tuple[str, _Reader]]


def read_section(table: Table, section: Section) -> dict[str, Any]:
    """What a section says, as arguments of :class:`~casemate.verifier.policy.AppraisalPolicy`.

    Raises:
        ProjectError: A key that is not known, or a value that is not what it must be.
    """
    table.refuse_unknown(section)
    found = {section[key][0]: section[key][1](table, key) for key in section if key in table.values}
    for masked in ("attributes", "td_attributes"):
        if f"{masked}_mask" in found and masked not in found:
            raise table.error(
                "attributes_mask", "attributes_mask", expected="to stand beside attributes", got="alone"
            )
    registers = [found.pop(f"rtmr{number}", None) for number in range(4)]
    return found | {"rtmrs": tuple(registers)} if any(registers) else found


def fixed_bytes(table: Table, key: str, size: int) -> bytes:
    """A text of so many bytes in hexadecimal.

    Raises:
        ProjectError: Something else.
    """
    return _hex(table, key, table.text(key, ""), size)


def duration(table: Table, key: str) -> timedelta:
    """A time such as ``"7d"``, ``"12h"`` or ``"30m"``.

    Raises:
        ProjectError: Something else, or nothing.
    """
    value = table.values.get(key)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        got = "none" if value is None else quote(value) if isinstance(value, str) else type_name(value)
        raise table.error(key, key, expected='a time such as "7d", "12h" or "30m"', got=got)
    return int(match[1]) * _UNITS[match[2]]


def lone_exemption(table: Table) -> Exemption:
    """A table that holds an exemption and nothing else.

    Raises:
        ProjectError: A key that is not known, or what :func:`exemption_in` raises.
    """
    table.refuse_unknown(EXEMPTION_KEYS)
    return exemption_in(table)


def exemption_in(table: Table) -> Exemption:
    """Why something is accepted, and until when.

    Raises:
        ProjectError: There is no reason, or another value is not what it must be.
    """
    return Exemption(reason=table.required_text("reason", WHY), until=_until(table))


def _until(table: Table) -> datetime | None:
    """An instant with its zone, or the end of a day in UTC."""
    value = table.values.get("until")
    if value is None:
        return None
    if isinstance(value, datetime):
        # The first and the last day of all may lie outside of time in UTC.
        with suppress(OverflowError):
            if value.tzinfo is not None:
                return value.astimezone(UTC)
    elif isinstance(value, date):
        return datetime.combine(value, time(23, 59, 59), UTC)
    raise table.error(
        "until",
        "until",
        expected="a day, or a time with its zone",
        got=str(value) if isinstance(value, datetime) else type_name(value),
        hint="write until = 2027-01-31, or until = 2027-01-31T12:00:00Z",
    )


def _hex(table: Table, key: str, digits: str, size: int) -> bytes:
    if re.fullmatch(f"[0-9a-fA-F]{{{2 * size}}}", digits) is None:
        raise table.error(key, key, expected=f"{2 * size} hexadecimal digits", got=quote(digits))
    return bytes.fromhex(digits)


def _bytes(size: int) -> _Reader:
    return lambda table, key: fixed_bytes(table, key, size)


def _several(size: int) -> _Reader:
    """One text, or a list of them that is not empty."""

    def read(table: Table, key: str) -> tuple[bytes, ...]:
        if isinstance(table.values[key], str):
            return (fixed_bytes(table, key, size),)
        texts = table.texts(key, ())
        if not texts:
            raise table.error(
                key, key, expected="at least one", got="an empty list", hint=f"leave {key} out to accept any"
            )
        return tuple(_hex(table, key, text, size) for text in texts)

    return read


def _uint16(table: Table, key: str) -> int:
    return table.number(key, 0, lowest=0, highest=0xFFFF)


def _boolean(table: Table, key: str) -> bool:
    return table.boolean(key, default=True)


def _attributes(table: Table, key: str) -> Attributes:
    return Attributes.parse(fixed_bytes(table, key, 16))


def _td_attributes(table: Table, key: str) -> TdAttributes:
    return TdAttributes(int.from_bytes(fixed_bytes(table, key, 8), "big"))


def _host_exceptions(table: Table, key: str) -> Exemption:
    return lone_exemption(_tables(table, key, table.values[key])[0])


def _tables(table: Table, key: str, *values: Any) -> list[Table]:
    """Each value as a table."""
    for value in values:
        if not isinstance(value, dict):
            raise table.error(key, f"type of {key}", expected="a table", got=type_name(value))
    return [Table(value, name=f"{table.name}.{key}", where=table.where) for value in values]


def _each(table: Table, key: str) -> list[Table]:
    """A list of tables that is not empty."""
    values = table.values[key]
    if not isinstance(values, list) or not values:
        got = "an empty list" if values == [] else type_name(values)
        raise table.error(
            key, key, expected="at least one", got=got, hint=f"write each under [[{table.name}.{key}]]"
        )
    return _tables(table, key, *values)


def _statuses(table: Table, key: str) -> tuple[AcceptedStatus, ...]:
    found: dict[TcbStatus, AcceptedStatus] = {}
    for one in _each(table, key):
        one.refuse_unknown(STATUS_KEYS)
        one.required_text("status", 'name it in Intel\'s words: status = "SWHardeningNeeded"')
        status = one.choice("status", _STATUSES, {"Revoked": "no policy accepts what is revoked"})
        exemption = exemption_in(one)
        if status is None or status in found:
            raise one.error("status", "status", expected="each status once", got="one twice")
        found[status] = AcceptedStatus(
            status=status,
            reason=exemption.reason,
            until=exemption.until,
            any_advisory=one.boolean("any_advisory", default=False),
        )
    return tuple(found.values())


def _advisories(table: Table, key: str) -> tuple[AcceptedAdvisory, ...]:
    found: dict[str, AcceptedAdvisory] = {}
    for one in _each(table, key):
        one.refuse_unknown(ADVISORY_KEYS)
        name = _advisory(one, "id", one.required_text("id", 'name it: id = "INTEL-SA-00615"'))
        exemption = exemption_in(one)
        if name in found:
            raise one.error("id", "id", expected="each advisory once", got=f"{name} twice")
        found[name] = AcceptedAdvisory(id=name, reason=exemption.reason, until=exemption.until)
    return tuple(found.values())


def _rejected(table: Table, key: str) -> frozenset[str]:
    return frozenset(_advisory(table, key, name) for name in table.texts(key, ()))


def _advisory(table: Table, key: str, name: str) -> str:
    return table.matching(key, name, _ADVISORY, subject=key, expected='an advisory as in "INTEL-SA-00615"')


_STATUSES: Final = {
    status.value: status for status in TcbStatus if status not in (TcbStatus.UP_TO_DATE, TcbStatus.REVOKED)
}
EXEMPTION_KEYS: Final = ("reason", "until")
STATUS_KEYS: Final = ("status", *EXEMPTION_KEYS, "any_advisory")
ADVISORY_KEYS: Final = ("id", *EXEMPTION_KEYS)

ENCLAVE: Final[Section] = {
    "mrenclave": ("mrenclaves", _several(32)),
    "mrsigner": ("mrsigner", _bytes(32)),
    "isvprodid": ("isvprodid", _uint16),
    "min_isvsvn": ("min_isvsvn", _uint16),
    "attributes": ("attributes", _attributes),
    "attributes_mask": ("attributes_mask", _attributes),
    "misc_select": ("misc_select", _bytes(4)),
}
TRUST_DOMAIN: Final[Section] = {
    "mrtd": ("mrtds", _several(48)),
    "rtmr0": ("rtmr0", _bytes(48)),
    "rtmr1": ("rtmr1", _bytes(48)),
    "rtmr2": ("rtmr2", _bytes(48)),
    "rtmr3": ("rtmr3", _bytes(48)),
    "mrconfigid": ("mr_config_id", _bytes(48)),
    "mrowner": ("mr_owner", _bytes(48)),
    "mrownerconfig": ("mr_owner_config", _bytes(48)),
    "attributes": ("td_attributes", _td_attributes),
    "attributes_mask": ("td_attributes_mask", _td_attributes),
    "service_td": ("service_tds", _several(48)),
    "host_exceptions": ("host_exceptions", _host_exceptions),
}
TCB: Final[Section] = {
    "accept": ("statuses", _statuses),
    "advisories": ("advisories", _advisories),
    "rejected_advisories": ("rejected_advisories", _rejected),
}
PLATFORM: Final[Section] = {
    "allow_dynamic_platform": ("allow_dynamic_platform", _boolean),
    "allow_cached_keys": ("allow_cached_keys", _boolean),
    "allow_smt": ("allow_smt", _boolean),
}
