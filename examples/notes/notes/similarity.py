"""Which notes are like which: cosine similarity of hashed word counts.

Each word is hashed to one of ``DIMENSIONS`` places and counted there; common words weigh less (TF-IDF). The vectors
would give the words away, so they live in memory only.
"""

import re
import threading
from zlib import crc32

import numpy as np

DIMENSIONS = 1024
WORD = re.compile(r"\w{2,}")


def word_counts(text: str) -> np.ndarray:
    """How often each (hashed) word occurs, dampened: the second occurrence says less than the first."""
    counts = np.zeros(DIMENSIONS, dtype=np.float32)
    for word in WORD.findall(text.casefold()):
        counts[crc32(word.encode()) % DIMENSIONS] += 1
    return np.log1p(counts)


class WordIndex:
    """Finds the texts that are most like a given one."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._counts = np.empty((0, DIMENSIONS), dtype=np.float32)
        self._lock = threading.Lock()

    def add(self, note_id: str, text: str) -> None:
        """Make ``text`` findable."""
        with self._lock:
            self._counts = np.vstack([self._counts, word_counts(text)])
            self._ids = [*self._ids, note_id]

    def most_similar(self, text: str, limit: int) -> list[tuple[str, float]]:
        """Ids and similarities (more than 0, at most 1), the most similar first."""
        with self._lock:
            ids, counts = self._ids, self._counts
        if not ids:
            return []
        frequency = np.count_nonzero(counts, axis=0)
        weights = np.log1p(len(ids) / np.maximum(frequency, 1))
        rows, query = counts * weights, word_counts(text) * weights
        norms = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
        similarities = np.divide(rows @ query, norms, out=np.zeros(len(ids)), where=norms > 0)
        best = np.argsort(-similarities, kind="stable")[:limit]
        return [(ids[i], min(float(similarities[i]), 1.0)) for i in best if similarities[i] > 0]
