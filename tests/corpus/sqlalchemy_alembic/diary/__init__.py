"""A diary in SQLite; its schema is brought up to date by Alembic when it starts."""

from diary.web import app

__all__ = ["app"]
