"""``python -m casemate_attester``: what the manifest of every workload starts."""

from casemate_attester.entrypoint import main

raise SystemExit(main())
