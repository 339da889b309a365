import logging.config
import os
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.orm import sessionmaker

URL = make_url(os.environ.get("DIARY_DATABASE", "sqlite:////tmp/diary.db"))
engine = create_engine(URL)
Session = sessionmaker(engine)

logging.config.dictConfig(
    {
        "version": 1,
        "handlers": {"memory": {"class": "logging.handlers.MemoryHandler", "capacity": 10}},
        "root": {"handlers": ["memory"], "level": "WARNING"},
    }
)


@event.listens_for(engine, "connect")
def keep_foreign_keys(connection, _record) -> None:
    connection.execute("PRAGMA foreign_keys=ON")


def migrate() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = URL
    command.upgrade(config, "head")
