"""Run by the interpreter for which modules are compiled. Not imported by Casemate.

Standard input: JSON, a list of ``[source file, path in the traceback]``. Standard output: for each, eight
bytes with the length of its pyc (big endian; all ones: it is not valid Python) and the pyc.

The pyc is "unchecked hash" (PEP 552): its validity does not hang on the times of files, which are zero in
Gramine. Its bytes depend only on the source, the path and the version of the interpreter. Marshal's
version 2 is used because from version 3 on the bytes tell which objects were shared while compiling, and
that depends on what else had been compiled in the process. Python 3.14 has constants that need a later
version (slices); there, each module is compiled in a fork of this process, which itself compiles nothing.
"""

import importlib.util
import json
import marshal
import os
import struct
import sys
import warnings
from pathlib import Path
from types import CodeType

_UNCHECKED_HASH = 0b01
_NOT_PYTHON = (1 << 64) - 1
_INDEPENDENT_OF_SHARING = 2
_FIRST_WITH_SLICES = 5


def compiled(file: str, path: str) -> bytes | None:
    """The pyc of a source file, or ``None`` when it is not valid Python."""
    source = Path(file).read_bytes()
    if marshal.version >= _FIRST_WITH_SLICES:
        return in_fork(source, path)
    try:
        return header(source) + marshal.dumps(code_of(source, path), _INDEPENDENT_OF_SHARING)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def header(source: bytes) -> bytes:
    """Magic number, flags and hash of the source."""
    source_hash = importlib.util.source_hash(source)
    return importlib.util.MAGIC_NUMBER + struct.pack("<L", _UNCHECKED_HASH) + source_hash


def code_of(source: bytes, path: str) -> CodeType:
    """Compile without asserts removed, without flags of this file."""
    code: CodeType = compile(source, path, "exec", dont_inherit=True, optimize=0)
    return code


def in_fork(source: bytes, path: str) -> bytes | None:
    """The pyc with the newest marshal version, made in a process that has compiled nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            pyc = header(source) + marshal.dumps(code_of(source, path))
            with os.fdopen(writing, "wb") as stream:
                stream.write(pyc)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        result = stream.read()
    _, status = os.waitpid(child, 0)
    return result if status == 0 else None


def main() -> None:
    """Compile what standard input asks for."""
    warnings.simplefilter("ignore")
    output = sys.stdout.buffer
    for file, path in json.load(sys.stdin.buffer):
        pyc = compiled(file, path)
        output.write(struct.pack(">Q", _NOT_PYTHON if pyc is None else len(pyc)))
        output.write(pyc or b"")


if __name__ == "__main__":
    main()
