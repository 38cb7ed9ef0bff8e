"""Limits of single values: digits, size, control characters, lengths of paths."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.options import read_value
from edge_app.options.document import Problems, parse_yaml


def problem_of(value: str, annotation: type) -> str:
    problems = Problems(Path("c.yaml"))
    root = parse_yaml(f"a: {value}".encode(), problems)
    assert root is not None
    read_value(root.value[0][1], annotation, "a", problems)
    (text,) = [text for _, text in problems.found] or [""]
    assert text.isprintable()
    assert len(text) < 300
    return text


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, "9" * 15, ""),
        (int, "9" * 16, "a: found a number of 16 characters; expected at most 15 digits"),
        (int, "-" + "9" * 5000, "a: found a number of 5001 characters; expected at most 15 digits"),
        (float, "-1e9", ""),
        (float, "1e999", "a: found the number inf; expected -1e9 to 1e9"),
        (float, "9" * 5000, "a: found the number inf; expected -1e9 to 1e9"),
        (str, '"\\0"', "a: found the control character U+0000; expected text on one line"),
        (str, '"\\ud800"', "a: found the control character U+D800; expected text on one line"),
        (str, '"a\\nb"', "a: found the control character U+000A; expected text on one line"),
        (str, '"\\e[31m"', "a: found the control character U+001B; expected text on one line"),
        (str, "x" * 20_000, "a: found a text of 20000 characters; expected at most 16384"),
        (str, "'\u00e9 \u4e2d \U0001f600'", ""),
        (Path, '"a\\0b"', "a: found the control character U+0000; expected text on one line"),
        (Path, "x" * 255, ""),
        (Path, "x/" + "\u00e9" * 128, "a: found a path with a name of 256 bytes; expected at most 255"),
        (Path, "xx/" * 2000, "a: found a path of 5999 bytes; expected at most 4095"),
        (Path, "rtsp://bob:hunter2@cam/", "a: found a URL; expected a path"),
    ],
)
def test_a_value_beyond_a_limit_is_one_line(annotation, value, expected):
    assert problem_of(value, annotation) == expected
