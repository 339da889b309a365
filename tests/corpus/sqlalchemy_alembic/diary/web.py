from datetime import datetime

from flask import Flask, jsonify, request
from sqlalchemy import func, inspect, select, text
from sqlalchemy.orm import joinedload

from diary.database import Session, engine, migrate
from diary.models import Entry, Tag

app = Flask(__name__)
migrate()


@app.post("/entries")
def add():
    wanted = request.get_json()
    with Session.begin() as session:
        entry = Entry(title=wanted["title"], written=datetime(2024, 2, 29, 12), red=0.5)
        entry.tag_names.extend(wanted.get("tags", []))
        session.add(entry)
        session.flush()
        return jsonify(id=entry.id, tags=list(entry.tag_names)), 201


@app.get("/entries")
def entries():
    query = select(Entry).options(joinedload(Entry.tags)).order_by(Entry.title.desc())
    with Session() as session:
        return jsonify(
            [
                {
                    "title": entry.title,
                    "tags": list(entry.tag_names),
                    "length": entry.length,
                    "written": entry.written,
                }
                for entry in session.scalars(query).unique()
            ]
        )


@app.get("/counts")
def counts():
    query = select(Tag.name, func.count()).group_by(Tag.name).order_by(Tag.name)
    with Session() as session:
        return jsonify({name: count for name, count in session.execute(query)})


@app.get("/schema")
def schema():
    tables = inspect(engine)
    with engine.connect() as connection:
        version = connection.execute(text("select version_num from alembic_version")).scalar_one()
    return jsonify(
        version=version,
        tables={
            name: [column["name"] for column in tables.get_columns(name)] for name in tables.get_table_names()
        },
    )
