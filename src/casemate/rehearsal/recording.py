"""``rehearse --record``: what a run opened, united with what is in the file already."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from casemate.builder.bundles.bundle import Bundle
from casemate.builder.closure.trace import read_trace, trace_of
from casemate.builder.writing import write_files
from casemate.errors import FormatError
from casemate.formats.reference_values import read_statement
from casemate.formats.trace import Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A record that a run is going to be added to.

    Attributes:
        file: Where it is kept.
        release: Release of the Python of the bundle.
        image: All files of the image, as the application sees them.
        record: What it holds before the run.
    """

    file: Path
    release: str
    image: tuple[str, ...]
    record: Trace

    @classmethod
    def begin(cls, bundle: Bundle, file: Path) -> Self:
        """Make ready, before anything has run.

        Args:
            bundle: What is going to run.
            file: The record; made by :meth:`add` where there is none.

        Raises:
            ProjectError: The record is of another Python or other requirements.
            FormatError: The file holds something else, or the bundle does not say of which Python it is.
        """
        release = _release(bundle)
        image = tuple(trusted.path for trusted in bundle.tcb.files)
        empty = trace_of((), image, release)
        record = read_trace(file, str(file)).united(empty, str(file)) if file.exists() else empty
        return cls(file=file, release=release, image=image, record=record)

    @property
    def advice(self) -> str:
        """How to build from the record, in one line: the two keys of ``casemate.toml``."""
        name = json.dumps(self.file.name, ensure_ascii=False)  # a basic string of TOML, too
        return (
            f'to build from it: mode = "trace" and trace = {name} in [closure] of the casemate.toml beside '
            "it; trace is a path relative to casemate.toml"
        )

    def add(self, asked: Iterable[str]) -> Trace:
        """Keep what a run asked for, as the application sees it; gives the whole record.

        Raises:
            ToolchainError: The file cannot be written.
        """
        run = trace_of(asked, self.image, self.release)
        record = self.record.united(run, str(self.file))
        write_files({self.file: record.to_bytes()})
        return record


def _release(bundle: Bundle) -> str:
    where = bundle.reference_values_path.name
    release = read_statement(bundle.reference_values, where).predicate.sources.get("python")
    if not isinstance(release, str):
        raise FormatError(
            "sources of the bundle",
            expected="the release of Python",
            got="none",
            where=where,
            hint="build the bundle again with this version of casemate",
        )
    return release
