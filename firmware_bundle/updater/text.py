"""Text from outside the updater, made safe for a line of a log or a terminal."""

from __future__ import annotations


def one_line(text: str, limit: int = 300) -> str:
    """The first `limit` characters, with a space for each control character, line break and lone surrogate."""
    return "".join(c if c.isprintable() else " " for c in text[:limit])
