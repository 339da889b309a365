"""``python -m casemate``: the same program as ``casemate``."""

from casemate.cli.main import main

main()
