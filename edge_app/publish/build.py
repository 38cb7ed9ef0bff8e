"""Construct the configured sinks, and report errors with their place in the configuration."""

from __future__ import annotations

from contextlib import ExitStack

from edge_app import registry
from edge_app.clock import Clock
from edge_app.config import Config, PluginConfig
from edge_app.errors import ConfigError, SinkError
from edge_app.sinks import Sink, SinkContext


def build_sinks(config: Config, clock: Clock, device_id: str, stack: ExitStack) -> dict[str, Sink]:
    """Construct the configured sinks, by name. `stack` closes them. Raises ConfigError or SinkError with file:line."""
    heads = {name: head.family for name, head in config.manifest.heads.items()}
    rules = {rule.name: rule.type for rule in config.rules}
    snapshots = config.device.state_dir / "snapshots" if config.snapshots.enabled else None
    sinks: dict[str, Sink] = {}
    for plugin in config.sinks:
        name = plugin.name or plugin.type
        context = SinkContext(device_id, name, clock, rules, heads, config.source.common.name, snapshots)
        sinks[name] = _build(plugin, context)
        stack.callback(sinks[name].close)
    return sinks


def _build(plugin: PluginConfig, context: SinkContext) -> Sink:
    where = f"{plugin.where}: " if plugin.where else ""
    try:
        sink: Sink = registry.build("sinks", plugin.type, context, **plugin.options)
    except ConfigError as exc:
        raise ConfigError(*(f"{where}sink '{context.name}': {problem}" for problem in exc.problems)) from exc
    except SinkError as exc:
        raise SinkError(f"{where}sink '{context.name}': {exc}", retry=exc.retry) from exc
    return sink
