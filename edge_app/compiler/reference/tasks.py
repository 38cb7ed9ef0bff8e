"""The rules of YOLOs for poses, oriented boxes and instances, as ultralytics' predictors and YOLOv5's decode them.

A row is x, y, w, h, class scores and further values; of YOLOv5 also the objectness, after the box. End-to-end files
give four values of the box, score, class and further values: corners, or center and size of an oriented box.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge_app.compiler.reference.candidates import (
    Candidates,
    Float64,
    Outputs,
    Published,
    centered,
    expected_bin,
    pyramid,
    sigmoid,
)

_FINAL = 6  # values before the further ones
_COARSEST_FIRST = 16
_DISTANCES = 64  # 16 bins for each edge
_ZOO_OUTPUTS = 4  # of each grid
_ANCHORS = 6  # of a cell, at most


@dataclass(frozen=True, slots=True)
class _Rows:
    """Four values of each box (N, 4), scores (N, C) and further values (N, E). final: selected by the file."""

    boxes: Float64
    scores: Float64
    extra: Float64
    final: bool


def pose(published: Published, outputs: Outputs) -> Candidates | None:
    """x, y in pixels and, with three values, a probability for each keypoint."""
    count, values = published.options.get("keypoints") or _usual_keypoints(published, list(outputs.values()))
    found = _rows(published, list(outputs.values()), count * values) or _zoo_pose(published, list(outputs.values()))
    if found is None or not count:
        return None
    points = found.extra.reshape(len(found.extra), count, values)
    return replace(
        _upright(found), points=points[..., :2], visibility=points[..., 2] if values == 3 else None
    )  # fmt: skip


def _usual_keypoints(published: Published, arrays: list[Float64]) -> tuple[int, int]:
    """The number of keypoints and of their values, from one table beside the classes; three values if possible."""
    if len(arrays) != 1 or arrays[0].ndim != 2:
        return 0, 0
    rows, columns = arrays[0].T.shape if _is_pyramid(published, arrays[0].shape[1]) else arrays[0].shape
    extra = columns - (4 + (published.classes or 1) if _is_pyramid(published, rows) else _FINAL)
    return (extra // 3, 3) if extra % 3 == 0 else (extra // 2, 2)


def obb(published: Published, outputs: Outputs) -> Candidates | None:
    """Center, size and the angle of the width, in radians."""
    found = _rows(published, list(outputs.values()), 1)
    if found is None:
        return None
    x, y, width, height = found.boxes.T
    turn = np.exp(1j * found.extra[:, 0])
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    points = np.stack([x + 1j * y + turn * (i * width / 2 + 1j * j * height / 2) for i, j in signs], axis=1)
    corners = np.stack([points.real, points.imag], axis=2)
    xyxy = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    return Candidates(xyxy, found.scores, final=found.final, corners=corners)


def instances(published: Published, outputs: Outputs) -> Candidates | None:
    """Coefficients of the prototypes, which are the one output that is a map."""
    maps = [array for array in outputs.values() if array.ndim == 3]
    tables = [array for array in outputs.values() if array.ndim == 2]
    if len(maps) == len(outputs) and len(maps) % _ZOO_OUTPUTS == 1:
        found = _zoo_instances(published, maps[:-1])
        return None if found is None else replace(_upright(found), coefficients=found.extra, prototypes=maps[-1])
    if len(maps) != 1:
        return None
    found = _rows(published, tables, len(maps[0]))
    return None if found is None else replace(_upright(found), coefficients=found.extra, prototypes=maps[0])


def masks(candidates: Candidates, rows: list[int], size: tuple[int, int]) -> list[Float64]:
    """The masks (H, W) of some boxes, at the size of the input, 0 or 1: ultralytics' `process_mask`, enlarged first."""
    assert candidates.coefficients is not None
    assert candidates.prototypes is not None
    width, height = size
    _, cells_down, cells_across = candidates.prototypes.shape
    down, across = _bilinear(height, cells_down), _bilinear(width, cells_across)
    y, x = np.arange(height)[:, None], np.arange(width)[None]
    found = []
    for row in rows:
        sums = np.tensordot(candidates.coefficients[row], candidates.prototypes, 1)
        left, top, right, bottom = candidates.xyxy[row]
        inside = (down @ sums @ across.T > 0) & (x >= left) & (x < right) & (y >= top) & (y < bottom)
        found.append(inside.astype(np.float64))
    return found


def _bilinear(size: int, cells: int) -> Float64:
    """The weights (size, cells) of cells for each pixel, whose positions are those of their centers."""
    position = np.clip((np.arange(size) + 0.5) * cells / size - 0.5, 0, cells - 1)
    weights: Float64 = np.maximum(1 - np.abs(position[:, None] - np.arange(cells)), 0)
    return weights


def _rows(published: Published, tables: list[Float64], extra: int) -> _Rows | None:
    """The rows of the one table; None if its form is not known here."""
    if len(tables) != 1:
        return None
    table = tables[0]
    if _is_pyramid(published, table.shape[1]):
        table = table.T
    rows, columns = table.shape
    if _is_pyramid(published, rows) and columns > 4 + extra:
        return _Rows(table[:, :4], table[:, 4 : columns - extra], table[:, columns - extra :], False)
    if any(rows % n == 0 and _is_pyramid(published, rows // n) for n in range(3, _ANCHORS + 1)):
        scores = table[:, 4:5] * table[:, 5 : columns - extra]
        return _Rows(table[:, :4], scores, table[:, columns - extra :], False)
    if columns != _FINAL + extra:
        return None
    class_id = np.maximum(table[:, 5].astype(int), 0)
    scores = np.zeros((rows, int(class_id.max(initial=0)) + 1))
    scores[np.arange(rows), class_id] = table[:, 4]
    return _Rows(table[:, :4], scores, table[:, 6:], True)


def _zoo_pose(published: Published, arrays: list[Float64]) -> _Rows | None:
    """rknn_model_zoo: boxes and scores of each grid in one map (64 + C, h, w), and decoded keypoints (K, D, cells)."""
    *maps, points = arrays
    if not maps or points.ndim != 3 or any(array.ndim != 3 or len(array) <= _DISTANCES for array in maps):
        return None
    parts = [_zoo_level(published, array[:_DISTANCES], array[_DISTANCES:]) for array in maps]
    boxes, scores = (np.concatenate(part) for part in zip(*parts))
    return _Rows(boxes, scores, points.reshape(-1, points.shape[-1]).T, False)


def _zoo_instances(published: Published, maps: list[Float64]) -> _Rows | None:
    """rknn_model_zoo: for each grid boxes (64, h, w), scores, their sum, and mask coefficients."""
    levels = [maps[i : i + _ZOO_OUTPUTS] for i in range(0, len(maps), _ZOO_OUTPUTS)]
    if any(len(level[0]) != _DISTANCES or len({array.shape[1:] for array in level}) != 1 for level in levels):
        return None
    parts = [_zoo_level(published, level[0], level[1]) for level in levels]
    boxes, scores = (np.concatenate(part) for part in zip(*parts))
    return _Rows(boxes, scores, np.concatenate([level[3].reshape(len(level[3]), -1).T for level in levels]), False)


def _zoo_level(published: Published, boxes: Float64, scores: Float64) -> tuple[Float64, Float64]:
    """Center and size (N, 4) in pixels, and scores (N, C), of one grid, from the bins of distances (64, h, w)."""
    _, rows, columns = boxes.shape
    row, column = np.divmod(np.arange(rows * columns, dtype=np.float64), columns)
    near_far = expected_bin(boxes.reshape(_DISTANCES, -1).T.reshape(rows * columns, 4, -1))
    across, down = published.size[0] / columns, published.size[1] / rows
    left, top, right, bottom = near_far.T
    x, y = column + 0.5 + (right - left) / 2, row + 0.5 + (bottom - top) / 2
    values = np.stack([x * across, y * down, (left + right) * across, (top + bottom) * down], axis=1)
    found = scores.reshape(len(scores), -1).T
    return values, sigmoid(found) if found.min(initial=0) < 0 else found


def _is_pyramid(published: Published, count: int) -> bool:
    """Whether the grids of several strides, of which the finest is at most 16, have so many cells."""
    strides = pyramid(published.size, count)
    return len(strides) > 1 and strides[0] <= _COARSEST_FIRST


def _upright(found: _Rows) -> Candidates:
    xyxy = found.boxes if found.final else centered(*found.boxes.T)
    return Candidates(xyxy, found.scores, final=found.final)
