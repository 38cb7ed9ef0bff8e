"""Results of second-stage heads, cached as long as an object's crop does not change.

An object is matched by position: its box overlaps its box in the previous frame. Its crop is compared with the crop
that the result was computed from, so slow changes add up.
Not here: cutting and running crops (inference/crops.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge_app.frame import Float32, Result, UInt8
from edge_app.geometry.boxes import iou
from edge_app.reuse.relaxation import AGE_FACTOR

_THUMBNAIL = (16, 16)  # pixels: small enough to average out noise
_MEAN_TOLERANCE = 6.0  # gray levels, mean over the thumbnail
_PIXEL_TOLERANCE = 40.0  # gray levels, any pixel of the thumbnail
_MIN_IOU = 0.5  # with the object's box in the previous frame


@dataclass(slots=True)
class _CachedObject:
    box: Float32
    thumbnail: UInt8
    result: Result
    computed_ns: int


class CropCache:
    """The cached results of one head. Objects that a frame does not ask for are removed at its end."""

    def __init__(self, max_age_ns: int) -> None:
        self._configured_ns = self._max_age_ns = max_age_ns
        self._previous: list[_CachedObject] = []
        self._current: list[_CachedObject] = []

    def clear(self) -> None:
        """Forget all results."""
        self._previous, self._current = [], []

    def relax(self, relaxed: bool) -> None:
        """Allow older results than configured (relaxation.py), or stop that. Any thread may call it."""
        self._max_age_ns = (AGE_FACTOR if relaxed else 1) * self._configured_ns

    def find(self, box: Float32, crop: UInt8, now_ns: int) -> tuple[Result, int] | None:
        """The cached result of the object in `box`, (4,) xyxy in image pixels, and when it was computed.

        crop: (H, W, 3). Returns None if the object is new, its crop changed or the result is too old.
        """
        cached = self._match(box)
        if cached is None or not 0 <= now_ns - cached.computed_ns <= self._max_age_ns:
            return None
        difference = cv2.absdiff(_thumbnail(crop), cached.thumbnail)
        if cv2.mean(difference)[0] > _MEAN_TOLERANCE or cv2.minMaxLoc(difference)[1] > _PIXEL_TOLERANCE:
            return None
        self._previous.remove(cached)
        cached.box = box.copy()
        self._current.append(cached)
        return cached.result, cached.computed_ns

    def add(self, box: Float32, crop: UInt8, result: Result, now_ns: int) -> None:
        """Cache a new result, in coordinates of the crop."""
        self._current.append(_CachedObject(box.copy(), _thumbnail(crop), result, now_ns))

    def end_frame(self) -> None:
        """Call after the last object of a frame."""
        self._previous, self._current = self._current, []

    def _match(self, box: Float32) -> _CachedObject | None:
        if not self._previous:
            return None
        overlap = iou(box[None], np.stack([cached.box for cached in self._previous]))[0]
        best = int(overlap.argmax())
        return self._previous[best] if overlap[best] >= _MIN_IOU else None


def _thumbnail(crop: UInt8) -> UInt8:
    small = cv2.resize(crop, _THUMBNAIL, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
