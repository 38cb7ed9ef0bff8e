"""The input and the result of a rule, and the arithmetic that rules share.

Everything is float64 in input pixels. Not here: the rules of families, suppression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]
Outputs = Mapping[str, Float64]  # by name, in the file's order, without the batch
_STRIDES = (4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Every box that a file gives, before suppression.

    xyxy: (N, 4). scores: (N, C), of every class. points: (N, K, 2), if the file gives landmarks. final: the file has
    selected the boxes itself; the order of its rows means nothing, and there is nothing to suppress.
    visibility: (N, K), of the landmarks, if the file gives it. corners: (N, 4, 2), of oriented boxes; xyxy is the
    upright box around them. coefficients: (N, P), of the `prototypes` (P, H, W) of masks.
    """

    xyxy: Float64
    scores: Float64
    points: Float64 | None = None
    final: bool = False
    visibility: Float64 | None = None
    corners: Float64 | None = None
    coefficients: Float64 | None = None
    prototypes: Float64 | None = None

    @property
    def marks(self) -> Float64 | None:
        """The landmarks, or the corners of oriented boxes, (N, K, 2); None without both."""
        return self.points if self.corners is None else self.corners


@dataclass(frozen=True, slots=True)
class Published:
    """Properties of a published file that a rule may use in addition to its outputs.

    options: of the head, as in the manifest. size: width and height of the input. classes: number of labels, 0 if
    unknown. metadata: of the file. operators: the types of its nodes. cut: the compiler has removed a tail, so that the
    file decodes more than the compiled graph.
    """

    family: str
    options: Mapping[str, Any]
    size: tuple[int, int]
    classes: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)
    operators: frozenset[str] = frozenset()
    cut: bool = False


def sigmoid(x: Float64) -> Float64:
    """1 / (1 + e^-x)."""
    result: Float64 = 1 / (1 + np.exp(-np.clip(x, -700, 700)))
    return result


def centered(x: Float64, y: Float64, width: Float64, height: Float64) -> Float64:
    """Boxes (N, 4) from centers and sizes, (N,) each."""
    return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)


def from_distances(x: Float64, y: Float64, distance: Float64) -> Float64:
    """Boxes (N, 4) from points (N,) and the distances (N, 4) of the left, top, right and bottom edges."""
    return np.stack([x - distance[:, 0], y - distance[:, 1], x + distance[:, 2], y + distance[:, 3]], axis=1)


def expected_bin(logits: Float64) -> Float64:
    """The mean of a softmax over bins 0, 1, 2 …. logits: (N, 4, bins). Returns (N, 4)."""
    weight = np.exp(logits - logits.max(axis=2, keepdims=True))
    mean: Float64 = (weight * np.arange(logits.shape[2])).sum(axis=2) / weight.sum(axis=2)
    return mean


def cells(size: tuple[int, int], stride: int) -> tuple[Float64, Float64]:
    """Column and row of every cell of a grid, (N,) each, row by row. size: of the input."""
    columns, rows = -(-size[0] // stride), -(-size[1] // stride)
    row, column = np.divmod(np.arange(columns * rows, dtype=np.float64), columns)
    return column, row


def pyramid(size: tuple[int, int], count: int) -> tuple[int, ...]:
    """The consecutive strides whose grids have `count` cells in total; () if there are none."""
    for first in range(len(_STRIDES)):
        for last in range(first + 1, len(_STRIDES) + 1):
            strides = _STRIDES[first:last]
            if sum(-(-size[0] // s) * -(-size[1] // s) for s in strides) == count:
                return strides
    return ()


def positions(size: tuple[int, int], strides: Sequence[int]) -> tuple[Float64, Float64, Float64]:
    """Column, row and stride of every cell of all grids, (N,) each."""
    grids = [cells(size, stride) for stride in strides]
    column, row = (np.concatenate([grid[i] for grid in grids]) for i in (0, 1))
    return column, row, np.repeat(np.array(strides, np.float64), [len(grid[0]) for grid in grids])


def overlaps(a: Float64, b: Float64) -> Float64:
    """IoU (N, M) of boxes a (N, 4) and b (M, 4)."""
    width, height = (np.minimum(a[:, None, i + 2], b[:, i + 2]) - np.maximum(a[:, None, i], b[:, i]) for i in (0, 1))
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    area_a, area_b = (np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1) for boxes in (a, b))
    ratio: Float64 = shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-12)
    return ratio


def rotated_overlaps(a: Float64, b: Float64) -> Float64:
    """The overlap (N, M) of oriented boxes by their corners (N, 4, 2) and (M, 4, 2): ultralytics' probabilistic IoU."""
    means, spreads = zip(*(_normal(corners) for corners in (a, b)))
    apart = means[0][:, None] - means[1]  # (N, M, 2)
    middle = (spreads[0][:, None] + spreads[1]) / 2 + np.eye(2) * 1e-9  # (N, M, 2, 2)
    solved = np.linalg.solve(middle, apart[..., None])[..., 0]
    determinants = [np.maximum(np.linalg.det(spread), 1e-12) for spread in spreads]
    ratio = np.linalg.det(middle) / np.sqrt(determinants[0][:, None] * determinants[1])
    distance = np.clip((apart * solved).sum(axis=2) / 8 + np.log(np.maximum(ratio, 1e-12)) / 2, 0, 100)
    overlap: Float64 = 1 - np.sqrt(1 - np.exp(-distance))
    return overlap


def _normal(corners: Float64) -> tuple[Float64, Float64]:
    """Means (N, 2) and covariances (N, 2, 2) of the uniform distributions over oriented boxes."""
    sides = [corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0]]
    products = [side[:, :, None] * side[:, None] for side in sides]  # (N, 2, 2)
    return corners.mean(axis=1), (products[0] + products[1]) / 12
