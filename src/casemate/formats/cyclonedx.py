"""``sbom.cdx.json``: what is in an image, as a CycloneDX 1.6 bill of materials in JSON.

ECMA-424 (CycloneDX 1.6); core metadata of distributions, version 2.4; purl for ``pypi``. There is no serial
number and no time in it: the same image gives the same bytes.

Not claimed: that a distribution is whole in the image, which holds only those of its files that are needed;
which distribution a file is from; licences beyond what the metadata of a distribution says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.parser import HeaderParser
from typing import Any, Final

from casemate.errors import FormatError
from casemate.formats.one_line import one_line
from casemate_attester.strict_json import canonical_json

_NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,250}[A-Za-z0-9])?")
_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+!_-]{0,250}")
#: Some distributions have the whole text of a licence in the field for its name.
_LICENCE_LIMIT: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """An installed distribution.

    Attributes:
        name: As it calls itself.
        version: PEP 440.
        expression: SPDX expression of its licence; ``None`` where it has none.
        licence: Name of its licence in the form before there were expressions; likewise.
    """

    name: str
    version: str
    expression: str | None
    licence: str | None

    @classmethod
    def parse(cls, metadata: bytes, where: str) -> Distribution:
        """Read ``METADATA``.

        Args:
            metadata: Its bytes.
            where: Its path, for errors.

        Raises:
            FormatError: No name or no version in it, or one that no distribution can have.
        """
        headers = HeaderParser().parsestr(metadata.decode("utf-8", "replace"))
        name, version = str(headers.get("Name", "")), str(headers.get("Version", ""))
        for field, value, form in (("Name", name, _NAME), ("Version", version, _VERSION)):
            if form.fullmatch(value) is None:
                raise FormatError(
                    f"{field} of a distribution",
                    expected="letters, digits and a few marks",
                    got=ascii(value[:_LICENCE_LIMIT]),
                    where=where,
                )
        return cls(
            name=name,
            version=version,
            expression=_text(headers.get("License-Expression")),
            licence=_text(headers.get("License")),
        )

    @property
    def purl(self) -> str:
        """``pkg:pypi/NAME@VERSION``, with the normalised name."""
        name = re.sub(r"[-_.]+", "-", self.name).lower()
        return f"pkg:pypi/{name}@{self.version.replace('+', '%2B').replace('!', '%21')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterialFile:
    """A file of the image: path in the enclave, digest in hexadecimal."""

    path: str
    sha256: str


def bill_of_materials(
    *,
    workload: str,
    python: str,
    casemate: str,
    distributions: Iterable[Distribution],
    files: Iterable[MaterialFile],
) -> bytes:
    """The document, in canonical JSON.

    Args:
        workload: Name of what the image is.
        python: Release of the interpreter.
        casemate: Version of Casemate.
        distributions: Those of which there is something in the image.
        files: Every trusted file.
    """
    components: list[dict[str, Any]] = [
        {"type": "platform", "bom-ref": "interpreter", "name": "cpython", "version": python}
    ]
    known = {one.purl: _distribution(one) for one in distributions}
    components += [known[purl] for purl in sorted(known)]
    components += [_file(file) for file in sorted(files, key=lambda file: file.path)]
    return canonical_json(
        {
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "component": {"type": "application", "bom-ref": "workload", "name": workload},
                "tools": {"components": [{"type": "application", "name": "casemate", "version": casemate}]},
            },
            "components": components,
        }
    )


def _text(value: object) -> str | None:
    first = str(value).strip().partition("\n")[0] if value is not None else ""
    return one_line(first, _LICENCE_LIMIT) if first and first != "UNKNOWN" else None


def _distribution(one: Distribution) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": one.purl,
        "name": one.name,
        "version": one.version,
        "purl": one.purl,
    }
    if one.expression is not None:
        component["licenses"] = [{"expression": one.expression}]
    elif one.licence is not None:
        component["licenses"] = [{"license": {"name": one.licence}}]
    return component


def _file(file: MaterialFile) -> dict[str, Any]:
    return {
        "type": "file",
        "bom-ref": f"file:{file.path}",
        "name": file.path,
        "hashes": [{"alg": "SHA-256", "content": file.sha256}],
    }
