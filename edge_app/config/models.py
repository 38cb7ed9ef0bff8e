"""The blocks `model` and `heads` of config.yaml, checked against the model folder.

Not here: model.yaml itself (model/manifest.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from edge_app import registry
from edge_app.config.blocks import BoxConfig, HeadCommon, HeadConfig, ModelConfig
from edge_app.config.plugins import schema_of
from edge_app.errors import ConfigError, ModelError, OptionError, foreign_text
from edge_app.frame import Detections
from edge_app.geometry.polygons import polygon_of
from edge_app.model import manifest as manifests
from edge_app.model.manifest import Manifest, ManifestHead
from edge_app.options import WRONG, Option, options_of, read_dataclass, read_options
from edge_app.options.document import Problems, describe, entries, nearest

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def read_model(
    blocks: Mapping[str, yaml.Node], override: Path | None, problems: Problems
) -> tuple[ModelConfig, Manifest | None]:
    """Read the block `model` and the manifest, with the heads that have no network: the block `heads` names them.

    override: a model folder to use instead of the configured one. Without the block and without an override, there are
    only those heads. Adds mistakes to `problems`; the manifest is None if it is unusable.
    """
    given = entries(blocks.get("heads"))
    image_heads = _read_image_heads(given, problems)
    if any(map(_has_family, given.values())) and "model" not in blocks and override is None:
        model, manifest = ModelConfig(Path()), manifests.without_model()
    else:
        model, found = _read_model(blocks.get("model"), override, problems)
        if found is None:
            return model, None
        manifest = found
    return model, replace(manifest, heads={**image_heads, **manifest.heads}) if image_heads else manifest


def _read_image_heads(given: Mapping[str, yaml.Node], problems: Problems) -> dict[str, ManifestHead]:
    """The heads of the block `heads` that have a family."""
    heads = {}
    for name, options in given.items():
        if not _has_family(options):
            continue
        family = entries(options)["family"]
        try:
            if not _NAME.fullmatch(name):
                raise ConfigError(f"found the head '{foreign_text(name)}'; expected 1 to 64 of A-Z a-z 0-9 . _ -")
            if not isinstance(family, yaml.ScalarNode):
                raise ConfigError(f"found {describe(family)}; expected the name of a family")
            heads[name] = manifests.image_head(name, family.value)
        except ConfigError as exc:
            problems.add(family, f"heads.{foreign_text(name)}.family: {exc}")
    return heads


def _has_family(options: yaml.Node) -> bool:
    return "family" in entries(options)


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
    if model.backend != "auto":
        try:
            registry.find("backends", model.backend)
        except ConfigError as exc:
            problems.add(node, f"model.backend: {exc}")
    try:
        return model, manifests.load(model.path)
    except ModelError as exc:
        if override is None:
            problems.add(entries(node).get("path"), f"model.path: {exc}")
        else:
            problems.add(None, str(exc))
        return model, None


def read_heads(
    node: yaml.Node | None, manifest: Manifest, overridden: bool, problems: Problems
) -> dict[str, HeadConfig]:
    """Read the block `heads`. Without one, all heads of the model run. Adds mistakes to `problems`.

    overridden: the model is not the configured one; heads that it does not have are ignored.
    """
    given = entries(node)
    if overridden:
        given = {name: options for name, options in given.items() if name in manifest.heads}
    if not given:
        return {name: HeadConfig(HeadCommon(), spec.options) for name, spec in manifest.heads.items()}
    heads = {}
    for name, options in given.items():
        if name not in manifest.heads:
            if not _has_family(options):  # otherwise reported
                problems.add(options, f"heads: the model has no head '{name}'{nearest(name, manifest.heads)}")
            continue
        spec = manifest.heads[name]
        if _has_family(options) and not spec.reads_image:
            text = f"heads.{name}: found a family, but the model has a head of this name"
            problems.add(options, f"{text}; expected another name, or no family")
            continue
        heads[name] = _read_head(name, options, spec, problems)
        if spec.crops is not None and spec.crops.of not in given:
            of = spec.crops.of
            problems.add(options, f"heads.{name}: takes crops of '{of}', which is not enabled; expected both heads")
    return heads


def _read_head(name: str, node: yaml.Node, spec: ManifestHead, problems: Problems) -> HeadConfig:
    where = f"heads.{name}"
    try:
        schema = schema_of("heads", spec.family, HeadCommon)
        box_options = _box_options(spec.family, schema)
    except ConfigError as exc:
        problems.add(node, f"{where}: {exc}")
        return HeadConfig(HeadCommon(), spec.options)
    if spec.reads_image:
        node = _without_family(node)
    values = read_options(node, (*schema, *box_options), where, problems)
    boxes = BoxConfig(**{o.name: values.pop(o.name) for o in box_options if o.name in values})
    for option, problem in _box_problems(boxes, spec.labels):
        problems.add(entries(node)[option], f"{where}.{option}: {problem}")
    shared = {o.name: values.pop(o.name) for o in options_of(HeadCommon) if o.name in values}
    common = HeadCommon(**shared)
    for polygon in common.ignore:
        try:
            polygon_of("ignore", polygon)
        except OptionError as exc:
            problems.add(entries(node)["ignore"], f"{where}.{exc}")
    return HeadConfig(common, {**spec.options, **values}, boxes)


def _without_family(node: yaml.Node) -> yaml.Node:
    """The options of a head without a network, without its family, which is no option."""
    assert isinstance(node, yaml.MappingNode)
    pairs = [(key, value) for key, value in node.value if key.value != "family"]
    return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)


def _box_options(family: str, schema: tuple[Option, ...]) -> tuple[Option, ...]:
    """The options of BoxConfig, for a family that detects. An option of the family with the same name stays its own."""
    if registry.find("heads", family).result_type is not Detections:
        return ()
    own = {option.name for option in schema}
    return tuple(option for option in options_of(BoxConfig) if option.name not in own)


def _box_problems(boxes: BoxConfig, labels: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The mistakes in the options: the option, and what was found and expected."""
    for label in boxes.labels:
        if label not in labels:
            yield "labels", f"the head has no class '{label}'{nearest(label, labels)}"
    if boxes.min_area > boxes.max_area:
        yield "min_area", f"found {boxes.min_area:g}, max_area is {boxes.max_area:g}; expected min_area <= max_area"
    if boxes.aspect is not None and not 0 <= boxes.aspect[0] <= boxes.aspect[1]:
        yield "aspect", f"found {list(boxes.aspect)}; expected the least width / height, then the greatest"
