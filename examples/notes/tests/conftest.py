import os
import tempfile
from pathlib import Path

import pytest

# `notes.app` is made when the package is imported, as a server does it, and needs a key and a place.
_folder = Path(tempfile.mkdtemp(prefix="notes-tests-"))
(_folder / "notes.key").write_bytes(os.urandom(32))
os.environ["NOTES_KEY_FILE"] = str(_folder / "notes.key")
os.environ["NOTES_DATABASE"] = str(_folder / "notes.db")

from notes import app, create_app  # noqa: E402 - the environment comes first
from notes.settings import Settings  # noqa: E402

app.extensions["notebook"].close()


@pytest.fixture
def settings(tmp_path):
    return Settings(key=bytes(range(32)), database=tmp_path / "notes.db")


@pytest.fixture
def client(settings):
    application = create_app(settings)
    yield application.test_client()
    application.extensions["notebook"].close()
