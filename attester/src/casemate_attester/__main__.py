"""``python -m casemate_attester``: what the manifest of every workload starts."""

from casemate_attester.discretion import keep_texts_inside
from casemate_attester.entrypoint import main

keep_texts_inside()
raise SystemExit(main())
