"""The exceptions, and text from foreign input."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.errors import foreign_exception, foreign_last_line, foreign_message, foreign_text, mask_urls


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


@pytest.mark.parametrize(
    ("message", "text"),
    [("\n  first\nsecond", "first"), ("", "ValueError"), (" \n", "ValueError"), ("a\x1bb", "a?b")],
)
def test_foreign_message_is_the_first_line_or_the_class(message: str, text: str):
    assert foreign_message(ValueError(message)) == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("rtsp://bob:p@ss@cam/live: gone", "rtsp://…@cam/live: gone"),
        ("rtsp://bob:p/w@cam/live", "rtsp://…@cam/live"),
        ("rtsp://bob:p#?w@cam", "rtsp://…@cam"),
        ("(rtsp://cam/live?user=bob&password=x)", "(rtsp://cam/live?…)"),
        ("rtsp://cam/user=bob_password=x.sdp", "rtsp://cam/user=…"),
        ("rtsp://cam/0/bob:x/main", "rtsp://cam/0/…/main"),
        ("http://cam/a#x, http://cam:80/b.", "http://cam/a#…, http://cam:80/b."),
        ("rtsp://[::1]:554/x", "rtsp://[::1]:554/x"),
        ("no address", "no address"),
    ],
)
def test_mask_urls(text: str, masked: str):
    assert mask_urls(text) == masked
    assert mask_urls(masked) == masked
    assert foreign_text(text) == masked


def test_masking_a_long_text_takes_linear_time():
    began_s = time.monotonic()
    for text in ("a" * 500_000, "://" * 200_000, "://" + "?" * 500_000, "://" + ".:" * 250_000 + "x"):
        mask_urls(text)
    assert time.monotonic() - began_s < 5.0


def test_an_exception_is_shown_by_class_and_place_without_its_message():
    try:
        int("hunter2")
    except ValueError as exc:
        shown = foreign_exception(exc)
    assert re.fullmatch(r"ValueError \(test_errors\.py:\d+\)", shown)
    assert foreign_exception(KeyError("hunter2")) == "KeyError"


@pytest.mark.parametrize(
    ("output", "shown"),
    [("first\nlast\n \n\n", "last"), ("\x1b[31mred", "?[31mred"), (" \n", "no message"), ("", "no message")],
)
def test_the_last_line_of_a_program_is_shown_without_control_characters(output: str, shown: str):
    assert foreign_last_line(output) == shown
