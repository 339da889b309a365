"""The notes in SQLite. Title and body are encrypted; the database sees an id, a date and a sealed blob."""

import json
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .sealing import NoteCipher, SealBrokenError

SCHEMA = """
CREATE TABLE IF NOT EXISTS note (
    id      TEXT PRIMARY KEY,
    created TEXT NOT NULL,
    sealed  BLOB NOT NULL
) STRICT
"""


class StoreError(Exception):
    """The database cannot be used; the message says why and what to do."""


@dataclass(frozen=True)
class Note:
    """One note, in the clear."""

    id: str
    created: datetime
    title: str
    body: str


class NoteStore:
    """All notes, in one SQLite file that belongs to this process.

    One connection, used by one thread at a time: the service is a single process, so SQLite can keep its lock for
    good (``locking_mode``) and needs neither a shared-memory file nor a log to merge (``journal_mode``).
    """

    def __init__(self, path: Path, cipher: NoteCipher) -> None:
        self._cipher = cipher
        self._lock = threading.Lock()
        self._path = path
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False)
        except sqlite3.Error as error:
            raise StoreError(f"The database {path} cannot be opened: {error}.") from error
        try:
            self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._connection.execute("PRAGMA journal_mode = TRUNCATE")
            with self._connection:
                self._connection.execute(SCHEMA)
        except sqlite3.Error as error:
            self.close()
            raise StoreError(f"The database {path} cannot be used: {error}.") from error

    def close(self) -> None:
        """Give the database back."""
        self._connection.close()

    def add(self, title: str, body: str) -> Note:
        """Store a new note."""
        note = Note(uuid.uuid4().hex, datetime.now(UTC).replace(microsecond=0), title, body)
        plaintext = json.dumps({"title": note.title, "body": note.body}).encode()
        sealed = self._cipher.seal(plaintext, note.id)
        with self._lock, self._connection:
            self._connection.execute(
                "INSERT INTO note (id, created, sealed) VALUES (?, ?, ?)",
                (note.id, note.created.isoformat(), sealed),
            )
        return note

    def get(self, note_id: str) -> Note | None:
        """The note with this id, if there is one."""
        with self._lock:
            row = self._connection.execute(
                "SELECT id, created, sealed FROM note WHERE id = ?", (note_id,)
            ).fetchone()
        return self._open(*row) if row else None

    def all(self) -> Iterator[Note]:
        """Every note, the newest first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, created, sealed FROM note ORDER BY created DESC, rowid DESC"
            ).fetchall()
        return (self._open(*row) for row in rows)

    def _open(self, note_id: str, created: str, sealed: bytes) -> Note:
        try:
            content = json.loads(self._cipher.open(sealed, note_id))
        except SealBrokenError as error:
            raise StoreError(
                f"The key does not open the notes in {self._path}. "
                "Give the key that they were written with, or another database."
            ) from error
        return Note(note_id, datetime.fromisoformat(created), content["title"], content["body"])
