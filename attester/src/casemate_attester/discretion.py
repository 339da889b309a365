"""What the host may learn of an exception: its class, its place and the file it is about, never its text.

An application may put a secret into the text of an exception, and a log belongs to the host. The host serves
the files, so the path of one is no secret; a text that does not look like a path stays inside all the same.
"""

import importlib
import logging
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

__all__ = ["describe", "keep_texts_inside", "report"]

#: Loggers that put what an application raised, returned or handed over into their messages; the beginning is
#: their own.
_SERVERS = frozenset({"asyncio", "uvicorn.error"})
#: What is taken for a path: absolute, or with an ending. Passwords and keys that were given as one are not.
_PATH = re.compile(r"/[\w./@+~-]{1,250}|[\w./-]{1,100}\.[a-z]{1,8}")
#: Folders whose code is not the application's: the interpreter with what is installed for it, and ourselves.
_NOT_ITS_OWN = tuple(f"{folder}/" for folder in (sys.prefix, sys.base_prefix, Path(__file__).parent))


def describe(error: BaseException, within: Callable[..., object] | None = None) -> str:
    """The class of an exception, the file that it is about and the line that raised it, without its text.

    The line is the innermost one of the application's own code; where there is none, the innermost of all.

    Args:
        error: The exception.
        within: The function that has caught it from somebody else's code; it is no place to look at.
    """
    result = type(error).__name__
    if isinstance(error, ImportError) and error.name:
        result += f" for {error.name}"
    elif isinstance(error, OSError) and isinstance(error.filename, str) and _PATH.fullmatch(error.filename):
        result += f" for {error.filename}"
    passed_through = {function.__code__ for function in (importlib.import_module, within) if function}
    innermost = own = None
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith("<frozen ") and code not in passed_through:
            innermost = f"{code.co_filename}:{traceback.tb_lineno}"
            own = own if code.co_filename.startswith(_NOT_ITS_OWN) else innermost
        traceback = traceback.tb_next
    place = own or innermost
    return f"{result} at {place}" if place else result


def report(event: str, error: BaseException | None) -> None:
    """One line on stderr about an exception that ends something; ``SystemExit`` is none."""
    if error is not None and not isinstance(error, SystemExit):
        sys.stderr.write(f"casemate: error: {event}: {describe(error)}\n")
        sys.stderr.flush()


def keep_texts_inside() -> None:
    """From here on this process describes exceptions that are logged or that nobody catches.

    The formatter of ``logging`` writes ``exc_text`` where a record has one, so this holds for the handler of
    last resort and for those of frameworks. ``exc_info`` stays for handlers that an application makes itself.
    """
    make = logging.getLogRecordFactory()

    def described(*arguments: Any, **named: Any) -> logging.LogRecord:
        record = make(*arguments, **named)
        error = record.exc_info and record.exc_info[1]
        if error:
            record.exc_text = describe(error)
        if record.name in _SERVERS:
            record.msg, record.args = re.split(r"[(\n]", str(record.msg))[0], ()
        return record

    logging.setLogRecordFactory(described)
    logging.raiseExceptions = False  # else a record that cannot be formatted is printed with its arguments
    sys.excepthook = lambda _type, error, _traceback: report("not caught", error)
    sys.unraisablehook = lambda caught: report("not caught", caught.exc_value)
    threading.excepthook = lambda caught: report("not caught in a thread", caught.exc_value)
