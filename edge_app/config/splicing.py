"""Change values in the text of config.yaml: only the text of these values changes, comments and layout stay.

The positions of PyYAML's nodes say where a value is, so this needs no round-trip library on a device. The caller checks
the result: `splice` raises if the new text does not mean what the patch says. Not here: which changes are allowed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import yaml

from edge_app.config.patching import Plain, apply_patch, complete, name_of, plain
from edge_app.errors import ConfigError
from edge_app.options.document import Problems, entries, is_null, parse_yaml

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_NOT_WORDS = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")
_COMMENT = re.compile(r"(?:^|(?<=\s))#[^\r\n]*", re.MULTILINE)


def splice(data: bytes, patch: Mapping[str, Plain], heads: Collection[str], path: Path) -> bytes:
    """The file with the patch applied. heads: of the model. path: for messages.

    Raises ConfigError if the file is not valid YAML, or is written in a way that cannot be changed in place.
    """
    before: dict[str, Plain] = plain(_root(data, path))
    text = data.decode()
    for block, changes in complete(before, patch, heads).items():
        for name, change in changes.items():
            for option_path, value in _operations(text, path, block, name, change):
                text = _changed(text, path, option_path, value)
    result = text.encode()
    if plain(_root(result, path)) != apply_patch(before, patch, heads):
        raise ConfigError(f"{path}: written in a way that cannot be changed in place; expected to be edited by hand")
    return result


def _operations(text: str, path: Path, block: str, name: str, change: Plain) -> Iterator[tuple[tuple[str, ...], Plain]]:
    """A change as values of single options, or of the whole if it is new. None: remove."""
    present = _find(_root(text.encode(), path), (block, name))
    if isinstance(change, Mapping) and isinstance(present, yaml.MappingNode):
        yield from (((block, name, option), value) for option, value in change.items())
    elif isinstance(change, Mapping):
        given = {option: value for option, value in change.items() if value is not None}
        if given or present is None:
            yield (block, name), {"name": name, **given} if block == "rules" else given
    else:
        yield (block, name), change


def _root(data: bytes, path: Path) -> yaml.MappingNode:
    problems = Problems(path)
    root = parse_yaml(data, problems)
    problems.raise_if_any()
    assert root is not None
    return root


def _find(node: yaml.Node, path: tuple[str, ...]) -> yaml.Node | None:
    """The node at a path; an entry of a list is found by its name."""
    for name in path:
        found = _entry(node, name)
        if found is None:
            return None
        node = found
    return node


def _entry(node: yaml.Node, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.SequenceNode):
        return entries(node).get(name)
    return next((each for each in node.value if name_of(entries(each).get("name")) == name), None)


def _changed(text: str, path: Path, where: tuple[str, ...], value: Plain) -> str:
    """The text with one value set, added or removed."""
    root = _root(text.encode(), path)
    *parents, name = where
    parent = _find(root, tuple(parents))
    if parent is None or is_null(parent):
        if value is None:
            return text
        made = [value] if parents == ["rules"] else {name: value}
        return _changed(text, path, tuple(parents), made)
    found = _entry(parent, name)
    if value is None:
        return (
            text
            if found is None or not isinstance(parent, yaml.CollectionNode)
            else _removed(text, root, parent, found)
        )
    if isinstance(parent, yaml.SequenceNode):
        return _with_item(text, path, parent, value)
    assert isinstance(parent, yaml.MappingNode)
    return _with_option(text, parent, name, value)


def _with_option(text: str, mapping: yaml.MappingNode, name: str, value: Plain) -> str:
    """Set an option of a block. Comments inside the old value move in front of it."""
    for key, old in mapping.value:
        if key.value == name:
            end = _end(old)
            comments = _comments(text, key.end_mark.index, old)
            text = f"{text[: key.end_mark.index]}: {flow(value)}{text[end:]}"
            return _insert_above(text, key.start_mark.index, key.start_mark.column, comments)
    added = f"{flow(name)}: {flow(value)}"
    if mapping.flow_style:
        return _into_brackets(text, mapping, [value for _, value in mapping.value], added)
    column = mapping.value[0][0].start_mark.column
    return _insert_below(text, _end(mapping), " " * column + added)


def _with_item(text: str, path: Path, items: yaml.SequenceNode, value: Plain) -> str:
    if items.flow_style and items.value:
        return _into_brackets(text, items, items.value, flow(value))
    if items.flow_style:  # [] becomes a list with one entry for each line
        return _changed(text, path, ("rules",), [value])
    indent = " " * items.start_mark.column
    lines = [f"{flow(option)}: {flow(setting)}" for option, setting in value.items()]
    return _insert_below(text, _end(items), f"{indent}- " + f"{_newline(text)}{indent}  ".join(lines))


def _removed(text: str, root: yaml.Node, parent: yaml.CollectionNode, found: yaml.Node) -> str:
    """Remove an option of a block, or an entry of a list."""
    pairs = isinstance(parent, yaml.MappingNode)
    children = [child[1] if pairs else child for child in parent.value]
    starts = [(child[0] if pairs else child).start_mark for child in parent.value]
    index = children.index(found)
    start, end = starts[index].index, _end(found)
    if parent.flow_style:
        if index > 0:
            return text[: _end(children[index - 1])] + text[end:]
        return text[:start] + text[starts[1].index if len(children) > 1 else end :]
    if len(children) == 1 and not pairs:
        key = next(key for key, value in root.value if value is parent)
        return f"{text[: key.end_mark.index]}: []{text[end:]}"
    line = text.rfind("\n", 0, start) + 1
    if pairs and text[line:start].strip():  # after the dash of a list's entry
        return text[:start] + text[starts[1].index if len(children) > 1 else end :]
    return text[:line] + text[_line_end(text, end) :]


def _into_brackets(text: str, node: yaml.Node, children: list[yaml.Node], added: str) -> str:
    if not children:
        at = node.start_mark.index + 1
        return text[:at] + added + text[at:]
    at = _end(children[-1])
    return f"{text[:at]}, {added}{text[at:]}"


def _insert_below(text: str, end: int, added: str) -> str:
    """Insert a line after the one in which a value ends."""
    at = _line_end(text, end)
    newline = "" if not at or text[at - 1] == "\n" else _newline(text)
    return f"{text[:at]}{newline}{added}{_newline(text)}{text[at:]}"


def _insert_above(text: str, start: int, column: int, comments: list[str]) -> str:
    line = text.rfind("\n", 0, start) + 1
    return text[:line] + "".join(f"{' ' * column}{each}{_newline(text)}" for each in comments) + text[line:]


def _end(node: yaml.Node) -> int:
    """Where the text of a node ends. PyYAML's end of a block is after the comments that follow it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _line_end(text: str, at: int) -> int:
    """The start of the line after position `at`, or the end of the text."""
    found = text.find("\n", at)
    return len(text) if found < 0 else found + 1


def _comments(text: str, start: int, node: yaml.Node) -> list[str]:
    """The comments between the name of an option and the end of its value."""
    leaves = sorted((leaf.start_mark.index, leaf.end_mark.index) for leaf in _leaves(node))
    found, at = [], start
    for begin, end in [*leaves, (_end(node), 0)]:
        found += _COMMENT.findall(text[at:begin])
        at = max(at, end)
    return [each.rstrip() for each in found]


def _leaves(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.ScalarNode):
        yield node
        return
    for child in node.value:
        for each in child if isinstance(child, tuple) else (child,):
            yield from _leaves(each)


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def flow(value: Plain) -> str:
    """A value on one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(name)}: {flow(each)}" for name, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str) and _WORD.fullmatch(value) and value.lower() not in _NOT_WORDS:
        return value
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
