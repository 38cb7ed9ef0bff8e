"""Drawing digits so that their truth is known: ink on a picture, boxes round ink, what is visible of it.

Coordinates are pixels of the picture, (0, 0) the upper left corner of the upper left pixel.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

import glyphs
from backdrops import Picture
from glyphs import Ink

SLENDER = 0.4  # a digit's box is at least this share of its height wide: the ink of a 1 has hardly any width
SEEN = 0.5  # a digit or panel counts from this visible share on
FAINT = 8.0  # grey levels between a digit's ink and its box's mean, under which nobody need read it
NOT_JUDGED = 0.4  # the visible share given to digits that are neither asked for nor forbidden


@dataclass(slots=True)
class Canvas:
    """A picture being drawn and the ink on it: points (K, 2) float32 a digit, in the picture's coordinates."""

    picture: Picture
    ink: list[tuple[int, NDArray[np.float32]]] = field(default_factory=list)

    def draw(self, ink: Ink, corner: tuple[float, float], size: float, tone: Picture, level: float = 1.0) -> None:
        """Blend a glyph in, `size` pixels square, and remember where its ink is unless it is no digit."""
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
    """The box (4,) xyxy round ink (K, 2): its extent, widened about its centre to SLENDER of the height."""
    left, top = points.min(0)
    right, bottom = points.max(0)
    widen = max(0.0, SLENDER * (bottom - top) - (right - left)) / 2
    return np.array([left - widen, top, right + widen, bottom], np.float32)


def truth(
    ink: list[tuple[int, NDArray[np.float32]]], cover: Picture, picture: Picture
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Boxes, labels and visible shares; digits that hardly stand out are neither asked for nor forbidden."""
    height, width = cover.shape
    luma = picture.mean(2)
    boxes, labels, visible = [], [], []
    for label, points in ink:
        x, y = np.floor(points.T).astype(int)
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        seen = inside.copy()
        seen[inside] = cover[y[inside], x[inside]] < 0.5
        box = ink_box(points[seen]) if seen.any() else np.zeros(4, np.float32)
        share = float(seen.mean())
        if share >= SEEN:
            left, top, right, bottom = np.clip(box, 0, (width, height, width, height)).astype(int)
            around = luma[top : bottom + 1, left : right + 1].mean()
            if abs(luma[y[seen], x[seen]].mean() - around) < FAINT:
                share = NOT_JUDGED
        boxes.append(box)
        labels.append(label)
        visible.append(share)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64), np.array(visible, np.float32)
