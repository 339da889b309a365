"""What has to be said from outside: where the notes are, and the key that opens them."""

import base64
import binascii
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
        key: The 32 bytes that encrypt every note. ``NOTES_KEY_FILE`` names a file with them in base64.
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
                "NOTES_KEY_FILE is not set. Make a key with `openssl rand -base64 32 > notes.key` "
                "and give the path of that file."
            )
        database = Path(environment.get("NOTES_DATABASE") or "notes.db")
        if not database.parent.is_dir():
            raise SettingsError(f"The folder of the database, {database.parent}, does not exist.")
        return cls(key=read_key(Path(key_file)), database=database)


def read_key(path: Path) -> bytes:
    """The key in the file ``path``: 32 bytes, in base64, with or without a newline at the end."""
    try:
        text = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(f"The key file {path} cannot be read: {error.strerror}.") from error
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise SettingsError(f"The key file {path} is not base64.") from error
    if len(key) != KEY_BYTES:
        raise SettingsError(f"The key in {path} has {len(key)} bytes instead of {KEY_BYTES}.")
    return key
