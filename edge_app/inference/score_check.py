"""Check that the scores of a head are probabilities: other values that a decoder takes for scores are a fault.

Typical causes: keypoints, mask coefficients or an angle read as classes, or a sigmoid that is missing. Covers every
head, installed ones too; heads therefore do not clip scores. Not here: what happens to a head that fails (stage.py).
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Union

import numpy as np

from edge_app.errors import ModelError
from edge_app.frame import Classification, Detections, Float32, Result, Segmentation

TOLERANCE = 0.02  # a dequantized probability may be outside 0..1 by one step
_FRAMES, _SCORES = 5, 20  # the share of scores that are exactly 1 is taken over this many
EXPECTED = "expected probabilities: other values, such as keypoints, may be read as scores"
_MAX_OUTSIDE, _WITHIN = 3, 100  # after this many frames with an impossible score, within so many, all of them fail

_Scored = Union[Detections, Classification, Segmentation]


class ScoreCheck:
    """The check of one head. where: for messages. quantized: its outputs are int8, where exactly 1 is a usual value."""

    def __init__(self, where: str, *, quantized: bool = False) -> None:
        self._where = where
        self._quantized = quantized
        self.reset()

    def reset(self) -> None:
        """Forget earlier frames."""
        self._decoded = 0
        self._outside: deque[int] = deque(maxlen=_MAX_OUTSIDE)  # the latest frames with impossible scores
        self._error = ""  # what was wrong with the last of them
        self._latest: deque[tuple[int, int]] = deque([(0, 0)] * _FRAMES, _FRAMES)  # scores, and those exactly 1
        self._total = self._ones = 0  # the sums of `_latest`

    def apply(self, result: Result) -> Result:
        """The result with scores in 0..1: those that are outside by rounding are clipped.

        Raises ModelError if scores are further outside, if that was the case in several of the latest frames, or if
        most scores of the latest frames are exactly 1.
        """
        if not isinstance(result, (Detections, Classification, Segmentation)):
            return result
        self._decoded += 1
        if len(self._outside) == _MAX_OUTSIDE and self._decoded - self._outside[0] < _WITHIN:
            raise ModelError(self._error)
        score = result.score
        lowest, highest = _limits(score) if len(score) else (0, 0)
        if not (lowest >= -TOLERANCE and highest <= 1 + TOLERANCE):  # true for NaN
            self._outside.append(self._decoded)
            self._error = f"{self._where}: found {out_of_range(score)}; {EXPECTED}"
            raise ModelError(self._error)
        if not (self._quantized or isinstance(result, Classification)):
            self._count(len(score), int(np.count_nonzero(score == 1)) if highest >= 1 else 0)
        return _clipped(result) if highest > 1 or lowest < 0 else result

    def _count(self, scores: int, ones: int) -> None:
        """Add the scores of a frame. Raises ModelError if more than half of those of the latest frames are 1."""
        oldest, oldest_ones = self._latest[0]
        self._latest.append((scores, ones))
        self._total += scores - oldest
        self._ones += ones - oldest_ones
        if self._total >= _SCORES and 2 * self._ones > self._total:
            raise ModelError(f"{self._where}: found {self._ones} of {self._total} scores at exactly 1; {EXPECTED}")


def out_of_range(score: Float32) -> str:
    """What is wrong with scores (N,) that are outside 0..1 by more than TOLERANCE, or NaN; otherwise empty."""
    lowest, highest = _limits(score) if len(score) else (0, 0)
    if lowest >= -TOLERANCE and highest <= 1 + TOLERANCE:
        return ""
    return f"a score of {lowest if highest <= 1 + TOLERANCE else highest:.4g}"


def _clipped(result: _Scored) -> Result:
    scores = np.clip(result.score, 0, 1)
    if not isinstance(result, Detections) or result.keypoints is None:
        return replace(result, score=scores)
    keypoints = result.keypoints.copy()
    np.clip(keypoints[..., 2], 0, 1, out=keypoints[..., 2])
    return replace(result, score=scores, keypoints=keypoints)


def _limits(score: Float32) -> tuple[float, float]:
    return np.minimum.reduce(score), np.maximum.reduce(score)  # faster than the methods min and max
