"""What one can do with notes: write, read, list, search, and find related ones."""

from dataclasses import dataclass

from .similarity import WordIndex
from .store import Note, NoteStore

MAX_TITLE = 200
MAX_BODY = 20_000


class InvalidNoteError(ValueError):
    """The note cannot be taken as it is; the message is for its author."""


@dataclass(frozen=True)
class Match:
    """A note that was found, and how well it fits (0 to 1)."""

    note: Note
    similarity: float


class Notebook:
    """The notes and their index. The index is filled from the store once, here."""

    def __init__(self, store: NoteStore) -> None:
        self._store = store
        self._index = WordIndex()
        for note in store.all():
            self._index.add(note.id, text_of(note))

    def close(self) -> None:
        """Give the database back."""
        self._store.close()

    def write(self, title: str, body: str) -> Note:
        """Add a note; raises InvalidNoteError when it is empty or too long."""
        title, body = title.strip(), body.strip()
        if not title or not body:
            raise InvalidNoteError("A note needs a title and a text.")
        if len(title) > MAX_TITLE:
            raise InvalidNoteError(f"The title is longer than {MAX_TITLE} characters.")
        if len(body) > MAX_BODY:
            raise InvalidNoteError(f"The text is longer than {MAX_BODY} characters.")
        note = self._store.add(title, body)
        self._index.add(note.id, text_of(note))
        return note

    def read(self, note_id: str) -> Note | None:
        """The note with this id, if there is one."""
        return self._store.get(note_id)

    def all(self) -> list[Note]:
        """Every note, the newest first."""
        return list(self._store.all())

    def search(self, words: str, limit: int = 20) -> list[Match]:
        """The notes that fit ``words`` best."""
        found = self._index.most_similar(words, limit)
        return [Match(note, score) for note_id, score in found if (note := self.read(note_id))]

    def related(self, note: Note, limit: int = 3) -> list[Match]:
        """Other notes that are like this one."""
        found = self.search(text_of(note), limit + 1)
        return [match for match in found if match.note.id != note.id][:limit]


def text_of(note: Note) -> str:
    """What of a note is searched."""
    return f"{note.title} {note.body}"
