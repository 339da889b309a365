"""Turns rows into any format for which somebody has installed a plugin."""

import importlib
import pkgutil
from importlib.metadata import entry_points, version

from flask import Flask, Response, abort, jsonify, request
from stevedore import ExtensionManager

from convert import builtin

app = Flask(__name__)
FORMATS = {point.name: point for point in entry_points().select(group="convert.formats")}
FILTERS = {
    module.name: importlib.import_module(f"{builtin.__name__}.{module.name}")
    for module in pkgutil.iter_modules(builtin.__path__)
}
CHECKS = ExtensionManager("convert.checks", invoke_on_load=True)


@app.get("/")
def index():
    return jsonify(
        formats=sorted(FORMATS),
        filters=sorted(FILTERS),
        checks=sorted(CHECKS.names()),
        plugins=version("convert-extra"),
    )


@app.post("/check")
def check():
    return jsonify({extension.name: extension.obj.check(request.get_json()) for extension in CHECKS})


@app.post("/<name>")
def convert(name: str):
    if name not in FORMATS:
        abort(404)
    made = FORMATS[name].load()
    rows = request.get_json()
    for chosen in request.args.getlist("filter"):
        rows = FILTERS[chosen].apply(rows)
    call = made() if isinstance(made, type) else made
    return Response(call(rows), content_type="text/plain; charset=utf-8")
