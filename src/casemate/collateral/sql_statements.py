"""What a collateral store asks of its database, in SQL that SQLite and PostgreSQL read alike.

Columns stand in the order in which :mod:`casemate.collateral.sql_rows` reads and writes them.
"""

from __future__ import annotations

from typing import Final

REVISION: Final = "SELECT number FROM collateral_revision"
NEXT_REVISION: Final = "UPDATE collateral_revision SET number = number + 1"

GET_ENTRY: Final = """
    SELECT kind, name, body, issuer_chain, fetched_at, begins, ends, evaluation_number
    FROM collateral_document WHERE kind = ? AND name = ?"""
PRECEDENCE: Final = "SELECT evaluation_number, begins FROM collateral_document WHERE kind = ? AND name = ?"
DELETE_ENTRY: Final = "DELETE FROM collateral_document WHERE kind = ? AND name = ?"
#: Followed by when it is due, no lease and its end.
ADD_ENTRY: Final = """
    INSERT INTO collateral_document (
        kind, name, body, issuer_chain, fetched_at, begins, ends, evaluation_number,
        refresh_at, lease, leased_until, failures, reason
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, '')"""
RENEWED: Final = """
    UPDATE collateral_document SET refresh_at = ?, lease = ?, leased_until = ?, failures = 0, reason = ''
    WHERE kind = ? AND name = ?"""
LISTING: Final = """
    SELECT kind, name, fetched_at, ends, evaluation_number, failures, reason FROM collateral_document"""

#: The database adds how to pass over rows that another transaction has taken.
DUE: Final = """
    SELECT kind, name, failures FROM collateral_document WHERE refresh_at <= ? AND leased_until <= ?
    ORDER BY refresh_at, kind, name LIMIT 1 """
CLAIM: Final = "UPDATE collateral_document SET lease = ?, leased_until = ? WHERE kind = ? AND name = ?"
POSTPONE: Final = """
    UPDATE collateral_document
    SET refresh_at = ?, lease = ?, leased_until = ?, failures = failures + 1, reason = ?
    WHERE kind = ? AND name = ? AND lease = ?"""
MAKE_DUE: Final = "UPDATE collateral_document SET refresh_at = ?"
COUNT_ENTRIES: Final = "SELECT count(*) FROM collateral_document"

PLATFORM_IDS: Final = "SELECT qe_id, pce_id, fmspc FROM collateral_platform"
GET_PLATFORM: Final = """
    SELECT qe_id, pce_id, encrypted_ppid, manifest, fmspc, authority, issuer_chain, fetched_at
    FROM collateral_platform WHERE qe_id = ? AND pce_id = ?"""
GET_CERTIFICATES: Final = """
    SELECT tcbm, pem FROM collateral_pck_certificate WHERE qe_id = ? AND pce_id = ? ORDER BY position"""
GET_TCBS: Final = """
    SELECT cpu_svn, pce_svn, tcbm FROM collateral_platform_tcb WHERE qe_id = ? AND pce_id = ?"""
DELETE_PLATFORM: Final = "DELETE FROM collateral_platform WHERE qe_id = ? AND pce_id = ?"
DELETE_CERTIFICATES: Final = "DELETE FROM collateral_pck_certificate WHERE qe_id = ? AND pce_id = ?"
ADD_PLATFORM: Final = """
    INSERT INTO collateral_platform (
        qe_id, pce_id, encrypted_ppid, manifest, fmspc, authority, issuer_chain, fetched_at
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
ADD_CERTIFICATE: Final = """
    INSERT INTO collateral_pck_certificate (qe_id, pce_id, position, tcbm, pem) VALUES (?, ?, ?, ?, ?)"""
PUT_TCB: Final = """
    INSERT INTO collateral_platform_tcb (qe_id, pce_id, cpu_svn, pce_svn, tcbm) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (qe_id, pce_id, cpu_svn, pce_svn) DO UPDATE SET tcbm = excluded.tcbm"""

REGISTRATIONS: Final = """
    SELECT qe_id, pce_id, cpu_svn, pce_svn, encrypted_ppid, manifest, state
    FROM collateral_registration WHERE state = ? ORDER BY number"""
DELETE_REGISTRATION: Final = """
    DELETE FROM collateral_registration
    WHERE qe_id = ? AND pce_id = ? AND cpu_svn = ? AND pce_svn = ?"""
ADD_REGISTRATION: Final = """
    INSERT INTO collateral_registration (
        qe_id, pce_id, cpu_svn, pce_svn, encrypted_ppid, manifest, state, number
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
CHANGE_STATE: Final = "UPDATE collateral_registration SET state = ? WHERE state = ?"

POLICIES: Final = "SELECT id, fmspc, type, is_default, policy FROM collateral_policy"
DELETE_POLICY: Final = "DELETE FROM collateral_policy WHERE id = ?"
NO_DEFAULT: Final = "UPDATE collateral_policy SET is_default = 0 WHERE fmspc = ? AND type = ?"
ADD_POLICY: Final = """
    INSERT INTO collateral_policy (id, fmspc, type, is_default, policy) VALUES (?, ?, ?, ?, ?)"""
