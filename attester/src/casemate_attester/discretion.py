"""What the host may learn of an exception: its class and the line that raised it, never its text.

An application may put a secret into the text of an exception, and a log belongs to the host.
"""

import importlib
import logging
import re
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

__all__ = ["describe", "keep_texts_inside", "report"]

#: Loggers that put what an application raised, returned or handed over into their messages; the beginning is
#: their own.
_SERVERS = frozenset({"asyncio", "uvicorn.error"})


def describe(error: BaseException, within: Callable[..., object] | None = None) -> str:
    """The class of an exception and the line that raised it, without its text.

    Args:
        error: The exception.
        within: The function that has caught it from somebody else's code; it is no place to look at.
    """
    result = type(error).__name__
    if isinstance(error, ImportError) and error.name:
        result += f" for {error.name}"
    passed_through = {function.__code__ for function in (importlib.import_module, within) if function}
    place = None
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith("<frozen ") and code not in passed_through:
            place = f"{code.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
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
