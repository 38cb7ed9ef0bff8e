"""Which blocks of the picture differ from what features were computed from, beyond the camera's own noise.

The reference is anchored: a block of it changes only where features were computed again, so that a slow change adds up
until it is seen. Works on a quarter of the model's input in grey, by OpenCV calls on whole arrays: 0.15 ms at 768x576.
Not here: what is done about it (frames.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.model.schema import Input
from edge_app.reuse.dirty_rects import Box

UInt8 = NDArray[np.uint8]
BLOCK = 16  # input pixels, about: the grid covers the picture with whole blocks
_CELL = 4  # reduced pixels along a block's side

_LEAST, _MOST = 10.0, 40.0  # grey levels: a learned tolerance lies between
_SIGMAS = 7.0  # of the noise of a difference, that a still pixel never exceeds
_NOISE_EVERY = 16  # frames between looks at the noise
_CALM, _EVEN = 0.1, 0.7  # share of changed blocks; a quieter block's difference to a middling one's
_ONE_WAY = 0.3  # of the difference: more of it to one side is light, and no noise
_NOISE_RATE = 0.25  # of a new look in the estimate
_MEAN_TO_SIGMA = 1.2533  # of a normal distribution: from the mean of |x| to its deviation
_GAIN_NOTED = 0.004  # below: none
_GAIN_STAYS, _GAIN_PASSES = 0.05, 0.1  # looked over for ever, and for a while; above, the picture is taken anew
_WHILE = 2  # frames: whoever looks for darkness must not wait for longer
_CUT = 0.45  # of the blocks: more is another picture, or too much of it to be computed in parts

Kind = Literal["none", "blocks", "exposure", "cut", "first"]


@dataclass(frozen=True, slots=True)
class Change:
    """What changed. blocks: (rows, columns) uint8, nonzero where changed; all of them for the last three kinds."""

    kind: Kind
    blocks: UInt8


class ChangeDetector:
    """Compares pictures (height, width, 3) uint8 of one size with an anchored reference.

    tolerance: grey levels; None: learned from the noise; 0: exact, any difference of any pixel counts.
    still: (rows, columns) uint8, zero where nothing counts as a change, as `grid` has it; None: everywhere counts.
    """

    def __init__(self, size: tuple[int, int], tolerance: float | None, still: UInt8 | None = None) -> None:
        self.size = size
        self.grid = grid(size)
        columns, rows = self.grid
        self._reduced = (columns * _CELL, rows * _CELL)
        self._tolerance = tolerance
        self._counted = still
        self._all: UInt8 = np.full((rows, columns), 255, np.uint8)
        shape = (rows * _CELL, columns * _CELL)
        self._now, self._before, self._anchor = (np.empty(shape, np.uint8) for _ in range(3))
        self._exact_now: UInt8 | None = None
        self._exact_anchor: UInt8 | None = None
        self._anchored = False
        self._frames = 0
        self._changed = 1.0  # share of the blocks, at the last look
        self.noise: float | None = None  # deviation of a reduced pixel's difference between two frames, grey levels
        self.gain = 1.0
        self._off = 0  # looks in a row that found a gain which may not stay
        self.ease = 1.0  # times the tolerance

    @property
    def bytes(self) -> int:
        """What is kept of pictures."""
        kept = (self._now, self._before, self._anchor, self._exact_anchor)
        return sum(each.nbytes for each in kept if each is not None)

    @property
    def tolerance(self) -> float:
        """Grey levels by which a reduced pixel may differ."""
        if self._tolerance is not None:
            return self.ease * self._tolerance
        least = self.ease * _LEAST
        return least if self.noise is None else float(np.clip(self.ease * _SIGMAS * self.noise, least, _MOST))

    def forget(self) -> None:
        """The next picture is the first one."""
        self._anchored = False

    def look(self, picture: UInt8) -> Change:
        """Compare a picture with the reference, which is not changed."""
        if self._tolerance == 0:
            return self._exactly(picture)
        self._reduce(picture)
        self._learn()
        if not self._anchored:
            return Change("first", self._all)
        now = self._levelled()
        if now is None:
            return Change("exposure", self._all)
        difference = cv2.absdiff(now, self._anchor)
        _, beyond = cv2.threshold(difference, self.tolerance, 255, cv2.THRESH_BINARY)
        blocks: UInt8 = cv2.resize(beyond, self.grid, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        return self._judged(blocks)

    def take(self, picture: UInt8) -> None:
        """Make a picture the reference, without a look at what changed."""
        if self._tolerance == 0:
            self._exact_now = picture
        else:
            self._reduce(picture)
        self.anchor(None)

    def anchor(self, boxes: Sequence[Box] | None) -> None:
        """The picture of the last look is the reference in `boxes`, input pixels, or everywhere.

        Only blocks that lie in a box as a whole are taken.
        """
        source, target, cell = self._now, self._anchor, _CELL
        if self._tolerance == 0:
            assert self._exact_now is not None
            if self._exact_anchor is None or boxes is None:
                self._exact_anchor = self._exact_now.copy()
                self._anchored = True
                return
            for x1, y1, x2, y2 in boxes:
                self._exact_anchor[y1:y2, x1:x2] = self._exact_now[y1:y2, x1:x2]
            return
        if boxes is None or not self._anchored:
            np.copyto(target, source)
            self._anchored = True
            return
        scale_x, scale_y = self.grid[0] / self.size[0], self.grid[1] / self.size[1]
        for x1, y1, x2, y2 in boxes:
            columns = slice(_up(x1 * scale_x) * cell, _down(x2 * scale_x) * cell)
            rows = slice(_up(y1 * scale_y) * cell, _down(y2 * scale_y) * cell)
            target[rows, columns] = source[rows, columns]

    def _reduce(self, picture: UInt8) -> None:
        self._now, self._before = self._before, self._now
        small = cv2.resize(picture, self._reduced, interpolation=cv2.INTER_LINEAR)
        cv2.cvtColor(small, cv2.COLOR_BGR2GRAY, dst=self._now)

    def _learn(self) -> None:
        """Now and then measure the noise: what two frames differ by in the quieter half of the picture.

        Motion is no noise: unless little changed lately, the difference must be much the same all over the picture. Nor
        is another exposure: the picture as a whole must be no brighter or darker.
        """
        self._frames += 1
        if self._tolerance is not None or self._frames < 2 or (self._frames > 4 and self._frames % _NOISE_EVERY):
            return
        difference = cv2.absdiff(self._now, self._before).astype(np.float32)
        means = cv2.resize(difference, self.grid, interpolation=cv2.INTER_AREA)
        ordered = np.sort(means, axis=None)
        quieter, middle = float(ordered[len(ordered) // 4]), float(ordered[len(ordered) // 2])
        if self._changed > _CALM and quieter < _EVEN * middle:
            return
        if abs(cv2.mean(self._now)[0] - cv2.mean(self._before)[0]) > _ONE_WAY * middle:
            return
        found = middle * _MEAN_TO_SIGMA
        self.noise = found if self.noise is None else self.noise + _NOISE_RATE * (found - self.noise)

    def _levelled(self) -> UInt8 | None:
        """The reduced picture less a change of gain of the whole; None where that is too large to be looked over."""
        self.gain = 1.0
        if self._tolerance is not None and self._tolerance < 1:
            return self._now
        now, anchor = cv2.mean(self._now)[0] + 1, cv2.mean(self._anchor)[0] + 1
        if abs(now / anchor - 1) < _GAIN_NOTED:
            return self._now
        means = [
            cv2.resize(each, self.grid, interpolation=cv2.INTER_AREA).astype(np.float32)
            for each in (self._now, self._anchor)
        ]
        ratios = np.sort((means[0] + 1) / (means[1] + 1), axis=None)
        gain = float(ratios[len(ratios) // 2])  # the median: an object that comes is no gain
        if abs(gain - 1) < _GAIN_NOTED:
            return self._now
        self.gain = gain
        self._off = self._off + 1 if abs(gain - 1) > _GAIN_STAYS else 0
        if abs(gain - 1) > _GAIN_PASSES or self._off > _WHILE:
            self._off = 0
            return None
        return cv2.convertScaleAbs(self._now, alpha=1 / gain).astype(np.uint8, copy=False)

    def _exactly(self, picture: UInt8) -> Change:
        self._exact_now = picture
        if not self._anchored or self._exact_anchor is None:
            return Change("first", self._all)
        differ = (picture != self._exact_anchor).any(axis=2)
        columns, rows = self.grid
        starts_y = np.arange(rows) * self.size[1] // rows
        starts_x = np.arange(columns) * self.size[0] // columns
        counts = np.add.reduceat(np.add.reduceat(differ.astype(np.int32), starts_y, axis=0), starts_x, axis=1)
        return self._judged((counts > 0).astype(np.uint8))

    def _judged(self, blocks: UInt8) -> Change:
        if self._counted is not None:
            blocks = cv2.min(blocks, self._counted).astype(np.uint8, copy=False)
        changed = cv2.countNonZero(blocks)
        self._changed = changed / blocks.size
        if not changed:
            return Change("none", blocks)
        return Change("cut" if changed > _CUT * blocks.size else "blocks", blocks)


def reference_bytes(spec: Input) -> int:
    """What a detector keeps for pictures of a model's input."""
    columns, rows = grid((spec.width, spec.height))
    return 3 * columns * rows * _CELL**2


def _up(value: float) -> int:
    return math.ceil(value - 1e-6)


def _down(value: float) -> int:
    return math.floor(value + 1e-6)


def grid(size: tuple[int, int]) -> tuple[int, int]:
    """Columns and rows of blocks over a picture of this width and height."""
    return -(-size[0] // BLOCK), -(-size[1] // BLOCK)
