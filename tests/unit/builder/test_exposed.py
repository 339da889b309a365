"""Variables that look like secrets."""

from __future__ import annotations

import pytest
from tests.support.projects import project

from casemate.builder.enclave.exposed import exposed_variables


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASSWORD", "hunter2"),
        ("API_KEY", "abc"),
        ("DATABASE_URL", "postgresql://app:hunter2@db/notes"),
        ("SIGNING", "q7Zt3vXn9Lw2Rb6Ks8Pd4Hf1Gj5Mc0Ya"),
        ("AUTH_TOKEN", "x"),
    ],
)
def test_these_are_named(name: str, value: str) -> None:
    assert exposed_variables(project(f'[env]\n{name} = "{value}"\n')) == (name,)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOTES_KEY_FILE", "/run/secrets/notes-key"),
        ("TOKEN_URL", "https://login.example/oauth2"),
        ("DATABASE_URL", "postgresql://db/notes"),
        ("PASSWORD", ""),
        ("MODE", "production"),
        ("SECRET_NAME", "kbs:///default/notes/key"),
        ("GREETING", "welcome-to-the-notebook-of-everyone"),
        ("HOST", "http://[broken"),
    ],
)
def test_these_are_not(name: str, value: str) -> None:
    assert exposed_variables(project(f'[env]\n{name} = "{value}"\n')) == ()
