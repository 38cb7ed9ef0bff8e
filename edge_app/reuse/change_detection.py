"""Change detection: which blocks of the image differ from the reference by more than the camera's noise.

The reference is the image that the cached features were computed from. A block of it is updated only when the features
there are recomputed, so slow changes add up until they are detected. It works on a quarter of the model's input
resolution, in gray, with OpenCV calls on whole arrays: 0.15 ms at 768x576.
Not here: what to compute for a change (planner.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.geometry.polygons import inside_any, polygon_of
from edge_app.model.schema import Input
from edge_app.reuse.dirty_rects import Box

UInt8 = NDArray[np.uint8]
BLOCK = 16  # input pixels, approximately: the grid covers the image with whole blocks
_CELL = 4  # pixels of the reduced image along a block's side

_MIN_TOLERANCE, _MAX_TOLERANCE = 10.0, 40.0  # gray levels: range of a learned tolerance
_SIGMAS = 7.0  # of the noise: a pixel without a change stays below
_NOISE_EVERY = 16  # frames between noise estimates
_FEW_CHANGES = 0.1  # share of changed blocks below which a noise estimate is safe
_UNIFORM = 0.7  # difference of the quiet blocks to that of the median block: above, the difference is uniform
_ONE_SIDED = 0.3  # of the difference: if the mean brightness moved by more, it is light and not noise
_NOISE_RATE = 0.25  # weight of a new noise estimate
_MEAN_TO_SIGMA = 1.2533  # of a normal distribution: from the mean of |x| to its standard deviation
_MIN_GAIN = 0.004  # smaller changes of gain are ignored
_MINOR_GAIN = 0.05  # compensated permanently
_MAX_GAIN = 0.1  # compensated for _GAIN_FRAMES frames; above it, the exposure changed
_GAIN_FRAMES = 2  # short, since a head may exist to detect darkness
_CUT = 0.45  # of the blocks: with more, it is a different scene, or too much to compute in part

ChangeKind = Literal["none", "blocks", "exposure", "cut", "first"]


@dataclass(frozen=True, slots=True)
class Change:
    """The result for one image. blocks: (rows, columns) uint8, nonzero where changed.

    kind: `none`; `blocks`, some blocks changed; `exposure`, the gain of the whole image changed; `cut`, most blocks
    changed; `first`, there is no reference yet. For `exposure` and `first`, all blocks are marked.
    """

    kind: ChangeKind
    blocks: UInt8


class ChangeDetector:
    """Compares images (height, width, 3) uint8 of one size with a reference.

    tolerance: gray levels; None: learned from the noise; 0: exact, any difference of any pixel counts.
    watched: (rows, columns) uint8 on the block grid, zero where changes are ignored; None: nothing is ignored.
    """

    def __init__(self, size: tuple[int, int], tolerance: float | None, watched: UInt8 | None = None) -> None:
        self.size = size
        self.grid = grid(size)
        columns, rows = self.grid
        self._reduced_size = (columns * _CELL, rows * _CELL)
        self._tolerance = tolerance
        self._watched = watched
        self._all_blocks: UInt8 = np.full((rows, columns), 255, np.uint8)
        shape = (rows * _CELL, columns * _CELL)
        self._current, self._previous, self._reference = (np.empty(shape, np.uint8) for _ in range(3))
        self._exact_current: UInt8 | None = None
        self._exact_reference: UInt8 | None = None
        self._has_reference = False
        self._frames = 0
        self._changed_share = 1.0  # of the blocks, in the last image
        self._gain_frames = 0  # in a row, with a gain that is compensated for a short time only
        self.noise: float | None = None  # gray levels: standard deviation of a pixel's difference between two frames
        self.gain = 1.0
        self.tolerance_factor = 1.0

    @property
    def bytes(self) -> int:
        """Memory of the stored images."""
        stored = (self._current, self._previous, self._reference, self._exact_reference)
        return sum(image.nbytes for image in stored if image is not None)

    @property
    def tolerance(self) -> float:
        """The largest difference of a pixel of the reduced image that does not count as a change, gray levels."""
        if self._tolerance is not None:
            return self.tolerance_factor * self._tolerance
        least = self.tolerance_factor * _MIN_TOLERANCE
        if self.noise is None:
            return least
        return float(np.clip(self.tolerance_factor * _SIGMAS * self.noise, least, _MAX_TOLERANCE))

    def reset(self) -> None:
        """Drop the reference: the next image is the first one."""
        self._has_reference = False

    def detect(self, image: UInt8) -> Change:
        """Compare an image with the reference. Does not change the reference."""
        if self._tolerance == 0:
            return self._detect_exactly(image)
        self._reduce(image)
        self._estimate_noise()
        if not self._has_reference:
            return Change("first", self._all_blocks)
        current = self._compensate_gain()
        if current is None:
            return Change("exposure", self._all_blocks)
        difference = cv2.absdiff(current, self._reference)
        _, beyond = cv2.threshold(difference, self.tolerance, 255, cv2.THRESH_BINARY)
        blocks: UInt8 = cv2.resize(beyond, self.grid, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
        return self._classify(blocks)

    def set_reference(self, image: UInt8) -> None:
        """Make an image the reference without comparing it."""
        if self._tolerance == 0:
            self._exact_current = image
        else:
            self._reduce(image)
        self.update_reference(None)

    def update_reference(self, boxes: Sequence[Box] | None) -> None:
        """Copy the last image into the reference: within `boxes`, input pixels, or everywhere (None).

        Only blocks that are entirely within a box are copied.
        """
        source, target, cell = self._current, self._reference, _CELL
        if self._tolerance == 0:
            assert self._exact_current is not None
            if self._exact_reference is None or boxes is None:
                self._exact_reference = self._exact_current.copy()
                self._has_reference = True
                return
            for x1, y1, x2, y2 in boxes:
                self._exact_reference[y1:y2, x1:x2] = self._exact_current[y1:y2, x1:x2]
            return
        if boxes is None or not self._has_reference:
            np.copyto(target, source)
            self._has_reference = True
            return
        scale_x, scale_y = self.grid[0] / self.size[0], self.grid[1] / self.size[1]
        for x1, y1, x2, y2 in boxes:
            columns = slice(_ceil(x1 * scale_x) * cell, _floor(x2 * scale_x) * cell)
            rows = slice(_ceil(y1 * scale_y) * cell, _floor(y2 * scale_y) * cell)
            target[rows, columns] = source[rows, columns]

    def _reduce(self, image: UInt8) -> None:
        self._current, self._previous = self._previous, self._current
        small = cv2.resize(image, self._reduced_size, interpolation=cv2.INTER_LINEAR)
        cv2.cvtColor(small, cv2.COLOR_BGR2GRAY, dst=self._current)

    def _estimate_noise(self) -> None:
        """Every few frames, estimate the noise from the difference of two frames in the median block.

        Motion is not noise: unless few blocks changed lately, the difference must be uniform over the image. A change
        of light is not noise either: the mean brightness must be unchanged.
        """
        self._frames += 1
        if self._tolerance is not None or self._frames < 2 or (self._frames > 4 and self._frames % _NOISE_EVERY):
            return
        difference = cv2.absdiff(self._current, self._previous).astype(np.float32)
        means = cv2.resize(difference, self.grid, interpolation=cv2.INTER_AREA)
        ordered = np.sort(means, axis=None)
        quiet, median = float(ordered[len(ordered) // 4]), float(ordered[len(ordered) // 2])
        if self._changed_share > _FEW_CHANGES and quiet < _UNIFORM * median:
            return
        if abs(cv2.mean(self._current)[0] - cv2.mean(self._previous)[0]) > _ONE_SIDED * median:
            return
        sigma = median * _MEAN_TO_SIGMA
        self.noise = sigma if self.noise is None else self.noise + _NOISE_RATE * (sigma - self.noise)

    def _compensate_gain(self) -> UInt8 | None:
        """The reduced image without a gain change of the whole image; None if that change is too large."""
        self.gain = 1.0
        if self._tolerance is not None and self._tolerance < 1:
            return self._current
        current, reference = cv2.mean(self._current)[0] + 1, cv2.mean(self._reference)[0] + 1
        if abs(current / reference - 1) < _MIN_GAIN:
            return self._current
        means = [
            cv2.resize(image, self.grid, interpolation=cv2.INTER_AREA).astype(np.float32)
            for image in (self._current, self._reference)
        ]
        ratios = np.sort((means[0] + 1) / (means[1] + 1), axis=None)
        gain = float(ratios[len(ratios) // 2])  # the median: a new object does not count as gain
        if abs(gain - 1) < _MIN_GAIN:
            return self._current
        self.gain = gain
        self._gain_frames = self._gain_frames + 1 if abs(gain - 1) > _MINOR_GAIN else 0
        if abs(gain - 1) > _MAX_GAIN or self._gain_frames > _GAIN_FRAMES:
            self._gain_frames = 0
            return None
        return cv2.convertScaleAbs(self._current, alpha=1 / gain).astype(np.uint8, copy=False)

    def _detect_exactly(self, image: UInt8) -> Change:
        self._exact_current = image
        if not self._has_reference or self._exact_reference is None:
            return Change("first", self._all_blocks)
        differ = (image != self._exact_reference).any(axis=2)
        columns, rows = self.grid
        starts_y = np.arange(rows) * self.size[1] // rows
        starts_x = np.arange(columns) * self.size[0] // columns
        counts = np.add.reduceat(np.add.reduceat(differ.astype(np.int32), starts_y, axis=0), starts_x, axis=1)
        return self._classify((counts > 0).astype(np.uint8))

    def _classify(self, blocks: UInt8) -> Change:
        if self._watched is not None:
            blocks = cv2.min(blocks, self._watched).astype(np.uint8, copy=False)
        changed = cv2.countNonZero(blocks)
        self._changed_share = changed / blocks.size
        if not changed:
            return Change("none", blocks)
        return Change("cut" if changed > _CUT * blocks.size else "blocks", blocks)


def reference_bytes(spec: Input) -> int:
    """Memory of a detector's images for a model's input."""
    columns, rows = grid((spec.width, spec.height))
    return 3 * columns * rows * _CELL**2


def grid(size: tuple[int, int]) -> tuple[int, int]:
    """Columns and rows of the block grid over an image of this width and height."""
    return -(-size[0] // BLOCK), -(-size[1] // BLOCK)


def watched_blocks(ignore: Sequence[Sequence[tuple[float, float]]], size: tuple[int, int]) -> UInt8 | None:
    """The mask `watched` of ChangeDetector: zero for blocks whose center is in a polygon. None without polygons.

    ignore: polygons of points, 0..1 of the image. size: width and height of the image.
    """
    if not ignore:
        return None
    columns, rows = grid(size)
    x, y = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    ignored = inside_any(
        np.stack([x.ravel(), y.ravel()], axis=1), [polygon_of("ignore", polygon) for polygon in ignore]
    )
    return np.where(ignored, 0, 255).astype(np.uint8).reshape(rows, columns)


def _ceil(value: float) -> int:
    return math.ceil(value - 1e-6)


def _floor(value: float) -> int:
    return math.floor(value + 1e-6)
