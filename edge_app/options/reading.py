"""Read YAML into typed options, and say of every mistake where it is, what was found and what was expected.

A dataclass, or the keyword-only arguments of a constructor, is the schema: its names, annotations and defaults.
YAML's surprises (`no` is False, `1:30` is 90, `010` is 8, aliases, duplicate keys) do not reach the program:
scalars are read by the type that is expected. A path is relative to the file it stands in.
Not here: what any option means.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from edge_app.options.document import Problems, describe, entries, is_null, nearest
from edge_app.options.secret import EXPECTED, Secret

_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?")
_BOOL = {"true": True, "True": True, "false": False, "False": False}


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number, both included: `Annotated[float, Range(0, 1)]`."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"at least {self.low:g}"
        return f"{self.low:g} to {self.high:g}"


Fraction = Annotated[float, Range(0, 1)]
Positive = Annotated[int, Range(1)]
Seconds = Annotated[float, Range(0)]
Point = tuple[Fraction, Fraction]  # x and y, 0..1 of the picture


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a block: its name, its type and its default (`REQUIRED` where there is none)."""

    name: str
    annotation: Any
    default: Any


REQUIRED = inspect.Parameter.empty


def options_of(schema: Callable[..., Any]) -> tuple[Option, ...]:
    """The options of a dataclass, or the keyword-only arguments of a plug-in's constructor."""
    if dataclasses.is_dataclass(schema):
        hints = get_type_hints(schema, include_extras=True)
        return tuple(Option(f.name, hints[f.name], _default_of(f)) for f in dataclasses.fields(schema) if f.init)
    constructor = getattr(schema, "__init__")  # noqa: B009  (mypy: accessing __init__ on an instance)
    hints = get_type_hints(constructor, include_extras=True)
    parameters = inspect.signature(constructor).parameters.values()
    return tuple(Option(p.name, hints[p.name], p.default) for p in parameters if p.kind is p.KEYWORD_ONLY)


def _default_of(f: dataclasses.Field[Any]) -> Any:
    if f.default is not dataclasses.MISSING:
        return f.default
    if f.default_factory is not dataclasses.MISSING:
        return f.default_factory()
    return REQUIRED


def read_options(node: yaml.Node | None, options: Iterable[Option], where: str, problems: Problems) -> dict[str, Any]:
    """Read a block. Returns only what is given and right; every mistake is noted.

    where: the block's dotted name, for messages. A block that is absent or `null` has no options given.
    """
    by_name = {option.name: option for option in options}
    prefix = f"{where}." if where else ""
    if node is not None and not isinstance(node, yaml.MappingNode) and not is_null(node):
        problems.add(node, f"{where}: found {describe(node)}; expected options: {', '.join(by_name)}")
        return {}
    given = entries(node)
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in by_name:
            label = f"{where}: " if where else ""
            problems.add(_key_node(node, name), f"{label}unknown option '{name}'{nearest(name, by_name)}")
            continue
        parsed = read_value(value, by_name[name].annotation, f"{prefix}{name}", problems)
        if parsed is not WRONG:
            values[name] = parsed
    for option in by_name.values():
        if option.default is REQUIRED and option.name not in given:
            problems.add(node, f"{prefix}{option.name}: missing; expected {expectation(option.annotation)}")
    return values


def read_dataclass(node: yaml.Node | None, schema: type[Any], where: str, problems: Problems) -> Any:
    """Read a block into a dataclass. Returns WRONG where something required is missing or wrong."""
    before = len(problems.found)
    values = read_options(node, options_of(schema), where, problems)
    return schema(**values) if len(problems.found) == before else WRONG


class _Wrong:
    """The value of an option that was found wrong; the mistake has been noted."""


WRONG = _Wrong()


def read_value(node: yaml.Node, annotation: Any, where: str, problems: Problems) -> Any:
    """Read one value as `annotation`, or note the mistake and return WRONG."""
    value = _convert(node, annotation, where, problems)
    if value is _MISMATCH:
        problems.add(node, f"{where}: found {describe(node)}; expected {expectation(annotation)}")
        return WRONG
    return value


_MISMATCH = object()


def _convert(node: yaml.Node, annotation: Any, where: str, problems: Problems) -> Any:
    """The value; or _MISMATCH (the caller reports it); or WRONG (reported already, deeper inside)."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bounded(_convert(node, args[0], where, problems), args[1:])
    if origin in (Union, types.UnionType):
        return _first_match(node, args, where, problems)
    if origin is Literal:
        text = node.value if isinstance(node, yaml.ScalarNode) else None
        return next((choice for choice in args if str(choice) == text), _MISMATCH)
    if annotation is Secret:
        return _convert_secret(node, where, problems)
    if origin in (tuple, list):
        return _convert_list(node, args, where, problems)
    if origin in (dict, Mapping):
        return _convert_mapping(node, args[1], where, problems)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return read_dataclass(node, annotation, where, problems) if isinstance(node, yaml.MappingNode) else _MISMATCH
    return _convert_scalar(node, annotation, problems.path.parent)


def _first_match(node: yaml.Node, choices: tuple[Any, ...], where: str, problems: Problems) -> Any:
    for choice in choices:
        value = _convert(node, choice, where, problems)
        if value is not _MISMATCH:
            return value
    return _MISMATCH


def _convert_list(node: yaml.Node, args: tuple[Any, ...], where: str, problems: Problems) -> Any:
    if not isinstance(node, yaml.SequenceNode):
        return _MISMATCH
    variadic = len(args) == 1 or args[-1] is Ellipsis
    kinds = [args[0]] * len(node.value) if variadic else list(args)
    if len(kinds) != len(node.value):
        return _MISMATCH
    values = [
        read_value(child, kind, f"{where}[{i}]", problems) for i, (child, kind) in enumerate(zip(node.value, kinds))
    ]
    return WRONG if any(value is WRONG for value in values) else tuple(values)


def _convert_mapping(node: yaml.Node, kind: Any, where: str, problems: Problems) -> Any:
    if not isinstance(node, yaml.MappingNode):
        return _MISMATCH
    values = {name: read_value(value, kind, f"{where}.{name}", problems) for name, value in entries(node).items()}
    return WRONG if any(value is WRONG for value in values.values()) else values


def _convert_secret(node: yaml.Node, where: str, problems: Problems) -> Any:
    """A reference to a secret; what is none may be the secret itself, so it is not repeated."""
    if is_null(node):
        return _MISMATCH
    try:
        return Secret.parse(node.value if isinstance(node, yaml.ScalarNode) else "", problems.path.parent)
    except ValueError as exc:
        problems.add(node, f"{where}: no secret may stand here; {exc}")
        return WRONG


def _convert_scalar(node: yaml.Node, annotation: Any, folder: Path) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        return _MISMATCH
    text: str = node.value
    if annotation in (None, type(None)):
        return None if is_null(node) else _MISMATCH
    if annotation is str:
        return _MISMATCH if is_null(node) else text
    if annotation is Path:
        return _MISMATCH if is_null(node) or "\0" in text else folder / text
    if node.style:  # quoted: text, whatever it looks like
        return _MISMATCH
    if annotation is bool:
        return _BOOL.get(text, _MISMATCH)
    if annotation is int:
        return int(text) if _INT.fullmatch(text) else _MISMATCH
    if annotation is float:
        has_digit = any(character.isdigit() for character in text)
        return float(text) if has_digit and _FLOAT.fullmatch(text) else _MISMATCH
    raise TypeError(f"options cannot be of type {annotation}")


def _bounded(value: Any, bounds: tuple[Any, ...]) -> Any:
    if not isinstance(value, (int, float)):
        return value
    outside = any(isinstance(b, Range) and not b.low <= value <= b.high for b in bounds)
    return _MISMATCH if outside else value


def expectation(annotation: Any) -> str:
    """A type in a user's words: `a number 0 to 1`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [str(bound) for bound in args[1:] if isinstance(bound, Range)]
        return " ".join([expectation(args[0]), *bounds])
    if origin in (Union, types.UnionType):
        return " or ".join(expectation(choice) for choice in args)
    if origin is Literal:
        return " or ".join(str(choice) for choice in args)
    if origin in (tuple, list):
        if len(args) == 1 or args[-1] is Ellipsis:
            return f"a list, each {expectation(args[0])}"
        return f"a list of {len(args)}: {', '.join(expectation(kind) for kind in args)}"
    if origin in (dict, Mapping) or dataclasses.is_dataclass(annotation):
        return "a block of options"
    if annotation is Secret:
        return EXPECTED
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    return words.get(annotation, "null")


def _key_node(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((key for key, _ in node.value if key.value == name), node)
    return node
