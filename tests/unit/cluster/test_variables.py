"""Values of a pod for variables that the enclave lets the host choose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from casemate.cluster.variables import check_variables
from casemate.cluster.workload import Choices, Workload
from casemate.errors import UsageError
from casemate_attester.variables import Absent, Variable

_RULE = "text that matches [a-z]+, at most 8 characters"


@pytest.fixture
def choosing(workload: Workload) -> Workload:
    variables = (
        Variable(name="LEVEL", one_of=("info", "debug"), absent=Absent.DEFAULT, default="info"),
        Variable(name="REGION", pattern="[a-z]+", max_length=8),
    )
    return replace(workload, deployment=replace(workload.deployment, variables=variables))


def test_values_that_meet_their_rules_become_the_pod_s_environment(
    choosing: Workload, choices: Choices, render: Callable[..., Any]
) -> None:
    chosen = (("REGION", "eu"), ("LEVEL", "debug"))

    check_variables(choosing, chosen)
    objects = render(choosing, replace(choices, variables=chosen))

    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "LEVEL", "value": "debug"}, {"name": "REGION", "value": "eu"}]


def test_kubernetes_replaces_nothing_in_a_value(
    workload: Workload, choices: Choices, render: Callable[..., Any]
) -> None:
    objects = render(workload, replace(choices, variables=(("NOTE", "$(HOME) $5"),)))

    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "NOTE", "value": "$$(HOME) $5"}]


def test_a_pod_without_choices_has_no_environment(objects: dict[str, Any]) -> None:
    (container,) = objects["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert "env" not in container


@pytest.mark.parametrize(
    ("chosen", "message", "hint"),
    [
        (
            (),
            f"variable REGION: expected a value: {_RULE}, got none (--env)",
            "add --env REGION=VALUE; the enclave stops without it",
        ),
        (
            (("REGION", "EU"),),
            f"variable REGION: expected {_RULE}, got another text (--env)",
            "the enclave would stop at this value",
        ),
        (
            (("REGION", "eu"), ("PATH", "/")),
            "variable PATH: expected LEVEL, REGION, got another (--env)",
            "a variable passes when [env] of casemate.toml says so: NAME = { pass = true, … }",
        ),
        (
            (("REGION", "eu"), ("REGION", "us")),
            "variables: expected each name once, got one twice (--env)",
            None,
        ),
    ],
)
def test_what_the_enclave_would_stop_at_is_refused(
    choosing: Workload, chosen: tuple[tuple[str, str], ...], message: str, hint: str | None
) -> None:
    with pytest.raises(UsageError) as refused:
        check_variables(choosing, chosen)
    assert (str(refused.value), refused.value.hint) == (message, hint)


def test_a_workload_that_lets_nothing_pass_says_so(workload: Workload) -> None:
    with pytest.raises(UsageError) as refused:
        check_variables(workload, (("A", "b"),))
    assert str(refused.value) == (
        "variable A: expected none: the manifest lets no variable of the host's pass, got another (--env)"
    )
