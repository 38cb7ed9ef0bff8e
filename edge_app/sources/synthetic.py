"""Generated images: a square moves over a textured background, with sensor noise. Deterministic for a given seed.

Tests use it as a camera: with `live`, and with options that make it freeze, fail or hang at a given frame.
"""

from __future__ import annotations

import math
import random
import time
from typing import Annotated

import cv2
import numpy as np

from edge_app.clock import Clock
from edge_app.errors import EndOfClip, SourceError
from edge_app.frame import Frame, PixelFormat, UInt8
from edge_app.options import Positive, Range
from edge_app.sources import LiveLimits
from edge_app.sources._pace import Pace, Pacer

_MARGIN = 48  # gray levels between the background and 0 or 255, so that adding noise needs no clipping
_SPARE = 64  # extra rows and columns of the noise texture, which is shifted at random by up to this
_STRIP = 96  # rows that get noise at a time: noise for a whole image would take a megabyte
_SPEED = 4  # pixels per frame
_SQUARE_BGR = (60, 80, 190)


class Source:
    """`synthetic`. width, height: rounded down to even. noise: sigma in gray levels. frames: count; null is endless.

    live: frames that are not read in time are dropped, as with a camera. freeze_at: the image repeats from that frame
    on. fail_at: that read raises SourceError. hang_at: that read never returns.
    hang_after_s, silent_after_s, frozen_after_s: see `LiveLimits`.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        width: Annotated[int, Range(32, 8192)] = 640,
        height: Annotated[int, Range(32, 8192)] = 480,
        fps: Annotated[float, Range(0.001, 1000)] = 10.0,
        frames: Positive | None = None,
        seed: Annotated[int, Range(0)] = 0,
        noise: Annotated[float, Range(0, 16)] = 2.0,
        format: PixelFormat = "bgr",  # noqa: A002
        pace: Pace = "realtime",
        live: bool = False,
        freeze_at: Annotated[int, Range(0)] | None = None,
        fail_at: Annotated[int, Range(0)] | None = None,
        hang_at: Annotated[int, Range(0)] | None = None,
        hang_after_s: Annotated[float, Range(0)] = 10.0,
        silent_after_s: Annotated[float, Range(0)] = 10.0,
        frozen_after_s: Annotated[float, Range(0)] = 0.0,
    ) -> None:
        self.live = LiveLimits(hang_after_s, silent_after_s, silent_after_s, frozen_after_s) if live else None
        self._painter = _Painter(width // 2 * 2, height // 2 * 2, format, seed, noise)
        self._format: PixelFormat = format
        self._period_ns = 1e9 / fps
        self._frames = self.length = frames
        self._freeze_at, self._fail_at, self._hang_at = freeze_at, fail_at, hang_at
        self._pacer = Pacer(clock, "synthetic", pace)
        self._index = 0

    def read(self, timeout_s: float) -> Frame | None:
        if not self._pacer.pending:
            self._fail_if_configured()
            image_index = self._index if self._freeze_at is None else min(self._index, self._freeze_at)
            self._pacer.hold(self._painter.paint(image_index), round(self._index * self._period_ns), self._format)
            self._index += 1
        return self._pacer.pop_due(timeout_s)

    def close(self) -> None:
        """No resources to release."""

    def _fail_if_configured(self) -> None:
        """End, fail or hang at the configured frame."""
        if self._index == self._frames:
            raise EndOfClip
        if self._index == self._fail_at:
            raise SourceError(f"synthetic: fails at frame {self._index} (fail_at)")
        while self._index == self._hang_at:
            time.sleep(60)


class _Painter:
    """Paints images by number; each image depends only on its number and the seed."""

    def __init__(self, width: int, height: int, format: PixelFormat, seed: int, noise: float) -> None:  # noqa: A002
        self._seed = seed
        cv2.setRNGSeed(seed & 0x7FFFFFFF)  # OpenCV's generator, because numpy.random takes 2 MB
        coarse = np.empty((8, 8 * 3), np.uint8)
        cv2.randu(coarse, np.array(_MARGIN), np.array(256 - _MARGIN))
        background = cv2.resize(coarse.reshape(8, 8, 3), (width, height), interpolation=cv2.INTER_LINEAR).astype(
            np.uint8, copy=False
        )
        self._side = min(width, height) // 4 // 2 * 2
        square = np.full((self._side, self._side, 3), _SQUARE_BGR, np.uint8)
        self._nv12 = format == "nv12"
        self._height, self._width = height, width
        self._background = _to_nv12(background) if self._nv12 else background
        self._square = _to_nv12(square) if self._nv12 else square
        size = (_STRIP + _SPARE, width + _SPARE, *(() if self._nv12 else (3,)))
        grain = np.zeros((size[0], math.prod(size[1:])), np.int8)
        if noise:
            cv2.randn(grain, np.array(0.0), np.array(noise))
            np.clip(grain, -_MARGIN, _MARGIN, out=grain)
        self._grain: UInt8 = grain.view(np.uint8).reshape(size)  # added modulo 256, so negative noise subtracts

    def paint(self, index: int) -> UInt8:
        """Paint image `index` into a new array: bgr (H, W, 3) or nv12 (H * 3 / 2, W)."""
        pixels: UInt8 = self._background.copy()
        x = _bounce(index * _SPEED, self._width - self._side)
        y = _bounce(index * _SPEED // 2, self._height - self._side)
        side = self._side
        pixels[y : y + side, x : x + side] = self._square[:side]
        if self._nv12:
            row = self._height + y // 2
            pixels[row : row + side // 2, x : x + side] = self._square[side:]
        rng = random.Random((self._seed << 32) + index)
        for top in range(0, self._height, _STRIP):
            strip = pixels[top : min(top + _STRIP, self._height)]  # NV12: only luma gets noise
            dy, dx = rng.randrange(_SPARE), rng.randrange(_SPARE)
            np.add(strip, self._grain[dy : dy + len(strip), dx : dx + self._width], out=strip)
        return pixels


def _bounce(distance: int, limit: int) -> int:
    """The position after moving back and forth between 0 and `limit`; even, to be aligned with NV12's chroma cells."""
    position = distance % (2 * limit) if limit else 0
    return min(position, 2 * limit - position) // 2 * 2


def _to_nv12(bgr: UInt8) -> UInt8:
    """Convert (H, W, 3) to (H * 3 / 2, W). OpenCV only converts to planar chroma; NV12 interleaves U and V."""
    height, width = bgr.shape[:2]
    planar = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420).astype(np.uint8, copy=False)
    chroma = planar[height:].reshape(2, height // 2 * width // 2)
    return np.concatenate([planar[:height], chroma.T.reshape(height // 2, width)])
