"""Construct the configured source."""

from __future__ import annotations

from edge_app import registry
from edge_app.clock import Clock
from edge_app.config import PluginConfig
from edge_app.errors import ConfigError, OptionError
from edge_app.sources import Source


def build_source(plugin: PluginConfig, clock: Clock) -> Source:
    """Construct a source; a live one does not connect yet. Raises ConfigError with file:line, or ClipError."""
    where = f"{plugin.where}: " if plugin.where else ""
    try:
        source: Source = registry.build("sources", plugin.type, clock, **plugin.options)
    except OptionError as exc:
        raise ConfigError(f"{where}source.{exc}") from exc
    except ConfigError as exc:
        raise ConfigError(*(f"{where}source: {problem}" for problem in exc.problems)) from exc
    return source
