"""Archives are read with a codec that no import statement names."""

from __future__ import annotations

import sys
from pathlib import Path

import casemate_attester
from casemate.adapters.host_python import compile_modules, describe_interpreter
from casemate.builder.closure import Sources, find_python_closure
from casemate.project import parse_project


def test_who_reads_archives_has_the_codec_of_their_names(tmp_path: Path) -> None:
    application, environment = tmp_path / "app", tmp_path / "environment"
    application.mkdir()
    environment.mkdir()
    (application / "main.py").write_text("import zipfile\n")
    toml = b'[app]\nname = "n"\ncommand = ["python", "main.py"]\nrequirements = ""\n'
    interpreter = describe_interpreter(Path(sys.executable))

    closure = find_python_closure(
        parse_project(toml, "casemate.toml"),
        Sources(
            application=application,
            environment=(environment,),
            attester=Path(casemate_attester.__file__).parent.parent,
            interpreter=interpreter,
        ),
        lambda modules: compile_modules(interpreter, modules),
    )

    assert any(file.path.endswith("/encodings/cp437.pyc") for file in closure.files)
