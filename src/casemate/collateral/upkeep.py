"""What goes on beside the requests: renewal, and noticing what other processes have written."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Self

from casemate.collateral.documents import Documents
from casemate.collateral.store import CollateralStore
from casemate.errors import ServiceError

#: Seconds for which an answer may be given from memory although another process has written a newer one.
WATCH_EVERY = 1.0
#: Seconds between looks for a document that is due.
RENEW_EVERY = 5.0

_log = logging.getLogger(__name__)


class Watch:
    """Gives up copies in memory when another process has written.

    Args:
        store: The store.
        changed: Gives up the copies.
    """

    def __init__(self, store: CollateralStore, changed: Callable[[], None]) -> None:
        self._store = store
        self._changed = changed
        self._seen: int | None = None

    def look(self) -> None:
        """Look once.

        Raises:
            ServiceError: The store cannot be used. Copies stay: what is in them was vouched for and has not
                ended, and without the store there is nothing else.
        """
        revision = self._store.revision()
        if revision != self._seen:
            self._changed()
        self._seen = revision


class Upkeep:
    """Two threads: one watches, one renews, one document at a time.

    Args:
        watch: Watches.
        documents: What is renewed; ``None`` while offline.
    """

    def __init__(self, watch: Watch, documents: Documents | None) -> None:
        self._stopping = threading.Event()
        tasks = [(watch.look, WATCH_EVERY)]
        if documents is not None:
            tasks.append((lambda: _renew_all_due(documents, self._stopping), RENEW_EVERY))
        self._threads = [
            threading.Thread(target=self._repeat, args=task, name="collateral-upkeep", daemon=True)
            for task in tasks
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=2)

    def _repeat(self, step: Callable[[], None], seconds: float) -> None:
        while not self._stopping.is_set():
            try:
                step()
            except ServiceError as error:
                _log.error("upkeep: %s", error)
            except Exception:  # noqa: BLE001  # a defect in one step does not end the upkeep
                _log.exception("upkeep")
            self._stopping.wait(seconds)


def _renew_all_due(documents: Documents, stopping: threading.Event) -> None:
    while not stopping.is_set() and documents.renew_due():
        pass
