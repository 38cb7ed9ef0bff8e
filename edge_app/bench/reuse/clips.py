"""Clips as frame-by-frame streams that can be started again, and seeded noise on them.

One frame is held at a time, however long a clip is. Not here: what is derived from a clip (scene.py, stress.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app import config, registry
from edge_app.clock import ClipClock
from edge_app.errors import ConfigError, EndOfClip
from edge_app.frame import Frame, UInt8

_LEVELS = 1 << 16  # of the uniform numbers that noise is looked up with


@dataclass(frozen=True, slots=True)
class Clip:
    """frames: starts the clip anew, every time with the same frames. length: how many, where it is known."""

    name: str
    frames: Callable[[], Iterator[Frame]]
    length: int | None = None

    def first(self, count: int | None) -> Clip:
        """The same clip, at most `count` frames of it; None: all."""
        if count is None:
            return self
        length = count if self.length is None else min(count, self.length)
        return Clip(self.name, lambda: islice(self.frames(), count), length)


class Noise:
    """Independent noise on every pixel and channel: exact for a seed and a frame number, on every machine.

    Random bits of PCG64, whose stream numpy keeps for ever, look up a table of whole grey levels.
    """

    def __init__(self, table: NDArray[np.int8], seed: int) -> None:
        self._table, self._seed = table, seed

    @classmethod
    def gaussian(cls, sigma: float, seed: int) -> Noise:
        """As a camera's sensor: a normal distribution of this deviation in grey levels, rounded."""
        normal = NormalDist(0, sigma)
        values = [normal.inv_cdf((i + 0.5) / _LEVELS) for i in range(_LEVELS)]
        return cls(np.clip(np.rint(values), -127, 127).astype(np.int8), seed)

    @classmethod
    def uniform(cls, levels: int, seed: int) -> Noise:
        """Every whole number from -levels to levels as likely as the others."""
        values = np.arange(_LEVELS, dtype=np.int64) * (2 * levels + 1) // _LEVELS - levels
        return cls(values.astype(np.int8), seed)

    def apply(self, image: UInt8, number: int) -> UInt8:
        """`image` (H, W, 3) uint8 of frame `number` with noise on it, saturated; the image itself is not touched."""
        bits: NDArray[np.uint64] = np.random.PCG64([self._seed, number]).random_raw(-(-image.size // 4))
        noise = self._table[bits.view(np.uint16)[: image.size]].reshape(image.shape)
        return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)

    def apply_to(self, frame: Frame) -> Frame:
        """The frame with noise on it; its stamps are kept, its results are not."""
        return with_image(frame, self.apply(frame.image, frame.sequence))


def with_image(frame: Frame, image: UInt8) -> Frame:
    """A frame with the stamps of `frame` and another picture (H, W, 3), and nothing found in it yet."""
    return replace(frame, pixels=image, format="bgr", heads=None, events=(), _image=None)


def open_clip(path: str) -> Clip:
    """A video file or a folder of pictures. Raises ConfigError for a live source; reading raises ClipError."""
    plugin = config.from_url(path).plugin
    if plugin.type not in ("video", "images"):
        raise ConfigError(f"{path}: is a live or made source ({plugin.type}); expected a open_clip clip")

    def frames() -> Iterator[Frame]:
        source = registry.build("sources", plugin.type, ClipClock(), **plugin.options, pace="fast")
        with closing(source):
            while True:
                try:
                    frame = source.read(0)
                except EndOfClip:
                    return
                if frame is not None:
                    yield frame

    return Clip(Path(path).name, frames, _length(path) if plugin.type == "video" else len(list(Path(path).iterdir())))


def _length(path: str) -> int | None:
    """How many frames a video says that it has: for a progress bar only, containers may be wrong."""
    capture = cv2.VideoCapture(path)
    try:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    finally:
        capture.release()
    return count if count > 0 else None
