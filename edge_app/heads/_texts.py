"""Text that was read in an image, made safe to publish: it is input of whoever holds a code into the camera."""

from __future__ import annotations

MAX_TEXT = 1024  # characters; longer content is cut, and ends with an ellipsis
_CONTROL_PICTURES = 0x2400  # Unicode's visible symbols for the control characters 0 to 31
_DELETE = 0x7F


def published(text: str, limit: int = MAX_TEXT) -> str:
    """The text without characters that act on a terminal, a log or a page, and of bounded length.

    Control characters become their symbols (`␝` for the group separator of GS1), other characters that print nothing,
    surrogates among them, U+FFFD. A longer text is cut to `limit` characters, the last of which is `…`.
    """
    if len(text) > limit:
        text = f"{text[: limit - 1]}…"
    return text if text.isprintable() else "".join(c if c.isprintable() else _symbol(ord(c)) for c in text)


def _symbol(code: int) -> str:
    if code < 32:
        return chr(_CONTROL_PICTURES + code)
    return "\u2421" if code == _DELETE else "\ufffd"
