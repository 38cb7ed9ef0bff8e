"""The forms in which YOLO detectors are exported, told apart by the shapes of their outputs.

Sources: ultralytics (v5, v8, v11, v10), Megvii's YOLOX, and airockchip's rknn_model_zoo, whose exports leave the last
steps to the host. With K = C classes plus what else a box has, and a cell for each place of the grids 8, 16, 32 (64):

    v5   1 x 3·cells x (5+C)      x, y, w, h in pixels, objectness, classes: all probabilities
         1 x 3·(5+C) x h x w      a grid (also 1 x 3 x h x w x (5+C)), boxes relative to cell and anchor; v7 the same
    v8   1 x (4+C) x cells        x, y, w, h in pixels, classes; v11 the same, and either with the last two turned
         1 x 4 x cells, 1 x C x cells
                                  the same apart, as for int8, where one output is one scale
         1 x 4·bins x h x w, 1 x C x h x w, perhaps 1 x 1 x h x w (the sum of the classes)
                                  a grid: distributions of edge distances; v6 (bins = 1), v10 and v11 the same
         1 x (64+C) x h x w       a grid, both in one
    v10  1 x N x 6                x1, y1, x2, y2 in pixels, score, class: nothing is left to do
    x    1 x cells x (5+C)        x, y, w, h relative to the cell or in pixels, objectness, classes
         1 x (5+C) x h x w        a grid

Not here: what the numbers mean (yolo.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from edge_app.backends import TensorSpec
from edge_app.heads import HeadSpec
from edge_app.heads._cells import STRIDES, Grid, grid
from edge_app.heads._outputs import Arrays, check_labels, shape_of, unusable

Version = Literal["v5", "v8", "v10", "x"]
Box = Literal["pixels", "corners", "anchor", "offset", "edges"]

_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
UNKNOWN = 0  # classes of a form that does not show how many there are
_BINS = 16  # of v8's distributions, in every published model
_BOX_CHANNELS = (4, 4 * _BINS, 4 * (_BINS + 1))  # v6 small, v8 and its kin, v6 large
_EXPECTED = (
    "one of: 1x(3*cells)x(5+C) or 1x(3*(5+C))xHxW (v5), 1x(4+C)xcells or boxes and classes per grid (v8, v11), "
    "1xNx6 (v10), 1xcellsx(5+C) or 1x(5+C)xHxW (x)"
)


@dataclass(frozen=True, slots=True)
class Part:
    """Values of one grid, or of all: a view (cells, channels) of an output.

    shape: the output's, less the batch, as it is regarded; index: of the anchor; turned: channels come first there.
    """

    output: str
    shape: tuple[int, ...]
    channels: slice
    turned: bool
    index: int | None = None

    def view(self, outputs: Arrays) -> NDArray[Any]:
        """The values (cells, channels), not copied."""
        values: NDArray[Any] = outputs[self.output][0].reshape(self.shape)
        if self.index is not None:
            values = values[self.index]
        cells = values.T if self.turned else values.reshape(-1, self.shape[-1])
        return cells[:, self.channels]


@dataclass(frozen=True, slots=True)
class Format:
    """How a graph states its boxes.

    boxes, scores: parts in the same order of cells; with `objectness`, the scores' first column is that.
    grids: those of the parts, one after the other; empty for boxes that need none. maps: outputs as convolutions give
    them, a grid each, perhaps before the last sigmoid.
    """

    version: Version
    box: Box
    classes: int
    boxes: tuple[Part, ...]
    scores: tuple[Part, ...]
    objectness: bool = False
    grids: tuple[Grid, ...] = ()
    maps: bool = False


def recognise(
    spec: HeadSpec, outputs: tuple[TensorSpec, ...], version: Version | Literal["auto"], anchors: int
) -> Format:
    """The one form that fits the shapes, the version if given and the labels if given. anchors: of v5, a cell.

    Raises ModelError where none fits, where the labels are of another number, and where several fit.
    """
    found = [form for form in _fitting(spec, outputs, anchors) if version in ("auto", form.version)]
    if not found:
        raise unusable(spec, outputs, _EXPECTED if version == "auto" else f"a form of version {version}")
    matching = [form for form in found if not spec.labels or form.classes in (len(spec.labels), UNKNOWN)]
    if not matching and len(found) == 1:
        check_labels(spec, found[0].classes)
    if len(matching) != 1:
        readings = " or ".join(f"{form.version} with {form.classes} classes" for form in matching or found)
        wanted = "give the labels, or `version`" if matching else f"{len(spec.labels)} labels fit none"
        raise unusable(spec, outputs, f"a form that is certain: it could be {readings}; {wanted}")
    return matching[0]


def _fitting(spec: HeadSpec, outputs: tuple[TensorSpec, ...], anchors: int) -> Iterator[Format]:
    """Every form that the shapes allow, whatever the number of classes."""
    shapes = {output.name: shape_of(output) for output in outputs}
    if len(shapes) == 1 and len(shape_of(outputs[0])) == 2:
        yield from _tables(outputs[0].name, shape_of(outputs[0]), spec.input_size)
        return
    if len(shapes) == 2 and all(len(shape) == 2 for shape in shapes.values()):
        yield from _two_tables(list(shapes.items()), spec.input_size, len(spec.labels))
        return
    levels: dict[tuple[int, int], dict[str, tuple[int, ...]]] = {}  # shapes by name by width and height
    for name, shape in shapes.items():
        if len(shape) not in (3, 4):
            return
        levels.setdefault((shape[2], shape[1]), {})[name] = shape
    known = {(g.width, g.height): g for g in (grid(spec.input_size, s) for s in STRIDES)}
    if not levels.keys() <= known.keys():
        return
    sizes = sorted(levels, reverse=True)
    grids, named = tuple(known[size] for size in sizes), [levels[size] for size in sizes]
    if all(len(level) == 1 for level in named):
        yield from _single_maps([next(iter(level.items())) for level in named], grids, anchors)
    else:
        yield from _split_maps(named, grids, len(spec.labels))


def _tables(name: str, shape: tuple[int, ...], input_size: tuple[int, int]) -> Iterator[Format]:
    """All cells in one output (rows, columns)."""
    rows, columns = shape
    whole = False
    for strides in _STRIDES:
        grids = tuple(grid(input_size, stride) for stride in strides)
        cells = sum(g.cells for g in grids)
        boxes, scores = _cut(name, shape, 4)
        whole |= rows in (cells, 3 * cells)
        if rows == 3 * cells and columns > 5:
            yield Format("v5", "pixels", columns - 5, (boxes,), (scores,), objectness=True)
        if rows == cells and columns > 5:
            yield Format("x", "offset", columns - 5, (boxes,), (scores,), objectness=True, grids=grids)
        if rows == cells and columns > 4:
            yield Format("v8", "pixels", columns - 4, (boxes,), (scores,))
        if columns == cells and rows > 4:
            boxes, scores = _cut(name, shape, 4, turned=True)
            yield Format("v8", "pixels", rows - 4, (boxes,), (scores,))
    if columns == 6 and not whole:
        boxes, scores = _cut(name, shape, 4)
        yield Format("v10", "corners", UNKNOWN, (boxes,), (scores,))


def _two_tables(named: list[tuple[str, tuple[int, ...]]], input_size: tuple[int, int], labels: int) -> Iterator[Format]:
    """Boxes of all cells in one output, classes in another, channels first."""
    (_, (first, cells)), (_, (second, others)) = named
    (boxes, box), (scores, score) = named if _boxes_come_first(first, second, labels) else named[::-1]
    sizes = [sum(grid(input_size, stride).cells for stride in strides) for strides in _STRIDES]
    if box[0] == 4 and cells == others and cells in sizes:
        parts = Part(boxes, box, slice(0, 4), turned=True), Part(scores, score, slice(0, None), turned=True)
        yield Format("v8", "pixels", score[0], parts[:1], parts[1:])


def _single_maps(named: list[tuple[str, tuple[int, ...]]], grids: tuple[Grid, ...], anchors: int) -> Iterator[Format]:
    """One output for each grid."""
    kinds = {(len(shape), shape[0], shape[3:]) for _, shape in named}
    if len(kinds) != 1:
        return
    ((axes, channels, columns),) = kinds
    per_anchor = columns[0] if axes == 4 else channels // anchors
    if per_anchor > 5 and (channels == anchors if axes == 4 else channels % anchors == 0):
        cut = [
            _cut(name, shape if axes == 4 else (anchors, per_anchor, where.cells), 4, turned=axes == 3, index=i)
            for (name, shape), where in zip(named, grids)
            for i in range(anchors)
        ]
        each = tuple(where for where in grids for _ in range(anchors))
        yield _map("v5", "anchor", per_anchor - 5, cut, each)
    if axes == 3:
        flat = [(name, (channels, where.cells)) for (name, _), where in zip(named, grids)]
        if channels > 5:
            yield _map("x", "offset", channels - 5, [_cut(name, shape, 4, turned=True) for name, shape in flat], grids)
        if channels > 4 * _BINS:
            cut = [_cut(name, shape, 4 * _BINS, turned=True) for name, shape in flat]
            yield _map("v8", "edges", channels - 4 * _BINS, cut, grids)


def _split_maps(named: list[dict[str, tuple[int, ...]]], grids: tuple[Grid, ...], labels: int) -> Iterator[Format]:
    """Boxes and classes for each grid, perhaps with the sum of the classes, which is of no use here."""
    cut = []
    widths = set()
    for level, where in zip(named, grids):
        channels = [(name, shape[0]) for name, shape in level.items()]
        if len(channels) == 3:
            channels.remove(next((pair for pair in reversed(channels) if pair[1] == 1), channels[0]))
        if len(channels) != 2 or any(len(shape) != 3 for shape in level.values()):
            return
        boxes, scores = channels if _boxes_come_first(channels[0][1], channels[1][1], labels) else channels[::-1]
        if boxes[1] % 4:
            return
        widths.add((boxes[1], scores[1]))
        flat = [Part(name, (n, where.cells), slice(0, n), turned=True) for name, n in (boxes, scores)]
        cut.append((flat[0], flat[1]))
    if len(widths) == 1:
        ((_, classes),) = widths
        yield _map("v8", "edges", classes, cut, grids)


def _boxes_come_first(first: int, second: int, labels: int) -> bool:
    """Which of two outputs of one grid holds the boxes: told by the labels, else by the usual sizes, else the first."""
    if first != second and labels in (first, second):
        return second == labels
    if (first in _BOX_CHANNELS) != (second in _BOX_CHANNELS):
        return first in _BOX_CHANNELS
    return True


def _cut(
    name: str, shape: tuple[int, ...], at: int, *, turned: bool = False, index: int | None = None
) -> tuple[Part, Part]:
    """Boxes and scores that lie in one output, one behind the other."""
    return Part(name, shape, slice(0, at), turned, index), Part(name, shape, slice(at, None), turned, index)


def _map(version: Version, box: Box, classes: int, cut: list[tuple[Part, Part]], grids: tuple[Grid, ...]) -> Format:
    boxes, scores = zip(*cut)
    return Format(version, box, classes, boxes, scores, version in ("v5", "x"), grids, maps=True)
