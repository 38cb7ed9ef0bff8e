"""YOLO exports with outputs for each grid. Not here: outputs with a row for each cell (_yolo_tables.py).

The formats are in _yolo_formats.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from edge_app.heads._grids import Grid
from edge_app.heads._yolo_layout import Box, Format, Reading, Slices, columns
from edge_app.heads._yolo_tables import FASTEST_STRIDES, Named

BINS = 16  # of v8's distributions, in every published model
_BOX_CHANNELS = (4, 4 * BINS, 4 * (BINS + 1))  # v6 small and v26; v8 to v12; v6 large
_Level = list[Named]


def maps(levels: list[_Level], grids: tuple[Grid, ...], anchors: int, labels: int, version: str) -> Iterator[Format]:
    """Outputs (C, h, w), or (anchors, h, w, C), of each grid. version: the option, which may be auto."""
    counts = {len(level) for level in levels}
    if counts == {1}:
        yield from _joined([level[0] for level in levels], grids, anchors)
    elif all(len(shape) == 3 for level in levels for _, shape in level):
        if counts == {3}:
            yield from _with_objectness(levels, grids, version)
        if counts in ({2}, {3}):
            yield from _boxes_and_classes(levels, grids, labels, version)


def interleaved(levels: list[Named], grids: tuple[Grid, ...], anchors: int) -> Iterator[Format]:
    """YOLO-FastestV2's outputs (h, w, 5 * anchors + C) of each grid, all probabilities."""
    classes = levels[0][1][2] - 5 * anchors
    if classes <= 0 or len({shape[2] for _, shape in levels}) > 1:
        return
    parts = [columns(name, shape, *_of_anchor(i, anchors)) for name, shape in levels for i in range(anchors)]
    yield replace(_format("fastestv2", "anchor", classes, parts, grids, anchors=anchors), logits=False, softmax=False)


def _of_anchor(i: int, anchors: int) -> tuple[tuple[int, int | None], ...]:
    """The channels of one anchor of YOLO-FastestV2: its box, its objectness, and the classes, which anchors share."""
    at = 4 * anchors
    return (4 * i, 4 * i + 4), (at + i, at + i + 1), (at + anchors, None)


def boxes_come_first(first: int, second: int, labels: int) -> bool:
    """Whether the first of two outputs contains the boxes: decided by the labels, else by the usual channel counts."""
    if first != second and labels in (first, second):
        return second == labels
    if (first in _BOX_CHANNELS) != (second in _BOX_CHANNELS):
        return first in _BOX_CHANNELS
    return True


def _joined(levels: list[Named], grids: tuple[Grid, ...], anchors: int) -> Iterator[Format]:
    """One output per grid."""
    kinds = {(len(shape), shape[0], shape[3:]) for _, shape in levels}
    if len(kinds) != 1:
        return
    ((axes, channels, last),) = kinds
    per_anchor = last[0] if axes == 4 else channels // anchors
    if per_anchor > 5 and (channels == anchors if axes == 4 else channels % anchors == 0):
        parts: list[Slices] = []
        for (name, shape), level in zip(levels, grids):
            flat = shape if axes == 4 else (anchors, per_anchor, level.cells)
            parts += [columns(name, flat, (0, 4), (4, 5), (5, None), first=axes == 3, index=i) for i in range(anchors)]
        yield _format("v5", "anchor", per_anchor - 5, parts, grids, anchors=anchors)
    if axes == 3 and channels > 5:
        parts = [columns(name, shape, (0, 4), (4, 5), (5, None), first=True) for name, shape in levels]
        yield _format("x", "offset", channels - 5, parts, grids)
    if axes == 3 and channels > 5 * anchors and tuple(grid.stride for grid in grids) == FASTEST_STRIDES:
        parts = [
            columns(name, shape, *_of_anchor(i, anchors), first=True) for name, shape in levels for i in range(anchors)
        ]
        yield _format("fastestv2", "anchor", channels - 5 * anchors, parts, grids, anchors=anchors)
    if axes == 3 and channels > 4 * BINS:
        parts = [columns(name, shape, (0, 4 * BINS), (4 * BINS, None), first=True) for name, shape in levels]
        yield _format("v8", "edges", channels - 4 * BINS, parts, grids)


def _boxes_and_classes(levels: list[_Level], grids: tuple[Grid, ...], labels: int, version: str) -> Iterator[Format]:
    """Boxes and classes per grid, optionally with the sum of the classes, which is ignored."""
    parts: list[Slices] = []
    widths = set()
    for level in levels:
        outputs = list(level)
        if len(outputs) == 3:
            outputs.remove(next((named for named in reversed(outputs) if named[1][0] == 1), outputs[0]))
        boxes, scores = outputs if boxes_come_first(outputs[0][1][0], outputs[1][1][0], labels) else outputs[::-1]
        widths.add((boxes[1][0], scores[1][0]))
        parts.append((*columns(*boxes, (0, None), first=True), *columns(*scores, (0, None), first=True)))
    if len(widths) == 1 and next(iter(widths))[0] % 4 == 0:
        ((_, classes),) = widths
        yield _format("v10" if version == "v10" else "v8", "edges", classes, parts, grids)


def _with_objectness(levels: list[_Level], grids: tuple[Grid, ...], version: str) -> Iterator[Format]:
    """Boxes, objectness and classes per grid, in this order: X with one anchor, YOLO-FastestV2 with several."""
    widths = {tuple(shape[0] for _, shape in level) for level in levels}
    if len(widths) != 1:
        return
    ((box, anchors, classes),) = widths
    if box != 4 * anchors or (anchors == 1 and version != "x"):  # v6 has 4 x boxes, C x classes and their sum
        return
    parts: list[Slices] = []
    for level in levels:
        for i in range(anchors):
            ranges = ((4 * i, 4 * i + 4), (i, i + 1), (0, None))
            parts.append(tuple(columns(*named, pair, first=True)[0] for named, pair in zip(level, ranges)))
    if anchors == 1:
        yield _format("x", "offset", classes, parts, grids)
    else:
        yield _format("fastestv2", "anchor", classes, parts, grids, anchors=anchors)


def _format(
    reading: Reading, box: Box, classes: int, parts: list[Slices], grids: tuple[Grid, ...], *, anchors: int = 1
) -> Format:
    """parts: boxes, objectness if the format has it, and scores of each grid and anchor."""
    boxes, *objectness, scores = zip(*parts)
    each = tuple(level for level in grids for _ in range(anchors))
    return Format(
        reading, box, classes, boxes, scores, objectness[0] if objectness else (), each,
        tuple(range(anchors)) * len(grids), logits=True, softmax=reading == "fastestv2", nms_free=reading == "v10",
    )  # fmt: skip
