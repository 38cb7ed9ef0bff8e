"""A frame as a JPEG image within a budget of bytes. Not here: keeping the images (ring.py)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge_app.frame import Frame

_LEAST_QUALITY = 20
_FALL, _RISE = 5, 1  # of the quality, per image
_ROOM = 0.8  # of the budget: below it, the quality rises


@dataclass(frozen=True, slots=True)
class Still:
    """One image: JPEG of even width and height. captured_ns, utc_ns: as of its frame."""

    captured_ns: int
    utc_ns: int
    size: tuple[int, int]
    jpeg: bytes


class Compressor:
    """Scales and encodes frames. width: maximum, pixels. quality: the best. budget: bytes of an image, on average.

    If images are larger than the budget, the quality falls; a single image may exceed it.
    """

    def __init__(self, width: int, quality: int, budget: int) -> None:
        self._width = width
        self._best = self.quality = quality
        self._budget = budget

    def compress(self, frame: Frame) -> Still:
        """Encode a frame."""
        image = frame.image
        width, height = even_size(frame.width, frame.height, self._width)
        if (width, height) != (frame.width, frame.height):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)
        _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])
        jpeg = encoded.tobytes()
        if len(jpeg) > self._budget:
            self.quality = max(min(_LEAST_QUALITY, self._best), self.quality - _FALL)
        elif len(jpeg) < _ROOM * self._budget:
            self.quality = min(self._best, self.quality + _RISE)
        return Still(frame.captured_ns, frame.utc_ns, (width, height), jpeg)


def even_size(width: int, height: int, limit: int) -> tuple[int, int]:
    """The size of an image of at most `limit` pixels width, its width and height even, as H.264 and VP8 need them."""
    scale = min(1.0, limit / width)
    return max(2, round(width * scale) // 2 * 2), max(2, round(height * scale) // 2 * 2)
