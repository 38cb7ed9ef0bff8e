"""YOLO exports with further values for each box: keypoints, an angle or mask coefficients.

Sources: ultralytics (v8, v11, 26), YOLOv5 7.0 (segmentation), airockchip's rknn_model_zoo. C is the number of classes,
E that of the further values, cells the total of the grids (the strides in _yolo_tables.RUNS):

    1 x (4+C+E) x cells           x, y, w, h in pixels, classes, further values; the last two axes may be swapped
    1 x N x (6+E)                 four values of a box, score, class, further values: final detections
    1 x n·cells x (5+C+E)         v5, n anchors: x, y, w, h in pixels, objectness, classes, further values
    1 x 4·bins x h x w, 1 x C x h x w, optionally 1 x 1 x h x w (the sum of the classes), 1 x E x h x w
                                  per grid, in this order unless the numbers of channels say otherwise
    1 x n·(5+C+E) x h x w         v5 per grid
    1 x (4·bins+C) x h x w per grid, and 1 x E x cells or 1 x K x 3 x cells, decoded, for all grids: only keypoints

Not here: what the further values mean (pose.py, obb.py, instances.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Literal

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.heads import HeadSpec
from edge_app.heads._grids import STRIDES, Grid, grid
from edge_app.heads._outputs import shape_of, unsupported_outputs
from edge_app.heads._yolo_layout import UNKNOWN, Format, OutputSlice, Slices, columns
from edge_app.heads._yolo_maps import BINS
from edge_app.heads._yolo_tables import Named, runs

TaskVersion = Literal["auto", "v5", "v8", "v11", "v26"]
_MOST_ANCHORS = 6
_LARGEST_BOX = 4 * (BINS + 1)


@dataclass(frozen=True, slots=True)
class Task:
    """What a head expects in the outputs.

    kind: of the further values, for messages. extra: their number for a box, None to read it from the shapes; then the
    labels, or a single class, say how many classes there are. final_box: of final detections, four corners or center
    and size. anchors: of a cell, of v5. end_to_end: grids need no suppression. apart: the further values of all grids
    may be an output of their own, decoded.
    """

    kind: str
    extra: int | None = None
    final_box: Literal["corners", "pixels"] = "corners"
    anchors: int = 3
    end_to_end: bool = False
    apart: bool = False


def recognize(spec: HeadSpec, outputs: Sequence[TensorSpec], task: Task) -> Format:
    """The format of the outputs. Raises ModelError if none matches, or the number of classes is not that of labels."""
    form = next(_forms(spec, outputs, task), None)
    if form is None:
        extra = "E" if task.extra is None else task.extra
        classes = len(spec.labels) or "C"
        raise unsupported_outputs(
            spec, tuple(outputs),
            f"1x(4+{classes}+{extra})xcells, 1xNx(6+{extra}), or boxes, {classes} class scores and {extra} "
            f"{task.kind} per grid",
        )  # fmt: skip
    if spec.labels and form.classes not in (len(spec.labels), UNKNOWN):
        raise ModelError(
            f"heads.{spec.name}.labels: found {len(spec.labels)} labels, the graph has {form.classes} classes beside "
            f"{form.extra} {task.kind}; expected one label for each class, or none"
        )
    return form


def _forms(spec: HeadSpec, outputs: Sequence[TensorSpec], task: Task) -> Iterator[Format]:
    shapes = [(output.name, shape_of(output)) for output in outputs]
    tabular = [named for named in shapes if len(named[1]) == 2]
    maps = [named for named in shapes if len(named[1]) == 3]
    if len(shapes) == 1 == len(tabular):
        yield from _table(tabular[0], spec, task)
    elif len(maps) == len(shapes) and maps:
        yield from _of_grids(maps, spec, task)
    if len(shapes) > 1 and task.apart:
        yield from _decoded_apart(shapes, spec, task)


def _split(spec: HeadSpec, values: int, task: Task) -> tuple[int, int] | None:
    """The numbers of classes and of further values among `values`; None if one of them is not positive."""
    classes = (len(spec.labels) or 1) if task.extra is None else values - task.extra
    return (classes, values - classes) if classes > 0 and values - classes > 0 else None


def _table(table: Named, spec: HeadSpec, task: Task) -> Iterator[Format]:
    name, (rows, width) = table
    counts = {sum(g.cells for g in grids) for grids in runs(spec.input_size)}
    for channels, first in ((rows, True), (width, False)):
        found = _split(spec, channels - 4, task)
        if (width if first else rows) in counts and found:
            classes = found[0]
            boxes, scores, extras = columns(
                name, table[1], (0, 4), (4, 4 + classes), (4 + classes, channels), first=first
            )
            yield Format("v8", "pixels", classes, (boxes,), (scores,), extras=(extras,), extra=found[1])
    found = _split(spec, width - 5, task)
    if found and any(rows == n * count for count in counts for n in range(task.anchors, _MOST_ANCHORS + 1)):
        classes = found[0]
        boxes, objectness, scores, extras = columns(
            name, table[1], (0, 4), (4, 5), (5, 5 + classes), (5 + classes, width)
        )
        yield Format("v5", "pixels", classes, (boxes,), (scores,), (objectness,), extras=(extras,), extra=found[1])
    extra = width - 6
    if rows not in counts and extra > 0 and task.extra in (None, extra):
        boxes, scores, extras = columns(name, table[1], (0, 4), (4, 6), (6, width))
        yield Format(
            "v10", task.final_box, UNKNOWN, (boxes,), (scores,), nms_free=True, extras=(extras,), extra=extra
        )  # fmt: skip


def _levels(maps: Sequence[Named], spec: HeadSpec) -> list[tuple[Grid, list[Named]]] | None:
    """The outputs of each grid, from the finest; None if a grid is unknown, or the grids have different numbers."""
    by_size = {(g.height, g.width): g for g in (grid(spec.input_size, stride) for stride in STRIDES)}
    found: dict[tuple[int, ...], list[Named]] = {}
    for named in maps:
        found.setdefault(named[1][1:], []).append(named)
    if not found.keys() <= by_size.keys() or len({len(level) for level in found.values()}) != 1:
        return None
    return [(by_size[size[0], size[1]], found[size]) for size in sorted(found, reverse=True)]


def _of_grids(maps: Sequence[Named], spec: HeadSpec, task: Task) -> Iterator[Format]:
    levels = _levels(maps, spec)
    if levels is None:
        return
    count = len(levels[0][1])
    if count == 1:
        yield from _anchored(levels, spec, task)
    if count not in (3, 4):
        return
    reduced = [(level, _without_sum(outputs) if count == 4 else outputs) for level, outputs in levels]
    likely = len(spec.labels)
    orders = sorted(permutations(range(3)), key=lambda order: reduced[0][1][order[1]][1][0] != likely)  # stable
    for order in orders:
        ordered = [[outputs[i] for i in order] for _, outputs in reduced]
        widths = {tuple(shape[0] for _, shape in outputs) for outputs in ordered}
        if len(widths) != 1:
            continue
        ((box, classes, extra),) = widths
        if box % 4 == 0 and box <= _LARGEST_BOX and task.extra in (None, extra):
            parts = [[columns(*named, (0, None), first=True)[0] for named in outputs] for outputs in ordered]
            boxes, scores, extras = zip(*parts)
            grids = tuple(level for level, _ in reduced)
            reading: Literal["v8", "v10"] = "v10" if task.end_to_end else "v8"
            yield Format(
                reading, "edges", classes, boxes, scores, (), grids, (0,) * len(grids), logits=True,
                nms_free=task.end_to_end, extras=extras, extra=extra,
            )  # fmt: skip


def _without_sum(outputs: list[Named]) -> list[Named]:
    """Without the sum of the classes, which rknn_model_zoo puts after them."""
    at = next((i for i in (2, 3, 1) if outputs[i][1][0] == 1), 3)
    return outputs[:at] + outputs[at + 1 :]


def _anchored(levels: Sequence[tuple[Grid, list[Named]]], spec: HeadSpec, task: Task) -> Iterator[Format]:
    """v5's grids: for each anchor x, y, w, h, objectness, classes, further values."""
    channels = {outputs[0][1][0] for _, outputs in levels}
    per_anchor = min(channels) // task.anchors
    found = _split(spec, per_anchor - 5, task)
    if len(channels) != 1 or min(channels) % task.anchors or found is None:
        return
    classes = found[0]
    ranges = ((0, 4), (4, 5), (5, 5 + classes), (5 + classes, per_anchor))
    parts: list[Slices] = [
        columns(outputs[0][0], (task.anchors, per_anchor, level.cells), *ranges, first=True, index=i)
        for level, outputs in levels
        for i in range(task.anchors)
    ]
    boxes, objectness, scores, extras = zip(*parts)
    grids = tuple(level for level, _ in levels for _ in range(task.anchors))
    anchors = tuple(range(task.anchors)) * len(levels)
    yield Format(
        "v5", "anchor", classes, boxes, scores, objectness, grids, anchors, logits=True, extras=extras, extra=found[1]
    )


def _decoded_apart(shapes: Sequence[Named], spec: HeadSpec, task: Task) -> Iterator[Format]:
    """Grids of boxes and classes, and one table of the further values of all cells: rknn_model_zoo."""
    *maps, (name, shape) = shapes
    levels = _levels(maps, spec) if all(len(named[1]) == 3 for named in maps) else None
    if levels is None or len(levels[0][1]) != 1:
        return
    channels, cells = {outputs[0][1][0] for _, outputs in levels}, sum(level.cells for level, _ in levels)
    extra = 1
    for n in shape[:-1]:
        extra *= n
    classes = min(channels) - 4 * BINS
    if len(channels) != 1 or classes < 1 or shape[-1] != cells or task.extra not in (None, extra):
        return
    parts = [columns(*outputs[0], (0, 4 * BINS), (4 * BINS, None), first=True) for _, outputs in levels]
    boxes, scores = zip(*parts)
    values = OutputSlice(name, (extra, cells), slice(None), channels_first=True)
    grids = tuple(level for level, _ in levels)
    yield Format(
        "v8", "edges", classes, boxes, scores, (), grids, (0,) * len(grids), logits=True, extras=(values,), extra=extra
    )
