"""config.yaml -> Config: frozen dataclasses, every check, every mistake with its line.

Blocks stand in pipeline order. A plug-in's own options are the keyword arguments of its constructor (registry.py);
what every plug-in of a kind shares is a dataclass (blocks.py). Not here: how YAML is read (options.py), what a model
holds (manifest.py).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from edge_app import registry
from edge_app.config.blocks import (
    DeviceConfig,
    HeadCommon,
    HeadConfig,
    ModelConfig,
    OutboxConfig,
    PluginConfig,
    PublishConfig,
    SinkCommon,
    SourceCommon,
    SourceConfig,
)
from edge_app.config.reuse import OFF, ReuseConfig, read_reuse
from edge_app.config.rules import RuleCommon, RuleConfig, TrackConfig, check_rules, check_track, watched
from edge_app.config.services import DegradeConfig, SnapshotsConfig, WebConfig, check_web
from edge_app.errors import ConfigError, ModelError, OptionError
from edge_app.geometry.polygons import polygon_of
from edge_app.model import manifest as manifests
from edge_app.model.manifest import Manifest
from edge_app.options import WRONG, options_of, read_dataclass, read_options
from edge_app.options.document import Problems, describe, entries, load_yaml, nearest


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the user said, checked, with the model's manifest. path: the file it came from."""

    path: Path
    device: DeviceConfig
    source: SourceConfig
    model: ModelConfig
    manifest: Manifest
    heads: Mapping[str, HeadConfig]
    publish: PublishConfig
    sinks: tuple[PluginConfig, ...]
    outbox: OutboxConfig = field(default_factory=OutboxConfig)
    track: TrackConfig | None = None
    rules: tuple[RuleConfig, ...] = ()
    degrade: DegradeConfig = field(default_factory=DegradeConfig)
    snapshots: SnapshotsConfig = field(default_factory=SnapshotsConfig)
    web: WebConfig = field(default_factory=WebConfig)
    reuse: ReuseConfig = OFF

    def replaced(self, **changes: Any) -> Config:
        """The same configuration with some blocks exchanged."""
        return replace(self, **changes)


BLOCKS = (
    "device",
    "source",
    "model",
    "heads",
    "reuse",
    "track",
    "rules",
    "publish",
    "outbox",
    "sinks",
    "degrade",
    "snapshots",
    "web",
)
_DEVICE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def load(path: Path, *, source: str | None = None, model: Path | None = None) -> Config:
    """Read and check a configuration. `source` and `model` override what the file says.

    With another model, the head options of the file that belong to heads it does not have are left out.
    Raises ConfigError with every mistake in the file, a line each.
    """
    problems = Problems(path)
    root = load_yaml(path, problems)
    if root is None:
        problems.raise_if_any()
    blocks = entries(root)
    for key, _ in root.value if root else ():
        if key.value not in BLOCKS:
            problems.add(key, f"unknown block '{key.value}'{nearest(key.value, BLOCKS)}")
    source_block = from_url(source) if source else _read_source(blocks.get("source"), problems)
    model_block, manifest = _read_model(blocks.get("model"), model, problems)
    heads = _read_heads(blocks.get("heads"), manifest, model is not None, problems) if manifest else {}
    track, rules = (
        _read_rules(blocks, {n: manifest.heads[n].labels for n in heads}, model is not None, problems)
        if manifest
        else (None, ())
    )
    publish = read_dataclass(blocks.get("publish"), PublishConfig, "publish", problems)
    outbox = read_dataclass(blocks.get("outbox"), OutboxConfig, "outbox", problems)
    sinks = _read_sinks(blocks.get("sinks"), problems)
    device = _read_device(blocks.get("device"), [sink.name for sink in sinks], problems)
    reuse = read_reuse(blocks.get("reuse"), problems)
    degrade, snapshots, web = (
        read_dataclass(blocks.get(name), schema, name, problems)
        for name, schema in (("degrade", DegradeConfig), ("snapshots", SnapshotsConfig), ("web", WebConfig))
    )
    if web is not WRONG:
        check_web(web, entries(blocks.get("web")), problems)
    problems.raise_if_any()
    assert source_block is not None
    assert manifest is not None
    return Config(
        path,
        device,
        source_block,
        model_block,
        manifest,
        heads,
        publish,
        sinks,
        outbox,
        track=track,
        rules=rules,
        degrade=degrade,
        snapshots=snapshots,
        web=web,
        reuse=reuse,
    )


def load_device(path: Path) -> DeviceConfig:
    """Read the block `device` alone, whatever is wrong with the others. Raises ConfigError."""
    problems = Problems(path)
    device = read_dataclass(entries(load_yaml(path, problems)).get("device"), DeviceConfig, "device", problems)
    problems.raise_if_any()
    assert isinstance(device, DeviceConfig)
    return device


def from_url(text: str) -> SourceConfig:
    """The source of a `--source` argument: a path, `rtsp://…`, `/dev/videoN` or `synthetic:`.

    Raises ConfigError where it is none of these.
    """
    options: dict[str, Any] = {}
    if text.startswith(("rtsp://", "rtsps://")):
        type_, options = "rtsp", {"url": text}
    elif text.startswith("/dev/"):
        type_, options = "v4l2", {"device": text}
    elif text.rstrip(":") == "synthetic":
        type_ = "synthetic"
    elif "://" in text:
        raise ConfigError(f"--source: found '{text}'; expected a path, rtsp://…, /dev/videoN or synthetic:")
    else:
        type_ = "images" if Path(text).is_dir() else "video"
        options = {"path": Path(text)}
    return SourceConfig(SourceCommon(type_), PluginConfig(type_, options, "--source"))


def _read_device(node: yaml.Node | None, sinks: Collection[str], problems: Problems) -> DeviceConfig:
    """sinks: their names."""
    device = read_dataclass(node, DeviceConfig, "device", problems)
    if device is WRONG:
        return DeviceConfig()
    assert isinstance(device, DeviceConfig)
    if not _DEVICE_ID.fullmatch(device.id):
        found = f"device.id: found '{device.id}'; expected 1 to 64 of A-Z a-z 0-9 . _ -"
        problems.add(entries(node)["id"], found)
    if device.commit_sink not in ("", *sinks):
        found = f"device.commit_sink: there is no sink '{device.commit_sink}'"
        problems.add(entries(node)["commit_sink"], found + nearest(device.commit_sink, sinks))
    return device


def _read_source(node: yaml.Node | None, problems: Problems) -> SourceConfig | None:
    if not isinstance(node, yaml.MappingNode):
        problems.add(node, "source: missing; expected a block with a type")
        return None
    read = _read_plugin(node, "sources", "source", SourceCommon, problems)
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


def _read_model(
    node: yaml.Node | None, override: Path | None, problems: Problems
) -> tuple[ModelConfig, Manifest | None]:
    model = read_dataclass(node, ModelConfig, "model", problems)
    if model is WRONG:
        model = ModelConfig(Path())
        if override is None:
            return model, None
    if override is not None:
        model = replace(model, path=override)
    known = ["auto", *registry.names("backends")]
    if model.backend not in known:
        problems.add(node, f"model.backend: unknown backend '{model.backend}'{nearest(model.backend, known)}")
    try:
        return model, manifests.load(model.path)
    except ModelError as exc:
        problems.add(
            None if override else entries(node).get("path"), f"model.path: {exc}" if not override else str(exc)
        )
        return model, None


def _read_heads(
    node: yaml.Node | None, manifest: Manifest, overridden: bool, problems: Problems
) -> dict[str, HeadConfig]:
    given = entries(node)
    if overridden:
        given = {name: options for name, options in given.items() if name in manifest.heads}
    if not given:
        return {name: HeadConfig(HeadCommon(), spec.options) for name, spec in manifest.heads.items()}
    heads = {}
    for name, options in given.items():
        if name not in manifest.heads:
            problems.add(options, f"heads: the model has no head '{name}'{nearest(name, manifest.heads)}")
            continue
        spec = manifest.heads[name]
        common = options_of(HeadCommon)
        schema = (*common, *registry.options("heads", spec.family))
        values = read_options(options, schema, f"heads.{name}", problems)
        shared = {o.name: values.pop(o.name) for o in common if o.name in values}
        heads[name] = HeadConfig(HeadCommon(**shared), {**spec.options, **values})
        if spec.crops is not None and spec.crops.of not in given:
            problems.add(options, f"heads.{name}: takes crops of '{spec.crops.of}', which does not run; expected both")
        for polygon in heads[name].common.ignore:
            try:
                polygon_of("ignore", polygon)
            except OptionError as exc:
                problems.add(entries(options)["ignore"], f"heads.{name}.{exc}")
    return heads


def _read_rules(
    blocks: Mapping[str, yaml.Node], heads: Mapping[str, tuple[str, ...]], overridden: bool, problems: Problems
) -> tuple[TrackConfig | None, tuple[RuleConfig, ...]]:
    """The blocks `track` and `rules`. With another model, what belongs to heads that it does not have is left out."""
    track = read_dataclass(blocks["track"], TrackConfig, "track", problems) if "track" in blocks else None
    if track is WRONG or (overridden and track is not None and track.head not in heads):
        track = None
    elif track is not None:
        check_track(track, blocks["track"], heads, problems)
    node = blocks.get("rules")
    if node is not None and not isinstance(node, yaml.SequenceNode):
        problems.add(node, f"rules: found {describe(node)}; expected a list, each with a name and a type")
        return track, ()
    read = []
    for i, child in enumerate(node.value if node is not None else ()):
        pair = _read_plugin(child, "rules", f"rules[{i}]", RuleCommon, problems)
        if pair is not None and not (overridden and watched(pair[1].options) - set(heads)):
            common, plugin = pair
            read.append((RuleConfig(common.name, common.type, common.enabled, plugin.options, plugin.where), child))
    check_rules(read, heads, None if track is None else track.head, problems)
    return track, tuple(rule for rule, _ in read)


def _read_sinks(node: yaml.Node | None, problems: Problems) -> tuple[PluginConfig, ...]:
    if node is None:
        return ()
    if not isinstance(node, yaml.SequenceNode):
        problems.add(node, f"sinks: found {describe(node)}; expected a list, each with a type")
        return ()
    sinks: dict[str, PluginConfig] = {}
    for i, child in enumerate(node.value):
        read = _read_plugin(child, "sinks", f"sinks[{i}]", SinkCommon, problems)
        if read is None:
            continue
        common, plugin = read
        name = common.name or plugin.type
        if name in sinks:
            problems.add(child, f"sinks[{i}]: a second sink '{name}'; give each a name of its own")
        sinks[name] = replace(plugin, name=name)
    return tuple(sinks.values())


def _read_plugin(
    node: yaml.Node, kind: registry.Kind, where: str, common: type[Any], problems: Problems
) -> tuple[Any, PluginConfig] | None:
    """Read a block of the options that its kind shares and those of its type's constructor."""
    type_ = entries(node).get("type")
    known = registry.names(kind)
    if not isinstance(type_, yaml.ScalarNode) or type_.value not in known:
        hint = (
            nearest(type_.value, known)
            if isinstance(type_, yaml.ScalarNode)
            else f"; expected one of: {', '.join(known)}"
        )
        problems.add(
            type_ or node, f"{where}.type: " + (f"unknown type {describe(type_)}" if type_ else "missing") + hint
        )
        return None
    shared = options_of(common)
    before = len(problems.found)
    values = read_options(node, (*shared, *registry.options(kind, type_.value)), where, problems)
    if len(problems.found) > before:
        return None
    own = {o.name: values.pop(o.name) for o in shared if o.name in values}
    line = f"{problems.path}:{node.start_mark.line + 1}"
    return common(**own), PluginConfig(type_.value, values, line)
