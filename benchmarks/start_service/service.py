"""The program whose start is measured: everything that such a service imports, and one request in process."""

import base64
import sys

import numpy as np
import psycopg2.extras
import requests
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from flask import Flask, Response, jsonify
from opentelemetry import trace
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.psycopg2 import Psycopg2Instrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans = InMemorySpanExporter()
provider = TracerProvider(resource=Resource.create({"service.name": "start"}))
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
RequestsInstrumentor().instrument()
Psycopg2Instrumentor().instrument()

app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)


@app.get("/")
def answer() -> Response:
    key = HKDF(hashes.SHA256(), 32, None, b"start").derive(b"a secret")
    sealed = Fernet(base64.urlsafe_b64encode(key)).encrypt(np.arange(8.0).tobytes())
    return jsonify(
        sealed=len(sealed),
        norm=float(np.linalg.norm(np.arange(8.0))),
        adapted=psycopg2.extras.Json({"a": 1}).dumps({"a": 1}),
        agent=requests.utils.default_user_agent().partition("/")[0],
    )


def main() -> None:
    reply = app.test_client().get("/")
    if reply.status_code != 200 or len(spans.get_finished_spans()) != 1:
        sys.exit(f"not answered: {reply.status_code}")
    print("answered", reply.get_json()["norm"], flush=True)


if __name__ == "__main__":
    main()
