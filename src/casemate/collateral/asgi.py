"""An extension of ASGI for answers that are sent again and again: a head that was checked once is not again.

Uvicorn and h11 look at every letter of every header of every answer; for an issuer chain of two kilobytes
that takes longer than to encrypt the document. A server that knows the extension has
:data:`PREPARED_RESPONSE` among the ``extensions`` of a scope, with a function as its member ``send``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

PREPARED_RESPONSE: Final = "casemate.prepared_response"

#: Sends a whole answer with status 200 to a GET request, in the place of ASGI's two messages. Its arguments
#: are lines of the head, each with CR and LF, which another answer has had before or which hold nothing that
#: a stranger has sent and that was not checked; and the body, whose length is added to the head.
SendPrepared: TypeAlias = Callable[[bytes, bytes], Awaitable[None]]
