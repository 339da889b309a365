import json
from dataclasses import replace

import pytest

from casemate.errors import FormatError
from casemate.formats.deployment import Deployment, Endpoint, Platform
from casemate.project import Broker, parse_project
from casemate_attester.variables import Variable

PROJECT = b"""
[app]
name = "notes"
serve = "notes:app"
port = 9443
[broker]
url = "https://broker.internal:8080"
ca = "ca.pem"
[kubernetes]
replicas = 2
"""
NOTES = Deployment(
    name="notes",
    port=9443,
    replicas=2,
    platform=Platform.INTEL,
    broker=Endpoint(host="broker.internal", port=8080),
)


def document(**changes: object) -> bytes:
    return json.dumps(json.loads(NOTES.to_bytes()) | changes).encode()


def test_a_project_says_what_a_cluster_has_to_be_told() -> None:
    assert Deployment.of(parse_project(PROJECT, "casemate.toml")) == NOTES


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://broker", Endpoint(host="broker", port=443)),
        ("https://Broker.example/", Endpoint(host="broker.example", port=443)),
        ("https://10.0.0.7:8080", Endpoint(host="10.0.0.7", port=8080)),
        ("https://[FD00::1]:8080", Endpoint(host="fd00::1", port=8080)),
    ],
)
def test_the_address_of_the_broker_becomes_host_and_port(url: str, endpoint: Endpoint) -> None:
    project = parse_project(PROJECT.replace(b"https://broker.internal:8080", url.encode()), "casemate.toml")
    assert Deployment.of(project).broker == endpoint


def test_an_address_without_host_and_port_is_refused() -> None:
    project = parse_project(PROJECT, "casemate.toml")
    nowhere = replace(project, broker=Broker(url="https://", ca="ca.pem"))
    with pytest.raises(FormatError) as refusal:
        Deployment.of(nowhere)
    assert str(refusal.value) == 'address of the broker: expected "https://host:port", got "https://"'


def test_what_the_host_may_choose_is_told_with_its_rule() -> None:
    text = PROJECT + b'[env]\nLEVEL = { pass = true, one_of = ["info"] }\n'

    deployment = Deployment.of(parse_project(text, "casemate.toml"))

    assert deployment.variables == (Variable(name="LEVEL", one_of=("info",)),)
    assert Deployment.parse(deployment.to_bytes()) == deployment


def test_a_rule_that_is_none_is_refused() -> None:
    rule = {"name": "LD_AUDIT", "one_of": [], "max_length": 1, "absent": "stop"}
    with pytest.raises(FormatError) as refusal:
        Deployment.parse(document(variables=[rule]))
    assert str(refusal.value) == (
        "variable that the host may choose: expected none that decides which code runs, which peers are "
        "believed or what is given away, got LD_AUDIT (deployment.json)"
    )


def test_a_project_without_a_broker_has_none() -> None:
    project = parse_project(b'[app]\nname = "notes"\nserve = "notes:app"\n', "casemate.toml")
    deployment = Deployment.of(project)
    assert deployment.broker is None
    assert Deployment.parse(deployment.to_bytes()) == deployment


def test_the_bytes_are_canonical_and_read_back() -> None:
    assert NOTES.to_bytes() == (
        b'{"broker":{"host":"broker.internal","port":8080},"kind":"casemate.deployment","name":"notes",'
        b'"platform":"intel","port":9443,"replicas":2,"variables":[],"version":1}'
    )
    assert Deployment.parse(NOTES.to_bytes()) == NOTES


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "deployment.json: expected JSON, got Expecting value at offset 0"),
        (document(version=2), "version: expected 1, got 2 (deployment.json)"),
        (
            document(kind="x"),
            'kind: expected "casemate.deployment", got text of 1 characters (deployment.json)',
        ),
        (document(extra=1), "deployment.json: expected only known fields, got 'extra'"),
        (document(port=65536), "port: expected an integer from 1 to 65535, got 65536 (deployment.json)"),
        (document(replicas=0), "replicas: expected an integer from 1 to 1000, got 0 (deployment.json)"),
        (document(name="No"), "name: expected a DNS label, got text of 2 characters (deployment.json)"),
        (
            document(broker={"host": "a b", "port": 1}),
            "broker.host: expected a host name or an IP address, got text of 3 characters (deployment.json)",
        ),
    ],
    ids=["nothing", "version", "kind", "unknown field", "port", "replicas", "name", "host"],
)
def test_what_is_not_a_deployment_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(FormatError) as refusal:
        Deployment.parse(data)
    assert str(refusal.value) == message
    assert refusal.value.hint == "build the bundle again with this version of casemate"


@pytest.mark.parametrize("platform", ["aks", "aks-legacy", "ack"])
def test_platforms_that_are_not_built_are_refused_by_name(platform: str) -> None:
    with pytest.raises(FormatError) as refusal:
        Deployment.parse(document(platform=platform))
    assert str(refusal.value) == f'platform: expected "intel", got "{platform}" (deployment.json)'
    assert refusal.value.hint == (
        "objects are rendered for Intel's device plugin; other platforms are not built yet"
    )


def test_the_limits_are_inside() -> None:
    for changed in (replace(NOTES, port=65535), replace(NOTES, replicas=1000), replace(NOTES, name="n" * 63)):
        assert Deployment.parse(changed.to_bytes()) == changed
