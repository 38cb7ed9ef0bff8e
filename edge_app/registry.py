"""Find plug-ins by type name: `type: rtsp` under `source` is the class Source of edge_app/sources/rtsp.py.

Installed packages provide further types through entry points of the groups `edge_app.sources`, `edge_app.backends`,
`edge_app.heads`, `edge_app.rules` and `edge_app.sinks`. The name of an entry point is the type, its value is `module`
or `module:Class`. A built-in type takes precedence. Packages are scanned once, when a type is not built-in.

Importing the module of a plug-in loads no third-party library; constructing the plug-in does. So a laptop can check
the configuration of a device.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_origin, get_type_hints

from edge_app.errors import ConfigError, EdgeError, foreign_exception, foreign_text
from edge_app.options import REQUIRED, Option, options_of
from edge_app.options.document import nearest
from edge_app.options.extras import install

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Kind = Literal["sources", "backends", "heads", "sinks", "rules"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Contract:
    """The requirements of a kind of plug-in: its class name, and its constructor's positional arguments."""

    class_name: str
    context: tuple[str, ...]
    word: str = "type"  # for messages
    also: tuple[str, ...] = ()  # accepted in the place of a type


_CONTRACTS: dict[Kind, _Contract] = {
    "sources": _Contract("Source", ("clock",)),
    "backends": _Contract("Backend", (), "backend", ("auto",)),
    "heads": _Contract("Head", ("spec",), "family"),
    "rules": _Contract("Rule", ("context",)),
    "sinks": _Contract("Sink", ("context",)),
}


@dataclass(frozen=True, slots=True)
class _Location:
    """The location of a plug-in's class. where: the start of each error message about it. package: None if built-in."""

    module: str
    class_name: str
    where: str
    package: str | None = None


def names(kind: Kind) -> list[str]:
    """All types of a kind, built-in and installed."""
    return sorted({*_built_in(kind), *installed()[kind]})


def find(kind: Kind, type_: str) -> type[Any]:
    """The class of a plug-in.

    Raises ConfigError, with one line, if there is no such type, a package cannot be imported, or the class does not
    satisfy the protocol of its kind.
    """
    return _load(kind, type_)[0]


def options(kind: Kind, type_: str) -> tuple[Option, ...]:
    """The options of a plug-in: the keyword-only arguments of its constructor.

    Raises ConfigError as `find` does, and if the constructor has an argument that cannot be an option.
    """
    plugin, location = _load(kind, type_)
    _check_constructor(kind, plugin, location)
    try:
        return options_of(plugin)
    except ConfigError as exc:
        raise ConfigError(f"{location.where}: {exc}") from exc


def build(kind: Kind, type_: str, *context: object, **given: object) -> Any:
    """Construct a plug-in. context: the positional arguments of its kind. given: its options.

    Raises EdgeError as the constructor does; ConfigError as `options` does, if the plug-in does not have these options,
    if its library is not installed, or if the constructor raises another exception.
    """
    plugin, location = _load(kind, type_)
    known = {option.name: option for option in options(kind, type_)}
    missing = [name for name, option in known.items() if option.default is REQUIRED and name not in given]
    if missing or not given.keys() <= known.keys():
        found = ", ".join(known) or "none"
        raise ConfigError(f"{location.where}: found the options {found}; expected {', '.join(given) or 'none'}")
    try:
        instance = plugin(*context, **given)
    except ImportError as exc:
        extra = getattr(plugin, "extra", None)
        package = location.package or "edge-app"
        raise _missing_library(kind, type_, exc, install(extra, package) if extra else None) from exc
    except EdgeError:
        raise
    except Exception as exc:  # the constructor and its libraries may raise anything; a reload must survive it
        found = foreign_exception(exc)
        raise ConfigError(
            f"{location.where}: the constructor raised {found}; expected options that it accepts"
        ) from exc
    _check_members(kind, instance, _members(kind), location)
    return instance


def loadable(kind: Kind) -> dict[str, type[Any]]:
    """All plug-ins of a kind by type. An installed one that is broken is left out, with a warning."""
    classes = {}
    for type_ in names(kind):
        try:
            classes[type_] = find(kind, type_)
        except ConfigError as exc:
            if type_ in _built_in(kind):
                raise
            _LOG.warning("%s", exc)
    return classes


@cache
def installed() -> Mapping[Kind, Mapping[str, tuple[EntryPoint, ...]]]:
    """The entry points of installed packages, by kind and type. Scans the packages once."""
    types: dict[Kind, dict[str, tuple[EntryPoint, ...]]] = {kind: {} for kind in _CONTRACTS}
    if not _is_any_installed():
        return types
    from importlib.metadata import entry_points

    found = entry_points()
    for kind, by_type in types.items():
        for point in found.select(group=f"edge_app.{kind}"):
            by_type[point.name] = (*by_type.get(point.name, ()), point)
        for type_ in sorted(by_type.keys() & _built_in(kind)):
            owners = " and ".join(_package(point) for point in by_type[type_])
            _LOG.warning("%s '%s' of %s is ignored: edge-app has a built-in type '%s'", kind, type_, owners, type_)
    return types


def _is_any_installed() -> bool:
    """Whether a package has an entry point in these groups. Avoids importing importlib.metadata: 20 ms, 2 MB."""
    folders = [Path(entry or ".") for entry in sys.path]
    files = (file for folder in folders for file in folder.glob("*.*-info/entry_points.txt"))
    is_archive = any(folder.is_file() for folder in folders)  # may have packages that only importlib.metadata finds
    return is_archive or any(b"[edge_app." in file.read_bytes() for file in files)


def _built_in(kind: Kind) -> set[str]:
    """The public modules of edge_app/<kind>/."""
    package = importlib.import_module(f"edge_app.{kind}")
    return {m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")}


def _locate(kind: Kind, type_: str) -> _Location:
    contract = _CONTRACTS[kind]
    if type_ in _built_in(kind):
        module = f"edge_app.{kind}.{type_}"
        return _Location(module, contract.class_name, f"{kind} '{type_}' ({module})")
    points = installed()[kind].get(type_, ())
    if not points:
        found = foreign_text(type_)
        raise ConfigError(f"unknown {contract.word} '{found}'{nearest(found, (*names(kind), *contract.also))}")
    if len(points) > 1:
        packages = ", ".join(sorted(_package(point) for point in points))
        raise ConfigError(f"{kind} '{type_}': found it in {len(points)} packages: {packages}; expected one of them")
    (point,) = points
    where = f"{kind} '{type_}' (entry point '{point.name} = {point.value}' of {_package(point)})"
    package = point.dist.name if point.dist else None
    module, _, class_name = point.value.partition(":")
    return _Location(module.strip(), class_name.strip() or contract.class_name, where, package)


def _load(kind: Kind, type_: str) -> tuple[type[Any], _Location]:
    location = _locate(kind, type_)
    module = _import(location)
    plugin = getattr(module, location.class_name, None)
    if not isinstance(plugin, type):
        found = [name for name, value in vars(module).items() if _is_own_class(value, module)]
        raise ConfigError(
            f"{location.where}: found {'the class ' + ', '.join(found) if found else 'no class'}; "
            f"expected the class {location.class_name}"
        )
    _check_members(kind, plugin, _class_members(kind), location)
    return plugin, location


def _package(point: EntryPoint) -> str:
    return f"package {point.dist.name} {point.dist.version}" if point.dist else "an unknown package"


def _import(location: _Location) -> ModuleType:
    try:
        return importlib.import_module(location.module)
    except ModuleNotFoundError as exc:
        if exc.name and not f"{location.module}.".startswith(f"{exc.name}."):
            raise ConfigError(
                f"{location.where}: needs the library {exc.name}; expected: the Python package {exc.name}"
            ) from exc
        raise ConfigError(f"{location.where}: found no module '{location.module}'; expected it in the package") from exc
    except Exception as exc:  # a plug-in's module may raise anything
        found = f"{type(exc).__name__}: {foreign_text(str(exc))}"
        raise ConfigError(f"{location.where}: import failed: {found}; expected an importable module") from exc


def _missing_library(kind: Kind, type_: str, exc: ImportError, command: str | None) -> ConfigError:
    expected = command or f"the Python package {exc.name}"
    return ConfigError(f"{kind} '{type_}' needs the library {exc.name}; expected: {expected}")


def _is_own_class(value: object, module: ModuleType) -> bool:
    return isinstance(value, type) and value.__module__ == module.__name__ and not value.__name__.startswith("_")


def _check_constructor(kind: Kind, plugin: type[Any], location: _Location) -> None:
    """Its positional arguments are those of its kind, and all others are keyword-only."""
    context = _CONTRACTS[kind].context
    constructor = getattr(plugin, "__init__")  # noqa: B009  (mypy: accessing __init__ on an instance)
    parameters = [] if constructor is object.__init__ else [*inspect.signature(constructor).parameters.values()][1:]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    expected = f"{location.class_name}({', '.join((*context, '*', 'options…'))})"
    variable = [p for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if variable:
        stars = "*" if variable[0].kind is inspect.Parameter.VAR_POSITIONAL else "**"
        found = f"the argument '{stars}{variable[0].name}'"
    elif len(positional) > len(context):
        found = f"option '{positional[len(context)].name}', which is not keyword-only"
    elif len(positional) < len(context):
        found = f"no argument '{context[len(positional)]}'"
    else:
        return
    raise ConfigError(f"{location.where}: found {found}; expected {expected}")


@cache
def _members(kind: Kind) -> tuple[str, ...]:
    """The members that the protocol of a kind requires."""
    protocol = _protocol(kind)
    return tuple(sorted(name for name in {*vars(protocol), *protocol.__annotations__} if not name.startswith("_")))


@cache
def _class_members(kind: Kind) -> tuple[str, ...]:
    """Those of them that the class itself must have: methods and class variables. Instances may set the others."""
    protocol = _protocol(kind)
    hints = get_type_hints(protocol)
    methods = (staticmethod, classmethod)
    return tuple(
        name
        for name in _members(kind)
        if get_origin(hints.get(name)) is ClassVar
        or inspect.isfunction(vars(protocol).get(name))
        or isinstance(vars(protocol).get(name), methods)
    )


def _protocol(kind: Kind) -> type[Any]:
    protocol: type[Any] = getattr(importlib.import_module(f"edge_app.{kind}"), _CONTRACTS[kind].class_name)
    return protocol


def _check_members(kind: Kind, plugin: object, required: tuple[str, ...], location: _Location) -> None:
    # The class first: evaluating a property of an instance may open a device.
    missing = [name for name in required if not hasattr(type(plugin), name) and not hasattr(plugin, name)]
    if missing:
        raise ConfigError(
            f"{location.where}: class {location.class_name} has no '{missing[0]}'; "
            f"expected {', '.join(_members(kind))}, as in the protocol edge_app.{kind}.{location.class_name}"
        )
