import contextlib

from hypothesis import given
from hypothesis import strategies as st

from casemate.errors import FormatError
from casemate.formats.deployment import Deployment, Endpoint, Platform

endpoints = st.builds(
    Endpoint,
    host=st.from_regex(r"[a-z0-9]([a-z0-9.:-]{0,100}[a-z0-9])?", fullmatch=True),
    port=st.integers(1, 65535),
)
deployments = st.builds(
    Deployment,
    name=st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True),
    port=st.integers(1, 65535),
    replicas=st.integers(1, 1000),
    platform=st.sampled_from(Platform),
    broker=st.none() | endpoints,
)


@given(deployments)
def test_a_deployment_survives_its_bytes(deployment: Deployment) -> None:
    assert Deployment.parse(deployment.to_bytes()) == deployment


@given(
    st.binary()
    | st.builds(lambda d, i, b: d.to_bytes()[:i] + b, deployments, st.integers(0, 99), st.binary())
)
def test_any_bytes_give_a_deployment_or_our_error(data: bytes) -> None:
    with contextlib.suppress(FormatError):
        Deployment.parse(data)
