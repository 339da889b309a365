"""The pages for people."""

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from .notebook import MAX_BODY, MAX_TITLE, InvalidNoteError, Notebook

blueprint = Blueprint("pages", __name__)


def notebook() -> Notebook:
    return current_app.extensions["notebook"]


@blueprint.get("/")
def index() -> str:
    return render_template("index.html", notes=notebook().all())


@blueprint.get("/notes/new")
def new() -> str:
    return render_template("new.html", title="", body="", limits=(MAX_TITLE, MAX_BODY))


@blueprint.post("/notes")
def create() -> Response | tuple[str, int]:
    title, body = request.form.get("title", ""), request.form.get("body", "")
    try:
        note = notebook().write(title, body)
    except InvalidNoteError as error:
        page = render_template(
            "new.html", title=title, body=body, limits=(MAX_TITLE, MAX_BODY), problem=str(error)
        )
        return page, 422
    return redirect(url_for("pages.show", note_id=note.id), 303)


@blueprint.get("/notes/<note_id>")
def show(note_id: str) -> str:
    note = notebook().read(note_id) or abort(404, "There is no such note.")
    return render_template("note.html", note=note, related=notebook().related(note))


@blueprint.get("/search")
def search() -> str:
    words = request.args.get("q", "").strip()
    return render_template("search.html", words=words, matches=notebook().search(words) if words else [])


@blueprint.app_errorhandler(HTTPException)
def explain(error: HTTPException) -> tuple[str | dict[str, str], int]:
    """A page for people, a JSON object for programs."""
    if request.path.startswith("/api/"):
        return {"error": error.description or error.name}, error.code or 500
    return render_template("error.html", error=error), error.code or 500
