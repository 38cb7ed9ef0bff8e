"""Changes of a configuration: a JSON merge patch (RFC 7396) of config.yaml, whose rules are addressed by their names.

    {"source": {"mask": …}, "heads": {"objects": {"score": 0.5}}, "rules": {"plaza": {…}, "old": null}}

`null` removes a rule or an option; a list is replaced as a whole. Not here: which changes are allowed (overrides.py),
changing the text of a file (splicing.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from edge_app.options.document import is_null
from edge_app.options.scalars import read_float, read_int

Plain = Any  # None, bool, int, float, str, and lists and dicts of them
_BOOL = {"true": True, "True": True, "false": False, "False": False}


def plain(node: yaml.Node | None) -> Plain:
    """The value of a node, as JSON has it. Unquoted words are read as YAML 1.2 does: `no` is text."""
    if node is None:
        return None
    if isinstance(node, yaml.MappingNode):
        return {key.value: name_of(value) if key.value == "name" else plain(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [plain(value) for value in node.value]
    assert isinstance(node, yaml.ScalarNode)
    text: str = node.value
    if node.style:
        return text
    if is_null(node):
        return None
    if text in _BOOL:
        return _BOOL[text]
    try:
        whole, number = read_int(text), read_float(text)
    except ValueError:  # beyond the limits: the reader reports it
        return text
    return whole if whole is not None else text if number is None else number


def name_of(node: yaml.Node | None) -> str | None:
    """A name, as text also if it is a number; None if there is none."""
    return node.value if isinstance(node, yaml.ScalarNode) else None


def apply_patch(document: dict[str, Plain], patch: Mapping[str, Plain], heads: Iterable[str]) -> dict[str, Plain]:
    """The patched document. heads: of the model; all of them run if the document has no block `heads`."""
    result = dict(document)
    for block, changes in complete(document, patch, heads).items():
        if block == "rules":
            patched: Plain = _patched_rules(document.get("rules") or [], changes)
        else:
            patched = _merged(document.get(block), changes)
        if patched or block in document:  # removing what is not there makes no block
            result[block] = patched
    return result


def complete(document: Mapping[str, Plain], patch: Mapping[str, Plain], heads: Iterable[str]) -> dict[str, Plain]:
    """The patch, in which a new block `heads` names all heads: without the block, all of them run."""
    found = {name: changes for name, changes in patch.items() if changes != {}}
    if "heads" in found and not document.get("heads"):
        found["heads"] = {**{name: {} for name in heads}, **found["heads"]}
    return found


def compose(first: Plain, second: Plain) -> Plain:
    """One patch with the effect of two."""
    if not isinstance(first, Mapping) or not isinstance(second, Mapping):
        return second
    return {**first, **{name: compose(first.get(name), value) for name, value in second.items()}}


def names(patch: Mapping[str, Plain]) -> tuple[str, ...]:
    """What a patch changes: `heads.objects.score`, `rules.plaza`."""
    found: list[str] = []
    for block, changes in patch.items():
        for name, value in changes.items():
            nested = isinstance(value, Mapping) and block in ("rules", "heads")
            found += [f"{block}.{name}.{option}" for option in value] if nested else [f"{block}.{name}"]
    return tuple(found)


def _merged(value: Plain, patch: Plain) -> Plain:
    if not isinstance(patch, Mapping):
        return patch
    result = dict(value) if isinstance(value, Mapping) else {}
    for name, change in patch.items():
        if change is None:
            result.pop(name, None)
        else:
            result[name] = _merged(result.get(name), change)
    return result


def _patched_rules(rules: list[Plain], changes: Mapping[str, Plain]) -> list[Plain]:
    result = []
    left = dict(changes)
    for rule in rules:
        name = rule.get("name") if isinstance(rule, Mapping) else None
        change = left.pop(name, {}) if isinstance(name, str) else {}
        if change is not None:
            result.append(_merged(rule, change) if change else rule)
    return [*result, *(_merged({"name": name}, change) for name, change in left.items() if change is not None)]
