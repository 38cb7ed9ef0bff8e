"""Where to cut a YOLO for poses, oriented boxes or instances: at its last convolutions, as a detector (yolo.py).

Each grid ends in three of them: boxes, scores and further values; YOLOv5 joins them in one. Which is which, and how the
further values are decoded, is tried: the head decodes the convolutions, and the outputs of the tail. Both must give the
same boxes, keypoints and corners. Prototypes of masks are an output before and after the cut.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np

from edge_app.compiler.net import Net, Shape
from edge_app.compiler.session import Array
from edge_app.compiler.tails.branches import Branch, CutPoints, branches
from edge_app.compiler.tails.probe import Probe, same_boxes
from edge_app.compiler.tails.yolo import anchors_of

_EXTRAS = {"pose": "points", "obb": "angles", "instances": "masks"}
_VERSIONS = ("v11", "v26")  # of raw keypoints and angles
_FINAL = 6  # values of a final detection before the further ones
_Levels = list[list[Branch]]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A way to read the branches. levels: boxes, scores and further values of each grid; or all of them in one."""

    levels: _Levels
    classes: int
    options: dict[str, Any] = field(default_factory=dict)


def pose(net: Net, given: dict[str, Any]) -> CutPoints | None:
    """Boxes, scores and keypoints of each grid. given: the options of the head."""
    return _find(net, given, "pose")


def obb(net: Net, given: dict[str, Any]) -> CutPoints | None:
    """Boxes, scores and angles of each grid. given: the options of the head."""
    return _find(net, given, "obb")


def instances(net: Net, given: dict[str, Any]) -> CutPoints | None:
    """Boxes, scores and mask coefficients of each grid, and the prototypes. given: the options of the head."""
    return _find(net, given, "instances")


def _find(net: Net, given: dict[str, Any], family: str) -> CutPoints | None:
    shapes = net.shapes()
    prototypes = _prototypes(net, shapes) if family == "instances" else ""
    decoded = net.copy()
    decoded.outputs = [name for name in net.outputs if name != prototypes]
    if (family == "instances") != bool(prototypes) or len(decoded.outputs) != 1:
        return None
    levels = branches(decoded, shapes) if len(shapes[decoded.outputs[0]]) == 3 else None
    if levels is None or {len(level) for level in levels} not in ({1}, {3}):
        return None
    fixed = {prototypes: np.zeros([n or 1 for n in shapes[prototypes]], np.float32)} if prototypes else {}
    probe = Probe(decoded, levels, family, fixed)
    zeros, random = probe.run(probe.zeros()), probe.random()
    outputs = probe.run(random)
    for candidate in _candidates(levels, zeros, family, fixed):
        if _decodes(candidate, probe, random, outputs, given):
            return _cut_points(candidate, family, prototypes)
    return None


def _prototypes(net: Net, shapes: Mapping[str, Shape]) -> str:
    """The output that is a map (1, P, H, W); "" if there is none, or several."""
    maps = [name for name in net.outputs if len(shapes.get(name, ())) == 4]
    return maps[0] if len(maps) == 1 else ""


def _candidates(
    levels: _Levels, zeros: Mapping[str, Array], family: str, fixed: Mapping[str, Array]
) -> Iterator[_Candidate]:
    """The ways to read the branches that their channels and the options allow."""
    (table,) = zeros.values()
    if len(levels[0]) == 1:
        extra = sum(array.shape[1] for array in fixed.values())  # mask coefficients: one for each prototype
        for classes, anchors in anchors_of(levels, levels[0][0].channels, zeros) if extra else ():
            yield _Candidate(levels, classes - extra, {"anchors": anchors})
        return
    for order in permutations(range(3)):
        ordered = [[level[i] for i in order] for level in levels]
        widths = {tuple(branch.channels for branch in level) for level in ordered}
        if len(widths) != 1:
            continue
        ((box, classes, extra),) = widths
        if box % 4:
            continue
        final = table.shape[2] == _FINAL + extra and table.shape[1] != sum(b.height * b.width for b, *_ in levels)
        selected: dict[str, Any] = {"end_to_end": True, "max_detections": table.shape[1]} if final else {}
        for version in _VERSIONS if family != "instances" else ("",):
            yield _Candidate(ordered, classes, {**selected, **({"version": version} if version else {})})


def _decodes(
    candidate: _Candidate,
    probe: Probe,
    maps: Mapping[str, Array],
    outputs: Mapping[str, Array],
    given: Mapping[str, Any],
) -> bool:
    """Whether the head gives the same from the branches, read in this way, and from the tail's outputs."""
    named = {branch.name: maps[branch.name] for level in candidate.levels for branch in level}
    found = probe.decode(named, candidate.classes, {**given, "activation": "apply", **candidate.options})
    expected = probe.decode(outputs, candidate.classes, given)
    return found is not None and expected is not None and same_boxes(found, expected)


def _cut_points(candidate: _Candidate, family: str, prototypes: str) -> CutPoints:
    roles = ("grid",) if len(candidate.levels[0]) == 1 else ("boxes", "scores", _EXTRAS[family])
    names = {
        branch.name: f"{role}{i}" for i, level in enumerate(candidate.levels) for role, branch in zip(roles, level)
    }
    return CutPoints(
        {**names, **({prototypes: "prototypes"} if prototypes else {})}, {"activation": "apply", **candidate.options}
    )
