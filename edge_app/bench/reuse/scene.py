"""The background of a clip, and one moving object cut out of it, both found automatically.

The background is the median of the frames. An object is a region that differs from it in one frame, is complete and
is separate from other motion. Not here: the clips generated from them (stress.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.bench.reuse.clips import Clip
from edge_app.errors import ClipError
from edge_app.frame import Float32, UInt8

_MAX_SAMPLES = 32  # frames, spread evenly over the clip
_MAX_FRAMES = 3000  # that are read, so that a long recording does not take long
_MIN_CONTRAST = 24  # gray levels between an object and the background
_HEIGHT = 100 / 576  # preferred height of an object, as a share of the image's
_ASPECT = 0.5  # preferred width by height
_MIN_SIDE_PX = 12


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """An object. pixels: (h, w, 3) uint8; alpha: (h, w, 1) float32, 0..1; x, y: its original place."""

    pixels: UInt8
    alpha: Float32
    x: int
    y: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]

    def pasted(self, image: UInt8, x: int, y: int, strength: float = 1.0) -> UInt8:
        """A copy of `image` with the object's upper left corner at x, y, which may be outside the image.

        strength: opacity, 1 is the original object.
        """
        out: UInt8 = image.copy()
        (height, width), (w, h) = image.shape[:2], self.size
        x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
        if x1 < x2 and y1 < y2:
            inside = np.s_[y1 - y : y2 - y, x1 - x : x2 - x]
            alpha = self.alpha[inside] * strength
            under = out[y1:y2, x1:x2].astype(np.float32)
            out[y1:y2, x1:x2] = np.rint(under + alpha * (self.pixels[inside] - under)).astype(np.uint8)
        return out

    def mirrored(self) -> Cutout:
        """The object, mirrored horizontally."""
        return Cutout(self.pixels[:, ::-1].copy(), self.alpha[:, ::-1].copy(), self.x, self.y)

    def scaled(self, height: int) -> Cutout:
        """The object scaled to a height in pixels."""
        size = (max(1, round(self.size[0] * height / self.size[1])), height)
        pixels = cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(self.alpha, size, interpolation=cv2.INTER_AREA)
        return Cutout(np.asarray(pixels, np.uint8), np.asarray(alpha, np.float32)[..., None], self.x, self.y)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """background: (H, W, 3) uint8; period_ns: between two frames of the clip."""

    background: UInt8
    object: Cutout
    period_ns: int


def extract_scene(clip: Clip) -> Scene:
    """Find background and object. Raises ClipError if the clip has fewer than 3 frames or nothing moves in it."""
    frames, period_ns = _sample(clip)
    if len(frames) < 3:
        raise ClipError(f"{clip.name}: found {len(frames)} frame(s); expected a clip of at least 3 to cut a scene from")
    background: UInt8 = np.median(np.stack(frames), axis=0).astype(np.uint8)
    candidates = [candidate for image in frames for candidate in _find_objects(image, background)]
    if not candidates:
        raise ClipError(
            f"{clip.name}: found no moving object to cut out; expected a fixed camera and an object that moves"
        )
    _, cutout = max(candidates, key=lambda candidate: candidate[0])
    return Scene(background, cutout, period_ns)


def _sample(clip: Clip) -> tuple[list[UInt8], int]:
    """Up to _MAX_SAMPLES images of one size, spread evenly over the clip; and the time between two frames."""
    samples: list[UInt8] = []
    step, last_ns, first_ns, number = 1, 0, 0, 0
    for number, frame in enumerate(clip.first(_MAX_FRAMES).frames()):
        first_ns, last_ns = (frame.captured_ns if number == 0 else first_ns), frame.captured_ns
        if number % step == 0 and (not samples or frame.image.shape == samples[0].shape):
            if len(samples) == _MAX_SAMPLES:
                samples, step = samples[::2], step * 2
            if number % step == 0:
                samples.append(frame.image.copy())
    return samples, max(1, round((last_ns - first_ns) / max(number, 1)))


def _find_objects(image: UInt8, background: UInt8) -> list[tuple[float, Cutout]]:
    """Candidate objects in one image, each with its quality (higher is better)."""
    height, width = image.shape[:2]
    difference = cv2.absdiff(image, background).max(axis=2)
    grain = 2 * round(height / 192) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grain, grain))
    mask = cv2.morphologyEx((difference > _MIN_CONTRAST).astype(np.uint8), cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
    candidates = []
    for label in range(1, count):
        x, y, w, h, area = (int(value) for value in stats[label])
        complete = x > 2 and y > 2 and x + w < width - 2 and y + h < height - 2
        if complete and min(w, h) >= _MIN_SIDE_PX and area > 0.3 * w * h:
            own = labels[y - 2 : y + h + 2, x - 2 : x + w + 2] == label
            others = np.count_nonzero(mask[max(0, y - h // 3) : y + h + h // 3, max(0, x - w) : x + 2 * w]) - area
            dissimilarity = abs(math.log(h / height / _HEIGHT)) + abs(math.log(w / h / _ASPECT))
            contrast = float(difference[y : y + h, x : x + w][own[2:-2, 2:-2]].mean()) / 255
            candidates.append((contrast - dissimilarity - others / area, _cut(image, own, x - 2, y - 2)))
    return candidates


def _cut(image: UInt8, own: NDArray[np.bool_], x: int, y: int) -> Cutout:
    """Cut out an object with a soft edge. own: (h, w), which pixels from x, y on belong to it."""
    h, w = own.shape
    contours, _ = cv2.findContours(own.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros((h, w), np.float32), contours, -1, 1.0, cv2.FILLED)
    alpha = np.asarray(cv2.GaussianBlur(filled, (3, 3), 0), np.float32)
    return Cutout(image[y : y + h, x : x + w].copy(), alpha[..., None], x, y)
