"""Between rows of a collateral store and values; columns stand as in its statements."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from casemate.collateral.names import CertificateAuthority, DocumentName, parse_name
from casemate.collateral.store import (
    AppraisalPolicy,
    Entry,
    Listed,
    PckCertificate,
    Platform,
    PlatformId,
    RawTcb,
    Registration,
    RegistrationState,
)
from casemate.errors import FormatError

#: What a column holds.
Column: TypeAlias = int | str | bytes | None
#: A row as a database gives it.
Row: TypeAlias = tuple[Any, ...]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNIT: Final = timedelta(microseconds=1)


def from_time(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // _UNIT


def to_time(number: int) -> datetime:
    """What :func:`from_time` made a number of.

    Raises:
        FormatError: A year that does not exist.
    """
    try:
        return _EPOCH + number * _UNIT
    except OverflowError as error:
        raise FormatError("time", expected="microseconds since 1970", got=str(number)) from error


def from_name(name: DocumentName) -> tuple[str, str]:
    """The columns ``kind`` and ``name``."""
    return name.kind.value, json.dumps(name.key)


def to_name(kind: str, text: str) -> DocumentName:
    """What :func:`from_name` made two columns of.

    Raises:
        FormatError: The row was not made here.
    """
    try:
        key = json.loads(text)
    except (ValueError, RecursionError):
        key = None
    if not isinstance(key, list) or not all(isinstance(part, str) for part in key):
        raise FormatError("name of a document", expected="a list of text in JSON", got=ascii(text)[:200])
    return parse_name(kind, tuple(key))


def from_entry(entry: Entry) -> tuple[Column, ...]:
    """The columns of an entry."""
    times = (from_time(moment) for moment in (entry.fetched_at, entry.begins, entry.ends))
    return (*from_name(entry.name), entry.body, entry.issuer_chain, *times, entry.evaluation_number)


def to_entry(row: Row) -> Entry:
    """What :func:`from_entry` made a row of."""
    kind, name, body, issuer_chain, fetched_at, begins, ends, number = row
    return Entry(
        name=to_name(kind, name),
        body=body,
        issuer_chain=issuer_chain,
        fetched_at=to_time(fetched_at),
        begins=to_time(begins),
        ends=to_time(ends),
        evaluation_number=number,
    )


def to_listed(row: Row) -> Listed:
    """From the columns of a listing."""
    kind, name, fetched_at, ends, number, failures, reason = row
    return Listed(
        name=to_name(kind, name),
        fetched_at=to_time(fetched_at),
        ends=to_time(ends),
        evaluation_number=number,
        failures=failures,
        reason=reason,
    )


def from_platform(platform: Platform) -> tuple[Column, ...]:
    """The columns of a platform."""
    return (
        platform.id.qe_id,
        platform.id.pce_id,
        platform.encrypted_ppid,
        platform.manifest,
        platform.fmspc,
        platform.authority.value,
        platform.issuer_chain,
        from_time(platform.fetched_at),
    )


def to_platform(row: Row, certificates: list[Row], tcbs: list[Row]) -> Platform:
    """From a row of :func:`from_platform`, rows of ``tcbm, pem`` and rows of ``cpu_svn, pce_svn, tcbm``."""
    qe_id, pce_id, encrypted_ppid, manifest, fmspc, authority, issuer_chain, fetched_at = row
    return Platform(
        id=PlatformId(qe_id=qe_id, pce_id=pce_id),
        encrypted_ppid=encrypted_ppid,
        manifest=manifest,
        fmspc=fmspc,
        authority=_authority(authority),
        issuer_chain=issuer_chain,
        certificates=tuple(PckCertificate(tcbm=tcbm, pem=pem) for tcbm, pem in certificates),
        tcbs=tuple(RawTcb(cpu_svn=cpu, pce_svn=pce, tcbm=tcbm) for cpu, pce, tcbm in tcbs),
        fetched_at=to_time(fetched_at),
    )


def from_registration(registration: Registration) -> tuple[Column, ...]:
    """The columns of a registration."""
    return (
        registration.id.qe_id,
        registration.id.pce_id,
        registration.tcb.cpu_svn,
        registration.tcb.pce_svn,
        registration.encrypted_ppid,
        registration.manifest,
        registration.state.value,
    )


def to_registration(row: Row) -> Registration:
    """What :func:`from_registration` made a row of."""
    qe_id, pce_id, cpu_svn, pce_svn, encrypted_ppid, manifest, number = row
    try:
        state = RegistrationState(number)
    except ValueError as error:
        raise FormatError("state of a registration", expected="0, 1 or 9", got=str(number)) from error
    return Registration(
        id=PlatformId(qe_id=qe_id, pce_id=pce_id),
        tcb=RawTcb(cpu_svn=cpu_svn, pce_svn=pce_svn),
        encrypted_ppid=encrypted_ppid,
        manifest=manifest,
        state=state,
    )


def from_policy(policy: AppraisalPolicy) -> tuple[Column, ...]:
    """The columns of a policy."""
    return policy.id, policy.fmspc, policy.type, int(policy.is_default), policy.policy


def to_policy(row: Row) -> AppraisalPolicy:
    """What :func:`from_policy` made a row of."""
    identity, fmspc, kind, is_default, policy = row
    return AppraisalPolicy(id=identity, fmspc=fmspc, type=kind, is_default=bool(is_default), policy=policy)


def _authority(word: str) -> CertificateAuthority:
    try:
        return CertificateAuthority(word)
    except ValueError as error:
        raise FormatError("authority of a platform", expected="processor or platform", got=word) from error
