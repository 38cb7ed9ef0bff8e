"""The blocks of plug-ins: `source` and `sinks`, and what the blocks of all plug-ins have in common.

The options of a plug-in are the keyword-only arguments of its constructor (registry.py). Options that all plug-ins of
a kind share are a dataclass (blocks.py). Not here: heads (models.py), rules (rules.py).
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from edge_app import registry
from edge_app.config.blocks import PluginConfig, SinkCommon, SourceCommon, SourceConfig
from edge_app.errors import ConfigError, OptionError, foreign_text
from edge_app.geometry.polygons import polygon_of
from edge_app.options import Option, options_of, read_options, read_value
from edge_app.options.document import Problems, describe, entries
from edge_app.options.scalars import checked_path, checked_text
from edge_app.sources import IMAGE_SUFFIXES

_CAMERA_NUMBER = re.compile("[0-9]{1,3}")


def read_source(node: yaml.Node | None, problems: Problems) -> SourceConfig | None:
    """Read the block `source`. Adds mistakes to `problems`, and then returns None if it is unusable."""
    if not isinstance(node, yaml.MappingNode):
        problems.add(node, f"source: {_why_no_block(node)}")
        return None
    read = read_plugin(node, "sources", "source", SourceCommon, problems)
    if read is None:
        return None
    common, plugin = read
    if common.crop is not None and not (common.crop[0] < common.crop[2] and common.crop[1] < common.crop[3]):
        problems.add(entries(node)["crop"], f"source.crop: found {list(common.crop)}; expected x1 < x2 and y1 < y2")
    for polygon in common.mask:
        try:
            polygon_of("mask", polygon)
        except OptionError as exc:
            problems.add(entries(node)["mask"], f"source.{exc}")
    return SourceConfig(common, plugin)


def _why_no_block(node: yaml.Node | None) -> str:
    if node is None:
        return "missing; expected a block with a type"
    if isinstance(node, yaml.SequenceNode):
        return f"found {describe(node)}; expected one block with a type; several cameras: the block cameras"
    return f"found {describe(node)}; expected a block such as {{type: rtsp, url: rtsp://host/path}}"


def from_url(text: str) -> SourceConfig:
    """The source of a `--source` argument: a path, `rtsp://…`, `http://…`, `/dev/videoN`, N or `synthetic:`.

    Raises ConfigError if it is none of these.
    """
    try:
        return _from_text(text)
    except ValueError as exc:
        raise ConfigError(f"--source: {exc}") from None


def replace_source(text: str, node: yaml.Node | None, problems: Problems) -> SourceConfig:
    """As `from_url`, with the camera's name from the block `source`, whose other options are ignored.

    Adds a mistake in the name to `problems`.
    """
    source = from_url(text)
    given = entries(node).get("name")
    name = source.common.name if given is None else read_value(given, str, "source.name", problems)
    return replace(source, common=replace(source.common, name=name))


def _from_text(text: str) -> SourceConfig:
    """As `from_url`. Raises ValueError with what was found and expected."""
    checked_text(text)
    options: dict[str, Any] = {}
    scheme, separator, _ = text.lower().partition("://")
    if separator and scheme in ("rtsp", "rtsps"):
        type_, options = "rtsp", {"url": text}
    elif separator and scheme in ("http", "https"):
        type_, options = "http", {"url": text}
    elif text.startswith("/dev/") or (_CAMERA_NUMBER.fullmatch(text) and not Path(text).exists()):
        type_, options = "v4l2", {"device": text}
    elif text.rstrip(":") == "synthetic":
        type_ = "synthetic"
    elif separator:
        found = foreign_text(text)
        raise ValueError(f"found '{found}'; expected a path, rtsp://…, http://…, /dev/videoN or synthetic:")
    else:
        path = checked_path(text)
        type_ = "images" if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES else "video"
        options = {"path": path}
    return SourceConfig(SourceCommon(type_), PluginConfig(type_, options, "--source"))


def read_sinks(node: yaml.Node | None, problems: Problems) -> tuple[PluginConfig, ...]:
    """Read the block `sinks`. Returns the valid ones; adds mistakes to `problems`."""
    if node is None:
        return ()
    if not isinstance(node, yaml.SequenceNode):
        problems.add(node, f"sinks: found {describe(node)}; expected a list, each with a type")
        return ()
    sinks: dict[str, PluginConfig] = {}
    for i, child in enumerate(node.value):
        read = read_plugin(child, "sinks", f"sinks[{i}]", SinkCommon, problems)
        if read is None:
            continue
        common, plugin = read
        name = common.name or plugin.type
        if name in sinks:
            problems.add(child, f"sinks[{i}]: found a second sink '{name}'; expected a different name for each")
        sinks[name] = replace(plugin, name=name)
    return tuple(sinks.values())


def read_plugin(
    node: yaml.Node, kind: registry.Kind, where: str, common: type[Any], problems: Problems
) -> tuple[Any, PluginConfig] | None:
    """Read the block of one plug-in. Adds mistakes to `problems`, and then returns None.

    common: the dataclass of the options that all plug-ins of its kind have. Returns these options, and the plug-in.
    """
    type_ = entries(node).get("type")
    try:
        if not isinstance(type_, yaml.ScalarNode):
            found = f"found {describe(type_)}" if type_ else "missing"
            raise ConfigError(f"{found}; expected one of: {', '.join(registry.names(kind))}")
        schema = schema_of(kind, type_.value, common)
    except ConfigError as exc:
        problems.add(type_ or node, f"{where}.type: {exc}")
        return None
    before = len(problems.found)
    values = read_options(node, schema, where, problems)
    if len(problems.found) > before:
        return None
    shared = {name: values.pop(name) for name in _names(options_of(common)) if name in values}
    return common(**shared), PluginConfig(type_.value, values, problems.place(node))


def schema_of(kind: registry.Kind, type_: str, common: type[Any]) -> tuple[Option, ...]:
    """The options of a block: those that its kind has, then the plug-in's own. Raises ConfigError as the registry does.

    Also raises ConfigError if the plug-in uses a name of its kind.
    """
    shared, own = options_of(common), registry.options(kind, type_)
    taken = _names(shared) & _names(own)
    if taken:
        name = min(taken)
        raise ConfigError(f"{kind} '{type_}': found option '{name}', which all {kind} have; expected another name")
    return (*shared, *own)


def _names(options: tuple[Option, ...]) -> set[str]:
    return {option.name for option in options}
