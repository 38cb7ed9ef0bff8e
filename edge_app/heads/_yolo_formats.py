"""The output formats in which YOLO detectors are exported, recognized by the shapes of the outputs.

Sources: ultralytics (v5, v8 to v12, 26), WongKinYiu (v7, v9), meituan (v6), THU-MIG (v10), Megvii (X), dog-qiuqiu
(FastestV2), and airockchip's rknn_model_zoo, whose exports leave the last steps to the host. C is the number of
classes, h x w a grid, cells the total of the grids of stride 8, 16, 32, or of the other strides in RUNS:

    v5   1 x 3·cells x (5+C)      x, y, w, h in pixels, objectness, classes: all probabilities; also v7. Grids beside
                                  this output are ignored
         1 x 3·(5+C) x h x w      one per grid (also 1 x 3 x h x w x (5+C)), boxes relative to cell and anchor; also v7,
                                  whose score is the objectness alone if there is one class
    v8   1 x (4+C) x cells        x, y, w, h in pixels, classes; also v9, v11, v12, 26; the last two axes may be swapped
         1 x (4+C) x cells, twice v9's auxiliary and main heads: the second is read
         1 x 4 x cells, 1 x C x cells
                                  the same in two outputs, as for int8, where an output has only one scale
         1 x 4·bins x h x w, 1 x C x h x w, optionally 1 x 1 x h x w (the sum of the classes)
                                  per grid: distributions of edge distances, or distances (bins = 1): v6 small, 26
         1 x (64+C) x h x w       per grid, both in one output
    v10  1 x N x 6                x1, y1, x2, y2 in pixels, score, class: final detections; also 26
         1 x 4·bins x h x w, 1 x C x h x w
                                  as in v8, but the grids need no NMS: only if `version` says so
    x    1 x cells x (5+C)        x, y, w, h relative to the cell or in pixels, objectness, classes; also v6, in pixels
         1 x (5+C) x h x w        one per grid
         1 x 4 x h x w, 1 x 1 x h x w, 1 x C x h x w
                                  per grid, three outputs: only if `version` says so
    fastestv2
         cells x (15+C)           boxes and objectness of three anchors, classes; also 1 x h x w x (15+C) per grid
         1 x (15+C) x h x w       per grid of stride 16 and 32, with or without sigmoid and softmax
         1 x 12 x h x w, 1 x 3 x h x w, 1 x C x h x w
                                  per grid, three outputs

Not here: decoding the values (yolo.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from edge_app.backends import TensorSpec
from edge_app.heads import HeadSpec
from edge_app.heads import _yolo_maps as maps
from edge_app.heads import _yolo_tables as tables
from edge_app.heads._grids import STRIDES, grid
from edge_app.heads._outputs import check_labels, shape_of, unsupported_outputs
from edge_app.heads._yolo_layout import UNKNOWN, Format, Reading

Version = Literal["auto", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v26", "x", "fastestv2"]
# the readings of each value of `version`, the most likely first
READINGS: dict[Version, tuple[Reading, ...]] = {
    "auto": ("v5", "v8", "v10", "x", "fastestv2"),
    "v5": ("v5",), "v6": ("x", "v8"), "v7": ("v5",), "v8": ("v8",), "v9": ("v8",), "v10": ("v10", "v8"),
    "v11": ("v8",), "v12": ("v8",), "v26": ("v10", "v8"), "x": ("x",), "fastestv2": ("fastestv2",),
}  # fmt: skip
_EXPECTED = (
    "one of: 1x(3*cells)x(5+C) or 1x(3*(5+C))xHxW (v5), 1x(4+C)xcells or boxes and classes per grid (v8, v11), "
    "1xNx6 (v10), 1xcellsx(5+C) or 1x(5+C)xHxW (x)"
)


def recognize(spec: HeadSpec, outputs: tuple[TensorSpec, ...], version: Version, anchors: int) -> Format:
    """The format that matches the shapes, the version and the number of labels. anchors: per cell of v5.

    Raises ModelError if no format matches, or if several do.
    """
    readings = READINGS[version]
    possible = [form for form in _matching_formats(spec, outputs, version, anchors) if form.reading in readings]
    if not possible:
        raise unsupported_outputs(spec, outputs, _EXPECTED if version == "auto" else f"a format of version {version}")
    matching = [form for form in possible if not spec.labels or form.classes in (len(spec.labels), UNKNOWN)]
    if not matching and len(possible) == 1:
        check_labels(spec, possible[0].classes)
    if version != "auto" and len(matching) > 1:
        first = min(readings.index(form.reading) for form in matching)
        matching = [form for form in matching if form.reading == readings[first]]
    if len(matching) != 1:
        texts = " or ".join(f"{form.reading} with {form.classes} classes" for form in matching or possible)
        hint = "set labels or `version`" if matching else f"{len(spec.labels)} labels match neither"
        raise unsupported_outputs(spec, outputs, f"an unambiguous format, but this may be {texts}; {hint}")
    form = matching[0]
    if version == "v7" and form.classes == 1:  # v7 does not train the score of a single class
        form = replace(form, scores=form.objectness, objectness=())
    return form


def _matching_formats(
    spec: HeadSpec, outputs: tuple[TensorSpec, ...], version: Version, anchors: int
) -> Iterator[Format]:
    """Yield every format that the shapes allow, with any number of classes."""
    shapes = {output.name: _shape(output) for output in outputs}
    tabular = [named for named in shapes.items() if len(named[1]) == 2]
    gridded = [named for named in shapes.items() if len(named[1]) in (3, 4)]
    if len(tabular) + len(gridded) != len(shapes):
        return
    if len(tabular) == 1:
        trained = all(len(shape) == 4 and shape[3] == tabular[0][1][1] for _, shape in gridded)
        for form in tables.one(tabular[0], spec.input_size, anchors) if trained else ():
            if not gridded or form.reading == "v5":
                yield form
    elif len(tabular) == 2 and not gridded:
        (_, first), (_, second) = tabular
        boxes_first = maps.boxes_come_first(first[0], second[0], len(spec.labels))
        yield from tables.two(tabular, spec.input_size, boxes_first)
    elif not tabular:
        yield from _per_grid(gridded, spec, version, anchors)


def _per_grid(named: list[tables.Named], spec: HeadSpec, version: Version, anchors: int) -> Iterator[Format]:
    by_size = {(g.width, g.height): g for g in (grid(spec.input_size, s) for s in STRIDES)}
    last = [(shape[1], shape[0]) for _, shape in named]
    if all(len(shape) == 3 for _, shape in named) and len(set(last)) == len(last) and set(last) <= by_size.keys():
        levels = sorted(named, key=lambda level: level[1][:2], reverse=True)
        yield from maps.interleaved(levels, tuple(by_size[shape[1], shape[0]] for _, shape in levels), anchors)
    by_grid: dict[tuple[int, int], list[tables.Named]] = {}  # by width and height
    for name, shape in named:
        by_grid.setdefault((shape[2], shape[1]), []).append((name, shape))
    if by_grid.keys() <= by_size.keys():
        sizes = sorted(by_grid, reverse=True)
        grids = tuple(by_size[size] for size in sizes)
        yield from maps.maps([by_grid[size] for size in sizes], grids, anchors, len(spec.labels), version)


def _shape(output: TensorSpec) -> tuple[int, ...]:
    """The shape without the batch, which some exports of YOLO-FastestV2 lack."""
    shape = tuple(n for n in output.shape if n is not None)
    return shape if len(output.shape) == 2 and len(shape) == 2 and shape[0] > 1 else shape_of(output)
