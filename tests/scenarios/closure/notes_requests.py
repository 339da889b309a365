"""Run by the tests: asks the sample application for everything it "
"has, then prints which modules are loaded."""

import io
import json
import sys

from notes import app

import casemate_attester.entrypoint
import casemate_attester.serving
import casemate_attester.wsgi_server  # noqa: F401 - as PID 1 does

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"
PARTS = b"".join(
    b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\nwords\r\n' % name
    for name in (b"title", b"body")
)
NOTE = json.dumps({"title": "a", "body": "some words"}).encode()


def ask(method: str, target: str, body: bytes = b"", kind: str = "") -> int:
    """The status of one request."""
    path, _, query = target.partition("?")
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": "notes",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": kind,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "https",
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    states: list[str] = []
    b"".join(app(environ, lambda state, _headers, _error=None: states.append(state)))
    return int(states[0][:3])


def is_read_from_a_file(module: object) -> bool:
    """Whether the interpreter did not hold the module's code itself."""
    return getattr(getattr(module, "__spec__", None), "origin", None) != "frozen"


seen = [
    ask("GET", "/"),
    ask("GET", "/healthz"),
    ask("POST", "/api/notes", NOTE, "application/json"),
    ask("POST", "/notes", b"title=b&body=other+words", FORM),
    ask("POST", "/notes", PARTS + b"--x--\r\n", MULTIPART),
    ask("GET", "/search?q=words"),
    ask("GET", "/api/search?q=words"),
    ask("GET", "/static/style.css"),
    ask("GET", "/nothing"),
]
modules = {
    name: getattr(module, "__file__", None)
    for name, module in sys.modules.items()
    if is_read_from_a_file(module)
}
print(json.dumps({"states": seen, "modules": modules}))  # noqa: T201 - its result
