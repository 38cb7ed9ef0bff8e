"""The output formats in which YOLO detectors are exported, recognized by the shapes of the outputs.

Sources: ultralytics (v5, v8, v11, v10), Megvii's YOLOX, and airockchip's rknn_model_zoo, whose exports leave the last
steps to the host. C is the number of classes, h x w a grid, cells the total of the grids of stride 8, 16, 32 (and 64):

    v5   1 x 3·cells x (5+C)      x, y, w, h in pixels, objectness, classes: all probabilities
         1 x 3·(5+C) x h x w      one per grid (also 1 x 3 x h x w x (5+C)), boxes relative to cell and anchor; also v7
    v8   1 x (4+C) x cells        x, y, w, h in pixels, classes; also v11; the last two axes may be swapped
         1 x 4 x cells, 1 x C x cells
                                  the same in two outputs, as for int8, where an output has only one scale
         1 x 4·bins x h x w, 1 x C x h x w, optionally 1 x 1 x h x w (the sum of the classes)
                                  per grid: distributions of edge distances; also v6 (bins = 1), v10 and v11
         1 x (64+C) x h x w       per grid, both in one output
    v10  1 x N x 6                x1, y1, x2, y2 in pixels, score, class: final detections
    x    1 x cells x (5+C)        x, y, w, h relative to the cell or in pixels, objectness, classes
         1 x (5+C) x h x w        one per grid

Not here: decoding the values (yolo.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from edge_app.backends import TensorSpec
from edge_app.heads import HeadSpec
from edge_app.heads._grids import STRIDES, Grid, grid
from edge_app.heads._outputs import Arrays, check_labels, shape_of, unsupported_outputs

Version = Literal["v5", "v8", "v10", "x"]
Box = Literal["pixels", "corners", "anchor", "offset", "edges"]

_STRIDES = ((8, 16, 32), (8, 16, 32, 64))
UNKNOWN = 0  # number of classes if the format does not contain it
_BINS = 16  # of v8's distributions, in every published model
_BOX_CHANNELS = (4, 4 * _BINS, 4 * (_BINS + 1))  # v6 small; v8, v10 and v11; v6 large
_EXPECTED = (
    "one of: 1x(3*cells)x(5+C) or 1x(3*(5+C))xHxW (v5), 1x(4+C)xcells or boxes and classes per grid (v8, v11), "
    "1xNx6 (v10), 1xcellsx(5+C) or 1x(5+C)xHxW (x)"
)


@dataclass(frozen=True, slots=True)
class OutputSlice:
    """A slice of an output with the values of one grid or of all grids.

    shape: the shape to which the output is reshaped, without the batch. channels_first: in that shape.
    index: of the anchor, the first axis of that shape.
    """

    output: str
    shape: tuple[int, ...]
    channels: slice
    channels_first: bool
    index: int | None = None

    def view(self, outputs: Arrays) -> NDArray[Any]:
        """A view of the values: (cells, channels)."""
        values: NDArray[Any] = outputs[self.output][0].reshape(self.shape)
        if self.index is not None:
            values = values[self.index]
        cells = values.T if self.channels_first else values.reshape(-1, self.shape[-1])
        return cells[:, self.channels]


@dataclass(frozen=True, slots=True)
class Format:
    """An export format: where the boxes and scores are and how the boxes are encoded.

    boxes, scores: slices in the same order of cells. objectness: whether the first score column is the objectness.
    grids: of the slices, in order; empty if decoding needs no grid. maps: the outputs are feature maps, one per grid,
    to which the final sigmoid may not have been applied.
    """

    version: Version
    box: Box
    classes: int
    boxes: tuple[OutputSlice, ...]
    scores: tuple[OutputSlice, ...]
    objectness: bool = False
    grids: tuple[Grid, ...] = ()
    maps: bool = False


def recognize(
    spec: HeadSpec, outputs: tuple[TensorSpec, ...], version: Version | Literal["auto"], anchors: int
) -> Format:
    """The format that matches the shapes, the version and the number of labels. anchors: per cell of v5.

    Raises ModelError if no format matches, or if several do.
    """
    possible = [form for form in _matching_formats(spec, outputs, anchors) if version in ("auto", form.version)]
    if not possible:
        raise unsupported_outputs(spec, outputs, _EXPECTED if version == "auto" else f"a format of version {version}")
    matching = [form for form in possible if not spec.labels or form.classes in (len(spec.labels), UNKNOWN)]
    if not matching and len(possible) == 1:
        check_labels(spec, possible[0].classes)
    if len(matching) != 1:
        readings = " or ".join(f"{form.version} with {form.classes} classes" for form in matching or possible)
        hint = "set labels or `version`" if matching else f"{len(spec.labels)} labels match neither"
        raise unsupported_outputs(spec, outputs, f"an unambiguous format, but this may be {readings}; {hint}")
    return matching[0]


def _matching_formats(spec: HeadSpec, outputs: tuple[TensorSpec, ...], anchors: int) -> Iterator[Format]:
    """Yield every format that the shapes allow, with any number of classes."""
    shapes = {output.name: shape_of(output) for output in outputs}
    if len(shapes) == 1 and len(shape_of(outputs[0])) == 2:
        yield from _single_table(outputs[0].name, shape_of(outputs[0]), spec.input_size)
        return
    if len(shapes) == 2 and all(len(shape) == 2 for shape in shapes.values()):
        yield from _boxes_and_classes(list(shapes.items()), spec.input_size, len(spec.labels))
        return
    levels: dict[tuple[int, int], dict[str, tuple[int, ...]]] = {}  # (width, height) -> name -> shape
    for name, shape in shapes.items():
        if len(shape) not in (3, 4):
            return
        levels.setdefault((shape[2], shape[1]), {})[name] = shape
    by_size = {(g.width, g.height): g for g in (grid(spec.input_size, s) for s in STRIDES)}
    if not levels.keys() <= by_size.keys():
        return
    sizes = sorted(levels, reverse=True)
    grids, named = tuple(by_size[size] for size in sizes), [levels[size] for size in sizes]
    if all(len(level) == 1 for level in named):
        yield from _single_maps([next(iter(level.items())) for level in named], grids, anchors)
    else:
        yield from _split_maps(named, grids, len(spec.labels))


def _single_table(name: str, shape: tuple[int, ...], input_size: tuple[int, int]) -> Iterator[Format]:
    """One output (rows, columns) for all cells."""
    rows, columns = shape
    row_per_cell = False
    for strides in _STRIDES:
        grids = tuple(grid(input_size, stride) for stride in strides)
        cells = sum(g.cells for g in grids)
        boxes, scores = _split(name, shape, 4)
        row_per_cell |= rows in (cells, 3 * cells)
        if rows == 3 * cells and columns > 5:
            yield Format("v5", "pixels", columns - 5, (boxes,), (scores,), objectness=True)
        if rows == cells and columns > 5:
            yield Format("x", "offset", columns - 5, (boxes,), (scores,), objectness=True, grids=grids)
        if rows == cells and columns > 4:
            yield Format("v8", "pixels", columns - 4, (boxes,), (scores,))
        if columns == cells and rows > 4:
            boxes, scores = _split(name, shape, 4, channels_first=True)
            yield Format("v8", "pixels", rows - 4, (boxes,), (scores,))
    if columns == 6 and not row_per_cell:
        boxes, scores = _split(name, shape, 4)
        yield Format("v10", "corners", UNKNOWN, (boxes,), (scores,))


def _boxes_and_classes(
    named: list[tuple[str, tuple[int, ...]]], input_size: tuple[int, int], labels: int
) -> Iterator[Format]:
    """Boxes of all cells in one output, classes in the other, channels first."""
    (_, (first, cells)), (_, (second, others)) = named
    (boxes, box), (scores, score) = named if _boxes_come_first(first, second, labels) else named[::-1]
    sizes = [sum(grid(input_size, stride).cells for stride in strides) for strides in _STRIDES]
    if box[0] == 4 and cells == others and cells in sizes:
        parts = (
            OutputSlice(boxes, box, slice(0, 4), channels_first=True),
            OutputSlice(scores, score, slice(0, None), channels_first=True),
        )
        yield Format("v8", "pixels", score[0], parts[:1], parts[1:])


def _single_maps(named: list[tuple[str, tuple[int, ...]]], grids: tuple[Grid, ...], anchors: int) -> Iterator[Format]:
    """One output per grid."""
    kinds = {(len(shape), shape[0], shape[3:]) for _, shape in named}
    if len(kinds) != 1:
        return
    ((axes, channels, columns),) = kinds
    per_anchor = columns[0] if axes == 4 else channels // anchors
    if per_anchor > 5 and (channels == anchors if axes == 4 else channels % anchors == 0):
        slices = []
        for (name, shape), level in zip(named, grids):
            shape_ = shape if axes == 4 else (anchors, per_anchor, level.cells)
            slices += [_split(name, shape_, 4, channels_first=axes == 3, index=i) for i in range(anchors)]
        yield _map_format("v5", "anchor", per_anchor - 5, slices, tuple(g for g in grids for _ in range(anchors)))
    if axes == 3:
        flat = [(name, (channels, level.cells)) for (name, _), level in zip(named, grids)]
        if channels > 5:
            slices = [_split(name, shape, 4, channels_first=True) for name, shape in flat]
            yield _map_format("x", "offset", channels - 5, slices, grids)
        if channels > 4 * _BINS:
            slices = [_split(name, shape, 4 * _BINS, channels_first=True) for name, shape in flat]
            yield _map_format("v8", "edges", channels - 4 * _BINS, slices, grids)


def _split_maps(named: list[dict[str, tuple[int, ...]]], grids: tuple[Grid, ...], labels: int) -> Iterator[Format]:
    """Boxes and classes per grid, optionally with the sum of the classes, which is ignored."""
    slices = []
    widths = set()
    for outputs, level in zip(named, grids):
        channels = [(name, shape[0]) for name, shape in outputs.items()]
        if len(channels) == 3:
            channels.remove(next((pair for pair in reversed(channels) if pair[1] == 1), channels[0]))
        if len(channels) != 2 or any(len(shape) != 3 for shape in outputs.values()):
            return
        boxes, scores = channels if _boxes_come_first(channels[0][1], channels[1][1], labels) else channels[::-1]
        if boxes[1] % 4:
            return
        widths.add((boxes[1], scores[1]))
        flat = [OutputSlice(name, (n, level.cells), slice(0, n), channels_first=True) for name, n in (boxes, scores)]
        slices.append((flat[0], flat[1]))
    if len(widths) == 1:
        ((_, classes),) = widths
        yield _map_format("v8", "edges", classes, slices, grids)


def _boxes_come_first(first: int, second: int, labels: int) -> bool:
    """Whether the first of two outputs contains the boxes: decided by the labels, else by the usual channel counts."""
    if first != second and labels in (first, second):
        return second == labels
    if (first in _BOX_CHANNELS) != (second in _BOX_CHANNELS):
        return first in _BOX_CHANNELS
    return True


def _split(
    name: str, shape: tuple[int, ...], at: int, *, channels_first: bool = False, index: int | None = None
) -> tuple[OutputSlice, OutputSlice]:
    """Split one output into boxes and scores. at: the first channel of the scores."""
    return OutputSlice(name, shape, slice(0, at), channels_first, index), OutputSlice(
        name, shape, slice(at, None), channels_first, index
    )


def _map_format(
    version: Version, box: Box, classes: int, slices: list[tuple[OutputSlice, OutputSlice]], grids: tuple[Grid, ...]
) -> Format:
    boxes, scores = zip(*slices)
    return Format(version, box, classes, boxes, scores, version in ("v5", "x"), grids, maps=True)
