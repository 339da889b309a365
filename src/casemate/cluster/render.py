"""Objects to YAML: the same bytes for the same objects."""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from casemate.cluster.objects import KubernetesObject

_LINE_WIDTH: Final = 110
#: Texts that YAML 1.1 or the reader of Kubernetes may take for something else: numbers such as ``12e34``
#: (a measurement may look like one), and the single letters ``y`` and ``n``.
_AMBIGUOUS: Final = re.compile(r"[-+.0-9].*|.")


class _Dumper(yaml.SafeDumper):
    """Writes texts in quotes where a reader could take them for something else, and no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Equal parts are written out each time; people read these files."""
        del data
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if _AMBIGUOUS.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def to_yaml(item: KubernetesObject) -> bytes:
    """One YAML document, with the object's remark as a comment above it.

    A remark may quote what a bundle says: whatever could end a line stays within the comment.
    """
    lines = (line for text in item.remark for line in text.splitlines())
    remark = "".join(f"# {line}\n" for line in lines)
    body = yaml.dump(dict(item.body), Dumper=_Dumper, sort_keys=False, width=_LINE_WIDTH, allow_unicode=True)
    return (remark + body).encode()
