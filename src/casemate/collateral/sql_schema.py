"""The tables of a collateral store, and the steps by which older stores become newer ones.

Text that SQLite and PostgreSQL read alike: ``{bytes}`` stands for the one type whose name differs. Times are
microseconds since 1970. Names begin alike, because a database may hold other things. A step is never changed
once it was released: what has to change is a further step.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from casemate.errors import ServiceError

#: One step: statements that are done in one transaction.
Migration: TypeAlias = tuple[str, ...]

_FIRST: Final[Migration] = (
    "CREATE TABLE collateral_revision (number BIGINT NOT NULL)",
    "INSERT INTO collateral_revision (number) VALUES (1)",
    """CREATE TABLE collateral_document (
        kind TEXT NOT NULL, name TEXT NOT NULL,
        body {bytes} NOT NULL, issuer_chain {bytes} NOT NULL, evaluation_number BIGINT,
        fetched_at BIGINT NOT NULL, begins BIGINT NOT NULL, ends BIGINT NOT NULL,
        refresh_at BIGINT NOT NULL, failures BIGINT NOT NULL, reason TEXT NOT NULL,
        lease TEXT NOT NULL, leased_until BIGINT NOT NULL,
        PRIMARY KEY (kind, name)
    )""",
    "CREATE INDEX collateral_document_refresh ON collateral_document (refresh_at)",
    """CREATE TABLE collateral_platform (
        qe_id TEXT NOT NULL, pce_id TEXT NOT NULL,
        encrypted_ppid TEXT NOT NULL, manifest TEXT NOT NULL, fmspc TEXT NOT NULL, authority TEXT NOT NULL,
        issuer_chain {bytes} NOT NULL, fetched_at BIGINT NOT NULL,
        PRIMARY KEY (qe_id, pce_id)
    )""",
    "CREATE INDEX collateral_platform_family ON collateral_platform (fmspc)",
    """CREATE TABLE collateral_pck_certificate (
        qe_id TEXT NOT NULL, pce_id TEXT NOT NULL, position BIGINT NOT NULL,
        tcbm TEXT NOT NULL, pem {bytes} NOT NULL,
        PRIMARY KEY (qe_id, pce_id, position)
    )""",
    """CREATE TABLE collateral_platform_tcb (
        qe_id TEXT NOT NULL, pce_id TEXT NOT NULL, cpu_svn TEXT NOT NULL, pce_svn TEXT NOT NULL,
        tcbm TEXT NOT NULL,
        PRIMARY KEY (qe_id, pce_id, cpu_svn, pce_svn)
    )""",
    """CREATE TABLE collateral_registration (
        qe_id TEXT NOT NULL, pce_id TEXT NOT NULL, cpu_svn TEXT NOT NULL, pce_svn TEXT NOT NULL,
        encrypted_ppid TEXT NOT NULL, manifest TEXT NOT NULL, state BIGINT NOT NULL, number BIGINT NOT NULL,
        PRIMARY KEY (qe_id, pce_id, cpu_svn, pce_svn)
    )""",
    """CREATE TABLE collateral_policy (
        id TEXT NOT NULL PRIMARY KEY, fmspc TEXT NOT NULL, type TEXT NOT NULL, is_default BIGINT NOT NULL,
        policy TEXT NOT NULL
    )""",
)

#: The steps from an empty database to the present layout, whose number is how many there are.
MIGRATIONS: Final[tuple[Migration, ...]] = (_FIRST,)


def missing_steps(migrations: tuple[Migration, ...], layout: int, *, where: str) -> tuple[Migration, ...]:
    """What a store of ``layout`` lacks.

    Args:
        migrations: All steps.
        layout: How many of them the store has seen.
        where: The store, for messages.

    Raises:
        ServiceError: The store was made by a newer version.
    """
    if layout > len(migrations):
        raise ServiceError(
            "collateral store",
            expected=f"layout {len(migrations)} or older",
            got=f"layout {layout}",
            where=where,
            hint="use the version of casemate that made it, or a newer one, or name another store",
        )
    return migrations[layout:]
