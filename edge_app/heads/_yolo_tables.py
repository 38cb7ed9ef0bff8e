"""YOLO exports with one row for each cell or detection, in one output or two. Not here: outputs for each grid.

The formats are in _yolo_formats.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from edge_app.heads._grids import Grid, grid
from edge_app.heads._yolo_layout import UNKNOWN, Format, columns

# of the published models: three levels, with stride 64 (P6), with stride 4 (P2), two levels, and v5's P2-P6, P7 and P34
RUNS = (
    (8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32), (4, 8, 16, 32, 64), (8, 16, 32, 64, 128), (8, 16),
)  # fmt: skip
FASTEST_STRIDES = (16, 32)  # YOLO-FastestV2
_FASTEST_ANCHORS = 3
_OWN_ANCHORS = (4, 5, 6)  # of each cell, in trainings of v5 with more than the published three
_FINAL = 6  # values of a detection that the file has selected
Named = tuple[str, tuple[int, ...]]


def runs(input_size: tuple[int, int]) -> tuple[tuple[Grid, ...], ...]:
    """The grids that a model may have, by the strides of published models."""
    return tuple(tuple(grid(input_size, stride) for stride in strides) for strides in RUNS)


def one(table: Named, input_size: tuple[int, int], anchors: int) -> Iterator[Format]:
    """One output (rows, columns) for all cells. anchors: for each cell of v5."""
    (rows, width), counts = table[1], [sum(g.cells for g in grids) for grids in runs(input_size)]
    for grids, cells in zip(runs(input_size), counts):
        yield from _of_grids(table, grids, cells, anchors)
    row_per_cell = rows in {n * cells for cells in counts for n in (1, anchors)}
    if width == _FINAL and not row_per_cell:
        boxes, scores = columns(table[0], table[1], (0, 4), (4, None))
        yield Format("v10", "corners", UNKNOWN, (boxes,), (scores,), nms_free=True)
    own = not row_per_cell and width not in counts and rows in {n * cells for cells in counts for n in _OWN_ANCHORS}
    if own and width > _FINAL:
        yield _decoded_v5(table)


def _of_grids(table: Named, grids: tuple[Grid, ...], cells: int, anchors: int) -> Iterator[Format]:
    """The formats with a row, or a column, for each of the cells or anchors of these grids."""
    name, (rows, width) = table
    fastest = rows == cells and tuple(g.stride for g in grids) == FASTEST_STRIDES
    if fastest and width > 5 * _FASTEST_ANCHORS:
        yield _fastest(table, grids)
    if rows == anchors * cells and width > 5:
        yield _decoded_v5(table)
    if rows == cells and width > 5 and not fastest:
        boxes, objectness, scores = columns(name, table[1], (0, 4), (4, 5), (5, None))
        yield Format("x", "offset", width - 5, (boxes,), (scores,), (objectness,), grids, logits=True)
    if rows == cells and width > 4 and not fastest:
        boxes, scores = columns(name, table[1], (0, 4), (4, None))
        yield Format("v8", "pixels", width - 4, (boxes,), (scores,))
    if width == cells and rows > 4:
        boxes, scores = columns(name, table[1], (0, 4), (4, None), first=True)
        yield Format("v8", "pixels", rows - 4, (boxes,), (scores,))


def _decoded_v5(table: Named) -> Format:
    boxes, objectness, scores = columns(table[0], table[1], (0, 4), (4, 5), (5, None))
    return Format("v5", "pixels", table[1][1] - 5, (boxes,), (scores,), (objectness,))


def two(tables: list[Named], input_size: tuple[int, int], boxes_first: bool) -> Iterator[Format]:
    """Boxes of all cells in one output and classes in the other, channels first; or v9's auxiliary and main heads."""
    (_, first), (_, second) = tables
    if first == second and first[0] > 4:
        yield from (form for form in one(tables[1], input_size, anchors=0) if form.reading == "v8")
        return
    (boxes, box), (scores, score) = tables if boxes_first else tables[::-1]
    sizes = [sum(g.cells for g in grids) for grids in runs(input_size)]
    if box[0] == 4 and box[1] == score[1] and box[1] in sizes:
        yield Format(
            "v8", "pixels", score[0],
            columns(boxes, box, (0, 4), first=True), columns(scores, score, (0, None), first=True),
        )  # fmt: skip


def _fastest(table: Named, grids: tuple[Grid, ...]) -> Format:
    """4 values for each anchor, the objectness of each anchor, and classes that the anchors share."""
    name, shape = table
    anchors = range(_FASTEST_ANCHORS)
    at = 4 * _FASTEST_ANCHORS
    boxes = columns(name, shape, *((4 * i, 4 * i + 4) for i in anchors))
    objectness = columns(name, shape, *((at + i, at + i + 1) for i in anchors))
    scores = columns(name, shape, *[(at + _FASTEST_ANCHORS, None)] * _FASTEST_ANCHORS)
    return Format(
        "fastestv2", "anchor", shape[1] - 5 * _FASTEST_ANCHORS, boxes, scores, objectness, grids * _FASTEST_ANCHORS,
        tuple(i for i in anchors for _ in grids),
    )  # fmt: skip
