"""Run by an image's interpreter as the application's would be; prints where it looks for modules, as JSON.

Not imported by Casemate.
"""

import json
import sys

#: What every interpreter has, and what its own start adds.
_USUAL = {"BuiltinImporter", "FrozenImporter", "PathFinder"}

print(  # noqa: T201 - its answer
    json.dumps(
        {
            "path": [entry for entry in sys.path if entry],
            "finders": sorted(
                {
                    f"{type(finder).__module__}.{type(finder).__qualname__}"
                    for finder in sys.meta_path
                    if getattr(finder, "__name__", None) not in _USUAL
                }
            ),
        }
    )
)
