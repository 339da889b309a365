"""A collateral store in any database that speaks SQL as SQLite and PostgreSQL both do.

What differs between them, connections, transactions and locks, is behind :class:`Database`. Whoever writes
first takes the row ``revision``, so that there is one writer at a time and what a transaction has read stays
true until it ends. Only claims do without: they are many, and a lease is nothing that readers see.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, TypeVar

from casemate.collateral import sql_statements as sql
from casemate.collateral.names import DocumentName
from casemate.collateral.sql_rows import (
    Column,
    Row,
    from_entry,
    from_name,
    from_platform,
    from_policy,
    from_registration,
    from_time,
    to_entry,
    to_listed,
    to_name,
    to_platform,
    to_policy,
    to_registration,
)
from casemate.collateral.store import (
    AppraisalPolicy,
    Claim,
    Entry,
    Listed,
    Platform,
    PlatformId,
    RawTcb,
    Registration,
    RegistrationState,
)

_Value = TypeVar("_Value")
_NO_LEASE = ("", 0)


class Transaction(Protocol):
    """One transaction of a database."""

    def execute(self, statement: str, values: tuple[Column, ...] = ()) -> list[Row]:
        """Carry out a statement, whose places are question marks; gives its rows."""
        ...


class Database(Protocol):
    """What a store needs of a database. Thread-safe."""

    @property
    def unlocked_row(self) -> str:
        """Ends a query in a writing transaction that takes rows which no other transaction has taken."""
        ...

    def look(
        self, read: Callable[[Row], _Value], statement: str, values: tuple[Column, ...] = ()
    ) -> list[_Value]:
        """What ``read`` makes of each row of one query, which needs no transaction."""
        ...

    def reading(self) -> AbstractContextManager[Transaction]:
        """A transaction that sees one state of everything."""
        ...

    def writing(self) -> AbstractContextManager[Transaction]:
        """A transaction that is committed, lastingly, unless an exception ends it."""
        ...

    def close(self) -> None:
        """Give back all connections."""
        ...


class SqlStore:
    """A :class:`~casemate.collateral.store.CollateralStore` in a database.

    Args:
        database: The database, with the tables of :mod:`casemate.collateral.sql_schema`.
        new_lease: Makes a word that nobody else has.
    """

    def __init__(
        self, database: Database, *, new_lease: Callable[[], str] = lambda: secrets.token_hex(16)
    ) -> None:
        self._database = database
        self._new_lease = new_lease

    def revision(self) -> int:
        """As in :class:`~casemate.collateral.store.CollateralStore`, like all methods here."""
        (number,) = self._database.look(_number, sql.REVISION)
        return number

    def get(self, name: DocumentName) -> Entry | None:
        """The entry of this name."""
        found = self._database.look(to_entry, sql.GET_ENTRY, from_name(name))
        return found[0] if found else None

    def put(self, entry: Entry, *, refresh_at: datetime) -> bool:
        """Keep an entry, unless there is one that takes precedence."""
        name, due = from_name(entry.name), from_time(refresh_at)
        with self._database.writing() as transaction:
            _next_revision(transaction)
            kept = _precedence(transaction, entry.name)
            if kept is not None and kept > (entry.precedence[0], from_time(entry.precedence[1])):
                transaction.execute(sql.RENEWED, (due, *_NO_LEASE, *name))
                return False
            transaction.execute(sql.DELETE_ENTRY, name)
            transaction.execute(sql.ADD_ENTRY, (*from_entry(entry), due, *_NO_LEASE))
        return True

    def delete(self, name: DocumentName) -> bool:
        """Forget an entry."""
        with self._database.writing() as transaction:
            _next_revision(transaction)
            found = _precedence(transaction, name) is not None
            transaction.execute(sql.DELETE_ENTRY, from_name(name))
        return found

    def entries(self) -> Iterator[Entry]:
        """All entries; each is read when it is asked for."""
        for listed in self.listing():
            entry = self.get(listed.name)
            if entry is not None:
                yield entry

    def listing(self) -> tuple[Listed, ...]:
        """All entries without their bytes."""
        rows = self._database.look(to_listed, sql.LISTING)
        # Not in the database's order, which for text depends on where it was installed.
        return tuple(sorted(rows, key=lambda listed: (listed.name.kind.value, listed.name.key)))

    def claim_due(self, now: datetime, *, lease_until: datetime) -> Claim | None:
        """Take the entry that is due for the longest time."""
        moment = from_time(now)
        with self._database.writing() as transaction:
            found = transaction.execute(sql.DUE + self._database.unlocked_row, (moment, moment))
            if not found:
                return None
            kind, name, failures = found[0]
            lease = self._new_lease()
            transaction.execute(sql.CLAIM, (lease, from_time(lease_until), kind, name))
            return Claim(name=to_name(kind, name), failures=failures, lease=lease)

    def postpone(self, claim: Claim, *, refresh_at: datetime, reason: str) -> None:
        """The renewal of a claimed entry has failed."""
        changes = (from_time(refresh_at), *_NO_LEASE, reason)
        with self._database.writing() as transaction:
            _next_revision(transaction)
            transaction.execute(sql.POSTPONE, (*changes, *from_name(claim.name), claim.lease))

    def make_due(self, now: datetime) -> int:
        """Make all entries due."""
        with self._database.writing() as transaction:
            _next_revision(transaction)
            transaction.execute(sql.MAKE_DUE, (from_time(now),))
            (row,) = transaction.execute(sql.COUNT_ENTRIES)
            return _number(row)

    def platform(self, platform: PlatformId) -> Platform | None:
        """The platform of this id."""
        key = (platform.qe_id, platform.pce_id)
        with self._database.reading() as transaction:
            found = transaction.execute(sql.GET_PLATFORM, key)
            certificates = transaction.execute(sql.GET_CERTIFICATES, key)
            tcbs = transaction.execute(sql.GET_TCBS, key)
            return to_platform(found[0], certificates, sorted(tcbs)) if found else None

    def put_platform(self, platform: Platform) -> None:
        """Keep a platform and exactly its certificates."""
        key = (platform.id.qe_id, platform.id.pce_id)
        with self._database.writing() as transaction:
            _next_revision(transaction)
            transaction.execute(sql.DELETE_PLATFORM, key)
            transaction.execute(sql.DELETE_CERTIFICATES, key)
            transaction.execute(sql.ADD_PLATFORM, from_platform(platform))
            for position, one in enumerate(platform.certificates):
                transaction.execute(sql.ADD_CERTIFICATE, (*key, position, one.tcbm, one.pem))
            for tcb in platform.tcbs:
                transaction.execute(sql.PUT_TCB, (*key, tcb.cpu_svn, tcb.pce_svn, tcb.tcbm))

    def add_tcb(self, platform: PlatformId, tcb: RawTcb) -> None:
        """Remember that a platform runs at a TCB."""
        key = (platform.qe_id, platform.pce_id)
        with self._database.writing() as transaction:
            _next_revision(transaction)
            if transaction.execute(sql.GET_PLATFORM, key):
                transaction.execute(sql.PUT_TCB, (*key, tcb.cpu_svn, tcb.pce_svn, tcb.tcbm))

    def platforms(self, fmspcs: tuple[str, ...] = ()) -> Iterator[Platform]:
        """The platforms of these families, or all; each is read when it is asked for."""
        rows = self._database.look(tuple, sql.PLATFORM_IDS)
        for qe_id, pce_id, fmspc in sorted(rows):
            if not fmspcs or fmspc in fmspcs:
                platform = self.platform(PlatformId(qe_id=qe_id, pce_id=pce_id))
                if platform is not None:
                    yield platform

    def register(self, registration: Registration) -> None:
        """Queue a registration."""
        values = from_registration(registration)
        with self._database.writing() as transaction:
            number = _next_revision(transaction)
            transaction.execute(sql.DELETE_REGISTRATION, values[:4])
            transaction.execute(sql.ADD_REGISTRATION, (*values, number))

    def registrations(self, state: RegistrationState) -> tuple[Registration, ...]:
        """The registrations in this state, in the order in which they came."""
        return tuple(self._database.look(to_registration, sql.REGISTRATIONS, (state.value,)))

    def take_registrations(self, state: RegistrationState) -> tuple[Registration, ...]:
        """As :meth:`registrations`, and marks them as deleted."""
        with self._database.writing() as transaction:
            _next_revision(transaction)
            taken = tuple(map(to_registration, transaction.execute(sql.REGISTRATIONS, (state.value,))))
            transaction.execute(sql.CHANGE_STATE, (RegistrationState.DELETED.value, state.value))
        return taken

    def put_policy(self, policy: AppraisalPolicy) -> None:
        """Keep a policy."""
        with self._database.writing() as transaction:
            _next_revision(transaction)
            if policy.is_default:
                transaction.execute(sql.NO_DEFAULT, (policy.fmspc, policy.type))
            transaction.execute(sql.DELETE_POLICY, (policy.id,))
            transaction.execute(sql.ADD_POLICY, from_policy(policy))

    def policies(self, fmspc: str) -> tuple[AppraisalPolicy, ...]:
        """The default policies of a family, ordered by id."""
        return tuple(policy for policy in self.all_policies() if policy.fmspc == fmspc and policy.is_default)

    def all_policies(self) -> tuple[AppraisalPolicy, ...]:
        """All policies."""
        rows = self._database.look(to_policy, sql.POLICIES)
        return tuple(sorted(rows, key=lambda policy: policy.id))

    def close(self) -> None:
        """Give back the connections."""
        self._database.close()


def _next_revision(transaction: Transaction) -> int:
    """Count a writing transaction, and keep all others from writing until it ends."""
    transaction.execute(sql.NEXT_REVISION)
    (row,) = transaction.execute(sql.REVISION)
    return _number(row)


def _precedence(transaction: Transaction, name: DocumentName) -> tuple[int, int] | None:
    found = transaction.execute(sql.PRECEDENCE, from_name(name))
    return (found[0][0] or 0, found[0][1]) if found else None


def _number(row: Row) -> int:
    return int(row[0])
