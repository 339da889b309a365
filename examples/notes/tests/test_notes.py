import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from notes.sealing import NoteCipher, SealBrokenError
from notes.settings import Settings, SettingsError
from notes.similarity import WordIndex
from notes.store import NoteStore, StoreError


def write(client, title, body):
    response = client.post("/api/notes", json={"title": title, "body": body})
    assert response.status_code == 201
    return response.json


def test_a_note_that_was_written_can_be_read(client):
    note = write(client, "Bread", "Flour, water, salt.")
    assert client.get(f"/api/notes/{note['id']}").json["body"] == "Flour, water, salt."
    assert [n["title"] for n in client.get("/api/notes").json["notes"]] == ["Bread"]


def test_the_form_leads_to_the_page_of_the_new_note(client):
    response = client.post("/notes", data={"title": "<b>Bread", "body": "Flour"}, follow_redirects=True)
    assert response.status_code == 200
    assert "<h1>&lt;b&gt;Bread</h1>" in response.text
    assert "Bread" in client.get("/").text


def test_an_empty_note_is_not_taken(client):
    response = client.post("/notes", data={"title": " ", "body": "x"})
    assert response.status_code == 422
    assert "A note needs a title and a text." in response.text
    assert client.post("/api/notes", json={"title": "x"}).status_code == 422


def test_a_form_from_another_site_is_refused(client):
    headers = {"Sec-Fetch-Site": "cross-site"}
    assert client.post("/notes", data={"title": "x", "body": "y"}, headers=headers).status_code == 403


def test_what_is_not_there_is_explained_to_people_and_programs(client):
    assert client.get("/api/notes/none").json == {"error": "There is no such note."}
    assert "There is no such note." in client.get("/notes/none").text


def test_related_notes_are_the_ones_with_the_same_words(client):
    bread = write(client, "Bread", "Flour and water, baked in an oven")
    write(client, "Pizza", "Flour and water with cheese, baked in a hot oven")
    write(client, "Sailing", "Wind from the west")
    related = client.get(f"/api/notes/{bread['id']}").json["related"]
    assert related[0]["title"] == "Pizza"
    assert 0 < related[0]["similarity"] < 1


def test_search_finds_by_word(client):
    write(client, "Bread", "Flour and water")
    write(client, "Sailing", "Wind from the west")
    assert [m["title"] for m in client.get("/api/search?q=WIND").json["matches"]] == ["Sailing"]
    assert "Sailing" in client.get("/search?q=wind").text
    assert "Nothing found." in client.get("/search?q=snow").text


def test_healthz_says_ok(client):
    assert client.get("/healthz").json == {"status": "ok"}


def test_an_index_without_texts_finds_nothing():
    assert WordIndex().most_similar("bread", 3) == []


def test_the_database_holds_no_word_of_a_note(client, settings):
    write(client, "Secret title", "Secret body")
    assert b"Secret" not in settings.database.read_bytes()


def test_notes_survive_a_restart_and_need_the_same_key(settings):
    with closing(NoteStore(settings.database, NoteCipher(settings.key))) as store:
        store.add("Bread", "Flour")
    with closing(NoteStore(settings.database, NoteCipher(settings.key))) as store:
        assert [note.title for note in store.all()] == ["Bread"]
    with closing(NoteStore(settings.database, NoteCipher(bytes(32)))) as store:
        with pytest.raises(StoreError, match="The key does not open the notes in"):
            list(store.all())


def test_a_sealed_note_does_not_open_as_another_note(settings):
    sealed = NoteCipher(settings.key).seal(b"text", "one")
    with pytest.raises(SealBrokenError):
        NoteCipher(settings.key).open(sealed, "two")
    with pytest.raises(SealBrokenError):
        NoteCipher(settings.key).open(b"", "one")


def test_the_database_belongs_to_one_process(settings):
    with closing(NoteStore(settings.database, NoteCipher(settings.key))) as store:
        store.add("Bread", "Flour")
        with closing(sqlite3.connect(settings.database, timeout=0)) as intruder:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                intruder.execute("SELECT * FROM note")


def test_a_file_that_is_no_database_is_refused(settings):
    settings.database.write_bytes(b"not a database at all" * 99)
    with pytest.raises(StoreError, match="cannot be used: file is not a database"):
        NoteStore(settings.database, NoteCipher(settings.key))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"short", "The key file {} holds 5 bytes instead of 32."),
        (b"one too many at the end of a key!", "The key file {} holds 33 bytes instead of 32."),
        (None, "The key file {} cannot be read: No such file or directory."),
    ],
)
def test_a_key_that_cannot_be_used_is_refused(tmp_path, content, message):
    path = tmp_path / "notes.key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingsError) as refusal:
        Settings.from_environment({"NOTES_KEY_FILE": str(path)})
    assert str(refusal.value) == message.format(path)


def test_without_a_key_the_service_refuses_to_start_with_a_sentence():
    environment = {name: value for name, value in os.environ.items() if name != "NOTES_KEY_FILE"}
    run = subprocess.run(
        [sys.executable, "-c", "import notes"],
        cwd=Path(__file__).parent.parent,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert run.stderr.startswith("notes: NOTES_KEY_FILE is not set.")
    assert "Traceback" not in run.stderr
