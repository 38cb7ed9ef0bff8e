"""Checks of the options and names that are parts of topics. Not here: which topics there are (dialects/)."""

from __future__ import annotations

from edge_app.dialects import is_level
from edge_app.errors import ConfigError, foreign_text
from edge_app.sinks import SinkContext


def check_topics(context: SinkContext, **prefixes: str) -> None:
    """Raises ConfigError if a prefix, or the name of a rule, cannot be part of a topic. prefixes: by option name."""
    for option, text in prefixes.items():
        if any(not is_level(level) for level in text.split("/")) or text.startswith("$"):
            raise ConfigError(
                f"{option}: found {foreign_text(text)!r}; expected topic levels without + # NUL or a leading $"
            )
    for rule in (rule for camera in context.each for rule in camera.rules):
        if not is_level(rule):
            raise ConfigError(
                f"rule '{foreign_text(rule)}': expected a name without + # / NUL, because it is part of a topic"
            )
