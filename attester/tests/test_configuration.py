import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate_attester.configuration import (
    Application,
    Broker,
    EnvironmentPlace,
    FilePlace,
    Interface,
    KeyPlace,
    Listen,
    Resource,
    Secret,
    Workload,
)
from casemate_attester.errors import ConfigurationError
from casemate_attester.variables import Absent, Variable

PARTS = "resource: expected kbs:///REPOSITORY/TYPE/TAG, each of letters, digits, '_', '-' and inner dots"
HINT = "mend casemate.toml and build the image again: this file is measured"
DOCUMENT: dict[str, Any] = {
    "version": 1,
    "application": {"interface": "wsgi", "target": "notes:app", "path": ["/app"]},
    "listen": {"host": "0.0.0.0", "port": 8443, "threads": 8},  # noqa: S104 - as a pod listens
    "broker": {"url": "https://broker.internal:8080", "ca": "/etc/casemate/broker-ca.pem"},
    "secrets": [{"destination": "/run/secrets/db-key", "resource": "kbs:///default/notes/db-key"}],
    "variables": [
        {
            "name": "LEVEL",
            "one_of": ["info", "debug"],
            "max_length": 256,
            "absent": "default",
            "default": "info",
        },
        {"name": "REGION", "one_of": [], "pattern": "[a-z]{2}", "max_length": 2, "absent": "stop"},
    ],
}
WORKLOAD = Workload(
    application=Application(interface=Interface.WSGI, target="notes:app", path=("/app",)),
    listen=Listen(port=8443),
    broker=Broker(url="https://broker.internal:8080", ca="/etc/casemate/broker-ca.pem"),
    secrets=(Secret(destination="/run/secrets/db-key", resource="kbs:///default/notes/db-key"),),
    variables=(
        Variable(name="LEVEL", one_of=("info", "debug"), absent=Absent.DEFAULT, default="info"),
        Variable(name="REGION", pattern="[a-z]{2}", max_length=2),
    ),
)


def changed(path: str, value: Any) -> bytes:
    """The document with one field set, or left out where the value is ``...``."""
    document = json.loads(json.dumps(DOCUMENT))
    *parents, name = path.split(".")
    place = document
    for parent in parents:
        place = place[int(parent)] if parent.isdigit() else place[parent]
    if value is ...:
        del place[name]
    else:
        place[name] = value
    return json.dumps(document).encode()


def test_the_document_is_the_value() -> None:
    assert Workload.parse(json.dumps(DOCUMENT).encode()) == WORKLOAD


def test_bytes_are_canonical() -> None:
    assert WORKLOAD.to_bytes() == (
        b'{"application":{"interface":"wsgi","path":["/app"],"target":"notes:app"},'
        b'"broker":{"ca":"/etc/casemate/broker-ca.pem","url":"https://broker.internal:8080"},'
        b'"listen":{"host":"0.0.0.0","port":8443,"threads":8},'
        b'"secrets":[{"destination":"/run/secrets/db-key","resource":"kbs:///default/notes/db-key"}],'
        b'"variables":[{"absent":"default","default":"info","max_length":256,"name":"LEVEL",'
        b'"one_of":["info","debug"]},{"absent":"stop","max_length":2,"name":"REGION","one_of":[],'
        b'"pattern":"[a-z]{2}"}],"version":1}'
    )


@pytest.mark.parametrize(
    "command",
    [("python", "-m", "notes"), ("python3", "-m", "notes.run", "--fast"), ("python", "/app/run.py", "a b")],
)
def test_a_command_without_a_broker_comes_back(command: tuple[str, ...]) -> None:
    workload = Workload(
        application=Application(interface=Interface.COMMAND, command=command), listen=Listen(port=1)
    )
    assert Workload.parse(workload.to_bytes()) == workload


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("version", 2, "version: expected 1, got 2"),
        ("version", ..., "version: expected 1, got no such field"),
        ("debug", True, "workload configuration: expected only known fields, got 'debug'"),
        ("listen.tls", False, "listen: expected only known fields, got 'tls'"),
        ("broker.proxy", "", "broker: expected only known fields, got 'proxy'"),
        ("secrets.0.mode", 1, "secrets[0]: expected only known fields, got 'mode'"),
        ("application.command", [], "application: expected only known fields, got 'command'"),
        (
            "application.interface",
            "cgi",
            "application.interface: expected wsgi|asgi|command, got text of 3 characters",
        ),
        ("application.target", "notes", "application.target: expected MODULE:CALLABLE, got 'notes'"),
        (
            "application.target",
            "os:system('x')",
            "application.target: expected MODULE:CALLABLE, got \"os:system('x')\"",
        ),
        ("application.path", ["app"], "application.path: expected absolute normalised folders, got 'app'"),
        (
            "application.path",
            ["/app/../etc"],
            "application.path: expected absolute normalised folders, got '/app/../etc'",
        ),
        (
            "application.path",
            ["//app"],
            "application.path: expected absolute normalised folders, got '//app'",
        ),
        ("listen.host", "a b", "listen.host: expected an address, got 'a b'"),
        ("listen.port", 0, "listen.port: expected an integer from 1 to 65535, got 0"),
        ("listen.port", 65536, "listen.port: expected an integer from 1 to 65535, got 65536"),
        ("listen.threads", 1025, "listen.threads: expected an integer from 1 to 1024, got 1025"),
        ("broker", None, "broker: expected a broker, as there are secrets, got None"),
        ("broker.url", "http://broker", "broker.url: expected https://HOST[:PORT], got 'http://broker'"),
        (
            "broker.url",
            "https://broker/kbs",
            "broker.url: expected https://HOST[:PORT], got 'https://broker/kbs'",
        ),
        (
            "broker.url",
            "https://me@broker",
            "broker.url: expected https://HOST[:PORT], got 'https://me@broker'",
        ),
        (
            "broker.url",
            "https://broker:0",
            "broker.url: expected https://HOST[:PORT], got 'https://broker:0'",
        ),
        (
            "broker.url",
            "https://broker:65536",
            "broker.url: expected https://HOST[:PORT], got 'https://broker:65536'",
        ),
        ("broker.url", "https://[::1", "broker.url: expected https://HOST[:PORT], got 'https://[::1'"),
        ("broker.url", "https://[1.2]", "broker.url: expected https://HOST[:PORT], got 'https://[1.2]'"),
        ("broker.ca", "ca.pem", "broker.ca: expected an absolute normalised path, got 'ca.pem'"),
        (
            "secrets.0.resource",
            "kbs:///a/b",
            "resource: expected kbs:///REPOSITORY/TYPE/TAG, got 'kbs:///a/b'",
        ),
        (
            "secrets.0.resource",
            "kbs://evil/a/b/c",
            "resource: expected kbs:///REPOSITORY/TYPE/TAG, got 'kbs://evil/a/b/c'",
        ),
        (
            "secrets.0.resource",
            "kbs:///a/../c",
            f"{PARTS}, got '..'",
        ),
        (
            "secrets.0.resource",
            "kbs:///a/b?/c",
            f"{PARTS}, got 'b?'",
        ),
    ],
)
def test_what_breaks_a_rule_is_refused(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Workload.parse(changed(path, value))
    where = "" if message.startswith("workload configuration: ") else " (workload configuration)"
    assert (str(caught.value), caught.value.hint) == (message + where, HINT)


@pytest.mark.parametrize(
    ("destination", "place"),
    [
        ("/run/secrets/db-key", FilePlace(path="/run/secrets/db-key")),
        ("/device/key", FilePlace(path="/device/key")),
        ("env:DB_KEY", EnvironmentPlace(name="DB_KEY")),
        ("/dev/attestation/keys/notes.v1", KeyPlace(name="notes.v1")),
    ],
)
def test_a_destination_names_its_place(destination: str, place: object) -> None:
    assert Secret(destination=destination, resource="kbs:///a/b/c").place == place


@pytest.mark.parametrize(
    "destination",
    [
        "",
        "/",
        "key",
        "/run/../dev/x",
        "/run/",
        "//run/key",
        "/run/\0",
        "/dev",
        "/dev/sgx_enclave",
        "/proc/self/mem",
        "/sys",
        "env:",
        "env:1A",
        "env:A=B",
        "ENV:A",
        "/dev/attestation/keys/",
        "/dev/attestation/keys/_sgx_mrenclave",
        "/dev/attestation/keys/../quote",
        "/dev/attestation/quote",
    ],
)
def test_a_destination_that_is_no_place_is_refused(destination: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Secret(destination=destination, resource="kbs:///a/b/c")
    assert str(caught.value) == (
        "secrets.destination: expected an absolute normalised path outside of /dev, /proc and /sys, "
        f"env:NAME, or /dev/attestation/keys/NAME, got {destination!a} (workload configuration)"
    )


def test_two_secrets_in_one_place_are_refused() -> None:
    secret = Secret(destination="env:A", resource="kbs:///a/b/c")
    with pytest.raises(ConfigurationError) as caught:
        Workload(
            application=WORKLOAD.application,
            listen=WORKLOAD.listen,
            broker=WORKLOAD.broker,
            secrets=(secret, secret),
        )
    assert str(caught.value) == (
        "secrets: expected each destination once, got ['env:A', 'env:A'] (workload configuration)"
    )


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("python",),
        ("python", "-c", "pass"),
        ("sh", "-m", "notes"),
        ("python", "run.py"),
        ("python", "-m", "a b"),
        ("python", "-m", "notes", "a\0b"),
        ("python", "-m"),
    ],
)
def test_a_command_that_cannot_run_in_this_process_is_refused(command: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Application(interface=Interface.COMMAND, command=command)
    assert str(caught.value) == (
        'application.command: expected python with "-m MODULE" or an absolute script, and arguments, '
        f"got {list(command)!a} (workload configuration)"
    )


@pytest.mark.parametrize(
    ("options", "subject"),
    [
        (
            {"interface": Interface.COMMAND, "command": ("python", "-m", "a"), "target": "a:b"},
            "application.target",
        ),
        (
            {"interface": Interface.ASGI, "command": ("python", "-m", "a"), "target": "a:b"},
            "application.command",
        ),
        ({"interface": Interface.ASGI}, "application.target"),
    ],
)
def test_a_value_that_says_two_things_or_none_is_refused(options: dict[str, Any], subject: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Application(**options)
    assert caught.value.subject == subject


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://broker.internal:8080", "broker.internal", 8080),
        ("https://10.0.0.1", "10.0.0.1", 443),
        ("https://[::1]:9", "::1", 9),
    ],
)
def test_a_broker_has_host_and_port(url: str, host: str, port: int) -> None:
    broker = Broker(url=url, ca="/ca.pem")
    assert (broker.host, broker.port) == (host, port)


def test_a_resource_is_its_uri() -> None:
    resource = Resource.parse("kbs:///default/notes/db.key-1_A")
    assert (resource.path, str(resource)) == ("default/notes/db.key-1_A", "kbs:///default/notes/db.key-1_A")


def test_a_part_of_a_resource_has_at_most_255_characters() -> None:
    Resource(repository="a" * 255, kind="b", tag="c")
    with pytest.raises(ConfigurationError):
        Resource(repository="a" * 256, kind="b", tag="c")


@given(
    st.binary()
    | st.recursive(
        st.none() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from([*DOCUMENT, *DOCUMENT["application"], *DOCUMENT["listen"]]), x)
        ),
    ).map(lambda x: json.dumps(x).encode())
)
def test_any_bytes_give_a_workload_or_our_error(data: bytes) -> None:
    try:
        workload = Workload.parse(data)
    except ConfigurationError:
        return
    assert Workload.parse(workload.to_bytes()) == workload


@given(st.data())
def test_a_document_with_any_field_replaced_is_a_workload_or_our_error(data: st.DataObject) -> None:
    path = data.draw(
        st.sampled_from(
            [
                "version",
                "application",
                "application.target",
                "application.path",
                "listen.port",
                "listen.host",
                "broker",
                "broker.url",
                "secrets",
                "secrets.0.destination",
                "secrets.0.resource",
            ]
        )
    )
    value = data.draw(st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()))
    try:
        workload = Workload.parse(changed(path, value))
    except ConfigurationError:
        return
    assert Workload.parse(workload.to_bytes()) == workload
