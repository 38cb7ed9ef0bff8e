"""Made pictures: a square that moves over a textured background, with sensor noise. The same seed, the same bytes.

It is also the camera of the tests: `live`, and frame numbers at which it freezes, fails or hangs for ever.
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
from edge_app.sources import Live
from edge_app.sources._pace import Pace, Pacer

_MARGIN = 48  # grey levels that the background keeps from 0 and 255, so that noise needs no clipping
_SPARE = 64  # rows and columns that the noise is larger than what it is laid on, to be shifted at random
_STRIP = 96  # rows of a picture that get noise at a time: that of a whole one would be a megabyte
_SPEED = 4  # pixels a frame
_SQUARE_BGR = (60, 80, 190)


class Source:
    """`synthetic`: width and height even; noise: sigma in grey levels; frames: how many, null for ever.

    live: drop what is not read in time, as a camera does. freeze_at: the picture stands still from that frame on;
    fail_at: SourceError there; hang_at: the read of that frame never returns.
    hang_after_s, silent_after_s, frozen_after_s: see `Live`.
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
        self.live = Live(hang_after_s, silent_after_s, silent_after_s, frozen_after_s) if live else None
        self._painter = _Painter(width // 2 * 2, height // 2 * 2, format, seed, noise)
        self._format: PixelFormat = format
        self._period_ns = 1e9 / fps
        self._frames = frames
        self._freeze_at, self._fail_at, self._hang_at = freeze_at, fail_at, hang_at
        self._pacer = Pacer(clock, "synthetic", pace)
        self._index = 0

    def read(self, timeout_s: float) -> Frame | None:
        if not self._pacer.pending:
            self._misbehave()
            shown = self._index if self._freeze_at is None else min(self._index, self._freeze_at)
            self._pacer.offer(self._painter.paint(shown), round(self._index * self._period_ns), self._format)
            self._index += 1
        return self._pacer.take(timeout_s)

    def close(self) -> None:
        """Nothing is held open."""

    def _misbehave(self) -> None:
        if self._index == self._frames:
            raise EndOfClip
        if self._index == self._fail_at:
            raise SourceError(f"synthetic: fails at frame {self._index}, as fail_at says")
        while self._index == self._hang_at:
            time.sleep(60)


class _Painter:
    """Paints picture number `index`, whatever was painted before."""

    def __init__(self, width: int, height: int, format: PixelFormat, seed: int, noise: float) -> None:  # noqa: A002
        self._seed = seed
        cv2.setRNGSeed(seed & 0x7FFFFFFF)  # OpenCV's generator: numpy's is a library of 2 MB
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
        self._grain: UInt8 = grain.view(np.uint8).reshape(size)  # adding modulo 256 subtracts

    def paint(self, index: int) -> UInt8:
        """A new array: bgr (H, W, 3) or nv12 (H * 3 / 2, W)."""
        pixels: UInt8 = self._background.copy()
        x = _to_and_fro(index * _SPEED, self._width - self._side)
        y = _to_and_fro(index * _SPEED // 2, self._height - self._side)
        side = self._side
        pixels[y : y + side, x : x + side] = self._square[:side]
        if self._nv12:
            row = self._height + y // 2
            pixels[row : row + side // 2, x : x + side] = self._square[side:]
        rng = random.Random((self._seed << 32) + index)
        for top in range(0, self._height, _STRIP):
            strip = pixels[top : min(top + _STRIP, self._height)]  # NV12's chroma has no noise of its own
            dy, dx = rng.randrange(_SPARE), rng.randrange(_SPARE)
            np.add(strip, self._grain[dy : dy + len(strip), dx : dx + self._width], out=strip)
        return pixels


def _to_and_fro(travelled: int, room: int) -> int:
    """Where something is that goes from 0 to `room` and back: even, so that NV12's chroma moves along."""
    where = travelled % (2 * room) if room else 0
    return min(where, 2 * room - where) // 2 * 2


def _to_nv12(bgr: UInt8) -> UInt8:
    """(H, W, 3) to (H * 3 / 2, W); OpenCV only makes planar chroma, NV12 has U and V side by side."""
    height, width = bgr.shape[:2]
    planar = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420).astype(np.uint8, copy=False)
    chroma = planar[height:].reshape(2, height // 2 * width // 2)
    return np.concatenate([planar[:height], chroma.T.reshape(height // 2, width)])
