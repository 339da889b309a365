"""What a registry may cost, and what asking it takes of the world."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryLimits:
    """Bounds of what a registry may cost.

    Attributes:
        connect: Seconds for each address of the host, and for the TLS handshake.
        read: Seconds for each wait for bytes, and for the other side to take some.
        answer: Seconds for an answer that is no blob.
        blob: Seconds for one attempt at a blob.
        attempts: How often something is tried at most, without anything coming of it; a blob that grew by an
            attempt begins to count anew.
        pause: Seconds before the second attempt; each further pause is twice as long, less up to a half by
            chance.
        patience: The longest pause that a registry may ask for; where it asks for more, that is the answer.
        document: Bytes of a manifest, a configuration or a token; registries accept no larger manifest.
        blob_size: Bytes of a layer.
        image_size: Bytes of all layers of an image.
        chunk: Bytes of a layer that are sent at once to a registry that takes no whole one.
        redirects: That are followed for one blob.
    """

    connect: float = 10.0
    read: float = 30.0
    answer: float = 60.0
    blob: float = 3600.0
    attempts: int = 5
    pause: float = 0.5
    patience: float = 60.0
    document: int = 4 * 1024 * 1024
    blob_size: int = 8 << 30
    image_size: int = 16 << 30
    chunk: int = 16 * 1024 * 1024
    redirects: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryMeans:
    """What asking takes of the world; arguments for the sake of tests.

    Attributes:
        monotonic: Seconds from any beginning.
        now: What time it is, for ``Retry-After`` with a date.
        sleep: Waits so many seconds.
        chance: A number from 0 to 1.
    """

    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep
    chance: Callable[[], float] = random.random
