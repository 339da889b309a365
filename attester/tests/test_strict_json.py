import contextlib
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate_attester.errors import MessageError
from casemate_attester.strict_json import Fields, canonical_json, read_object


def read(data: bytes, limit: int = 1000) -> Fields:
    return read_object(data, document="note", error=MessageError, limit=limit, hint="write it again")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(
            b'{"a":1,"a":1}', "note: expected strict JSON, got an object with a duplicate key", id="duplicate"
        ),
        pytest.param(
            b'{"a":{"b":1,"b":2}}',
            "note: expected strict JSON, got an object with a duplicate key",
            id="inner",
        ),
        pytest.param(
            b'{"a":1.0}', "note: expected strict JSON, got a number that is not an integer", id="fraction"
        ),
        pytest.param(
            b'{"a":1e3}', "note: expected strict JSON, got a number that is not an integer", id="exponent"
        ),
        pytest.param(
            b'{"a":NaN}', "note: expected strict JSON, got a number that is not an integer", id="nan"
        ),
        pytest.param(
            b'{"a":-Infinity}', "note: expected strict JSON, got a number that is not an integer", id="inf"
        ),
        pytest.param(
            b'{"a":9007199254740992}', "note: expected strict JSON, got an integer beyond 2**53", id="2**53"
        ),
        pytest.param(
            b'{"a":' + b"9" * 900 + b"}",
            "note: expected strict JSON, got an integer beyond 2**53",
            id="digits",
        ),
        pytest.param(b"", "note: expected JSON, got Expecting value at offset 0", id="empty"),
        pytest.param(b"{}x", "note: expected JSON, got Extra data at offset 2", id="trailing"),
        pytest.param(b"\xff", "note: expected UTF-8 text, got other bytes", id="not-text"),
        pytest.param(
            b"\xef\xbb\xbf{}",
            "note: expected JSON, got Unexpected UTF-8 BOM (decode using utf-8-sig) at offset 0",
            id="bom",
        ),
        pytest.param(b'{"a":"\\ud800"}', "note: expected UTF-8 text, got other bytes", id="surrogate"),
        pytest.param(b"[]", "note: expected an object, got an array of 0", id="array"),
        pytest.param(b'"abc"', "note: expected an object, got text of 3 characters", id="text"),
        pytest.param(b"null", "note: expected an object, got null", id="null"),
        pytest.param(b"true", "note: expected an object, got a boolean", id="boolean"),
        pytest.param(b" " * 1001, "note: expected at most 1000 bytes, got 1001 bytes", id="long"),
    ],
)
def test_what_is_not_one_strict_object_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(MessageError) as caught:
        read(data)
    assert (str(caught.value), caught.value.hint) == (message, "write it again")


def test_a_document_as_long_as_its_limit_is_read() -> None:
    read(b"{}" + b" " * 998).done()


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(MessageError) as caught:
        read(b'{"a":' * 100_000, limit=10**6)
    assert str(caught.value) == "note: expected a flat document, got very deep nesting"


def test_the_largest_exact_integer_is_read() -> None:
    assert read(b'{"a":9007199254740991}').integer("a", low=0, high=2**60) == 2**53 - 1


@pytest.mark.parametrize(
    ("take", "message"),
    [
        (lambda f: f.text("number"), "number: expected text, got an integer (note)"),
        (
            lambda f: f.text("text", pattern="b", expected="b"),
            "text: expected b, got text of 1 characters (note)",
        ),
        (lambda f: f.text("none"), "none: expected text, got no such field (note)"),
        (
            lambda f: f.integer("text", low=1, high=2),
            "text: expected an integer from 1 to 2, got text of 1 characters (note)",
        ),
        (lambda f: f.integer("yes", low=1, high=1), "yes: expected 1, got a boolean (note)"),
        (
            lambda f: f.integer("number", low=8, high=9),
            "number: expected an integer from 8 to 9, got 7 (note)",
        ),
        (lambda f: f.texts("text"), "text: expected an array of texts, got text of 1 characters (note)"),
        (lambda f: f.texts("mixed"), "mixed: expected an array of texts, got one with an integer (note)"),
        (lambda f: f.object("text"), "text: expected an object, got text of 1 characters (note)"),
        (lambda f: f.object_or_null("text"), "text: expected an object, got text of 1 characters (note)"),
        (lambda f: f.object_or_null("none"), "none: expected an object or null, got no such field (note)"),
        (lambda f: f.object_or_empty("text"), "text: expected an object, got text of 1 characters (note)"),
        (lambda f: f.object_or_empty("none"), 'none: expected an object or "", got no such field (note)'),
        (lambda f: f.objects("text"), "text: expected an array of objects, got text of 1 characters (note)"),
        (lambda f: f.objects("mixed"), "mixed[0]: expected an object, got text of 1 characters (note)"),
        (lambda f: f.nothing("object"), "object: expected null or no such field, got an object (note)"),
        (lambda f: f.object("object").text("in"), "object.in: expected text, got an integer (note)"),
        (lambda f: f.object("object").done(), "object: expected only known fields, got 'in' (note)"),
        (lambda f: f.done(), "note: expected only known fields, got 'empty', 'mixed', 'null'"),
    ],
)
def test_a_field_of_another_kind_is_refused_by_its_path(
    take: Callable[[Fields], object], message: str
) -> None:
    fields = read(
        b'{"text":"a","number":7,"yes":true,"mixed":["a",1],"object":{"in":1},"null":null,"empty":""}'
    )
    with pytest.raises(MessageError) as caught:
        take(fields)
    assert (str(caught.value), caught.value.hint) == (message, "write it again")


def test_null_and_empty_stand_for_no_object() -> None:
    fields = read(b'{"a":null,"b":"","c":null,"d":[{"e":"f"}]}')
    assert fields.object_or_null("a") is None
    assert fields.object_or_empty("b") is None
    fields.nothing("c")
    fields.nothing("absent")
    assert [item.text("e") for item in fields.objects("d")] == ["f"]
    fields.done()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_canonical_json_is_read_back_and_does_not_depend_on_order(value: dict) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(dict(reversed(value.items()))) == data
    read(data, limit=10**6)


@given(st.binary())
def test_any_bytes_give_an_object_or_our_error(data: bytes) -> None:
    with contextlib.suppress(MessageError):
        read(data)
