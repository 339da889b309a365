"""What a demonstration has shown, and whether each of it is as it should be."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Field -> what it has to be; a field that is missing here is a figure, and has to be there.
_WANTED: Mapping[str, object] = {
    "simulated": True,
    "secret_released": True,
    "https_status": 200,
    "ratls_verified": True,
    "tampered_file_refused": True,
    "replayed_quote_refused": True,
}
_FIGURES = ("image_files", "image_bytes", "trusted_files", "trusted_bytes", "mrenclave", "mrsigner")
_ATTESTED = "UpToDate"


def complaints(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Everything that is not as it should be, one sentence each; nothing when all is well."""
    wrong = [
        f"{field}: expected {wanted}, got {facts.get(field)}"
        for field, wanted in _WANTED.items()
        if facts.get(field) != wanted
    ]
    wrong += [f"{field}: expected a figure, got none" for field in _FIGURES if not facts.get(field)]
    status = facts.get("attestation", {}).get("status")
    if status != _ATTESTED:
        wrong.append(f"attestation.status: expected {_ATTESTED}, got {status}")
    return tuple(wrong)


def write_summary(facts: Mapping[str, Any], path: Path) -> None:
    """Write ``summary.json`` beside, then put it in place."""
    draft = path.with_suffix(".json.new")
    draft.write_text(json.dumps({"version": 1, **facts}, indent=2) + "\n")
    os.replace(draft, path)  # noqa: PTH105 - the one call that is atomic on every file system
