"""One-to-one matching of two sets of boxes, by IoU and class.

The three rules give different pairs when boxes compete for a partner, so a figure must name its rule: `match_by_iou`
(the compiler), `match_optimal` (the benchmarks) and `match_by_score` (accuracy against labels, as COCO does it).
Not here: counts and F1 (agreement.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Float32
from edge_app.geometry import iou
from edge_app.tracking.assignment import assign


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Pairs of boxes. rows, columns: (K,) intp, indices into the two sets; iou: (K,) float32, of each pair."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    iou: Float32

    def __len__(self) -> int:
        return len(self.rows)


def class_iou(a_xyxy: Float32, a_class: NDArray[Any], b_xyxy: Float32, b_class: NDArray[Any]) -> Float32:
    """IoU of every pair of the same class, 0 for other pairs. xyxy: (N, 4) and (M, 4); class: (N,) and (M,).

    Returns (N, M).
    """
    overlap: Float32 = iou(a_xyxy, b_xyxy) * (a_class[:, None] == b_class[None])
    return overlap


def match_by_iou(overlap: Float32, least_iou: float) -> Matches:
    """Match greedily, highest IoU first. overlap: (N, M) from `class_iou`; least_iou > 0."""
    left = overlap.copy()
    pairs = []
    while left.size and left.max() >= least_iou:
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        left[row], left[:, column] = 0, 0
        pairs.append((int(row), int(column)))
    return _matches(overlap, pairs)


def match_by_score(overlap: Float32, score: NDArray[np.floating[Any]], least_iou: float) -> Matches:
    """Match greedily, highest score first: each row takes the free column with the highest IoU.

    overlap: (N, M) from `class_iou`, a row for each detection; score: (N,), of the detections; least_iou > 0.
    """
    left = overlap.copy()
    pairs = []
    for row in np.argsort(-score, kind="stable").tolist():
        if left.size and left[row].max() >= least_iou:
            column = int(left[row].argmax())
            left[:, column] = 0
            pairs.append((row, column))
    return _matches(overlap, pairs)


def match_optimal(overlap: Float32, least_iou: float) -> Matches:
    """Match for the greatest sum of IoU. overlap: (N, M) from `class_iou`; least_iou > 0."""
    if not overlap.size:
        return _matches(overlap, [])
    rows, columns = assign(overlap, least_iou)
    return Matches(rows, columns, overlap[rows, columns])


def _matches(overlap: Float32, pairs: list[tuple[int, int]]) -> Matches:
    index = np.array(pairs, np.intp).reshape(-1, 2)
    return Matches(index[:, 0], index[:, 1], overlap[index[:, 0], index[:, 1]])
