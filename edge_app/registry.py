"""Find plug-ins by their file name: `type: rtsp` under `source` is the class Source of edge_app/sources/rtsp.py.

Importing a plug-in's module loads no library of its own: only constructing it does, so that a device's configuration
can be checked on a laptop. "No such plug-in" and "its library is missing" are different errors.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any, Literal

from edge_app.errors import ConfigError
from edge_app.options import Option, options_of
from edge_app.options.document import nearest

Kind = Literal["sources", "backends", "heads", "sinks", "rules"]

_CLASS: dict[Kind, str] = {
    "sources": "Source",
    "backends": "Backend",
    "heads": "Head",
    "sinks": "Sink",
    "rules": "Rule",
}


def names(kind: Kind) -> list[str]:
    """The types of a kind: the public modules of edge_app/<kind>/."""
    package = importlib.import_module(f"edge_app.{kind}")
    return sorted(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_"))


def find(kind: Kind, type_: str) -> type[Any]:
    """The class of a plug-in. Raises ConfigError with the nearest name where there is none."""
    known = names(kind)
    if type_ not in known:
        raise ConfigError(f"unknown type '{type_}' of {kind}{nearest(type_, known)}")
    module = importlib.import_module(f"edge_app.{kind}.{type_}")
    plugin: type[Any] = getattr(module, _CLASS[kind])
    return plugin


def options(kind: Kind, type_: str) -> tuple[Option, ...]:
    """The keyword-only arguments of a plug-in's constructor: its block's schema. Raises ConfigError as `find` does."""
    return options_of(find(kind, type_))


def build(kind: Kind, type_: str, *context: object, **given: object) -> Any:
    """Construct a plug-in: `context` are the positional arguments of its kind, `given` its options.

    Raises ConfigError where its library is not installed, naming what to install.
    """
    plugin = find(kind, type_)
    try:
        return plugin(*context, **given)
    except ImportError as exc:
        extra = getattr(plugin, "extra", None)
        install = f"pip install 'edge-app[{extra}]'" if extra else f"the Python package {exc.name}"
        raise ConfigError(f"{kind} '{type_}' needs the library {exc.name}; expected: {install}") from exc
