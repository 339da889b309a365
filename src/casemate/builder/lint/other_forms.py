"""Keys that all versions of Gramine know, in the form that one of them reads; and keys that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from casemate.builder.lint.problem import Problem
from casemate.builder.lint.tree import Other, Path
from casemate.formats.gramine_versions import GramineVersion, gramine_version

#: Names the LibOS: a URI until Gramine 1.7, a table since 1.8.
LIBOS: Final = "loader.entrypoint"


def other_form(path: Path, place: str, value: Any, version: str) -> Problem | None:
    """What is wrong with a key that exists still, in a form that another version has; ``None``: nothing."""
    if place == LIBOS:
        return _libos(path, value, gramine_version(version))
    if place == "sgx.remote_attestation" and isinstance(value, bool):
        word = '"dcap"' if value else '"none"'
        return Problem(
            rule="removed-key",
            path=path,
            expected=word,
            found=str(value).lower(),
            mend=f"sgx.remote_attestation = {word}",
            value=word,
        )
    if place == "sgx.remote_attestation" and value == "epid" and version == "1.9":
        return Problem(
            rule="removed-key",
            path=path,
            expected='"dcap"',
            found='"epid"',
            mend="EPID is gone with Gramine 1.9; DCAP needs a quote provider on the node",
        )
    if place in ("sgx.trusted_files", "sgx.allowed_files") and isinstance(value, dict):
        return Problem(
            rule="removed-key",
            path=path,
            expected="an array",
            found="a table",
            mend=f'{place} = ["file:…", …]; the names of the table have no meaning any more',
        )
    return None


def _libos(path: Path, value: Any, version: GramineVersion) -> Problem | None:
    is_text = isinstance(value, str) and not isinstance(value, Other)
    if is_text and version.libos_in_table:
        return Problem(
            rule="removed-key",
            path=path,
            expected="a table",
            found="a string",
            mend='loader.entrypoint.uri = "file:…", or nothing: the tools fill it in',
            key="entrypoint.uri",
        )
    if isinstance(value, dict) and not version.libos_in_table:
        return Problem(
            rule="newer-key",
            path=path,
            expected=f"a string, as Gramine {version.name} has it",
            found="a table, which came with 1.8",
            mend='loader.entrypoint = "file:…", and the same file among sgx.trusted_files',
        )
    return None


def missing_keys(tree: Mapping[str, Any], version: str) -> Iterator[Problem]:
    """The keys without which ``version`` does not start."""
    libos, file_system = tree.get("libos"), tree.get("fs")
    if libos is None or (isinstance(libos, dict) and "entrypoint" not in libos):
        mend = (
            'libos.entrypoint = "/path/inside"; when GSC is to complete the manifest, lint it with --as gsc'
        )
        yield Problem(rule="missing-key", path=(), expected="libos.entrypoint", found="nothing", mend=mend)
    if file_system is None or (
        isinstance(file_system, dict) and not {"mounts", "mount"} & file_system.keys()
    ):
        mend = "list what the application may see; fs.mounts = [] when that is the root file system alone"
        yield Problem(rule="missing-key", path=(), expected="fs.mounts", found="nothing", mend=mend)
    loader = tree.get("loader")
    named = isinstance(loader, dict) and "entrypoint" in loader
    if not (gramine_version(version).libos_in_table or named):
        mend = 'loader.entrypoint = "file:…/libsysdb.so", and the same file among sgx.trusted_files'
        yield Problem(rule="missing-key", path=(), expected=LIBOS, found="nothing", mend=mend)
