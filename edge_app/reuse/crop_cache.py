"""What second-stage heads said of objects, kept for as long as an object's crop looks as it did.

An object is known again by its place: its box overlaps that of the frame before. Its crop is compared with the one that
the result was computed from, so that a slow change adds up. Not here: cutting and running crops (cascade.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge_app.frame import Float32, Result, UInt8
from edge_app.geometry.boxes import iou
from edge_app.reuse.relaxation import AGE

_SIZE = (16, 16)  # that crops are compared in: noise averages out, what a head tells apart does not
_TOLERANCE = 6.0  # grey levels, on average over a crop
_WORST = 40.0  # of any part of it
_OVERLAP = 0.5  # IoU with its box of the frame before


@dataclass(slots=True)
class _Kept:
    box: Float32
    look: UInt8
    result: Result
    computed_ns: int


class KeptCrops:
    """One head's results. Objects that were not asked for in a frame are forgotten at its end."""

    def __init__(self, max_age_ns: int) -> None:
        self._configured_ns = self._max_age_ns = max_age_ns
        self._before: list[_Kept] = []
        self._now: list[_Kept] = []

    def ease(self, wanted: bool) -> None:
        """Let results stand for longer than was configured (ease.py), or as long. For any thread."""
        self._max_age_ns = (AGE if wanted else 1) * self._configured_ns

    def find(self, box: Float32, crop: UInt8, now_ns: int) -> tuple[Result, int] | None:
        """What was said of the object in `box` (4,), and when; None where its crop (H, W, 3) changed or is too old."""
        kept = self._same(box)
        if kept is None or not 0 <= now_ns - kept.computed_ns <= self._max_age_ns:
            return None
        difference = cv2.absdiff(_reduced(crop), kept.look)
        if cv2.mean(difference)[0] > _TOLERANCE or cv2.minMaxLoc(difference)[1] > _WORST:
            return None
        self._before.remove(kept)
        kept.box = box.copy()
        self._now.append(kept)
        return kept.result, kept.computed_ns

    def add(self, box: Float32, crop: UInt8, result: Result, now_ns: int) -> None:
        """Keep what was just said of an object, in the coordinates of its crop."""
        self._now.append(_Kept(box.copy(), _reduced(crop), result, now_ns))

    def end_frame(self) -> None:
        """All objects of the frame have been asked for."""
        self._before, self._now = self._now, []

    def _same(self, box: Float32) -> _Kept | None:
        if not self._before:
            return None
        overlap = iou(box[None], np.stack([kept.box for kept in self._before]))[0]
        best = int(overlap.argmax())
        return self._before[best] if overlap[best] >= _OVERLAP else None


def _reduced(crop: UInt8) -> UInt8:
    small = cv2.resize(crop, _SIZE, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
