from flask import (
    Blueprint,
    abort,
    flash,
    redirect,
    render_template,
    request,
    session,
    stream_with_context,
    url_for,
)
from markupsafe import escape

from shop import catalogue

orders = Blueprint("orders", __name__, template_folder="templates")


@orders.get("/")
def basket() -> str:
    chosen = [catalogue.find(name) for name in session.get("basket", ())]
    return render_template("orders/basket.html", items=chosen, total=sum(item.cents for item in chosen))


@orders.post("/")
def add():
    item = catalogue.find(request.form["name"])
    if item is None:
        abort(404)
    session["basket"] = [*session.get("basket", ()), item.name]
    flash(f"{item.name} is in the basket")
    return redirect(url_for("orders.basket"))


@orders.post("/import")
def add_many():
    upload = request.files["list"]
    names = [line.strip() for line in upload.stream.read().decode().splitlines()]
    session["basket"] = [name for name in names if catalogue.find(name)]
    return {"added": session["basket"], "file": str(escape(upload.filename))}


@orders.get("/stream")
def stream():
    def lines():
        for name in session.get("basket", ()):
            yield f"{name}\n"

    return stream_with_context(lines()), {"Content-Type": "text/plain; charset=utf-8"}
