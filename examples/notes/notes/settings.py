"""What has to be said from outside: where the notes are, and the key that opens them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

KEY_BYTES = 32


class SettingsError(Exception):
    """The service cannot start with what it was given; the message says what to do."""


@dataclass(frozen=True)
class Settings:
    """What the environment decides.

    Attributes:
        key: The 32 bytes that encrypt every note. ``NOTES_KEY_FILE`` names a file that holds nothing else.
        database: The SQLite file, made when it is missing. ``NOTES_DATABASE``, default ``notes.db``.
    """

    key: bytes = field(repr=False)
    database: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings; raises SettingsError with a plain sentence when one cannot be used."""
        key_file = environment.get("NOTES_KEY_FILE")
        if not key_file:
            raise SettingsError(
                "NOTES_KEY_FILE is not set. Make a key with `openssl rand -out notes.key 32` "
                "and give the path of that file."
            )
        database = Path(environment.get("NOTES_DATABASE") or "notes.db")
        if not database.parent.is_dir():
            raise SettingsError(f"The folder of the database, {database.parent}, does not exist.")
        return cls(key=read_key(Path(key_file)), database=database)


def read_key(path: Path) -> bytes:
    """The key in the file ``path``: 32 bytes and nothing else."""
    try:
        key = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"The key file {path} cannot be read: {error.strerror}.") from error
    if len(key) != KEY_BYTES:
        raise SettingsError(f"The key file {path} holds {len(key)} bytes instead of {KEY_BYTES}.")
    return key
