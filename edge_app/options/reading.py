"""Read YAML into typed options, and report every mistake: where it is, what was found and what was expected.

Scalars are read by the expected type, not by YAML's rules, under which `no` is False, `1:30` is 90 and `010` is 8.
A path is relative to the file that it is written in. Not here: the schema of a block (schema.py), the limits of single
values (scalars.py).
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from edge_app.options.document import Problems, describe, entries, is_null, nearest
from edge_app.options.scalars import checked_path, checked_text, read_float, read_int
from edge_app.options.schema import REQUIRED, Option, Range, expectation, field_name, options_of
from edge_app.options.secret import Secret
from edge_app.options.url import Url

_BOOL = {"true": True, "True": True, "false": False, "False": False}


def read_options(node: yaml.Node | None, options: Iterable[Option], where: str, problems: Problems) -> dict[str, Any]:
    """Read a block. Returns the valid options that the file gives; adds every mistake to `problems`.

    where: the block's dotted name, for messages. A block that is absent or `null` gives no options.
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
    """Read a block into a dataclass. Adds every mistake to `problems`, and then returns WRONG.

    Raises ValueError if the constructor does, with what it found and expected.
    """
    before = len(problems.found)
    values = read_options(node, options_of(schema), where, problems)
    if len(problems.found) > before:
        return WRONG
    return schema(**{field_name(name): value for name, value in values.items()})


class _Wrong:
    """The value of an invalid option whose mistake has been reported."""


WRONG = _Wrong()


def read_value(node: yaml.Node, annotation: Any, where: str, problems: Problems) -> Any:
    """Read one value as `annotation`. Adds a mistake to `problems`, and then returns WRONG."""
    try:
        value = _convert(node, annotation, where, problems)
    except ValueError as exc:
        problems.add(node, f"{where}: {exc}")
        return WRONG
    if value is _MISMATCH:
        problems.add(node, f"{where}: found {describe(node)}; expected {expectation(annotation)}")
        return WRONG
    return value


_MISMATCH = object()


def _convert(node: yaml.Node, annotation: Any, where: str, problems: Problems) -> Any:
    """The value, or _MISMATCH (the caller reports it), or WRONG (a nested value was invalid and is reported).

    Raises ValueError with what was found and expected, if the type alone does not say it.
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bounded(_convert(node, args[0], where, problems), args[1:])
    if origin in (Union, types.UnionType):
        return _first_match(node, args, where, problems)
    if origin is Literal:
        text = node.value if isinstance(node, yaml.ScalarNode) else None
        return next((choice for choice in args if str(choice) == text), _MISMATCH)
    if annotation is Secret:
        return _convert_secret(node, problems.path.parent)
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


def _convert_secret(node: yaml.Node, folder: Path) -> Any:
    """Read a reference to a secret. The message does not repeat other text: it may be the secret itself."""
    if is_null(node):
        return _MISMATCH
    try:
        return Secret.parse(checked_text(node.value if isinstance(node, yaml.ScalarNode) else ""), folder)
    except ValueError as exc:
        raise ValueError(f"found a value that is not a reference to a secret; {exc}") from None


def _convert_scalar(node: yaml.Node, annotation: Any, folder: Path) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        return _MISMATCH
    text: str = node.value
    if annotation in (None, type(None)):
        return None if is_null(node) else _MISMATCH
    if annotation is str:
        return _MISMATCH if is_null(node) else checked_text(text)
    if annotation is Path:
        return _MISMATCH if is_null(node) else folder / checked_path(text)
    if node.style:  # a quoted scalar is text
        return _MISMATCH
    if annotation is bool:
        return _BOOL.get(text, _MISMATCH)
    if annotation is int:
        return _MISMATCH if (whole := read_int(text)) is None else whole
    if annotation is float:
        return _MISMATCH if (number := read_float(text)) is None else number
    raise TypeError(f"unsupported option type {annotation}")  # `options_of` has rejected it


def _bounded(value: Any, bounds: tuple[Any, ...]) -> Any:
    for bound in bounds:
        if isinstance(bound, Range) and isinstance(value, (int, float)) and not bound.low <= value <= bound.high:
            return _MISMATCH
        if isinstance(bound, Url) and isinstance(value, str) and "${" not in value:  # or the plug-in checks it
            bound.parse(value)
    return value


def _key_node(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        return next((key for key, _ in node.value if key.value == name), node)
    return node
