"""The API for programs: JSON in, JSON out."""

from typing import Any

from flask import Blueprint, abort, current_app, request, url_for

from .notebook import InvalidNoteError, Match, Notebook
from .store import Note

blueprint = Blueprint("api", __name__)


def notebook() -> Notebook:
    return current_app.extensions["notebook"]


def as_json(note: Note) -> dict[str, Any]:
    return {"id": note.id, "created": note.created.isoformat(), "title": note.title, "body": note.body}


def match_as_json(match: Match) -> dict[str, Any]:
    return {"id": match.note.id, "title": match.note.title, "similarity": round(match.similarity, 4)}


@blueprint.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@blueprint.get("/api/notes")
def list_notes() -> dict[str, Any]:
    return {"notes": [as_json(note) for note in notebook().all()]}


@blueprint.post("/api/notes")
def create_note() -> tuple[dict[str, Any], int, dict[str, str]]:
    content = request.get_json()
    if not isinstance(content, dict) or not all(isinstance(content.get(k), str) for k in ("title", "body")):
        abort(422, 'Send an object with two strings: {"title": …, "body": …}.')
    try:
        note = notebook().write(content["title"], content["body"])
    except InvalidNoteError as error:
        abort(422, str(error))
    return as_json(note), 201, {"Location": url_for("api.read_note", note_id=note.id)}


@blueprint.get("/api/notes/<note_id>")
def read_note(note_id: str) -> dict[str, Any]:
    note = notebook().read(note_id) or abort(404, "There is no such note.")
    return as_json(note) | {"related": [match_as_json(match) for match in notebook().related(note)]}


@blueprint.get("/api/search")
def search() -> dict[str, Any]:
    words = request.args.get("q", "").strip() or abort(422, "Say what to look for: /api/search?q=words.")
    return {"matches": [match_as_json(match) for match in notebook().search(words)]}
