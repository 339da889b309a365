"""Text of strangers on one line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casemate.formats.one_line import one_line


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("", 1, ""),
        ("as it is: 1 < 2, “ä”", 20, "as it is: 1 < 2, “ä”"),
        ("12345", 5, "12345"),
        ("123456", 5, "1234…"),
        ("123456", 1, "…"),
        ("a\nb\r\tc", 9, "a\ufffdb\ufffd\ufffdc"),
        ("\x1b[2Jgone", 9, "\ufffd[2Jgone"),
        ("\u202etxet\u2028\ud800", 9, "\ufffdtxet\ufffd\ufffd"),
    ],
)
def test_a_text_is_cut_and_made_printable(text: str, limit: int, shown: str) -> None:
    assert one_line(text, limit) == shown


@given(st.text(), st.integers(1, 50))
def test_whatever_comes_in_one_printable_line_of_that_length_comes_out(text: str, limit: int) -> None:
    shown = one_line(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    assert one_line(shown, limit) == shown
