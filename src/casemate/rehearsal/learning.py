"""From what a rehearsed application did not get to changes of its ``casemate.toml``.

Only what has one right answer becomes a change: a module or a file that the environment has and the image
lacks, a folder that is written to and holds nothing measured, too few threads. All else stays a finding with
its advice.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casemate.builder.closure.data import application_files, is_written
from casemate.builder.layout import APPLICATION_ROOT, GLIBC_ROOT, NATIVE_ROOT, PYTHON_HOME
from casemate.project.editing import add_to_list, set_value
from casemate.project.places import hides_measured, is_plain
from casemate.rehearsal.findings import Finding, Kind
from casemate.rehearsal.plan import OWN_THREADS

_THREADS: Final = re.compile(r"more than (\d+) threads at once")
_MOST_THREADS: Final = 4096
_ZONES: Final = "/usr/share/zoneinfo/"
#: Folders of modules below the interpreter's: the inner ones first.
_MODULE_FOLDER: Final = re.compile(
    rf"{PYTHON_HOME}/lib/python\d+\.\d+/(?:site-packages/|dist-packages/|lib-dynload/)?(?P<rest>.+)"
)
_MODULE: Final = re.compile(
    r"(?P<stem>[A-Za-z_][\w/]*?)(?:/__init__)?\.(?:pyc?|so|(?:cpython|abi3)[\w.-]*\.so)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a ``casemate.toml``.

    Attributes:
        table: Table of the file.
        key: Key in it.
        item: What is added to the list of that name; ``None`` to set the key to ``value``.
        value: The value.
        because: The finding behind it, in a line.
    """

    table: str
    key: str
    item: str | None = None
    value: str | int = ""
    because: str = ""

    def apply(self, text: str, where: str) -> str:
        """The text of the file with the change.

        Raises:
            ProjectError: The file is written in a way that is not changed by program.
        """
        if self.item is not None:
            return add_to_list(text, self.table, self.key, [self.item], where=where)
        return set_value(text, self.table, self.key, self.value, where=where)


def learn(findings: Iterable[Finding], source: Path) -> tuple[Change, ...]:
    """The changes that give an application what it did not get.

    Args:
        findings: Of one run.
        source: Folder of the application, ``[app] source``.
    """
    changes: dict[tuple[str, str, str | None], Change] = {}
    for finding in findings:
        change = _change(finding, source)
        if change is not None:
            changes.setdefault((change.table, change.key, change.item), change)
    return tuple(changes.values())


def _change(finding: Finding, source: Path) -> Change | None:
    because = f"{finding.kind.value} {finding.path}, asked for by {finding.asker}"
    if finding.kind is Kind.SYSTEM_CALL:
        threads = _THREADS.fullmatch(finding.path)
        if threads is None:
            return None
        number = min(2 * (int(threads[1]) + OWN_THREADS), _MOST_THREADS)
        return Change(table="enclave", key="threads", value=number, because=because)
    if finding.kind is Kind.READ_ONLY:
        folder = writable_folder(finding.path)
        return None if folder is None else Change(table="mounts", key=folder, value="tmpfs", because=because)
    if finding.kind is Kind.CHANGED or finding.reason is not None:
        return None
    item = included(finding.path, source)
    return None if item is None else Change(table="closure", key="include", item=item, because=because)


def included(path: str, source: Path) -> str | None:
    """What ``[closure] include`` says of a file, by its path in the enclave; ``None`` when nothing."""
    if path.startswith(f"{APPLICATION_ROOT}/"):
        return _own(path.removeprefix(f"{APPLICATION_ROOT}/"), source)
    if path.startswith((f"{NATIVE_ROOT}/", f"{GLIBC_ROOT}/")):
        return f"library:{posixpath.basename(path)}"
    if path.startswith(_ZONES):
        return f"zone:{path.removeprefix(_ZONES)}"
    found = _MODULE_FOLDER.fullmatch(path)
    module = None if found is None else _MODULE.fullmatch(found["rest"])
    return None if module is None else f"module:{module['stem'].replace('/', '.')}"


def _own(name: str, source: Path) -> str | None:
    """A file or a folder of the application itself, if it is there to be taken.

    Not what a pattern never names, such as ``.env``, nor what the application may write, such as databases.
    """
    files = application_files(source)
    if (source / name).is_dir():
        return f"{name}/**" if any(file.startswith(f"{name}/") for file in files) else None
    if name not in files or is_written(name):
        return None
    return own_module(name) or name


def own_module(name: str) -> str | None:
    """What ``[closure] include`` says of a module, by its path below the application's folder."""
    module = _MODULE.fullmatch(name)
    return None if module is None else f"module:{module['stem'].replace('/', '.')}"


def writable_folder(path: str) -> str | None:
    """The folder to mount so that ``path`` can be written; ``None`` where it would hide what is measured.

    A path that is to be made may be a folder itself; where its own folder cannot be mounted, it is one.
    """
    folder = posixpath.dirname(path)
    return folder if is_plain(folder) and not hides_measured(folder) else None
