"""Renamed keys of config.yaml: the old name is accepted, with a warning that names the new one."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

import yaml

from edge_app.options.document import Problems

# Old dotted key -> new name of its last part, as in {"publish.outcome": "results", "sinks.*.file": "path"}.
# `*` is every entry of a list or of a mapping with free names.
RENAMED: Mapping[str, str] = {}

_LOG = logging.getLogger(__name__)


def apply_renames(root: yaml.Node | None, renamed: Mapping[str, str], problems: Problems) -> None:
    """Replace old keys of a node tree by their new names. Adds a mistake if a block has both."""
    for old, new in renamed.items():
        *parents, name = old.split(".")
        for block in _blocks(root, parents):
            keys = {key.value: key for key, _ in block.value}
            if name not in keys:
                continue
            key = keys[name]
            if new in keys:
                problems.add(key, f"found '{name}' and its new name '{new}'; expected only '{new}'")
                continue
            line = key.start_mark.line + 1
            _LOG.warning("%s:%d: '%s' was renamed: write '%s'", problems.path, line, name, new)
            key.value = new


def _blocks(node: yaml.Node | None, path: list[str]) -> Iterator[yaml.MappingNode]:
    """The mapping nodes at a dotted path."""
    if not path:
        if isinstance(node, yaml.MappingNode):
            yield node
        return
    first, *rest = path
    if isinstance(node, yaml.SequenceNode):
        children = node.value if first == "*" else []
    elif isinstance(node, yaml.MappingNode):
        children = [value for key, value in node.value if first in ("*", key.value)]
    else:
        children = []
    for child in children:
        yield from _blocks(child, rest)
