"""Where to cut a YOLO: at its last convolutions, if a version of the decoder gives the boxes that the tail gives.

The version is tried, not guessed from names: the head decodes the convolutions as each version, and the outputs of the
tail as they were published. Both must give the same boxes. Anchors are read from the tail: at logits of 0, a box of v5
or v7 has the size of its anchor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np

from edge_app.compiler.net import Net
from edge_app.compiler.session import Array
from edge_app.compiler.tails.branches import Branch, CutPoints, branches
from edge_app.compiler.tails.probe import Probe, same_boxes
from edge_app.errors import ModelError
from edge_app.heads._yolo_formats import READINGS

_Levels = list[list[Branch]]
_ROLES = {1: ("grid",), 2: ("boxes", "scores"), 3: ("boxes", "objectness", "scores")}
_WITH_ANCHORS = ("v5", "v7", "fastestv2")


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A way to read the branches. levels: with the branches in the order of _ROLES. published: options for the file."""

    levels: _Levels
    reading: str
    classes: int
    options: dict[str, Any] = field(default_factory=dict)
    published: tuple[dict[str, Any], ...] = ({},)


def find(net: Net, given: dict[str, Any]) -> CutPoints | None:
    """The last convolutions of each grid. given: the user's options.

    Raises ModelError if each grid has a branch that is none of boxes, objectness and classes, or if boxes depend on
    anchors that are not in the file.
    """
    shapes = net.shapes()
    levels = branches(net, shapes)
    if levels is None or len({len(level) for level in levels}) != 1:
        return None
    ranks = {len(shapes.get(name, ())) for name in net.outputs}
    if ranks <= {4, 5} and len(levels[0]) == 1 and "anchors" not in given and given.get("version") not in _WITH_ANCHORS:
        raise ModelError(
            f"{net.name}: the grids depend on anchors, which are not in the file; "
            "expected --version v5 (also for YOLOv7-tiny) or v7, to decode with the anchors of the published model"
        )
    if ranks == {4} and len(net.outputs) >= sum(len(level) for level in levels):
        return None  # exported without decoding, with boxes and scores apart
    probe = Probe(net, levels)
    zeros, random = probe.run(probe.zeros()), probe.random()
    outputs = probe.run(random)
    for candidate in _candidates(levels, zeros, given):
        if _decodes(candidate, probe, random, outputs, given):
            return _cut_points(candidate)
    if len(levels[0]) > 2:
        found = ", ".join(str(branch.channels) for branch in levels[0])
        raise ModelError(
            f"{net.name}: each grid ends in convolutions of {found} channels; expected boxes and classes, or "
            "--family pose, obb or instances, which have a third"
        )
    return None


def _candidates(levels: _Levels, zeros: Mapping[str, Array], given: Mapping[str, Any]) -> Iterator[_Candidate]:
    """The ways to read the branches that their channels and the user's options allow."""
    allowed = READINGS[given.get("version", "auto")]
    for order in permutations(range(len(levels[0]))):
        ordered = [[level[i] for i in order] for level in levels]
        widths = {tuple(branch.channels for branch in level) for level in ordered}
        if len(widths) == 1:
            yield from (c for c in _readings(ordered, next(iter(widths)), zeros, given) if c.reading in allowed)


def _readings(
    levels: _Levels, widths: tuple[int, ...], zeros: Mapping[str, Array], given: Mapping[str, Any]
) -> Iterator[_Candidate]:
    if len(widths) == 1:
        v7 = {"version": "v7"} if given.get("version") == "v7" else {}  # its single class is scored differently
        for classes, anchors in anchors_of(levels, widths[0], zeros):
            yield _Candidate(levels, "v5", classes, {"anchors": anchors, **v7}, ({"anchors": anchors},))
        columns = {array.shape[-1] for array in zeros.values() if array.ndim == 5}
        if len(columns) == 1:  # not decoded: the user has given the anchors, or the version that has them
            yield _Candidate(levels, "v5", columns.pop() - 5, dict(given))
    elif len(widths) == 2 and widths[0] % 4 == 0:
        yield _Candidate(levels, "v8", widths[1], {}, ({"version": "v8"}, {"version": "v6"}))
        rows = [array.shape[1] for array in zeros.values() if array.ndim == 3 and array.shape[2] == 6]
        if rows:  # the file selects so many boxes
            yield _Candidate(levels, "v10", widths[1], {"max_detections": rows[0]})
    elif len(widths) == 3 and widths[0] == 4 * widths[1]:
        if widths[1] > 1:
            yield _Candidate(levels, "fastestv2", widths[2])
        else:
            kinds = [{"boxes": b, "activation": a} for b in ("raw", "decoded") for a in ("none", "apply")]
            yield _Candidate(levels, "x", widths[2], {}, tuple(kinds))


def anchors_of(
    levels: _Levels, channels: int, zeros: Mapping[str, Array]
) -> Iterator[tuple[int, tuple[tuple[float, ...], ...]]]:
    """Number of classes and anchors of v5, from an output (1, anchors * cells, 5 + classes) at logits of 0."""
    cells = [level[0].height * level[0].width for level in levels]
    for table in zeros.values():
        columns = table.shape[-1]
        per_cell = channels // columns
        if table.ndim != 3 or columns < 6 or channels % columns or table.shape[1] != per_cell * sum(cells):
            continue
        ends = np.cumsum([per_cell * count for count in cells])
        rows = [part.reshape(per_cell, -1, columns) for part in np.split(table[0], ends[:-1])]
        sizes = [part[:, :, 2:4].astype(np.float64).mean(axis=1) for part in rows]  # (anchors, 2) of each grid
        if all(np.allclose(part[:, :, 2:4], size[:, None], rtol=1e-3) for part, size in zip(rows, sizes)):
            yield columns - 5, tuple(tuple(round(float(n), 3) for n in size.ravel()) for size in sizes)


def _decodes(
    candidate: _Candidate,
    probe: Probe,
    maps: Mapping[str, Array],
    outputs: Mapping[str, Array],
    given: Mapping[str, Any],
) -> bool:
    """Whether the head gives the same boxes from the branches, read in this way, and from the tail's outputs."""
    named = {branch.name: maps[branch.name] for level in candidate.levels for branch in level}
    boxes = probe.decode(named, candidate.classes, _options(candidate))
    if boxes is None or not len(boxes):
        return False
    for published in candidate.published:
        chosen = {"version": candidate.reading, **published, **given}
        expected = probe.decode(outputs, candidate.classes, chosen)
        if expected is not None and same_boxes(boxes, expected):
            return True
    return False


def _options(candidate: _Candidate) -> dict[str, Any]:
    return {"version": candidate.reading, "activation": "apply", **candidate.options}


def _cut_points(candidate: _Candidate) -> CutPoints:
    roles = _ROLES[len(candidate.levels[0])]
    names = {
        branch.name: f"{role}{i}" for i, level in enumerate(candidate.levels) for role, branch in zip(roles, level)
    }
    assumed = ("anchors of the published YOLO-FastestV2",) if candidate.reading == "fastestv2" else ()
    return CutPoints(names, _options(candidate), assumed)
