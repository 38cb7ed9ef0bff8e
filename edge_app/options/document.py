"""A YAML file as a tree of nodes with line numbers, and the list of mistakes found in it.

Rejects aliases (billion laughs), tags, duplicate keys (YAML silently keeps the last one), deep nesting and oversized
files. Not here: the types of values (reading.py).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from edge_app.errors import ConfigError, foreign_text
from edge_app.options.files import read_regular
from edge_app.options.scalars import checked_text

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_VALUES = 20_000  # of a file: parsing more takes seconds on a board
MAX_NAMES = 1_000  # of one block
_MAX_SHOWN = 100  # characters of a value in a message
_MAX_PROBLEM = 2000  # characters of a message
_NULL = ("", "null", "~", "Null", "NULL")


@dataclass(slots=True)
class Problems:
    """The mistakes found so far. They are raised together, so that a user can correct all of them at once."""

    path: Path
    found: list[tuple[int, str]] = field(default_factory=list)  # line (0: the whole file), text
    files: dict[int, str] = field(default_factory=dict)  # by index in `found`: another file than `path`

    def add(self, node: yaml.Node | yaml.Event | None, text: str) -> None:
        """Add a mistake at the line of `node`; None: it concerns the whole file."""
        mark = None if node is None else node.start_mark
        if isinstance(mark, _FileMark):
            self.files[len(self.found)] = mark.name
        self.found.append((0 if mark is None else mark.line + 1, foreign_text(text, _MAX_PROBLEM)))

    def extend(self, others: Problems) -> None:
        """Add the mistakes of another file."""
        for line, text in others.found:
            self.files[len(self.found)] = str(others.path)
            self.found.append((line, text))

    def place(self, node: yaml.Node) -> str:
        """The file and line of a node: `config.yaml:14`."""
        mark = node.start_mark
        return f"{mark.name if isinstance(mark, _FileMark) else self.path}:{mark.line + 1}"

    def raise_if_any(self) -> None:
        """Raises ConfigError with one line for each mistake, in file order."""
        if self.found:
            placed = [(self.files.get(i, ""), line, text) for i, (line, text) in enumerate(self.found)]
            placed.sort(key=lambda problem: problem[:2])
            raise ConfigError(
                *(
                    f"{file or self.path}:{line}: {text}" if line else f"{file or self.path}: {text}"
                    for file, line, text in placed
                )
            )


class _FileMark(yaml.Mark):
    """A position in another file than the one that is read."""


def mark_file(node: yaml.Node, path: Path) -> None:
    """Record in every node of a tree that it comes from `path`: messages about it name this file."""
    mark = node.start_mark
    node.start_mark = _FileMark(str(path), mark.index, mark.line, mark.column, None, 0)
    children = node.value if isinstance(node, yaml.CollectionNode) else ()
    for child in children:
        for each in child if isinstance(child, tuple) else (child,):
            mark_file(each, path)


def load_yaml(path: Path, problems: Problems, *, inside: Path | None = None) -> yaml.MappingNode | None:
    """Parse a file into a node tree. Adds a mistake to `problems` and returns None if the file is unusable.

    inside: a folder that must contain the file.
    """
    try:
        data = read_regular(path, MAX_BYTES, inside=inside)
    except OSError as exc:
        problems.add(None, f"cannot be read: {exc.strerror}; expected a YAML file")
        return None
    return parse_yaml(data, problems)


def parse_yaml(data: bytes, problems: Problems) -> yaml.MappingNode | None:
    """Parse YAML text into a node tree without aliases, tags and duplicate keys. As `load_yaml` otherwise."""
    try:
        if not _is_plain(data, problems):
            return None
        root = yaml.compose(data, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 0
        problems.found.append((line, f"not valid YAML: {exc.problem}"))
        return None
    except yaml.YAMLError as exc:
        problems.add(None, f"not valid YAML: {str(exc).splitlines()[0]}")
        return None
    except (ValueError, OverflowError, RecursionError) as exc:  # PyYAML calls chr() and int() with any number
        problems.add(None, f"not valid YAML: {foreign_text(exc)}; expected 'option: value' lines")
        return None
    if not isinstance(root, yaml.MappingNode):
        problems.add(root, f"found {describe(root) if root else 'an empty file'}; expected 'option: value' lines")
        return None
    return root if _names_are_valid(root, problems) else None


def _is_plain(data: bytes, problems: Problems) -> bool:
    """Whether there are no aliases and tags, and few levels and values. Checks events, before any node is built."""
    depth = values = 0
    for event in yaml.parse(data, Loader=yaml.SafeLoader):
        tag = getattr(event, "tag", None)
        values += isinstance(event, yaml.NodeEvent)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            problems.add(event, "found an alias (*name); expected the value, in quotes if it starts with *")
        elif tag:
            problems.add(event, "found a tag (!name); expected a plain value, in quotes if it starts with !")
        elif depth > MAX_DEPTH:
            problems.add(event, f"nested deeper than {MAX_DEPTH} levels")
        elif values > MAX_VALUES:
            problems.add(event, f"found more names and values than a file may have; expected at most {MAX_VALUES}")
        else:
            continue
        return False
    return True


def _names_are_valid(node: yaml.Node, problems: Problems) -> bool:
    """Whether every name is text on one line, and given once."""
    if isinstance(node, yaml.SequenceNode):
        return sum(not _names_are_valid(child, problems) for child in node.value) == 0
    if not isinstance(node, yaml.MappingNode):
        return True
    if len(node.value) > MAX_NAMES:
        problems.add(node, f"found a block of {len(node.value)} names; expected at most {MAX_NAMES}")
        return False
    good = True
    seen: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            problems.add(key, f"found {describe(key)} as a name; expected a word")
            good = False
            continue
        try:
            checked_text(key.value)
        except ValueError as exc:
            problems.add(key, f"a name: {exc}")
            good = False
        if key.value in seen:
            problems.add(key, f"'{key.value}' is given twice; first on line {seen[key.value]}")
            good = False
        seen.setdefault(key.value, key.start_mark.line + 1)
        good = _names_are_valid(value, problems) and good
    return good


def describe(node: yaml.Node) -> str:
    """A value in the words of an error message."""
    if isinstance(node, yaml.MappingNode):
        return "a block of options"
    if isinstance(node, yaml.SequenceNode):
        return f"a list of {len(node.value)}"
    return "nothing" if is_null(node) else f"'{foreign_text(node.value, _MAX_SHOWN)}'"


def entries(node: yaml.Node | None) -> dict[str, yaml.Node]:
    """The values of a mapping node by name; empty for None or `null`."""
    return {key.value: value for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'score'?`, or all known words if none is similar."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, 1, 0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; expected one of: {', '.join(known)}" if known else "; there are none here"


def is_null(node: yaml.Node) -> bool:
    """Whether a value is absent: nothing, `null` or `~`, unquoted."""
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value in _NULL
