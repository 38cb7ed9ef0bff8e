"""Strings and topics of MQTT 3.1.1: the ones that a broker accepts. Not here: which topics there are."""

from __future__ import annotations

import re

MAX_TEXT_BYTES = 65535  # of a string in MQTT
_MAX_LEVEL_BYTES = 256
_NOT_ALLOWED = ("+", "#", "/", "\0")
_REPLACED = re.compile(r"[+#/\0]")


def is_level(text: str) -> bool:
    """Whether a text can be one level of a topic: not empty, at most 256 bytes, no reserved character."""
    return bool(text) and is_text(text, _MAX_LEVEL_BYTES) and not any(bad in text for bad in _NOT_ALLOWED)


def is_text(text: str, max_bytes: int = MAX_TEXT_BYTES) -> bool:
    """Whether a text can be a string in MQTT: no control characters, no surrogates, short enough."""
    return text.isprintable() and len(text.encode()) <= max_bytes


def as_level(text: str) -> str:
    """A text as one level of a topic: what is not allowed becomes `_`, and it ends after 64 characters."""
    clean = "".join(c if c.isprintable() else "_" for c in _REPLACED.sub("_", text[:64]))
    return clean or "_"
