"""Every option of config.yaml with its type, default and meaning: from the constructors that read them.

The meaning is the part of the class's docstring that starts with the option's name: `fps: instead of the file's times`.
Not here: the same as a JSON Schema (json_schema.py).
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edge_app import registry
from edge_app.config.blocks import BoxConfig, DeviceConfig, HeadCommon, ModelConfig, SinkCommon, SourceCommon
from edge_app.config.cameras import CameraCommon
from edge_app.config.loading import BLOCKS, SIMPLE
from edge_app.config.reuse import ReuseConfig
from edge_app.config.rules import RuleCommon, TrackConfig
from edge_app.errors import ConfigError
from edge_app.frame import Detections
from edge_app.options import REQUIRED, Option, expectation, options_of
from edge_app.options.document import nearest

PLAIN: Mapping[str, type[Any]] = MappingProxyType(
    {
        "device": DeviceConfig,
        "cameras": CameraCommon,
        "model": ModelConfig,
        "reuse": ReuseConfig,
        "track": TrackConfig,
        **SIMPLE,
    }
)
PLUGINS: Mapping[str, tuple[registry.Kind, type[Any]]] = MappingProxyType(
    {
        "source": ("sources", SourceCommon),
        "heads": ("heads", HeadCommon),
        "rules": ("rules", RuleCommon),
        "sinks": ("sinks", SinkCommon),
    }
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One option. kind: its type in words. default: as in YAML; None: it must be given. meaning: "" if untold."""

    name: str
    kind: str
    default: str | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Section:
    """The options of a block, or those of one type of a plug-in: `sinks.mqtt`."""

    name: str
    summary: str
    entries: tuple[Entry, ...]


def sections(name: str | None = None) -> list[Section]:
    """The sections of all blocks; of one block with its types, `sinks`; or of one type, `sinks.mqtt`.

    Raises ConfigError if there is no such block or type.
    """
    block, _, type_ = (name or "").partition(".")
    if name is not None and block not in BLOCKS:
        raise ConfigError(f"options: unknown block '{block}'{nearest(block, BLOCKS)}")
    if type_ and block not in PLUGINS:
        raise ConfigError(f"options: the block '{block}' has no types; expected {block}")
    if type_:
        return [_plugin(block, type_)]
    return [section for each in ([block] if block else BLOCKS) for section in _block(each)]


def as_text(found: Iterable[Section]) -> str:
    """The sections as text, an option a line."""
    parts = []
    for section in found:
        rows = [(e.name, e.kind, "(required)" if e.default is None else e.default) for e in section.entries]
        widths = [min(40, max((len(row[i]) for row in rows), default=0)) for i in range(3)]
        lines = [f"{section.name}: {section.summary}" if section.summary else section.name]
        for row, entry in zip(rows, section.entries):
            cells = (f"{cell:<{width}}" for cell, width in zip(row, widths))
            lines.append(f"  {'  '.join(cells)}  {entry.meaning}".rstrip())
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def as_markdown(found: Iterable[Section]) -> str:
    """The sections as one table, for the README files."""
    lines = ["| type | option | value | default | meaning |", "|---|---|---|---|---|"]
    for section in found:
        _, _, type_ = section.name.partition(".")
        for i, entry in enumerate(section.entries):
            first = "" if i else f"`{type_}`" if type_ else "all"
            default = "required" if entry.default is None else f"`{entry.default}`"
            cells = (first, f"`{entry.name}`", entry.kind, default, entry.meaning)
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _block(block: str) -> list[Section]:
    if block in PLAIN:
        return [_section(block, PLAIN[block])]
    kind, common = PLUGINS[block]
    shared = [_section(block, common)]
    if block == "heads":
        shared.append(_section(block, BoxConfig))
    return shared + [_plugin(block, type_) for type_ in registry.names(kind)]


def _plugin(block: str, type_: str) -> Section:
    kind, _ = PLUGINS[block]
    return _section(f"{block}.{type_}", registry.find(kind, type_), registry.options(kind, type_))


def _section(name: str, schema: type[Any], options: tuple[Option, ...] | None = None) -> Section:
    options = options_of(schema) if options is None else options
    known = meanings(schema, options)
    entries = (
        Entry(option.name, expectation(option.annotation), default_text(option.default), known.get(option.name, ""))
        for option in options
    )
    return Section(name, _summary(schema, options), tuple(entries))


def head_options() -> dict[str, list[Option]]:
    """All options that a head of some family has, by name: those of the block, then those of each family."""
    found: dict[str, list[Option]] = {}
    families = registry.names("heads")
    own = [option for family in families for option in registry.options("heads", family)]
    boxes = any(registry.find("heads", family).result_type is Detections for family in families)
    for option in (*options_of(HeadCommon), *(options_of(BoxConfig) if boxes else ()), *own):
        found.setdefault(option.name, []).append(option)
    return found


def meanings(schema: type[Any], options: Iterable[Option]) -> dict[str, str]:
    """What the docstring of a class says about its options, by name, as one line each."""
    names = "|".join(re.escape(option.name) for option in options)
    if not names:
        return {}
    start = re.compile(rf"(?<![\w`.])((?:{names})(?:, (?:{names}))*)(?: \([^)]*\))?: ")
    found: dict[str, str] = {}
    for paragraph in _docstring(schema).split("\n\n"):
        text = " ".join(paragraph.split())
        starts = list(start.finditer(text))
        for match, following in zip(starts, [*starts[1:], None]):
            end = following.start() if following else len(text)
            for name in match[1].split(", "):
                found.setdefault(name, text[match.end() : end].strip().rstrip(".;"))
    return found


def default_text(value: Any) -> str | None:
    """A default as it is written in YAML; None if there is none."""
    if value is REQUIRED:
        return None
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(str(default_text(each)) for each in value)}]"
    if isinstance(value, Mapping):
        return "{}" if not value else "{…}"
    if dataclasses.is_dataclass(value):
        return "{…}"
    return str(value) if isinstance(value, (int, Path)) or value else '""'


def _summary(schema: type[Any], options: tuple[Option, ...]) -> str:
    """The first sentence about a block or, for a plug-in, about its module. "" if it is about an option."""
    about = _docstring(schema) if dataclasses.is_dataclass(schema) else sys.modules[schema.__module__].__doc__
    sentence = " ".join((about or "").partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")
    return "" if sentence.partition(":")[0] in {option.name for option in options} else sentence


def _docstring(schema: type[Any]) -> str:
    return inspect.cleandoc(schema.__doc__ or "")
