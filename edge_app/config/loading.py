"""config.yaml -> Config: frozen dataclasses. Every mistake is reported with its line.

Not here: reading YAML (options/), the blocks themselves (the other files of this package).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from edge_app.config.blocks import (
    DeviceConfig,
    HeadConfig,
    ModelConfig,
    OutboxConfig,
    PluginConfig,
    PublishConfig,
    SourceConfig,
)
from edge_app.config.cameras import CameraEntry, split
from edge_app.config.clips import ClipsConfig, check_clips
from edge_app.config.models import read_heads, read_model
from edge_app.config.overrides import FALLBACKS, load_over
from edge_app.config.overrides import FILE as OVERRIDES
from edge_app.config.plugins import read_sinks, read_source, replace_source
from edge_app.config.renamed import RENAMED, apply_renames
from edge_app.config.reuse import OFF, ReuseConfig, read_reuse
from edge_app.config.rules import RuleConfig, TrackConfig, read_rules
from edge_app.config.services import DegradeConfig, PowerConfig, SnapshotsConfig, WebConfig, check_web
from edge_app.errors import ConfigError
from edge_app.model.manifest import Manifest
from edge_app.options import WRONG, read_dataclass
from edge_app.options.document import Problems, entries, load_yaml, nearest, parse_yaml


@dataclass(frozen=True, slots=True)
class Config:
    """A checked configuration, with the manifest of its model. path: the file that it was read from.

    overrides: what overrides.yaml changes, as `heads.objects.score`. unfit: the mistakes of an overrides.yaml that does
    not fit config.yaml, of which at most the masks and the camera's schedule are used.
    cameras: with several cameras, the configuration of each, which has no `cameras` of its own; the other fields are
    then those of the first. several: this camera is one of several. scope: of those after the first, the name, which
    keeps its files, event ids and entities apart; the first has the same as a single one. priority: of the camera.
    """

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
    power: PowerConfig = field(default_factory=PowerConfig)
    snapshots: SnapshotsConfig = field(default_factory=SnapshotsConfig)
    clips: ClipsConfig = field(default_factory=ClipsConfig)
    web: WebConfig = field(default_factory=WebConfig)
    reuse: ReuseConfig = OFF
    overrides: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()
    cameras: tuple[Config, ...] = ()
    several: bool = False
    scope: str = ""
    priority: int = 0

    @property
    def each(self) -> tuple[Config, ...]:
        """The configuration of every camera."""
        return self.cameras or (self,)

    @property
    def camera(self) -> str:
        """The name of the camera."""
        return self.source.common.name

    def folder(self, name: str) -> Path:
        """A folder of the camera's files in state_dir: `snapshots`, or `snapshots/<camera>` after the first camera."""
        return self.device.state_dir / name / self.scope

    def replaced(self, **changes: Any) -> Config:
        """A copy with some blocks replaced, in each of several cameras."""
        cameras = changes.pop("cameras", None)
        if cameras is None:
            cameras = tuple(each.replaced(**changes) for each in self.cameras)
        return replace(self, cameras=cameras, **changes)


BLOCKS = (
    "device",
    "source",
    "cameras",
    "model",
    "heads",
    "reuse",
    "track",
    "rules",
    "publish",
    "outbox",
    "sinks",
    "degrade",
    "power",
    "snapshots",
    "clips",
    "web",
)
_OF_CAMERA = {"snapshots": SnapshotsConfig, "clips": ClipsConfig}
_SHARED = {
    "publish": PublishConfig,
    "outbox": OutboxConfig,
    "degrade": DegradeConfig,
    "power": PowerConfig,
    "web": WebConfig,
}
SIMPLE = {**_SHARED, **_OF_CAMERA}
_DEVICE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Unsaved:
    """Contents to check before they are written. config: of config.yaml; overrides: of overrides.yaml, b"": none."""

    config: bytes
    overrides: bytes


def load(
    path: Path,
    *,
    source: str | None = None,
    model: Path | None = None,
    renamed: Mapping[str, str] = RENAMED,
    unsaved: Unsaved | None = None,
    use_unfit: bool = False,
    camera: str | None = None,
) -> Config:
    """Read and check a configuration, with overrides.yaml over it. `source` and `model` replace the blocks of the file.

    With another source, the camera keeps its name. With another model, options of heads that it does not have are
    ignored. renamed: old keys that are accepted (renamed.py). use_unfit: if overrides.yaml does not fit, use what is
    safe of it (overrides.py), and put its mistakes into `unfit`. camera: of several, load this one alone.
    Raises ConfigError with every mistake in the file, one line each.
    """
    unfit: tuple[str, ...] = ()
    for blocks in FALLBACKS if use_unfit else FALLBACKS[:1]:
        try:
            loaded = replace(_load(path, source, model, renamed, unsaved=unsaved, patched=blocks), unfit=unfit)
        except ConfigError as exc:
            unfit, failed = unfit or exc.problems, exc
        else:
            return _chosen(loaded, camera, source)
    raise failed


def _load(
    path: Path,
    source: str | None,
    model: Path | None,
    renamed: Mapping[str, str],
    *,
    unsaved: Unsaved | None,
    patched: Collection[str],
) -> Config:
    """patched: the blocks that overrides.yaml may change."""
    problems = Problems(path)
    root = load_yaml(path, problems) if unsaved is None else parse_yaml(unsaved.config, problems)
    if root is None:
        problems.raise_if_any()
    assert root is not None
    apply_renames(root, renamed, problems)
    _check_names(root, problems)
    model_block, manifest = read_model(entries(root), model, problems)
    listed = split(root, problems) if "cameras" in entries(root) else None
    overrides: tuple[str, ...] = ()
    if listed is None:
        over = None if unsaved is None else unsaved.overrides
        overrides = _load_overrides(root, manifest, problems, over, patched)
    blocks = entries(root)
    sinks = read_sinks(blocks.get("sinks"), problems)
    device = _read_device(blocks.get("device"), [sink.name for sink in sinks], problems)
    simple = {name: read_dataclass(blocks.get(name), schema, name, problems) for name, schema in _SHARED.items()}
    if simple["web"] is not WRONG:
        check_web(simple["web"], entries(blocks.get("web")), problems)
    shared = {"path": path, "device": device, "sinks": sinks, **simple}
    options = _Options(source, model)
    if listed is None:
        fields = _read_camera(blocks, (model_block, manifest), options, problems)
        problems.raise_if_any()
        return Config(**shared, **fields, overrides=overrides)
    read = _read_cameras(listed, options, problems)
    if patched and (device.state_dir / OVERRIDES).exists():
        text = f"cameras: found {device.state_dir / OVERRIDES}, which changes one camera; expected none"
        problems.add(None, f"{text}: edge-app config reset")
    problems.raise_if_any()
    cameras = tuple(Config(**shared, **fields) for fields in read)
    return cameras[0].replaced(cameras=cameras) if len(cameras) > 1 else cameras[0]


@dataclass(frozen=True, slots=True)
class _Options:
    """source, model: replace the configured ones."""

    source: str | None
    model: Path | None


def _read_camera(
    blocks: Mapping[str, yaml.Node], model: tuple[ModelConfig, Manifest | None], options: _Options, problems: Problems
) -> dict[str, Any]:
    """The fields of Config that each camera has for itself. model: the block, and its manifest if that is usable."""
    configured = blocks.get("source")
    source = options.source
    source_block = replace_source(source, configured, problems) if source else read_source(configured, problems)
    heads, track, rules = _read_pipeline(blocks, model[1], options.model is not None, problems)
    simple = {name: read_dataclass(blocks.get(name), schema, name, problems) for name, schema in _OF_CAMERA.items()}
    if simple["clips"] is not WRONG:
        check_clips(simple["clips"], entries(blocks.get("clips")), [rule.name for rule in rules], problems)
    reuse = read_reuse(blocks.get("reuse"), problems)
    own = {"source": source_block, "model": model[0], "manifest": model[1], "heads": heads, "track": track}
    return {**own, "rules": rules, "reuse": reuse, **simple}


def _read_cameras(listed: Sequence[CameraEntry], options: _Options, problems: Problems) -> list[dict[str, Any]]:
    """The fields of each camera. A mistake in a block that several cameras share is added once."""
    found: list[dict[str, Any]] = []
    for entry in listed:
        own = Problems(problems.path)
        model = read_model(entry.blocks, options.model, own)
        fields = _read_camera(entry.blocks, model, options, own)
        problems.found += [problem for problem in own.found if problem not in problems.found]
        source = fields["source"]
        if source is not None:  # one camera that is not there must not end the others
            fields["source"] = replace(source, common=replace(source.common, connect="retry"))
        scope = entry.common.name if found else ""
        found.append({**fields, "priority": entry.common.priority, "several": len(listed) > 1, "scope": scope})
    return found


def _chosen(loaded: Config, camera: str | None, source: str | None) -> Config:
    """All cameras, or the named one alone. Raises ConfigError if there is none, or if it is not clear which is meant.

    source: replaces that of one camera.
    """
    names = [each.camera for each in loaded.each]
    if camera is None:
        if source is not None and loaded.cameras:
            found = f"found {len(names)} cameras and one source; expected --camera {' or '.join(names)}"
            raise ConfigError(f"{loaded.path}: {found}")
        return loaded
    if camera not in names:
        raise ConfigError(f"{loaded.path}: there is no camera '{camera}'{nearest(camera, names)}")
    return loaded.each[names.index(camera)]


def _load_overrides(
    root: yaml.MappingNode,
    manifest: Manifest | None,
    problems: Problems,
    unsaved: bytes | None,
    blocks: Collection[str],
) -> tuple[str, ...]:
    """Change `root` as overrides.yaml says. Mistakes in the block `device` are reported later."""
    device = read_dataclass(entries(root).get("device"), DeviceConfig, "device", Problems(problems.path))
    if manifest is None or device is WRONG:
        return ()
    return load_over(root, device.state_dir, tuple(manifest.heads), problems, unsaved=unsaved, blocks=blocks)


def _check_names(root: yaml.MappingNode, problems: Problems) -> None:
    for key, _ in root.value:
        if key.value not in BLOCKS:
            problems.add(key, f"unknown block '{key.value}'{nearest(key.value, BLOCKS)}")


def _read_pipeline(
    blocks: Mapping[str, yaml.Node], manifest: Manifest | None, overridden: bool, problems: Problems
) -> tuple[dict[str, HeadConfig], TrackConfig | None, tuple[RuleConfig, ...]]:
    """Heads, tracking and rules, which need the manifest; without one there are none."""
    if manifest is None:
        return {}, None, ()
    heads = read_heads(blocks.get("heads"), manifest, overridden, problems)
    labels = {name: manifest.heads[name].labels for name in heads}
    return heads, *read_rules(blocks, labels, overridden, problems)


def load_device(path: Path) -> DeviceConfig:
    """Read only the block `device`; mistakes in other blocks do not matter. Raises ConfigError."""
    problems = Problems(path)
    root = load_yaml(path, problems)
    apply_renames(root, RENAMED, problems)
    device = read_dataclass(entries(root).get("device"), DeviceConfig, "device", problems)
    problems.raise_if_any()
    assert isinstance(device, DeviceConfig)
    return device


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
