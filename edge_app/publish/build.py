"""Construct the configured sinks, and report errors with their place in the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import MappingProxyType

from edge_app import registry
from edge_app.clock import Clock
from edge_app.commands.changes import score_of
from edge_app.config import Config, PluginConfig
from edge_app.errors import ConfigError, SinkError
from edge_app.sinks import Sink, SinkContext, Surface
from edge_app.state import StateBoard

NO_STATE: Mapping[str, StateBoard] = MappingProxyType({})


def build_sinks(
    config: Config, clock: Clock, device_id: str, stack: ExitStack, boards: Mapping[str, StateBoard] = NO_STATE
) -> dict[str, Sink]:
    """Construct the configured sinks, by name. `stack` closes them. Raises ConfigError or SinkError with file:line.

    boards: by camera, the state that they publish, if there is any.
    """
    first, *others = (_context(each, clock, device_id, boards.get(each.camera)) for each in config.each)
    sinks: dict[str, Sink] = {}
    for plugin in config.sinks:
        name = plugin.name or plugin.type
        named = [replace(each, name=name) for each in others]
        sinks[name] = _build(plugin, replace(first, name=name, others=tuple(named)))
        stack.callback(sinks[name].close)
    return sinks


def _context(config: Config, clock: Clock, device_id: str, board: StateBoard | None) -> SinkContext:
    """The context of one camera, without the name of a sink."""
    heads = {name: config.manifest.heads[name].family for name in config.heads}
    rules = {rule.name: rule.type for rule in config.rules}
    snapshots = config.folder("snapshots") if config.snapshots.enabled else None
    return SinkContext(device_id, "", clock, rules, heads, config.camera, snapshots, board, _surface(config))


def _surface(config: Config) -> Surface:
    """What sinks may say about this device."""
    rules = {f"rules/{rule.name}": tuple(rule.options.get("labels", ())) for rule in config.rules}
    heads = {f"heads/{n}": head.boxes.labels or config.manifest.heads[n].labels for n, head in config.heads.items()}
    int8 = bool(config.heads) and "int8" in config.manifest.targets()
    web = config.web
    return Surface(
        labels=rules | heads,
        scores={name: score for name in config.heads if (score := score_of(config, name)) is not None},
        precisions=("float", "int8") if int8 else (),
        reuses=config.reuse.mode != "off",
        page=(web.host, web.port, web.base_path) if web.enabled and not web.loopback else None,
        state_dir=config.device.state_dir,
    )


def _build(plugin: PluginConfig, context: SinkContext) -> Sink:
    where = f"{plugin.where}: " if plugin.where else ""
    try:
        sink: Sink = registry.build("sinks", plugin.type, context, **plugin.options)
    except ConfigError as exc:
        raise ConfigError(*(f"{where}sink '{context.name}': {problem}" for problem in exc.problems)) from exc
    except SinkError as exc:
        raise SinkError(f"{where}sink '{context.name}': {exc}", retry=exc.retry) from exc
    return sink
