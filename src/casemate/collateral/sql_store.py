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

from casemate.collateral.names import DocumentName
from casemate.collateral.sql_rows import (
    ENTRY_COLUMNS,
    LISTED_COLUMNS,
    PLATFORM_COLUMNS,
    POLICY_COLUMNS,
    REGISTRATION_COLUMNS,
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
_REVISION = "SELECT number FROM revision"
_REGISTRATIONS = f"SELECT {REGISTRATION_COLUMNS} FROM registration WHERE state = ? ORDER BY number"  # noqa: S608  # constants
_DUE = (
    "SELECT kind, name, failures FROM document WHERE refresh_at <= ? AND leased_until <= ?"
    " ORDER BY refresh_at, kind, name LIMIT 1 "
)


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
        (number,) = self._database.look(_number, _REVISION)
        return number

    def get(self, name: DocumentName) -> Entry | None:
        """The entry of this name."""
        found = self._database.look(
            to_entry,
            f"SELECT {ENTRY_COLUMNS} FROM document WHERE kind = ? AND name = ?",  # noqa: S608  # constants
            from_name(name),
        )
        return found[0] if found else None

    def put(self, entry: Entry, *, refresh_at: datetime) -> bool:
        """Keep an entry, unless there is one that takes precedence."""
        with self._database.writing() as transaction:
            _next_revision(transaction)
            kept = _precedence(transaction, entry.name)
            if kept is not None and kept > (entry.precedence[0], from_time(entry.precedence[1])):
                transaction.execute(
                    "UPDATE document SET refresh_at = ?, failures = 0, reason = '', lease = ?,"
                    " leased_until = ? WHERE kind = ? AND name = ?",
                    (from_time(refresh_at), *_NO_LEASE, *from_name(entry.name)),
                )
                return False
            _delete_document(transaction, entry.name)
            transaction.execute(
                f"INSERT INTO document ({ENTRY_COLUMNS}, refresh_at, failures, reason, lease, leased_until)"  # noqa: S608  # constants
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '', ?, ?)",
                (*from_entry(entry), from_time(refresh_at), *_NO_LEASE),
            )
        return True

    def delete(self, name: DocumentName) -> bool:
        """Forget an entry."""
        with self._database.writing() as transaction:
            _next_revision(transaction)
            found = _precedence(transaction, name) is not None
            _delete_document(transaction, name)
        return found

    def entries(self) -> Iterator[Entry]:
        """All entries; each is read when it is asked for."""
        for listed in self.listing():
            entry = self.get(listed.name)
            if entry is not None:
                yield entry

    def listing(self) -> tuple[Listed, ...]:
        """All entries without their bytes."""
        rows = self._database.look(to_listed, f"SELECT {LISTED_COLUMNS} FROM document")  # noqa: S608  # constants
        # Not in the database's order, which for text depends on where it was installed.
        return tuple(sorted(rows, key=lambda listed: (listed.name.kind.value, listed.name.key)))

    def claim_due(self, now: datetime, *, lease_until: datetime) -> Claim | None:
        """Take the entry that is due for the longest time."""
        with self._database.writing() as transaction:
            found = transaction.execute(
                _DUE + self._database.unlocked_row,
                (from_time(now), from_time(now)),
            )
            if not found:
                return None
            kind, name, failures = found[0]
            lease = self._new_lease()
            transaction.execute(
                "UPDATE document SET lease = ?, leased_until = ? WHERE kind = ? AND name = ?",
                (lease, from_time(lease_until), kind, name),
            )
            return Claim(name=to_name(kind, name), failures=failures, lease=lease)

    def postpone(self, claim: Claim, *, refresh_at: datetime, reason: str) -> None:
        """The renewal of a claimed entry has failed."""
        with self._database.writing() as transaction:
            _next_revision(transaction)
            transaction.execute(
                "UPDATE document SET refresh_at = ?, failures = failures + 1, reason = ?, lease = ?,"
                " leased_until = ? WHERE kind = ? AND name = ? AND lease = ?",
                (from_time(refresh_at), reason, *_NO_LEASE, *from_name(claim.name), claim.lease),
            )

    def make_due(self, now: datetime) -> int:
        """Make all entries due."""
        with self._database.writing() as transaction:
            _next_revision(transaction)
            transaction.execute("UPDATE document SET refresh_at = ?", (from_time(now),))
            ((count,),) = transaction.execute("SELECT count(*) FROM document")
        return int(count)

    def platform(self, platform: PlatformId) -> Platform | None:
        """The platform of this id."""
        key = (platform.qe_id, platform.pce_id)
        with self._database.reading() as transaction:
            found = transaction.execute(
                f"SELECT {PLATFORM_COLUMNS} FROM platform WHERE qe_id = ? AND pce_id = ?",  # noqa: S608  # constants
                key,
            )
            certificates = transaction.execute(
                "SELECT tcbm, pem FROM pck_certificate WHERE qe_id = ? AND pce_id = ? ORDER BY position", key
            )
            tcbs = transaction.execute(
                "SELECT cpu_svn, pce_svn, tcbm FROM platform_tcb WHERE qe_id = ? AND pce_id = ?", key
            )
            return to_platform(found[0], certificates, sorted(tcbs)) if found else None

    def put_platform(self, platform: Platform) -> None:
        """Keep a platform and exactly its certificates."""
        key = (platform.id.qe_id, platform.id.pce_id)
        with self._database.writing() as transaction:
            _next_revision(transaction)
            for table in ("platform", "pck_certificate"):
                transaction.execute(f"DELETE FROM {table} WHERE qe_id = ? AND pce_id = ?", key)  # noqa: S608  # constants
            transaction.execute(
                f"INSERT INTO platform ({PLATFORM_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  # constants
                from_platform(platform),
            )
            for position, certificate in enumerate(platform.certificates):
                transaction.execute(
                    "INSERT INTO pck_certificate (qe_id, pce_id, position, tcbm, pem) VALUES (?, ?, ?, ?, ?)",
                    (*key, position, certificate.tcbm, certificate.pem),
                )
            for tcb in platform.tcbs:
                _put_tcb(transaction, platform.id, tcb)

    def add_tcb(self, platform: PlatformId, tcb: RawTcb) -> None:
        """Remember that a platform runs at a TCB."""
        with self._database.writing() as transaction:
            _next_revision(transaction)
            key = (platform.qe_id, platform.pce_id)
            if transaction.execute("SELECT 1 FROM platform WHERE qe_id = ? AND pce_id = ?", key):
                _put_tcb(transaction, platform, tcb)

    def platforms(self, fmspcs: tuple[str, ...] = ()) -> Iterator[Platform]:
        """The platforms of these families, or all; each is read when it is asked for."""
        rows = self._database.look(tuple, "SELECT qe_id, pce_id, fmspc FROM platform")
        for qe_id, pce_id, fmspc in sorted(rows):
            if not fmspcs or fmspc in fmspcs:
                platform = self.platform(PlatformId(qe_id=qe_id, pce_id=pce_id))
                if platform is not None:
                    yield platform

    def register(self, registration: Registration) -> None:
        """Queue a registration."""
        with self._database.writing() as transaction:
            number = _next_revision(transaction)
            values = from_registration(registration)
            transaction.execute(
                "DELETE FROM registration WHERE qe_id = ? AND pce_id = ? AND cpu_svn = ? AND pce_svn = ?",
                values[:4],
            )
            transaction.execute(
                f"INSERT INTO registration ({REGISTRATION_COLUMNS}, number) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  # constants
                (*values, number),
            )

    def registrations(self, state: RegistrationState) -> tuple[Registration, ...]:
        """The registrations in this state, in the order in which they came."""
        return tuple(self._database.look(to_registration, _REGISTRATIONS, (state.value,)))

    def take_registrations(self, state: RegistrationState) -> tuple[Registration, ...]:
        """As :meth:`registrations`, and marks them as deleted."""
        with self._database.writing() as transaction:
            _next_revision(transaction)
            taken = tuple(map(to_registration, transaction.execute(_REGISTRATIONS, (state.value,))))
            transaction.execute(
                "UPDATE registration SET state = ? WHERE state = ?",
                (RegistrationState.DELETED.value, state.value),
            )
        return taken

    def put_policy(self, policy: AppraisalPolicy) -> None:
        """Keep a policy."""
        with self._database.writing() as transaction:
            _next_revision(transaction)
            if policy.is_default:
                transaction.execute(
                    "UPDATE appraisal_policy SET is_default = 0 WHERE fmspc = ? AND type = ?",
                    (policy.fmspc, policy.type),
                )
            transaction.execute("DELETE FROM appraisal_policy WHERE id = ?", (policy.id,))
            transaction.execute(
                f"INSERT INTO appraisal_policy ({POLICY_COLUMNS}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608  # constants
                from_policy(policy),
            )

    def policies(self, fmspc: str) -> tuple[AppraisalPolicy, ...]:
        """The default policies of a family, ordered by id."""
        return tuple(policy for policy in self.all_policies() if policy.fmspc == fmspc and policy.is_default)

    def all_policies(self) -> tuple[AppraisalPolicy, ...]:
        """All policies."""
        rows = self._database.look(to_policy, f"SELECT {POLICY_COLUMNS} FROM appraisal_policy")  # noqa: S608  # constants
        return tuple(sorted(rows, key=lambda policy: policy.id))

    def close(self) -> None:
        """Give back the connections."""
        self._database.close()


def _next_revision(transaction: Transaction) -> int:
    """Count a writing transaction, and keep all others from writing until it ends."""
    transaction.execute("UPDATE revision SET number = number + 1")
    (row,) = transaction.execute(_REVISION)
    return _number(row)


def _precedence(transaction: Transaction, name: DocumentName) -> tuple[int, int] | None:
    found = transaction.execute(
        "SELECT evaluation_number, begins FROM document WHERE kind = ? AND name = ?", from_name(name)
    )
    return (found[0][0] or 0, found[0][1]) if found else None


def _delete_document(transaction: Transaction, name: DocumentName) -> None:
    transaction.execute("DELETE FROM document WHERE kind = ? AND name = ?", from_name(name))


def _put_tcb(transaction: Transaction, platform: PlatformId, tcb: RawTcb) -> None:
    transaction.execute(
        "INSERT INTO platform_tcb (qe_id, pce_id, cpu_svn, pce_svn, tcbm) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (qe_id, pce_id, cpu_svn, pce_svn) DO UPDATE SET tcbm = excluded.tcbm",
        (platform.qe_id, platform.pce_id, tcb.cpu_svn, tcb.pce_svn, tcb.tcbm),
    )


def _number(row: Row) -> int:
    return int(row[0])
