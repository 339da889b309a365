"""casemate.toml: its defaults, and each refusal with its words."""

from typing import Any

import pytest

from casemate.errors import ProjectError
from casemate.project import (
    App,
    Broker,
    Closure,
    ClosureMode,
    Destination,
    Enclave,
    EncryptedMount,
    Interface,
    Kubernetes,
    Project,
    Secret,
    TmpfsMount,
    parse_project,
)

APP = '[app]\nname = "notes"\nserve = "notes:app"\n'
MEASURED_HINT = (
    "the measured folders are /opt/python, /app, /lib, /etc, /usr, /dev, /proc, /sys, /gramine, /casemate"
)
BROKER = '[broker]\nurl = "https://broker.internal:8080"\nca = "ca.pem"\n'


def parse(text: str) -> Any:
    return parse_project(text.encode(), "casemate.toml")


def refusal(text: str) -> Any:
    with pytest.raises(ProjectError) as caught:
        parse(text)
    return str(caught.value), caught.value.hint


def test_every_default() -> None:
    assert parse(APP) == Project(
        app=App(
            name="notes",
            source=".",
            requirements="uv.lock",
            serve="notes:app",
            interface=None,
            command=None,
            port=8443,
        ),
        closure=Closure(mode=ClosureMode.MODULE, include=(), source=()),
        enclave=Enclave(
            size=512 * 1024 * 1024,
            threads=16,
            stack=2 * 1024 * 1024,
            isvprodid=1,
            isvsvn=1,
            debug=False,
            edmm=False,
        ),
        env=(),
        mounts=(),
        secrets=(),
        broker=None,
        kubernetes=Kubernetes(platform="intel", replicas=1),
    )


def test_every_key() -> None:
    text = """
[app]
name = "notes"
source = "src/"
requirements = "requirements.txt"
serve = "notes.web:app"
interface = "asgi"
port = 443
[closure]
mode = "distribution"
include = ["notes/templates/**", "module:notes.plugins.pdf"]
source = ["notes"]
[enclave]
size = "1G"
threads = 32
stack = "512K"
isvprodid = 65535
isvsvn = 0
debug = true
edmm = true
[env]
TZ = "UTC"
EMPTY = ""
[mounts]
"/var/lib/notes" = { encrypted = "db", host = "/data" }
"/var/cache" = "tmpfs"
"/srv" = { encrypted = "_sgx_mrenclave", host = "/data" }
[secrets]
"env:TOKEN" = "kbs:///default/notes/token"
"/run/secrets/db-key" = "kbs:///default/notes/db-key"
"/dev/attestation/keys/db" = "kbs:///a/b/c.d"
[broker]
url = "https://broker.internal:8080/"
ca = "../ca.pem"
[kubernetes]
platform = "intel"
replicas = 2
"""
    assert parse(text) == Project(
        app=App(
            name="notes",
            source="src",
            requirements="requirements.txt",
            serve="notes.web:app",
            interface=Interface.ASGI,
            port=443,
        ),
        closure=Closure(
            mode=ClosureMode.DISTRIBUTION,
            include=("notes/templates/**", "module:notes.plugins.pdf"),
            source=("notes",),
        ),
        enclave=Enclave(
            size=1 << 30, threads=32, stack=512 << 10, isvprodid=65535, isvsvn=0, debug=True, edmm=True
        ),
        env=(("EMPTY", ""), ("TZ", "UTC")),
        mounts=(
            EncryptedMount(path="/srv", key="_sgx_mrenclave", host="/data"),
            TmpfsMount(path="/var/cache"),
            EncryptedMount(path="/var/lib/notes", key="db", host="/data"),
        ),
        secrets=(
            Secret(
                destination="/dev/attestation/keys/db",
                kind=Destination.ENCLAVE_KEY,
                resource="kbs:///a/b/c.d",
            ),
            Secret(
                destination="/run/secrets/db-key",
                kind=Destination.FILE,
                resource="kbs:///default/notes/db-key",
            ),
            Secret(destination="env:TOKEN", kind=Destination.VARIABLE, resource="kbs:///default/notes/token"),
        ),
        broker=Broker(url="https://broker.internal:8080", ca="../ca.pem"),
        kubernetes=Kubernetes(platform="intel", replicas=2),
    )


def test_an_application_without_requirements_says_so() -> None:
    assert parse(APP + 'requirements = ""').app.requirements is None


@pytest.mark.parametrize(
    "command",
    [["python", "-m", "notes"], ["python3.12", "-m", "notes.web", "--x"], ["python3", "run/web.py", "x"]],
)
def test_a_command_is_python(command: Any) -> None:
    text = "[app]\nname = 'n'\ncommand = " + repr(command)
    assert parse(text).app.command == tuple(command)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (
            APP + "prot = 1",
            'unknown key "prot": expected a key of [app] (casemate.toml: app.prot)',
            'did you mean "port"?',
        ),
        (
            APP + "[encalve]",
            'unknown key "encalve": expected a table of casemate.toml (casemate.toml: encalve)',
            'did you mean "enclave"?',
        ),
        (
            APP + "[closure]\nxyz = 1",
            'unknown key "xyz": expected a key of [closure] (casemate.toml: closure.xyz)',
            "the known names are include, mode, source, trace",
        ),
        (
            APP + "[telemetry]",
            "[telemetry]: expected no such table: this version has no telemetry (casemate.toml: telemetry)",
            "remove the table; nothing leaves the enclave through Casemate",
        ),
        (
            APP + '[closure]\nmode = "trace"',
            'file with the record of runs: expected trace = "FILE", got none (casemate.toml: closure.trace)',
            'casemate rehearse BUNDLE --record FILE writes it, for a bundle built in mode "module"',
        ),
        (
            APP + '[closure]\ntrace = "runs.trace"',
            (
                'file with the record of runs: expected only beside mode = "trace", got mode = "module" '
                "(casemate.toml: closure.trace)"
            ),
            None,
        ),
        (
            APP + '[closure]\nmode = "trace"\ntrace = "../runs.trace"',
            (
                'trace: expected a path inside the folder of casemate.toml, got "../runs.trace" '
                "(casemate.toml: closure.trace)"
            ),
            None,
        ),
        (
            APP + '[closure]\nmode = "everything"',
            (
                'mode: expected "module", "distribution" or "trace", got "everything" '
                "(casemate.toml: closure.mode)"
            ),
            "the known names are distribution, module, trace",
        ),
        (
            APP + '[kubernetes]\nplatform = "aks"',
            'platform: expected "intel", got "aks" (casemate.toml: kubernetes.platform)',
            "this version renders for Intel's device plugin only",
        ),
        (
            APP + 'port = "8443"',
            "type of port: expected a number, got a text (casemate.toml: app.port)",
            None,
        ),
        (APP + "port = 65536", "port: expected 1 to 65535, got 65536 (casemate.toml: app.port)", None),
        (APP + "port = 0", "port: expected 1 to 65535, got 0 (casemate.toml: app.port)", None),
        (
            APP + "port = true",
            "type of port: expected a number, got true or false (casemate.toml: app.port)",
            None,
        ),
        (
            "[app]\nserve = 'a:b'",
            'missing key "name" (casemate.toml: app.name)',
            'give the workload a name: name = "notes"',
        ),
        (
            "[app]\nname = 'My App'\nserve = 'a:b'",
            (
                'name: expected small letters, digits and hyphens, at most 63, got "My '
                'App" (casemate.toml: app.name)'
            ),
            None,
        ),
        (
            "[app]\nname = 'n'",
            "what to run: expected one of serve and command, got neither (casemate.toml: app.serve)",
            'serve = "module:callable" for WSGI and ASGI, else command = ["python", "-m", "module"]',
        ),
        (
            APP + "command = ['python', '-m', 'x']",
            "what to run: expected one of serve and command, got both (casemate.toml: app.serve)",
            'serve = "module:callable" for WSGI and ASGI, else command = ["python", "-m", "module"]',
        ),
        (
            "[app]\nname = 'n'\nserve = 'notes'",
            'serve: expected "module:callable", got "notes" (casemate.toml: app.serve)',
            '"wsgi:app" is the variable app of wsgi.py; what a function makes goes into a variable first',
        ),
        (
            "[app]\nname = 'n'\ncommand = ['gunicorn', 'x']",
            (
                'command: expected ["python", "-m", "module", …] or ["python", '
                '"script.py", …], got "gunicorn x" '
                "(casemate.toml: app.command)"
            ),
            (
                "the application runs in the process that attested, and that is a Python interpreter; for "
                'WSGI and ASGI, Casemate is the server: serve = "module:callable" in the place of command'
            ),
        ),
        (
            APP + 'source = "../other"',
            (
                "source: expected a path inside the folder of casemate.toml, got "
                '"../other" (casemate.toml: app.source)'
            ),
            None,
        ),
        (
            APP + '[closure]\ninclude = ["../*"]',
            (
                "include: expected a pattern inside app.source, a path of an image that begins with /, or "
                'module:, library:, zone: or file:/ and a name, got "../*" (casemate.toml: closure.include)'
            ),
            None,
        ),
        (
            APP + '[closure]\ninclude = "x"',
            "type of include: expected a list of texts, got a text (casemate.toml: closure.include)",
            None,
        ),
        (
            APP + '[enclave]\nsize = "500M"',
            'size: expected a power of two from "64M" to "1T", got "500M" (casemate.toml: enclave.size)',
            'write size = "512M"',
        ),
        (
            APP + "[enclave]\nsize = 536870912",
            (
                'size as a size: expected a text such as "512M" or "1G", got a number '
                "(casemate.toml: enclave.size)"
            ),
            None,
        ),
        (
            APP + '[enclave]\nsize = "512MB"',
            (
                'size as a size: expected a text such as "512M" or "1G", got "512MB" '
                "(casemate.toml: enclave.size)"
            ),
            None,
        ),
        (
            APP + '[enclave]\nsize = "32M"',
            'size: expected a power of two from "64M" to "1T", got "32M" (casemate.toml: enclave.size)',
            'write size = "64M"',
        ),
        (
            APP + '[enclave]\nstack = "5000"',
            'stack: expected a multiple of 4K, not above size, got "5000" (casemate.toml: enclave.stack)',
            None,
        ),
        (
            APP + "[enclave]\nthreads = 4",
            "threads: expected 5 to 4096, got 4 (casemate.toml: enclave.threads)",
            None,
        ),
        (
            APP + "[enclave]\nisvsvn = 65536",
            "isvsvn: expected 0 to 65535, got 65536 (casemate.toml: enclave.isvsvn)",
            None,
        ),
        (
            APP + '[env]\nLD_PRELOAD = "x"',
            (
                'name of a variable: expected one that is left to the application, got "LD_PRELOAD" '
                "(casemate.toml: env.LD_PRELOAD)"
            ),
            "Casemate sets it from what it has put into the image",
        ),
        (
            APP + '[env]\nN = "a\\u001b[2J"',
            (
                "N: expected a text without control characters but tabs and line breaks, and without ''', "
                'got "a\\x1b[2J" (casemate.toml: env.N)'
            ),
            "Gramine's manifest cannot hold it: encode it, and decode it in the application",
        ),
        (
            APP + "[env]\nN = 1",
            "type of N: expected a text, got a number (casemate.toml: env.N)",
            'write N = "…"',
        ),
        (
            APP + BROKER + '[env]\nN = "1"\n[secrets]\n"env:N" = "kbs:///a/b/c"',
            "N: expected one of [env] and [secrets], got both (casemate.toml: env.N)",
            None,
        ),
        (
            APP + '[secrets]\n"/run/secrets/k" = "kbs:///a/b/c"',
            "[secrets] without [broker]: expected a [broker] that holds the secrets (casemate.toml: secrets)",
            'add [broker] with url = "https://…" and ca = "broker-ca.pem"',
        ),
        (
            APP + BROKER + '[secrets]\n"/run/secrets/k" = "kbs:///a/b"',
            (
                'resource: expected "kbs:///repository/type/tag", got "kbs:///a/b" '
                "(casemate.toml: secrets./run/secrets/k)"
            ),
            "three parts of letters, digits, _, - and ., none of which begins with a dot",
        ),
        (
            APP + BROKER + '[secrets]\n"/run/secrets/k" = "kbs:///a/../c"',
            (
                'resource: expected "kbs:///repository/type/tag", got "kbs:///a/../c" '
                "(casemate.toml: secrets./run/secrets/k)"
            ),
            "three parts of letters, digits, _, - and ., none of which begins with a dot",
        ),
        (
            APP + BROKER + '[secrets]\n"run/k" = "kbs:///a/b/c"',
            (
                "destination of a secret: expected an absolute path such as "
                '"/run/secrets/db-key", got "run/k" '
                "(casemate.toml: secrets.run/k)"
            ),
            "secrets go to a file, to env:NAME or to /dev/attestation/keys/NAME",
        ),
        (
            APP + BROKER + '[secrets]\n"/app/k" = "kbs:///a/b/c"',
            (
                "destination of a secret: expected a folder that neither lies in the measured image "
                'nor covers part of it, got "/app/k" (casemate.toml: secrets./app/k)'
            ),
            MEASURED_HINT,
        ),
        (
            APP + BROKER + '[secrets]\n"/opt/k" = "kbs:///a/b/c"',
            (
                "destination of a secret: expected a folder that neither lies in the measured image "
                'nor covers part of it, got "/opt/k" (casemate.toml: secrets./opt/k)'
            ),
            MEASURED_HINT,
        ),
        *(
            (
                APP + f'[mounts]\n"{folder}" = "tmpfs"',
                (
                    "folder of a mount: expected a folder that neither lies in the measured image "
                    f'nor covers part of it, got "{folder}" (casemate.toml: mounts.{folder})'
                ),
                MEASURED_HINT,
            )
            for folder in ("/opt", "/opt/python", "/opt/python/lib", "/usr", "/usr/share", "/app/x", "/dev")
        ),
        *(
            (
                APP + f'[mounts]\n"{folder}" = "tmpfs"',
                (
                    'folder of a mount: expected an absolute path such as "/var/lib/notes", '
                    f'got "{folder}" (casemate.toml: mounts.{folder})'
                ),
                "it is the folder as the application sees it inside; relative paths begin at /app",
            )
            for folder in ("/", "//", "//app", "/x/", "/x/../app", "/./app", "x")
        ),
        (
            APP + BROKER + '[secrets]\n"/key" = "kbs:///a/b/c"',
            'destination of a secret: expected a file in a folder, got "/key" (casemate.toml: secrets./key)',
            "write /run/secrets/NAME: the folder becomes memory of the enclave",
        ),
        (
            APP + BROKER + '[secrets]\n"/dev/attestation/keys/_sgx_x" = "kbs:///a/b/c"',
            (
                'name of a key: expected letters, digits, dots and hyphens, got "_sgx_x" '
                "(casemate.toml: secrets./dev/attestation/keys/_sgx_x)"
            ),
            None,
        ),
        (
            APP + '[mounts]\n"/x" = "disk"',
            (
                'mount: expected "tmpfs" or { encrypted = "KEY", host = "/folder" }, got "disk" '
                "(casemate.toml: mounts./x)"
            ),
            None,
        ),
        (
            APP + '[mounts]\n"/x" = { encrypted = "k", host = "/y" }',
            (
                "key of an encrypted folder: expected a key that [secrets] delivers, "
                "_sgx_mrenclave or _sgx_mrsigner, "
                'got "k" (casemate.toml: mounts."/x".encrypted)'
            ),
            'add "/dev/attestation/keys/k" = "kbs:///…" to [secrets]',
        ),
        *(
            (
                APP + f'[mounts]\n"/x" = {{ encrypted = "_sgx_mrsigner", host = "{host}" }}',
                (
                    "folder of the host: expected an absolute path in its shortest form, "
                    f'got "{host}" (casemate.toml: mounts."/x".host)'
                ),
                None,
            )
            for host in ("y", "/", "//y", "/y/", "/y/./z", "/y/../z")
        ),
        (
            APP + '[broker]\nurl = "http://b:1"\nca = "x"',
            'url: expected "https://host:port", got "http://b:1" (casemate.toml: broker.url)',
            "a broker that is spoken to without TLS could be anybody",
        ),
        (
            APP + '[broker]\nurl = "https://b:1"',
            'missing key "ca" (casemate.toml: broker.ca)',
            "the certificate of the broker's CA is measured: without it any broker would do",
        ),
        (
            APP + '[broker]\nurl = "https://u:p@b:1"\nca = "x"',
            'url: expected "https://host:port", got "https://u:p@b:1" (casemate.toml: broker.url)',
            None,
        ),
        (
            APP + "[kubernetes]\nreplicas = 0",
            "replicas: expected 1 to 1000, got 0 (casemate.toml: kubernetes.replicas)",
            None,
        ),
    ],
)
def test_a_mistake_is_refused_with_its_place(text: str, message: str, hint: str | None) -> None:
    assert refusal(text) == (message, hint)


def test_what_is_not_toml_is_refused() -> None:
    message, _ = refusal("[app")
    assert message.startswith("not a TOML document: got ")
    with pytest.raises(ProjectError, match=r"^encoding of the file: expected UTF-8, got byte 0xff \(x\)$"):
        parse_project(b"\xff", "x")
