"""The rules of the YOLO detectors: v5 to 12, 26, X and FastestV2, decoded in the file or left as maps.

Sources: ultralytics' predictors, YOLOv5's Detect layer, YOLOX's demo_postprocess, airockchip's rknn_model_zoo. With s
the stride: v5 center = (2x - 0.5 + cell) s, size = (2w)^2 * anchor; v8 edges = center of the cell -/+ bins * s;
X center = (x + cell) s, size = e^w s. The last axis of v5, v6, v7 and X starts with x, y, w, h, objectness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edge_app.compiler.metadata import literal
from edge_app.compiler.reference.candidates import (
    Candidates,
    Float64,
    Outputs,
    Published,
    cells,
    centered,
    expected_bin,
    from_distances,
    positions,
    pyramid,
    sigmoid,
)

_BINS = 16
_ANCHORS = {  # as published for three and four strides, from the finest
    3: ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326)),
    4: (
        (19, 27, 44, 40, 38, 94), (96, 68, 86, 152, 180, 137), (140, 301, 303, 264, 238, 542),
        (436, 615, 739, 380, 925, 792),
    ),
}  # fmt: skip
_ANCHORS_V7 = ((12, 16, 19, 36, 40, 28), (36, 75, 76, 55, 72, 146), (142, 110, 192, 243, 459, 401))
_FAST_STRIDES = (16, 32)
_FAST_ANCHORS = (12.64, 19.39, 37.88, 51.48, 55.71, 138.31, 126.91, 78.23, 131.57, 214.55, 279.92, 258.87)
_COARSEST_FIRST = 16  # the finest stride of a detector is not above this
_OBJECTNESS = ("v5", "x", "fastestv2")
_RAW_CENTER = 8  # cells; the median center of raw boxes is closer to its cell


def candidates(published: Published, outputs: Outputs) -> Candidates | None:
    """The boxes of one image. None: not a form that is known here."""
    tables = list(outputs.values())
    if _version(published) == "fastestv2" and all(table.ndim == 3 for table in tables):
        tables = [np.concatenate([_fastest_rows(published, table) for table in tables])]
    flat = [table for table in tables if table.ndim == 2]
    if len(flat) == 1:  # YOLOv5 before 6.2 writes its maps of training too
        return _table(published, flat[0])
    if len(tables) == 2 and len(flat) == 2:
        return _boxes_and_scores(published, tables)
    if all(table.ndim in (3, 4) for table in tables):
        return _maps(published, tables)
    return None


def _table(published: Published, table: Float64) -> Candidates | None:
    """One output: a row or a column for each box."""
    rows, columns = table.shape
    if "task" in published.metadata:
        return _ultralytics(published, table)
    if columns == 6 and _is_final(table):
        return _final(table)
    in_rows, in_columns = _strides(published, rows), _strides(published, columns)
    anchors = len((published.options.get("anchors") or ((0,) * 6,))[0]) // 2  # of a cell; 3 as published
    by_anchor = () if rows % anchors else _strides(published, rows // anchors)
    if in_columns and columns > rows:
        in_rows = by_anchor = ()
    if by_anchor and columns > 5:
        one_class = columns == 6 and published.options.get("version") == "v7"  # v7 ignores the score of a single class
        return _with_objectness(np.insert(table[:, :5], 5, 1.0, axis=1) if one_class else table)
    if in_rows == _FAST_STRIDES and columns > 15 and _version(published) != "x":
        return _fastest(published, table)
    plain = published.classes == columns - 4 or (_version(published) == "v8" and not published.cut)
    if in_rows and plain and published.classes != columns - 5:
        return _plain(table, columns - 4)
    if in_rows and columns > 5:
        return _with_objectness(_grid_boxes(published, table, in_rows))
    return _plain(table.T, rows - 4) if in_columns and rows > 4 else None


def _strides(published: Published, count: int) -> tuple[int, ...]:
    """The strides of `count` cells, of which the finest is at most 16; () if there are none."""
    strides = pyramid(published.size, count)
    return strides if strides and strides[0] <= _COARSEST_FIRST else ()


def _version(published: Published) -> str:
    """The version whose rule is the same."""
    version = str(published.options.get("version", "auto"))
    same = {"v7": "v5", "v6": "x", "v9": "v8", "v10": "v8", "v11": "v8", "v12": "v8", "v26": "v8"}
    return same.get(version, version)


def _fastest_rows(published: Published, table: Float64) -> Float64:
    """The cells of a map (h, w, C) or (C, h, w), as rows. A map of logits is one of channels first."""
    if not _stride(published.size, table.shape[1:]):
        interleaved: Float64 = table.reshape(-1, table.shape[-1])
        return interleaved
    rows: Float64 = table.reshape(len(table), -1).T
    if rows[:, 12:15].min() >= 0:
        return rows
    weight = np.exp(rows[:, 15:] - rows[:, 15:].max(axis=1, keepdims=True))
    return np.concatenate([sigmoid(rows[:, :15]), weight / weight.sum(axis=1, keepdims=True)], axis=1)


def _fastest(published: Published, table: Float64) -> Candidates:
    """YOLO-FastestV2: rows of 3 x 4 box values, 3 objectnesses and the classes, of three anchors at two strides."""
    column, row, stride = positions(published.size, _FAST_STRIDES)
    anchors = np.array(published.options.get("anchors") or _FAST_ANCHORS).reshape(2, 3, 2)
    size = anchors[(stride == _FAST_STRIDES[1]).astype(int)]  # (N, 3, 2)
    boxes, scores = [], []
    for i in range(3):
        x, y, w, h = table[:, 4 * i : 4 * i + 4].T
        x, y = (2 * x - 0.5 + column) * stride, (2 * y - 0.5 + row) * stride
        boxes.append(centered(x, y, (2 * w) ** 2 * size[:, i, 0], (2 * h) ** 2 * size[:, i, 1]))
        scores.append(table[:, 12 + i : 13 + i] * table[:, 15:])
    return Candidates(np.concatenate(boxes), np.concatenate(scores))


def _ultralytics(published: Published, table: Float64) -> Candidates | None:
    """A file with ultralytics' metadata: the task, the number of classes."""
    if published.metadata["task"] != "detect":
        return None
    classes = _class_count(published.metadata)
    if table.shape[1] == 6 and _is_final(table):
        return _final(table)
    in_columns = table.shape[1] > table.shape[0] or not _strides(published, table.shape[0])
    return _plain(table.T if in_columns else table, classes)


def _class_count(metadata: Mapping[str, str]) -> int:
    names = literal(metadata.get("names"))
    return len(names) if isinstance(names, (dict, list, tuple)) else 0


def _is_final(table: Float64) -> bool:
    """Whether the rows end in a score and a whole number, the class."""
    score, class_id = table[:, 4], table[:, 5]
    return bool(((class_id == np.round(class_id)) & (class_id >= 0) & (score >= 0) & (score <= 1)).all())


def _final(table: Float64) -> Candidates:
    """Rows of x1, y1, x2, y2, score and class, selected in the file."""
    class_id = np.maximum(table[:, 5].astype(int), 0)
    scores = np.zeros((len(table), int(class_id.max(initial=0)) + 1))
    scores[np.arange(len(table)), class_id] = table[:, 4]
    return Candidates(table[:, :4], scores, final=True)


def _plain(boxes: Float64, classes: int) -> Candidates:
    """Rows of x, y, w, h and class scores."""
    return Candidates(centered(*boxes[:, :4].T), boxes[:, 4 : 4 + classes])


def _with_objectness(boxes: Float64) -> Candidates:
    """Rows of x, y, w, h, objectness, class scores."""
    scores = boxes[:, 4:]
    if scores.min(initial=0) < 0 or scores.max(initial=0) > 1:
        scores = sigmoid(scores)
    return Candidates(centered(*boxes[:, :4].T), scores[:, :1] * scores[:, 1:])


def _grid_boxes(published: Published, boxes: Float64, strides: Sequence[int]) -> Float64:
    """Boxes of YOLOX (N, 5 + C) in pixels. A file that decodes them has an Exp; else they are relative to the cells."""
    declared = published.options.get("boxes", "auto")
    decoded = "Exp" in published.operators or bool(np.median(np.abs(boxes[:, :2])) > _RAW_CENTER)
    if declared == "decoded" or (declared == "auto" and decoded):
        return boxes
    column, row, stride = positions(published.size, strides)
    center = (boxes[:, :2] + np.stack([column, row], 1)) * stride[:, None]
    return np.concatenate([center, np.exp(boxes[:, 2:4]) * stride[:, None], boxes[:, 4:]], axis=1)


def _boxes_and_scores(published: Published, tables: Sequence[Float64]) -> Candidates | None:
    """x, y, w, h (4, N) and scores (C, N), in either order."""
    first, second = tables
    boxes, scores = (second, first) if len(first) != 4 or published.classes == len(first) != len(second) else tables
    return Candidates(centered(*boxes), scores.T) if len(boxes) == 4 else None


def _maps(published: Published, tables: Sequence[Float64]) -> Candidates | None:
    """Maps of each stride: the file leaves the decoding to its user."""
    sizes = sorted({_map_size(table) for table in tables}, reverse=True)
    levels = [[table for table in tables if _map_size(table) == size] for size in sizes]
    strides = [_stride(published.size, size) for size in sizes]
    own = published.options.get("version") == "v10" or (len(levels[0]) > 2 and _version(published) in _OBJECTNESS)
    if own or 0 in strides or len({len(level) for level in levels}) != 1:
        return None  # own: forms of compiled folders, which nobody publishes
    activation = "auto" if published.cut else published.options.get("activation", "auto")  # that of a cut is its own
    found = _levels(replace(published, options={**published.options, "activation": "none"}), levels, strides)
    if found is None:
        return None
    if activation == "apply" or (activation == "auto" and found[1].min(initial=0) < 0):
        found = _levels(replace(published, options={**published.options, "activation": "apply"}), levels, strides)
        assert found is not None
    boxes, scores = found
    return Candidates(boxes, scores[:, :1] * scores[:, 1:] if _objectness(published, levels[0]) else scores)


def _map_size(table: Float64) -> tuple[int, ...]:
    """Height and width of a map (C, h, w) or (A, h, w, C)."""
    return table.shape[-2:] if table.ndim == 3 else table.shape[1:3]


def _levels(
    published: Published, levels: Sequence[Sequence[Float64]], strides: Sequence[int]
) -> tuple[Float64, Float64] | None:
    """Boxes (N, 4) and scores (N, [1 +] C) of all strides; `activation` is one of apply and none."""
    found = [_level(published, level, stride, i, len(levels)) for i, (level, stride) in enumerate(zip(levels, strides))]
    parts = [part for part in found if part is not None]
    if len(parts) != len(found):
        return None
    boxes, scores = (np.concatenate(part) for part in zip(*parts))
    return boxes, sigmoid(scores) if published.options["activation"] == "apply" else scores


def _stride(size: tuple[int, int], cells_: tuple[int, ...]) -> int:
    return next((s for s in (4, 8, 16, 32, 64) if (-(-size[1] // s), -(-size[0] // s)) == cells_), 0)


def _objectness(published: Published, level: Sequence[Float64]) -> bool:
    """Whether the scores start with the objectness: one map a level, unless it is one of v8."""
    return len(level) == 1 and not (level[0].ndim == 3 and _is_v8(published, len(level[0])))


def _is_v8(published: Published, channels: int) -> bool:
    return _version(published) == "v8" or 4 * _BINS + published.classes == channels


def _level(
    published: Published, level: Sequence[Float64], stride: int, index: int, count: int
) -> tuple[Float64, Float64] | None:
    """Boxes (N, 4) and scores (N, [1 +] C), as they are, of one stride."""
    column, row = cells(published.size, stride)
    if len(level) > 1:
        flat = [table.reshape(len(table), -1).T for table in level]
        sums = [i for i, table in enumerate(flat) if table.shape[1] == 1]
        if len(flat) > 2 and sums:  # rknn_model_zoo adds the sum of the scores
            del flat[sums[-1]]
        first, second = flat[0].shape[1], flat[1].shape[1]
        first_is_box = first in (4, 4 * _BINS, 4 * (_BINS + 1)) and (first == second or published.classes != first)
        boxes, scores = flat[:2] if first_is_box else flat[1::-1]
    elif level[0].ndim == 4 or not _is_v8(published, len(level[0])):
        return _anchored(published, level[0], stride, index, count)
    else:
        table = level[0].reshape(len(level[0]), -1).T
        boxes, scores = table[:, : 4 * _BINS], table[:, 4 * _BINS :]
    distance = boxes if boxes.shape[1] == 4 else expected_bin(boxes.reshape(len(boxes), 4, -1))
    return from_distances((column + 0.5) * stride, (row + 0.5) * stride, distance * stride), scores


def _anchored(
    published: Published, level: Float64, stride: int, index: int, count: int
) -> tuple[Float64, Float64] | None:
    """v5's map (A * (5 + C), h, w) or (A, h, w, 5 + C); X's map (5 + C, h, w)."""
    column, row = cells(published.size, stride)
    channels = len(level)
    if level.ndim == 3 and (_version(published) == "x" or channels % 3 or published.classes == channels - 5):
        flat = level.reshape(channels, -1).T
        center = (flat[:, :2] + np.stack([column, row], 1)) * stride
        return centered(*center.T, *(np.exp(flat[:, 2:4]) * stride).T), flat[:, 4:]
    usual = _ANCHORS_V7 if published.options.get("version") == "v7" else _ANCHORS.get(count)
    anchors = published.options.get("anchors") or usual
    if not anchors or len(anchors) != count:
        return None
    pairs = np.reshape(anchors[index], (-1, 2))
    by_anchor = level if level.ndim == 4 else level.reshape(len(pairs), -1, *level.shape[1:]).transpose(0, 2, 3, 1)
    boxes, scores = [], []
    for values, (width, height) in zip(by_anchor.reshape(len(pairs), -1, by_anchor.shape[-1]), pairs):
        near = sigmoid(values[:, :4]) if published.options["activation"] == "apply" else values[:, :4]
        x, y = (2 * near[:, 0] - 0.5 + column) * stride, (2 * near[:, 1] - 0.5 + row) * stride
        boxes.append(centered(x, y, (2 * near[:, 2]) ** 2 * width, (2 * near[:, 3]) ** 2 * height))
        scores.append(values[:, 4:])
    return np.concatenate(boxes), np.concatenate(scores)
