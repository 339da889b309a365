"""Run by an image's interpreter as the application's would be; prints where it looks for modules, as JSON.

Not imported by Casemate.
"""

import json
import sys

#: What every interpreter has.
_USUAL = {"BuiltinImporter", "FrozenImporter", "PathFinder"}


def answer() -> dict[str, list[str]]:
    """The path of modules, and the import hooks that code at the interpreter's start has installed."""
    finders = {
        f"{type(finder).__module__}.{type(finder).__qualname__}"
        for finder in sys.meta_path
        if getattr(finder, "__name__", None) not in _USUAL
    }
    return {"path": [entry for entry in sys.path if entry], "finders": sorted(finders)}


if __name__ == "__main__":
    json.dump(answer(), sys.stdout)
