"""F1 with score hysteresis, from counts of agreeing objects.

Hysteresis: an object that one result set reports with confidence agrees if the other set has it, even with a slightly
lower score. A score that varies around its threshold is then not a disagreement.
Not here: which boxes match (matching.py), results that are not boxes (results.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_app.evaluation.matching import Matches, class_iou, match_by_iou
from edge_app.frame import Detections, Float32

SCORE, LOWER_SCORE, LEAST_IOU = 0.4, 0.3, 0.5


class Counts(NamedTuple):
    """Confident objects of both sides together: those that agree, and all of them."""

    agreeing: int
    total: int


def f1(counts: ArrayLike) -> float:
    """F1 over frames. counts: (N, 2), a `Counts` for each frame. 1 if neither side has an object."""
    agreeing, total = _table(counts).sum(axis=0)
    return float(agreeing / total) if total else 1.0


def frame_f1(counts: ArrayLike) -> Float32:
    """F1 of each frame, (N,) float32. counts: (N, 2), a `Counts` for each frame."""
    return np.array([f1(row) for row in _table(counts)], np.float32)


def worst_frame(frames: Float32) -> float:
    """The lowest F1 of `frame_f1`; 1 without frames."""
    return float(frames.min(initial=1))


def mean_matched_iou(matches: Sequence[Matches]) -> float:
    """The mean IoU of all pairs, a `Matches` for each frame. 1 without pairs."""
    overlaps = np.concatenate([frame.iou for frame in matches]) if matches else np.empty(0)
    return float(overlaps.mean()) if len(overlaps) else 1.0


def paired_counts(matches: Matches, confident_rows: NDArray[np.bool_], confident_columns: NDArray[np.bool_]) -> Counts:
    """Count one frame whose boxes were matched once, those below the confidence threshold included.

    confident_rows, confident_columns: (N,) and (M,), the boxes of each side that are at or above its threshold.
    """
    agreeing = int(confident_rows[matches.rows].sum()) + int(confident_columns[matches.columns].sum())
    return Counts(agreeing, int(confident_rows.sum() + confident_columns.sum()))


def hysteresis_counts(
    reference: Detections, predicted: Detections, score: float, lower_score: float, least_iou: float
) -> Counts:
    """Count one frame, matching the confident boxes of each side separately, highest IoU first.

    score: the least score of a confident box; lower_score: the least score of its match.
    """
    agreeing = total = 0
    for side, other in ((reference, predicted), (predicted, reference)):
        confident, candidates = side[side.score >= score], other[other.score >= lower_score]
        overlap = class_iou(confident.xyxy, confident.class_id, candidates.xyxy, candidates.class_id)
        agreeing += len(match_by_iou(overlap, least_iou))
        total += len(confident)
    return Counts(agreeing, total)


def f1_with_hysteresis(
    reference: Sequence[Detections],
    predicted: Sequence[Detections],
    *,
    score: float = SCORE,
    lower_score: float = LOWER_SCORE,
    least_iou: float = LEAST_IOU,
) -> float:
    """F1 of detections in the same frames, by `hysteresis_counts`. 1 if neither side has a confident box."""
    return f1([hysteresis_counts(r, f, score, lower_score, least_iou) for r, f in zip(reference, predicted)])


def _table(counts: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(counts, np.float64).reshape(-1, 2)
