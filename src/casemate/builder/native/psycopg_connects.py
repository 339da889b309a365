"""Psycopg 3 in an enclave: it asks of a connection that is being made only when there is something to say.

After ``PQconnectStart``, libpq wants the caller to wait until the socket can be written, and then to call
``PQconnectPoll``. Psycopg calls it at once. It asks the socket for its error (``SO_ERROR``), and Linux says
that there is none; Gramine says ``EINPROGRESS`` until somebody has waited (``libos_syscall_connect`` in
``libos_socket.c``), and libpq gives up. So psycopg's function is replaced once it has been loaded, by one
that waits first and else does the same. It stands in the file that ``site`` imports at every start, where
psycopg is in the image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from casemate.builder.contents import ImageFile, Reason, Rule
from casemate.builder.layout import site_packages, standard_library
from casemate.builder.native.find_library import SITE_CUSTOMIZATION

_MODULE: Final = "psycopg/generators"
_TEMPLATE: Final = """\
import sys

# psycopg would ask for the result of a connection before it can be written to; Gramine calls that an error.


class _PsycopgConnects:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "psycopg.generators":
            return None
        from _frozen_importlib_external import PathFinder

        sys.meta_path.remove(_PsycopgConnects)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                module.connect = _waiting_connect

            spec.loader.exec_module = exec_module
        return spec


def _waiting_connect(conninfo, *, timeout=0.0):
    from time import monotonic

    from psycopg import errors, pq
    from psycopg.waiting import Wait

    ends = monotonic() + timeout if timeout else None
    made = pq.PGconn.connect_start(conninfo.encode())
    status = pq.PollingStatus.WRITING
    while made.status != pq.ConnStatus.BAD and status in (pq.PollingStatus.READING, pq.PollingStatus.WRITING):
        while not (yield made.socket, Wait.R if status == pq.PollingStatus.READING else Wait.W):
            if ends is not None and monotonic() > ends:
                raise errors.ConnectionTimeout("connection timeout expired")
        status = made.connect_poll()
    if made.status == pq.ConnStatus.BAD or status != pq.PollingStatus.OK:
        reason = made.error_message.decode("utf-8", "replace").strip()
        made.finish()
        raise errors.OperationalError(f"connection failed: {reason}")
    made.nonblocking = 1
    return made


sys.meta_path.insert(0, _PsycopgConnects)
"""


def with_psycopg_that_waits(files: Iterable[ImageFile], version: str) -> tuple[ImageFile, ...]:
    """``files``, and psycopg's way to connect, where ``psycopg`` is among them.

    Args:
        files: The image.
        version: Of the interpreter: ``"3.11"``.
    """
    image = {file.path: file for file in files}
    forms = (f"{site_packages(version)}/{_MODULE}{ending}" for ending in (".pyc", ".py"))
    asker = next((form for form in forms if form in image), None)
    if asker is None:
        return tuple(image.values())
    path = f"{standard_library(version)}/{SITE_CUSTOMIZATION}.py"
    former = image.get(path)
    detail = "lets psycopg wait for a connection before it asks what became of it"
    if former is None:
        reason = Reason(rule=Rule.INTERPRETER, of=asker, detail=detail)
        image[path] = ImageFile(path=path, content=_TEMPLATE.encode(), reason=reason)
    else:
        reason = replace(former.reason, detail=f"{former.reason.detail}; and {detail}")
        image[path] = replace(former, content=former.read() + b"\n" + _TEMPLATE.encode(), reason=reason)
    return tuple(image.values())
