"""The options that the page can edit, as JSON schemas: of each type of rule, of the heads that run, of the camera.

Not here: checking a change (overrides.py), the schema of the whole file (json_schema.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from edge_app import registry
from edge_app.config import Config
from edge_app.config.blocks import BoxConfig, HeadCommon, SourceCommon
from edge_app.config.json_schema import json_schema, value_schema
from edge_app.config.overrides import OPTIONS
from edge_app.config.reference import meanings
from edge_app.frame import Detections, JsonValue
from edge_app.options import Option, options_of

Group = tuple[type[Any], Sequence[Option]]


def editable(config: Config) -> dict[str, JsonValue]:
    """The answer to `GET /api/options`: {"rules": {type: {"properties", "required"}}, "heads": {name: …}, "source": …}.

    Imports every type of rule.
    """
    heads: dict[str, JsonValue] = {name: _head(config.manifest.heads[name].family) for name in config.heads}
    source = _chosen([(SourceCommon, options_of(SourceCommon))], OPTIONS["source"])
    return {"rules": _rules(), "heads": heads, "source": source}


def _rules() -> dict[str, JsonValue]:
    found: dict[str, JsonValue] = {}
    items: Any = json_schema("rules")["items"]
    for case in items["allOf"]:
        schema = case["then"]
        own = {name: each for name, each in schema["properties"].items() if name not in ("name", "type")}
        required = [name for name in schema["required"] if name in own]
        found[case["if"]["properties"]["type"]["const"]] = {"properties": own, "required": required}
    return found


def _head(family: str) -> dict[str, JsonValue]:
    plugin = registry.find("heads", family)
    groups: list[Group] = [(plugin, registry.options("heads", family)), (HeadCommon, options_of(HeadCommon))]
    if plugin.result_type is Detections:
        return _chosen([*groups, (BoxConfig, options_of(BoxConfig))], OPTIONS["heads"])
    return _chosen(groups, [name for name in OPTIONS["heads"] if name != "ignore"])  # it is for boxes


def _chosen(groups: Iterable[Group], names: Collection[str]) -> dict[str, JsonValue]:
    """The schema of the named options. Of options with the same name, the first one counts."""
    properties: dict[str, JsonValue] = {}
    for schema, options in groups:
        known = meanings(schema, options)
        for option in options:
            if option.name in names and option.name not in properties:
                about: dict[str, JsonValue] = {"description": known[option.name]} if known.get(option.name) else {}
                if isinstance(option.default, (bool, int, float, str)):
                    about["default"] = option.default
                properties[option.name] = {**value_schema(option.annotation), **about}
    return {"properties": {name: properties[name] for name in names if name in properties}, "required": []}
