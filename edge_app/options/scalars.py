"""Limits of single values, so that no value of an option makes a library overflow or crash.

Not here: the types of options (reading.py), addresses (url.py).
"""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_MAX_DIGITS = 15
_MAX_FLOAT = 1e9  # a sleep of more seconds overflows
_MAX_TEXT = 16 * 1024
_MAX_NAME_BYTES, _MAX_PATH_BYTES = 255, 4095  # NAME_MAX, PATH_MAX
_NOT_TEXT = ("Cc", "Cs", "Zl", "Zp")  # control characters, surrogates, line and paragraph separators


def read_int(text: str) -> int | None:
    """A whole number; None if the text is not one. Raises ValueError if it has more than 15 digits."""
    if not _INT.fullmatch(text):
        return None
    if len(text.lstrip("+-")) > _MAX_DIGITS:
        raise ValueError(f"found a number of {len(text)} characters; expected at most {_MAX_DIGITS} digits")
    return int(text)


def read_float(text: str) -> float | None:
    """A number; None if the text is not one. Raises ValueError if it is beyond ±1e9."""
    has_digit = any(character.isdigit() for character in text)
    if not has_digit or not _FLOAT.fullmatch(text):
        return None
    value = float(text)
    if abs(value) > _MAX_FLOAT:
        raise ValueError(f"found the number {value:.3g}; expected -1e9 to 1e9")
    return value


def checked_text(text: str) -> str:
    """The text of an option. Raises ValueError, whose message omits it, if it is long or not printable on one line."""
    if len(text) > _MAX_TEXT:
        raise ValueError(f"found a text of {len(text)} characters; expected at most {_MAX_TEXT}")
    for character in () if text.isprintable() else text:
        if unicodedata.category(character) in _NOT_TEXT:
            raise ValueError(f"found the control character U+{ord(character):04X}; expected text on one line")
    return text


def checked_path(text: str) -> Path:
    """The path of an option. Raises ValueError, whose message omits it, if no file can have it, or for a URL."""
    if "://" in text:
        raise ValueError("found a URL; expected a path")
    path = Path(checked_text(text))
    name_bytes = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if name_bytes > _MAX_NAME_BYTES:
        raise ValueError(f"found a path with a name of {name_bytes} bytes; expected at most {_MAX_NAME_BYTES}")
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise ValueError(f"found a path of {len(os.fsencode(path))} bytes; expected at most {_MAX_PATH_BYTES}")
    return path
