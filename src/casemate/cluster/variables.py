"""Values of a pod for the variables that the enclave lets the host choose, held against their rules."""

from __future__ import annotations

from casemate.cluster.workload import Workload
from casemate.errors import UsageError
from casemate_attester.variables import Absent

_OPTION = "--env"


def check_variables(workload: Workload, chosen: tuple[tuple[str, str], ...]) -> None:
    """Refuse what the enclave would stop at, and what it would not see.

    Args:
        workload: What is deployed.
        chosen: Names and values.

    Raises:
        UsageError: A name that is none of the workload's or comes twice, a value that breaks its rule, or no
            value for a variable that needs one.
    """
    rules = {variable.name: variable for variable in workload.deployment.variables}
    values = dict(chosen)
    if len(values) != len(chosen):
        raise UsageError("variables", expected="each name once", got="one twice", where=_OPTION)
    for name, value in values.items():
        if name not in rules:
            raise UsageError(
                f"variable {name}",
                expected=", ".join(rules) or "none: the manifest lets no variable of the host's pass",
                got="another",
                where=_OPTION,
                hint="a variable passes when [env] of casemate.toml says so: NAME = { pass = true, … }",
            )
        if not rules[name].accepts(value):
            raise UsageError(
                f"variable {name}",
                expected=rules[name].rule,
                got="another text",
                where=_OPTION,
                hint="the enclave would stop at this value",
            )
    for name, rule in rules.items():
        if rule.absent is Absent.STOP and name not in values:
            raise UsageError(
                f"variable {name}",
                expected=f"a value: {rule.rule}",
                got="none",
                where=_OPTION,
                hint=f"add {_OPTION} {name}=VALUE; the enclave stops without it",
            )
