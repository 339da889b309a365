"""The option of ``casemate verify`` that names a policy file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from casemate.verifier.policy import Policy

policy_option = click.option(
    "--policy",
    "policy_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.toml",
    help="Accept what this policy accepts, and nothing else.",
)


def read_policy(path: Path, simulated_root: Path | None) -> Policy:
    """The policy in a file; what it names lies beside it.

    Args:
        path: The file.
        simulated_root: The root of a simulated platform that is trusted instead of Intel's.

    Raises:
        FormatError: It is not a policy.
        RefusedError: Its reference values are signed by none of its keys, or are simulated ones where
            Intel's root is trusted, or the other way round.
        ToolchainError: It, or a file that it names, cannot be read.
    """
    from casemate.cli.reading import read_file
    from casemate.verifier.policy_file import PolicyFile

    found = PolicyFile.parse(read_file(path), str(path), lambda name: read_file(path.parent / name))
    if found.simulated is not None:
        require_one_kind(path, simulated=found.simulated, simulated_root=simulated_root)
    return found.policy


def require_one_kind(where: Path, *, simulated: bool, simulated_root: Path | None) -> None:
    """Simulated reference values go with a simulated root, real ones with Intel's; never crosswise."""
    if simulated == (simulated_root is not None):
        return
    from casemate.errors import RefusedError

    raise RefusedError(
        "reference values",
        expected="simulated ones, as a simulated root is named"
        if simulated_root
        else "real ones, as no simulated root is named",
        got="simulated ones" if simulated else "real ones",
        where=str(where),
        hint="A simulated bundle runs on a simulated platform only: name its root with --simulated-root."
        if simulated
        else "Leave --simulated-root away: Intel's root is trusted without naming it.",
    )
