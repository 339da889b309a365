"""Run by the tests: installs the sample application, finds its "
"closure, prints a digest of every bit of it."""

import hashlib
import os
import sys
from pathlib import Path

import casemate_attester
from casemate.adapters.host_python import compile_modules, describe_interpreter, install_environment
from casemate.builder.closure import Sources, find_python_closure, interface_of
from casemate.project import parse_project

NOTES = Path(__file__).parents[3] / "examples/notes"

folder, umask = Path(sys.argv[1]), int(sys.argv[2], 8)
os.umask(umask)
project = parse_project(b'[app]\nname = "notes"\nserve = "notes:app"\n', "casemate.toml")
interpreter = describe_interpreter(Path(sys.executable))
environment = folder / "environment"
install_environment(
    NOTES,
    "uv.lock",
    interpreter,
    environment,
    interface=interface_of(project, NOTES),
    progress=lambda _step: None,
)
sources = Sources(
    application=NOTES,
    environment=(environment,),
    attester=Path(casemate_attester.__file__).parent.parent,
    interpreter=interpreter,
)
closure = find_python_closure(project, sources, lambda modules: compile_modules(interpreter, modules))
digest = hashlib.sha256(repr((closure.questions, closure.considered)).encode())
for file in closure.files:
    digest.update(repr((file.path, file.executable, file.reason)).encode())
    digest.update(hashlib.sha256(file.read()).digest())
print(digest.hexdigest())  # noqa: T201 - its result
