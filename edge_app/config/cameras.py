"""The block `cameras` of config.yaml: several cameras in one process, with one model and one outbox.

Each entry has a name, a source, and blocks of its own. A block that it leaves out is that of the whole file.
Not here: reading these blocks (loading.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import yaml

from edge_app.options import WRONG, Range, read_dataclass
from edge_app.options.document import Problems, describe, entries, nearest

BLOCKS = ("source", "heads", "reuse", "track", "rules", "snapshots", "clips")  # that a camera can have
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
_MAX_CAMERAS = 16  # the service allows 128 threads


@dataclass(frozen=True, slots=True)
class CameraCommon:
    """One camera of several: its name, its `source`, and any of heads, reuse, track, rules, snapshots and clips.

    A block that it leaves out is that of the whole file.

    name: in messages, topics and totals, and of its folders under state_dir. priority: its share of the NPU or CPU
    while cameras wait for each other: one more doubles it, up to every second turn.
    """

    name: str
    priority: Annotated[int, Range(-3, 3)] = 0


@dataclass(frozen=True, slots=True)
class CameraEntry:
    """One entry of the list, not read yet. blocks: by name, its own or those of the whole file; also `model`."""

    common: CameraCommon
    blocks: Mapping[str, yaml.Node]


def split(root: yaml.MappingNode, problems: Problems) -> list[CameraEntry]:
    """The entries of `cameras`. Adds mistakes to `problems`; entries with mistakes are left out."""
    blocks = entries(root)
    node = blocks["cameras"]
    if "source" in blocks:
        problems.add(blocks["source"], "source: found it beside cameras; expected a source in each camera")
    if not isinstance(node, yaml.SequenceNode) or not node.value:
        problems.add(node, f"cameras: found {describe(node)}; expected a list, each with a name and a source")
        return []
    if len(node.value) > _MAX_CAMERAS:
        problems.add(node, f"cameras: found {len(node.value)}; expected at most {_MAX_CAMERAS} in one process")
        return []
    found: dict[str, CameraEntry] = {}
    for i, child in enumerate(node.value):
        common = _common(child, f"cameras[{i}]", problems)
        if common is None:
            continue
        if "source" not in entries(child):
            problems.add(child, f"cameras[{i}].source: missing; expected a block with a type")
            continue
        if common.name in found:
            text = f"cameras[{i}].name: found a second camera '{common.name}'; expected a different name for each"
            problems.add(entries(child)["name"], text)
            continue
        of_camera = dict(_blocks(blocks, child, f"cameras[{i}]", problems))
        model = {"model": blocks["model"]} if "model" in blocks else {}
        found[common.name] = CameraEntry(common, {**of_camera, **model})
    return list(found.values())


def _common(node: yaml.Node, where: str, problems: Problems) -> CameraCommon | None:
    if not isinstance(node, yaml.MappingNode):
        problems.add(node, f"{where}: found {describe(node)}; expected a block with a name and a source")
        return None
    own = [(key, value) for key, value in node.value if key.value not in BLOCKS]
    known = ("name", "priority", *BLOCKS)
    for key, _ in own:
        if key.value not in known:
            problems.add(key, f"{where}: unknown option '{key.value}'{nearest(key.value, known)}")
    options = [(key, value) for key, value in own if key.value in known]
    common = read_dataclass(
        yaml.MappingNode(node.tag, options, node.start_mark, node.end_mark), CameraCommon, where, problems
    )
    if common is WRONG:
        return None
    assert isinstance(common, CameraCommon)
    if not _NAME.fullmatch(common.name):
        text = f"{where}.name: found '{common.name}'; expected 1 to 64 of A-Z a-z 0-9 . _ -, and no leading ."
        problems.add(entries(node)["name"], text)
        return None
    return common


def _blocks(
    shared: Mapping[str, yaml.Node], camera: yaml.Node, where: str, problems: Problems
) -> Iterator[tuple[str, yaml.Node]]:
    """The blocks of a camera, by name. Its source gets the name of the camera."""
    given = entries(camera)
    for name in BLOCKS:
        node = given.get(name, None if name == "source" else shared.get(name))
        if node is None:
            continue
        if name == "source" and isinstance(node, yaml.MappingNode):
            if "name" in entries(node):
                text = f"{where}.source.name: found it; expected the name only in front of the source"
                problems.add(entries(node)["name"], text)
            names = [(key, value) for key, value in camera.value if key.value == "name"]
            options = [pair for pair in node.value if pair[0].value != "name"] + names
            node = yaml.MappingNode(node.tag, options, node.start_mark, node.end_mark)
        yield name, node
