"""Clips as streams of frames that can be restarted, and seeded noise on frames.

Only one frame is in memory at a time. Not here: clips derived from a clip (scene.py, stress.py).
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

_LEVELS = 1 << 16  # of the uniform random numbers that index the table of noise


@dataclass(frozen=True, slots=True)
class Clip:
    """frames: starts the clip again, with the same frames each time. length: number of frames, None if unknown."""

    name: str
    frames: Callable[[], Iterator[Frame]]
    length: int | None = None

    def first(self, count: int | None) -> Clip:
        """The first `count` frames of the clip; None: all."""
        if count is None:
            return self
        length = count if self.length is None else min(count, self.length)
        return Clip(self.name, lambda: islice(self.frames(), count), length)


class Noise:
    """Independent noise on every pixel and channel, reproducible on every machine from a seed and a frame number.

    Random bits of PCG64, whose stream numpy guarantees not to change, index a table of whole gray levels.
    """

    def __init__(self, table: NDArray[np.int8], seed: int) -> None:
        self._table, self._seed = table, seed

    @classmethod
    def gaussian(cls, sigma: float, seed: int) -> Noise:
        """Normally distributed noise like that of a camera. sigma: standard deviation, gray levels; rounded."""
        normal = NormalDist(0, sigma)
        values = [normal.inv_cdf((i + 0.5) / _LEVELS) for i in range(_LEVELS)]
        return cls(np.clip(np.rint(values), -127, 127).astype(np.int8), seed)

    @classmethod
    def uniform(cls, levels: int, seed: int) -> Noise:
        """Uniformly distributed whole gray levels from -levels to levels."""
        values = np.arange(_LEVELS, dtype=np.int64) * (2 * levels + 1) // _LEVELS - levels
        return cls(values.astype(np.int8), seed)

    def apply(self, image: UInt8, number: int) -> UInt8:
        """A noised copy of `image`, (H, W, 3) uint8, saturated. number: of the frame."""
        bits: NDArray[np.uint64] = np.random.PCG64([self._seed, number]).random_raw(-(-image.size // 4))
        noise = self._table[bits.view(np.uint16)[: image.size]].reshape(image.shape)
        return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)

    def apply_to(self, frame: Frame) -> Frame:
        """A noised copy of the frame, with its time stamps and without its results."""
        return with_image(frame, self.apply(frame.image, frame.sequence))


def with_image(frame: Frame, image: UInt8) -> Frame:
    """A copy of `frame` with its time stamps, another image (H, W, 3) and no results."""
    return replace(frame, pixels=image, format="bgr", heads=None, events=(), _image=None)


def open_clip(path: str) -> Clip:
    """Open a video file or a folder of images. Raises ConfigError for a live source; reading raises ClipError."""
    plugin = config.from_url(path).plugin
    if plugin.type not in ("video", "images"):
        raise ConfigError(f"{path}: found a source of type {plugin.type}; expected a recorded clip")

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
    """The number of frames that the container states. It may be wrong: for a progress bar only."""
    capture = cv2.VideoCapture(path)
    try:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    finally:
        capture.release()
    return count if count > 0 else None
