"""casemate.toml: whatever the bytes, a value or our error; and what init writes is read back."""

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from casemate.errors import ProjectError
from casemate.project import Project, parse_project
from casemate.project.template import Draft, render_project

KEYS = st.sampled_from(
    [
        "app",
        "closure",
        "enclave",
        "env",
        "mounts",
        "secrets",
        "broker",
        "kubernetes",
        "name",
        "serve",
        "size",
        "url",
        "ca",
        "x",
        "env:A",
        "/run/k",
    ]
)
VALUES = st.recursive(
    st.one_of(
        st.integers(),
        st.booleans(),
        st.text(max_size=9),
        st.floats(allow_nan=False),
        st.sampled_from(["a:b", "1G"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
#: Text that Gramine's manifest can hold.
TEXT = st.text(
    st.characters(
        exclude_categories=("Cs", "Cc"), include_characters="\t\r\n", exclude_characters="\ufffe\uffff"
    ),
    max_size=20,
).filter(lambda text: "'''" not in text)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_project_or_our_error(data: bytes) -> None:
    with contextlib.suppress(ProjectError):
        assert isinstance(parse_project(data, "x"), Project)


@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_any_document_gives_a_project_or_our_error(document: Any) -> None:
    import tomli_w

    try:
        data = tomli_w.dumps({"app": {"name": "n", "serve": "a:b"}, **document}).encode()
    except UnicodeEncodeError:
        return
    with contextlib.suppress(ProjectError):
        assert isinstance(parse_project(data, "x"), Project)


@given(
    st.dictionaries(st.from_regex(r"[B-Z_][A-Z0-9_]*", fullmatch=True), TEXT, max_size=4),
    st.integers(1, 65535),
)
def test_what_is_written_is_read_back(env: Any, port: int) -> None:
    env = {name: value for name, value in env.items() if not name.startswith("LD_")}
    draft = Draft(
        name="notes",
        source=".",
        requirements="uv.lock",
        is_locked=True,
        serve="notes:app",
        interface="wsgi",
        command=None,
        port=port,
        env=tuple(env.items()),
        unset=(("NOTES_X", "notes/x.py:1"),),
        secrets=(("/run/secrets/k", "kbs:///a/b/c"), ("env:ATOKEN", "kbs:///a/b/d")),
        mounts=("/var/lib/notes",),
        broker=("https://broker:1", 'odd "name".pem'),
    )
    project = parse_project(render_project(draft).encode(), "x")
    assert dict(project.env) == env
    assert project.app.port == port
    assert [secret.destination for secret in project.secrets] == ["/run/secrets/k", "env:ATOKEN"]
    assert project.broker is not None
    assert project.broker.ca == 'odd "name".pem'
