"""Strings and topics of MQTT 3.1.1: the ones that a broker accepts. Not here: which topics there are (mqtt.py)."""

from __future__ import annotations

from edge_app.errors import ConfigError, foreign_text
from edge_app.sinks import SinkContext

MAX_TEXT_BYTES = 65535  # of a string in MQTT
_LEVEL_NOT_ALLOWED = ("+", "#", "/", "\0")


def check_topics(context: SinkContext, **prefixes: str) -> None:
    """Raises ConfigError if a prefix, or the name of a rule, cannot be part of a topic. prefixes: by option name."""
    for option, text in prefixes.items():
        if any(not is_level(level) for level in text.split("/")) or text.startswith("$"):
            raise ConfigError(
                f"{option}: found {foreign_text(text)!r}; expected topic levels without + # NUL or a leading $"
            )
    for rule in context.rules:
        if not is_level(rule):
            raise ConfigError(
                f"rule '{foreign_text(rule)}': expected a name without + # / NUL, because it is part of a topic"
            )


def is_level(text: str) -> bool:
    """Whether a text can be one level of a topic: not empty, at most 256 bytes, no reserved character."""
    return bool(text) and is_text(text, 256) and not any(bad in text for bad in _LEVEL_NOT_ALLOWED)


def is_text(text: str, max_bytes: int = MAX_TEXT_BYTES) -> bool:
    """Whether a text can be a string in MQTT: no control characters, no surrogates, short enough."""
    return text.isprintable() and len(text.encode()) <= max_bytes
