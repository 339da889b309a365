"""A small shop: a catalogue, a basket in the session, orders as a blueprint."""

import os

from flask import Flask, jsonify, render_template

from shop import catalogue


def create_app() -> Flask:
    app = Flask(__name__)
    app.secret_key = os.environ.get("SHOP_SECRET", "for development only")
    app.config["MAX_CONTENT_LENGTH"] = 64 * 1024

    from shop.orders import orders

    app.register_blueprint(orders, url_prefix="/basket")

    @app.template_filter("euros")
    def euros(cents: int) -> str:
        return f"{cents / 100:.2f} €"

    @app.get("/")
    def index() -> str:
        return render_template("index.html", items=catalogue.items())

    @app.get("/api/items")
    def items():
        return jsonify([item.__dict__ for item in catalogue.items()])

    @app.get("/download")
    def download():
        from flask import send_file

        return send_file(catalogue.as_csv(), mimetype="text/csv", download_name="items.csv")

    @app.errorhandler(404)
    def missing(_error):
        return render_template("missing.html"), 404

    @app.cli.command("check")
    def check() -> None:
        print("all is well")

    return app
