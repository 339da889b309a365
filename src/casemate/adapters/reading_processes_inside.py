"""Reads modules for another process, until that one ends; its argument is the descriptor of the pipe."""

from __future__ import annotations

import gc
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection

import msgspec

from casemate.builder.closure.reader import ModuleFile, read_module


def serve(pipe: Connection) -> None:
    """Answer each file with what reading it gives."""
    with suppress(EOFError, ConnectionError):
        while True:
            module = msgspec.msgpack.decode(pipe.recv_bytes(), type=ModuleFile)
            pipe.send_bytes(msgspec.msgpack.encode(read_module(module)))


if __name__ == "__main__":
    # An interrupt from the terminal reaches all processes; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # syntax trees are many objects and no cycles
    serve(Connection(int(sys.argv[1])))
