from __future__ import annotations

import pytest

from casemate.rehearsal.sandbox import available

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.skipif(bool(available()), reason=f"cannot rehearse here: {available()}"),
]


def test_the_environment_is_exactly_the_manifests(run):
    done = run("import os, json; print(json.dumps(dict(os.environ)))", outside={"HOME": "/root"})
    assert done.result == {"LD_LIBRARY_PATH": "/lib/glibc", "COLOUR": "blue"}
    assert done.report.exit_code == 0
