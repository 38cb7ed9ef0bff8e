"""config.yaml as a JSON Schema (draft 7), for editors and validators: names, types, limits, defaults and meanings.

It accepts what loading accepts, except for what depends on the model folder or on other options. Text is also accepted
as a number, because loading reads a scalar by the expected type. Not here: the same as text (reference.py).
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from edge_app import registry
from edge_app.config.cameras import BLOCKS as OF_CAMERA
from edge_app.config.cameras import CameraCommon
from edge_app.config.loading import BLOCKS
from edge_app.config.reference import PLAIN, PLUGINS, head_options, meanings
from edge_app.frame import JsonValue
from edge_app.heads import image_input
from edge_app.options import REQUIRED, Option, Range, Secret, options_of

FILE = Path(__file__).with_name("config.schema.json")  # of the built-in types; the first line of config.yaml names it
_DRAFT = "http://json-schema.org/draft-07/schema#"
_TEXT: list[JsonValue] = ["string", "number", "boolean"]
_SCALARS: Mapping[Any, dict[str, JsonValue]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": _TEXT},
    Path: {"type": _TEXT},
    Secret: {"type": "string"},
    type(None): {"type": "null"},
    None: {"type": "null"},
}
Schema = dict[str, JsonValue]


def json_schema(block: str | None = None) -> Schema:
    """The schema of config.yaml, or of one block of it. Raises KeyError if there is no such block."""
    if block is not None:
        return {"$schema": _DRAFT, **_block(block)}
    properties: dict[str, JsonValue] = {name: _block(name) for name in BLOCKS if name != "cameras"}
    properties["cameras"] = _cameras({name: {"$ref": f"#/properties/{name}"} for name in OF_CAMERA})
    return {
        "$schema": _DRAFT,
        "title": "config.yaml of edge-app",
        **_object(properties, []),
        "if": {"not": {"required": ["heads"]}},  # heads without a network need no model
        "then": {"required": ["model"]},
        "oneOf": [{"required": ["source"]}, {"required": ["cameras"]}],
    }


def json_schema_text() -> str:
    """The schema of config.yaml as a file."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def _cameras(blocks: Mapping[str, JsonValue]) -> Schema:
    """A list of cameras. blocks: the schema of each block that a camera can have."""
    common = _options(CameraCommon, options_of(CameraCommon))
    camera = _object({**_mapping(common["properties"]), **blocks}, ["name", "source"])
    return {"type": "array", "minItems": 1, "items": camera}


def _block(name: str) -> Schema:
    if name == "cameras":
        return _cameras({each: _block(each) for each in OF_CAMERA})
    if name in PLAIN:
        block = _options(PLAIN[name], options_of(PLAIN[name]))
        return block if block["required"] else {**block, "type": ["object", "null"]}
    if name == "heads":
        return {"type": ["object", "null"], "additionalProperties": _head()}
    one = _one_of_types(name)
    return one if name == "source" else {"type": ["array", "null"], "items": one}


def _one_of_types(name: str) -> Schema:
    """A block with a type that decides about its other options."""
    kind, common = PLUGINS[name]
    found = registry.names(kind)
    cases: list[JsonValue] = []
    for type_ in found:
        shared = _options(common, options_of(common))
        own = _options(registry.find(kind, type_), registry.options(kind, type_))
        properties = {**_mapping(shared["properties"]), **_mapping(own["properties"]), "type": {"const": type_}}
        required = [*_list(shared["required"]), *_list(own["required"])]
        condition: Schema = {"properties": {"type": {"const": type_}}, "required": ["type"]}
        cases.append({"if": condition, "then": _object(properties, required)})
    types_: Schema = {"type": {"enum": [*found]}}
    return {"type": "object", "properties": types_, "required": ["type"], "allOf": cases}


def _head() -> Schema:
    """A head with a network has its family in model.yaml, so an option of any is accepted, as any family reads it."""
    properties: dict[str, JsonValue] = {}
    for name, options in head_options().items():
        found: list[JsonValue] = []
        for option in options:
            schema = value_schema(option.annotation)
            if schema not in found:
                found.append(schema)
        properties[name] = found[0] if len(found) == 1 else {"anyOf": found}
    families = [name for name in registry.names("heads") if image_input(registry.find("heads", name)) is not None]
    about = "of a head without a network, which no model.yaml names"
    properties["family"] = {"enum": [*families], "description": about}
    return {**_object(properties, []), "type": ["object", "null"]}


def _options(schema: type[Any], options: Iterable[Option]) -> Schema:
    options = tuple(options)
    known = meanings(schema, options)
    properties: dict[str, JsonValue] = {}
    for option in options:
        about: Schema = {"description": known[option.name]} if known.get(option.name) else {}
        default = _default(option.default)
        if default is not None:
            about["default"] = default
        properties[option.name] = {**value_schema(option.annotation), **about}
    return _object(properties, [option.name for option in options if option.default is REQUIRED])


def _object(properties: Mapping[str, JsonValue], required: Iterable[JsonValue]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [*required],
        "additionalProperties": False,
    }


def value_schema(annotation: Any) -> Schema:
    """The schema of one value, for every type that an option can have."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [bound for bound in args[1:] if isinstance(bound, Range)]
        return {**value_schema(args[0]), **_limits(bounds)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [value_schema(choice) for choice in args]}
    if origin is Literal:
        return {"enum": [*args]}
    if origin in (tuple, list):
        if len(args) == 1 or args[-1] is Ellipsis:
            return {"type": "array", "items": value_schema(args[0])}
        items: list[JsonValue] = [value_schema(kind) for kind in args]
        return {"type": "array", "items": items, "minItems": len(args), "maxItems": len(args)}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": value_schema(args[1])}
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation) and annotation is not Secret:
        return _options(annotation, options_of(annotation))
    return dict(_SCALARS[annotation])


def _limits(bounds: Iterable[Range]) -> Schema:
    limits: Schema = {}
    for bound in bounds:
        limits |= {name: value for name, value in (("minimum", bound.low), ("maximum", bound.high)) if _finite(value)}
    return limits


def _finite(value: float) -> bool:
    return abs(value) != float("inf")


def _default(value: Any) -> JsonValue:
    """A default in JSON; None if there is none, or if it cannot be written in JSON."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [_default(each) for each in value]
    return value if isinstance(value, (bool, int, float, str)) else None


def _mapping(value: JsonValue) -> dict[str, JsonValue]:
    assert isinstance(value, dict)
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    assert isinstance(value, list)
    return value
