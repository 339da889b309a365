"""What an application needs of Python: the import graph, read and not run, with a reason for every file.

Charter: reads files that it is told to read, starts no program, imports nothing of the application. It
takes in too much rather than too little, except where ``rules.toml`` says why not. What it cannot decide
about the application's own code becomes a question to the developer, never a guess.
"""

from casemate.builder.closure.python import find_python_closure
from casemate.builder.closure.roots import Sources, interface_of
from casemate.builder.closure.values import (
    Compiler,
    Interpreter,
    ModuleSource,
    PythonClosure,
    Question,
    ReachedModule,
)

__all__ = [
    "Compiler",
    "Interpreter",
    "ModuleSource",
    "PythonClosure",
    "Question",
    "ReachedModule",
    "Sources",
    "find_python_closure",
    "interface_of",
]
