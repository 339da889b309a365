"""A small notebook for the web."""

import sys

from flask import Flask, abort, request

from . import api, pages
from .notebook import Notebook
from .sealing import NoteCipher
from .settings import Settings, SettingsError
from .store import NoteStore, StoreError

MAX_REQUEST_BYTES = 64 * 1024


def create_app(settings: Settings) -> Flask:
    """The application for ``settings``; opens the database and reads every note once."""
    application = Flask(__name__)
    application.config["MAX_CONTENT_LENGTH"] = MAX_REQUEST_BYTES
    application.json.sort_keys = False
    application.extensions["notebook"] = Notebook(NoteStore(settings.database, NoteCipher(settings.key)))
    application.before_request(refuse_foreign_forms)
    application.after_request(add_security_headers)
    application.register_blueprint(pages.blueprint)
    application.register_blueprint(api.blueprint)
    return application


def refuse_foreign_forms() -> None:
    """Another site must not be able to write notes through the browser of someone who may."""
    if request.method == "POST" and request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        abort(403, "This form was sent from another site.")


def add_security_headers(response):
    """Nothing here needs scripts, frames or anything from elsewhere."""
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'self'; form-action 'self'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    return response


try:
    app = create_app(Settings.from_environment())
except (SettingsError, StoreError) as error:
    sys.exit(f"notes: {error}")
