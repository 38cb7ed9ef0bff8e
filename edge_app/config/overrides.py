"""overrides.yaml in state_dir: what was saved on a camera whose config.yaml cannot be written. Loaded over config.yaml.

It is a patch (patching.py) of rules, heads, mask, schedule and reuse, so an option that is not in it follows
config.yaml. Whoever has taken over the daemon can write it: it never has sinks, secrets, paths, model or web.
Not here: writing it (commands/store.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import yaml

from edge_app import registry
from edge_app.config.patching import name_of, names, plain
from edge_app.errors import ConfigError, foreign_text
from edge_app.options.document import Problems, describe, entries, is_null, load_yaml, mark_file, nearest, parse_yaml

FILE = "overrides.yaml"
UNFIT_COPY = "overrides.yaml.unfit"  # of one that did not fit config.yaml and was replaced
OPTIONS: Mapping[str, Collection[str]] = {
    "source": ("mask", "schedule"),
    "heads": ("enabled", "score", "labels", "min_area", "max_area", "aspect", "ignore", "schedule"),
    "rules": (),  # all, but none that names a file, an address or a secret
    "reuse": ("mode",),
}
_NOT_ALLOWED = ("Path", "Secret", "Url")
ALL = tuple(OPTIONS)
# What is used of a file that does not fit config.yaml: all, or the masks and the schedule of the camera, or nothing.
# So a mask against filming a neighbor stays when a rule of the file has lost its head.
FALLBACKS: tuple[Collection[str], ...] = (ALL, ("source",), ())


def load_over(
    root: yaml.MappingNode,
    state_dir: Path,
    heads: Collection[str],
    problems: Problems,
    *,
    unsaved: bytes | None,
    blocks: Collection[str] = ALL,
) -> tuple[str, ...]:
    """Change the nodes of config.yaml as overrides.yaml says. Returns the names of what it changes.

    heads: of the model. unsaved: use this as its content; b"": there is none. blocks: leave out the others. Adds
    mistakes to `problems`.
    """
    path = state_dir / FILE
    if not blocks or unsaved == b"" or (unsaved is None and not path.is_symlink() and not path.exists()):
        return ()
    own = Problems(path)
    patch = load_yaml(path, own, inside=state_dir) if unsaved is None else parse_yaml(unsaved, own)
    problems.extend(own)
    if patch is None:
        return ()
    mark_file(patch, path)
    if blocks != ALL:
        patch.value = [(key, changes) for key, changes in patch.value if key.value in blocks]
    before = len(problems.found)
    _check(patch, problems)
    if len(problems.found) > before:
        return ()
    _merge(root, patch, heads, problems)
    return names({block: changes for block, changes in plain(patch).items() if changes})


def reset(state_dir: Path) -> tuple[str, ...] | None:
    """Delete overrides.yaml. Returns what it changed, as far as it can be read; None if there is none.

    Raises ConfigError if it cannot be deleted.
    """
    path = state_dir / FILE
    problems = Problems(path)
    patch = plain(load_yaml(path, problems, inside=state_dir)) or {}
    try:
        path.unlink()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be deleted: {exc.strerror}") from exc
    return names({block: changes for block, changes in patch.items() if isinstance(changes, Mapping)})


def _check(patch: yaml.MappingNode, problems: Problems) -> None:
    """Add a mistake for everything that this file may not change."""
    for key, changes in patch.value:
        block = key.value
        if block not in OPTIONS:
            problems.add(key, f"found the block '{block}', which this file cannot change{nearest(block, OPTIONS)}")
        elif not isinstance(changes, yaml.MappingNode) and not is_null(changes):
            problems.add(changes, f"{block}: found {describe(changes)}; expected names and their changes")
        elif block in ("source", "reuse"):
            _check_options(changes, block, OPTIONS[block], problems)
        else:
            for name, options in entries(changes).items():
                _check_part(options, block, name, problems)


def _check_part(options: yaml.Node, block: str, name: str, problems: Problems) -> None:
    """A head, or a rule."""
    where = f"{block}.{foreign_text(name)}"
    if block == "rules" and is_null(options):
        return  # it is removed
    if not isinstance(options, yaml.MappingNode):
        problems.add(options, f"{where}: found {describe(options)}; expected options")
    elif block == "heads":
        _check_options(options, where, OPTIONS[block], problems)
    elif "name" in entries(options):
        problems.add(options, f"{where}: found the option 'name'; expected it only in front of the options")


def _check_options(node: yaml.Node, where: str, allowed: Collection[str], problems: Problems) -> None:
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
        if key.value not in allowed:
            problems.add(
                key, f"{where}: found '{key.value}', which this file cannot change{nearest(key.value, allowed)}"
            )


def _merge(root: yaml.MappingNode, patch: yaml.MappingNode, heads: Collection[str], problems: Problems) -> None:
    for block, changes in entries(patch).items():
        if not isinstance(changes, yaml.MappingNode) or not changes.value:
            continue
        present = entries(root).get(block)
        if block == "rules":
            rules = present.value if isinstance(present, yaml.SequenceNode) else []
            merged = _merged_rules(rules, changes, problems)
            _set(root, block, yaml.SequenceNode("tag:yaml.org,2002:seq", merged, changes.start_mark, changes.end_mark))
            continue
        if not isinstance(present, yaml.MappingNode):
            present = _mapping(changes)
            _set(root, block, present)
        if block == "heads" and not present.value:
            for name in heads:
                _set(present, name, _mapping(changes))
        for name, value in entries(changes).items():
            _merge_option(present, name, value)


def _merge_option(target: yaml.MappingNode, name: str, value: yaml.Node) -> None:
    """As in RFC 7396: null removes the option, options of a block are merged, everything else is replaced."""
    if is_null(value):
        target.value = [(key, each) for key, each in target.value if key.value != name]
    elif isinstance(value, yaml.MappingNode):
        inner = entries(target).get(name)
        if not isinstance(inner, yaml.MappingNode):
            inner = _mapping(value)
            _set(target, name, inner)
        for option, each in entries(value).items():
            _merge_option(inner, option, each)
    else:
        _set(target, name, value)


def _merged_rules(rules: list[yaml.Node], changes: yaml.MappingNode, problems: Problems) -> list[yaml.Node]:
    left = entries(changes)
    result = []
    for rule in rules:
        name = name_of(entries(rule).get("name"))
        change = None if name is None else left.pop(name, None)
        if change is None or not is_null(change):
            result.append(rule)
        for option, value in entries(change).items():
            assert isinstance(rule, yaml.MappingNode)
            _merge_option(rule, option, value)
        _check_types(rule, change, problems)
    for name, change in left.items():
        if is_null(change):
            continue
        if "type" not in entries(change):
            found = f"rules.{foreign_text(name)}: config.yaml has no such rule"
            problems.add(change, f"{found}; expected a type, or a reset: edge-app config reset")
            continue
        rule = _mapping(change)
        _set(rule, "name", yaml.ScalarNode("tag:yaml.org,2002:str", name, change.start_mark, change.end_mark))
        for option, value in entries(change).items():
            _merge_option(rule, option, value)
        _check_types(rule, change, problems)
        result.append(rule)
    return result


def _check_types(rule: yaml.Node, change: yaml.Node | None, problems: Problems) -> None:
    """Add a mistake if the change sets an option of the rule that is a path, an address or a secret."""
    type_ = plain(entries(rule).get("type"))
    try:
        options = registry.options("rules", type_) if isinstance(type_, str) else ()
    except ConfigError:
        return  # reported where the rule is read
    unsafe = {option.name for option in options if any(kind in str(option.annotation) for kind in _NOT_ALLOWED)}
    for option, value in entries(change).items():
        if option in unsafe:
            problems.add(value, f"rules: found '{option}', a path, address or secret, which this file cannot change")


def _mapping(like: yaml.Node) -> yaml.MappingNode:
    return yaml.MappingNode("tag:yaml.org,2002:map", [], like.start_mark, like.end_mark)


def _set(target: yaml.MappingNode, name: str, value: yaml.Node) -> None:
    for index, (key, _) in enumerate(target.value):
        if key.value == name:
            target.value[index] = (key, value)
            return
    key = yaml.ScalarNode("tag:yaml.org,2002:str", name, value.start_mark, value.end_mark)
    target.value.append((key, value))
