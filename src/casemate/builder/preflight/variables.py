"""Judges which variables of the environment the application's own code cannot do without, and has not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from casemate.builder.enclave.environment import environment
from casemate.builder.preflight.code import OwnModule
from casemate.builder.preflight.finding import Finding
from casemate.builder.preflight.rule import UNSET
from casemate.project import Destination, Project


def check_variables(
    modules: Iterable[OwnModule], project: Project, files: Collection[str]
) -> Iterator[Finding]:
    """Variables that are read without a default, and that neither ``casemate.toml`` nor the code sets.

    Args:
        modules: All modules of the application: one may set what another reads.
        project: Its ``casemate.toml``.
        files: Paths of the image, on which some variables of the manifest depend.
    """
    own = tuple(modules)
    known = _given(project, files).union(*(module.uses.settled for module in own))
    for module in own:
        for read in module.uses.required:
            if read.value not in known:
                tag = read.value.lower().replace("_", "-")
                mend = (
                    f'{read.value} = "…" in [env]; or, for a secret, '
                    f'"env:{read.value}" = "kbs:///default/{project.app.name}/{tag}" in [secrets]'
                )
                yield replace(module.finding(UNSET, read.line, read.value), mend=mend)


def _given(project: Project, files: Collection[str]) -> frozenset[str]:
    """Names of the variables that have a value when the application starts."""
    secrets = (secret for secret in project.secrets if secret.kind is Destination.VARIABLE)
    return frozenset(
        [
            *environment(project, files),
            *(variable.name for variable in project.variables),
            *(secret.destination.removeprefix("env:") for secret in secrets),
        ]
    )
