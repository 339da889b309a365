"""Any bytes give a value or one of our errors."""

from hypothesis import given
from hypothesis import strategies as st

from casemate.broker.resource import ResourceName
from casemate.errors import CasemateError
from casemate.verifier.reference_values import ReferenceValues


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_reference_values_or_refused(data: bytes) -> None:
    try:
        values = ReferenceValues.parse(data, "test")
    except CasemateError:
        return
    raise AssertionError(values)


@given(st.text())
def test_any_text_is_a_resource_name_that_prints_as_it_was_or_is_refused(text: str) -> None:
    try:
        name = ResourceName.parse(text)
    except CasemateError:
        return
    assert str(name) == text


@given(st.from_regex(r"\A[a-zA-Z0-9_-][a-zA-Z0-9_.-]{0,20}(/[a-zA-Z0-9_-][a-zA-Z0-9_.-]{0,20}){2}\Z"))
def test_every_name_that_trustee_allows_is_read(text: str) -> None:
    assert str(ResourceName.parse(text)) == text
