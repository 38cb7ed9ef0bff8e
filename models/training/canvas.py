"""Draw digits with known ground truth: ink on an image, boxes around ink, and its visible share.

Coordinates are pixels of the image, (0, 0) the upper left corner of the upper left pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

import glyphs
from backdrops import Picture
from glyphs import Ink

SLENDER = 0.4  # least width of a digit's box, as a share of its height: the ink of a 1 is very narrow
MIN_VISIBLE = 0.5  # least visible share of a digit or panel that counts
FAINT = 8.0  # gray levels between a digit's ink and the mean of its box; fainter digits are ignored
NOT_JUDGED = 0.4  # the visible share given to digits that are ignored in training


@dataclass(slots=True)
class Canvas:
    """An image and the ink on it: a label and points (K, 2) float32 per digit, in image coordinates."""

    picture: Picture
    ink: list[tuple[int, NDArray[np.float32]]] = field(default_factory=list)

    def draw(self, ink: Ink, corner: tuple[float, float], size: float, tone: Picture, level: float = 1.0) -> None:
        """Draw a glyph, `size` pixels square, and record the points of its ink if it is a digit."""
        side = max(4, round(size))
        x, y = round(corner[0]), round(corner[1])
        height, width = self.picture.shape[:2]
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + side, width), min(y + side, height)
        if x0 >= x1 or y0 >= y1:
            return
        small = cv2.resize(ink.coverage, (side, side), interpolation=cv2.INTER_AREA)
        part = small[y0 - y : y1 - y, x0 - x : x1 - x, None] * np.float32(level)
        under = self.picture[y0:y1, x0:x1]
        under += part * (tone - under)
        if ink.label >= 0:
            self.ink.append((ink.label, ink.points * np.float32(side / glyphs.INK) + np.float32([x, y])))


def ink_box(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """The box (4,) xyxy around ink (K, 2), widened about its center to at least SLENDER of its height."""
    left, top = points.min(0)
    right, bottom = points.max(0)
    widen = max(0.0, SLENDER * (bottom - top) - (right - left)) / 2
    return np.array([left - widen, top, right + widen, bottom], np.float32)


def truth(
    ink: list[tuple[int, NDArray[np.float32]]], cover: Picture, picture: Picture
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Boxes (N, 4), labels (N,) and visible shares (N,). Digits with little contrast get the share NOT_JUDGED."""
    height, width = cover.shape
    luma = picture.mean(2)
    boxes, labels, visible = [], [], []
    for label, points in ink:
        x, y = np.floor(points.T).astype(int)
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        shown = inside.copy()
        shown[inside] = cover[y[inside], x[inside]] < 0.5
        box = ink_box(points[shown]) if shown.any() else np.zeros(4, np.float32)
        share = float(shown.mean())
        if share >= MIN_VISIBLE:
            left, top, right, bottom = np.clip(box, 0, (width, height, width, height)).astype(int)
            around = luma[top : bottom + 1, left : right + 1].mean()
            if abs(luma[y[shown], x[shown]].mean() - around) < FAINT:
                share = NOT_JUDGED
        boxes.append(box)
        labels.append(label)
        visible.append(share)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), np.array(visible, np.float32)
