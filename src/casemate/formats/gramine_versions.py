"""The versions of Gramine whose manifests are written, judged and measured, and how they differ.

Read out of the sources of their tags, for each of them: the documentation ("Manifest syntax"), the schema of
``gramine-manifest-check`` (which came with 1.7), what the runtime asks its manifest for, and ``manifest.py``
and ``sgx_sign.py``, which fill in defaults and sign. What is not in this table is the same in all of them:
every other key that Casemate writes, the order of the areas of an enclave, what is measured of them, and
ATTRIBUTES and MISCSELECT. Which single keys came and went is said by the linter's table, in its terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from casemate.errors import ToolchainError


@dataclass(frozen=True, slots=True, kw_only=True)
class GramineVersion:
    """What one version reads in a manifest otherwise than the others.

    Attributes:
        name: Major and minor number.
        libos_in_table: Whether ``loader.entrypoint`` is a table with the LibOS and its digest. Before, it is
            a URI, and the LibOS is one of the trusted files.
        old_features: Whether ``sgx.require_avx`` and its like, and ``sgx.require_exinfo``, are still read.
        descriptor_limit: Whether ``sys.fds.limit`` is read; before, the limit is 900.
        recovery: Whether encrypted mounts know ``enable_recovery``.
    """

    name: str
    libos_in_table: bool
    old_features: bool
    descriptor_limit: bool
    recovery: bool


_TABLE: Final = (
    GramineVersion(
        name="1.6", libos_in_table=False, old_features=True, descriptor_limit=False, recovery=False
    ),
    GramineVersion(
        name="1.7", libos_in_table=False, old_features=True, descriptor_limit=False, recovery=False
    ),
    GramineVersion(
        name="1.8", libos_in_table=True, old_features=False, descriptor_limit=True, recovery=False
    ),
    GramineVersion(name="1.9", libos_in_table=True, old_features=False, descriptor_limit=True, recovery=True),
)
_BY_NAME: Final = {version.name: version for version in _TABLE}

#: Their names, the oldest first.
VERSIONS: Final = tuple(_BY_NAME)
#: Whose rules hold where none is named.
LATEST: Final = _TABLE[-1]


def gramine_version(name: str) -> GramineVersion:
    """The version ``name``: major and minor number.

    Raises:
        ToolchainError: A version that is not in the table.
    """
    if name not in _BY_NAME:
        raise ToolchainError(
            "Gramine version",
            expected=f"{', '.join(VERSIONS[:-1])} or {VERSIONS[-1]}",
            got=name,
            hint="what is measured by the rules of another version is wrong without any error",
        )
    return _BY_NAME[name]
