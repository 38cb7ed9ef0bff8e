"""The schema of a block: a dataclass, or the keyword-only arguments of a plug-in's constructor.

Its names, annotations and defaults are the options. Not here: reading values from YAML (reading.py).
"""

from __future__ import annotations

import dataclasses
import inspect
import keyword
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from edge_app.errors import ConfigError, foreign_text
from edge_app.options.secret import EXPECTED, Secret
from edge_app.options.url import Url

_SCALARS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
_SUPPORTED = "bool, int, float, str, Path, Secret, Literal, tuple[…], list[…], dict[str, …], a dataclass or '… | None'"


@dataclass(frozen=True, slots=True)
class Range:
    """Inclusive bounds of a number: `Annotated[float, Range(0, 1)]`."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"at least {_number(self.low)}"
        return f"{_number(self.low)} to {_number(self.high)}"


Fraction = Annotated[float, Range(0, 1)]
Positive = Annotated[int, Range(1)]
Seconds = Annotated[float, Range(0)]
Point = tuple[Fraction, Fraction]  # x and y, 0..1 of the image

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a block. default: REQUIRED if it has none."""

    name: str
    annotation: Any
    default: Any


def field_name(option: str) -> str:
    """The field of a dataclass for an option: `from_` for `from`, which is a keyword of Python."""
    return f"{option}_" if keyword.iskeyword(option) else option


def _option_name(field: str) -> str:
    return field[:-1] if field.endswith("_") and keyword.iskeyword(field[:-1]) else field


def options_of(schema: Callable[..., Any]) -> tuple[Option, ...]:
    """The options of a dataclass or of a constructor.

    Raises ConfigError if an option has no annotation, or one that cannot be resolved or read from YAML.
    """
    target = schema if dataclasses.is_dataclass(schema) else getattr(schema, "__init__")  # noqa: B009  (for mypy)
    try:
        hints = get_type_hints(target, include_extras=True)
    except Exception as exc:  # evaluating the annotations of a plug-in may raise anything
        raise ConfigError(
            f"found an annotation that cannot be resolved: {foreign_text(str(exc))}; "
            "expected names that are imported at run time"
        ) from exc
    if dataclasses.is_dataclass(schema):
        fields = [f for f in dataclasses.fields(schema) if f.init]
        options = [Option(_option_name(f.name), hints[f.name], _default_of(f)) for f in fields]
    else:
        parameters = inspect.signature(target).parameters.values()
        options = [Option(p.name, hints.get(p.name, REQUIRED), p.default) for p in parameters if _is_option(p)]
    for option in options:
        if option.annotation is REQUIRED:
            name = option.name
            raise ConfigError(f"found option '{name}' without a type annotation; expected one, such as '{name}: float'")
        if not _is_supported(option.annotation):
            found = getattr(option.annotation, "__name__", None) if not get_args(option.annotation) else None
            raise ConfigError(
                f"found option '{option.name}' of type '{found or option.annotation}'; expected {_SUPPORTED}"
            )
    return tuple(options)


def expectation(annotation: Any) -> str:
    """A type in the words of an error message: `a number 0 to 1`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [str(bound) for bound in args[1:] if isinstance(bound, (Range, Url))]
        return " ".join([expectation(args[0]), *bounds])
    if origin in (Union, types.UnionType):
        return " or ".join(expectation(choice) for choice in args)
    if origin is Literal:
        return " or ".join(str(choice) for choice in args)
    if origin in (tuple, list):
        if len(args) == 1 or args[-1] is Ellipsis:
            return f"a list, each {expectation(args[0])}"
        return f"a list of {len(args)}: {', '.join(expectation(kind) for kind in args)}"
    if annotation is Secret:
        return EXPECTED
    if origin in (dict, Mapping) or dataclasses.is_dataclass(annotation):
        return "a block of options"
    return _SCALARS.get(annotation, "null")


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:g}"


def _is_option(parameter: inspect.Parameter) -> bool:
    return parameter.kind is parameter.KEYWORD_ONLY


def _default_of(f: dataclasses.Field[Any]) -> Any:
    if f.default is not dataclasses.MISSING:
        return f.default
    if f.default_factory is not dataclasses.MISSING:
        return f.default_factory()
    return REQUIRED


def _is_supported(annotation: Any) -> bool:
    """Whether reading.py can read this type."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _is_supported(args[0])
    if origin in (Union, types.UnionType, tuple, list):
        return bool(args) and all(_is_supported(each) for each in args if each is not Ellipsis)
    if origin is Literal:
        return True
    if origin in (dict, Mapping):
        return args[0] is str and _is_supported(args[1])
    is_dataclass = dataclasses.is_dataclass(annotation) and isinstance(annotation, type)
    return annotation in (*_SCALARS, Secret, None, type(None)) or is_dataclass
