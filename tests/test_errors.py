"""The exceptions, and text from foreign input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.errors import foreign_text


@given(st.text(alphabet=st.characters(), max_size=500))
def test_foreign_text_is_printable_bounded_and_can_be_encoded(text: str):
    shown = foreign_text(text, 100)
    assert len(shown) <= 101
    assert shown.isprintable()
    shown.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\x1b[31mb", "a?[31mb"),
        ("line\nbreak", "line break"),
        ("\ud800", "?"),
        ("x" * 300, "x" * 200 + "…"),
        (ValueError("password=secret"), "ValueError"),
        (FileNotFoundError(2, "No such file or directory", "/secret"), "No such file or directory"),
        (OSError("secret"), "OSError"),
    ],
)
def test_foreign_text(value: object, text: str):
    assert foreign_text(value) == text
