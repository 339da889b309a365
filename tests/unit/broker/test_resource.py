"""Names of resources and secrets."""

import pytest

from casemate.broker.resource import MAX_NAME_LENGTH, MAX_SECRET_SIZE, ResourceName, Secret
from casemate.errors import FormatError


def test_a_name_reads_and_prints_as_three_segments() -> None:
    name = ResourceName.parse("default/notes/db-key.v1")
    assert (name.repository, name.type, name.tag) == ("default", "notes", "db-key.v1")
    assert str(name) == "default/notes/db-key.v1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "resource name: expected three segments, repository/type/tag, got 1 in ''"),
        ("a/b", "resource name: expected three segments, repository/type/tag, got 2 in 'a/b'"),
        ("a/b/c/d", "resource name: expected three segments, repository/type/tag, got 4 in 'a/b/c/d'"),
        ("/a/b/c", "resource name: expected three segments, repository/type/tag, got 4 in '/a/b/c'"),
    ],
)
def test_a_name_without_three_segments_is_refused(text: str, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        ResourceName.parse(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "segment", ["", ".", "..", ".hidden", "%2e%2e", "a b", "a\n", "ä", "a:b", "a?b", "a\\b", "٣", "a\0"]
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_segment_that_trustee_does_not_allow_is_refused(segment: str, place: int) -> None:
    segments = ["default", "notes", "key"]
    segments[place] = segment
    text = "/".join(segments)
    with pytest.raises(FormatError) as caught:
        ResourceName.parse(text)
    assert str(caught.value) == (
        "resource name: expected segments of letters, digits, '_', '-' and '.', the first not a '.', "
        f"got {segment!r} in {text!r}"
    )


def test_a_name_may_be_as_long_as_the_limit_and_no_longer() -> None:
    longest = "a/b/" + "c" * (MAX_NAME_LENGTH - 4)
    assert str(ResourceName.parse(longest)) == longest
    with pytest.raises(FormatError) as caught:
        ResourceName.parse(longest + "c")
    assert str(caught.value) == "resource name: expected at most 767 characters, got 768"


def test_a_secret_does_not_print() -> None:
    assert repr(Secret(b"hunter2")) == "<redacted>"
    assert str(Secret(b"hunter2")) == "<redacted>"


@pytest.mark.parametrize("size", [0, MAX_SECRET_SIZE + 1])
def test_a_secret_has_a_size(size: int) -> None:
    assert len(Secret(bytes(MAX_SECRET_SIZE)).value) == MAX_SECRET_SIZE
    with pytest.raises(FormatError) as caught:
        Secret(bytes(size))
    assert str(caught.value) == f"secret: expected 1 to 1048576 bytes, got {size}"
