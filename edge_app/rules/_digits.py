"""Arrange the digits of a frame in reading order: those on the panel, along its axes, row by row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Detections, Float32, Frame
from edge_app.geometry.polygons import Float64, anchor_points, inside_any, polygon_of
from edge_app.rules import Point

_MIN_ROW_DISTANCE = 0.5  # between the centers of rows, relative to the height of a digit
_MAX_HEIGHT_RATIO = 1.45  # of a digit and the median of its row; beyond it, the digit is partly hidden
_MIN_SCORE_RATIO = 0.5  # to the median score of the row; below it, a stain, or a digit that is changing
_MAX_GAP_RATIO = 1.7  # of the widest and the narrowest gap in a row; beyond it, a digit is missing
_PANEL_MARGIN = 0.06  # of the panel's height: digits may extend over its outline, whose corners are inexact


@dataclass(frozen=True, slots=True, eq=False)
class DetectedDigits:
    """Digits in no particular order.

    center, size: (N, 2), image pixels. text, score: of each digit. image_size: (2,), width and height.
    """

    center: Float64
    size: Float64
    text: tuple[str, ...]
    score: Float64
    image_size: Float64

    def select(self, rows: NDArray[np.intp]) -> DetectedDigits:
        text = tuple(self.text[i] for i in rows.tolist())
        return DetectedDigits(self.center[rows], self.size[rows], text, self.score[rows], self.image_size)


@dataclass(frozen=True, slots=True, eq=False)
class Glyphs:
    """Digits in reading order.

    rows: the text of each line. score: (N,). boxes: (N, 4), 0..1 of the image. whole: whether no digit seems to be
    hidden or cut off.
    """

    rows: tuple[str, ...]
    score: Float64
    boxes: Float64
    whole: bool

    def __len__(self) -> int:
        return len(self.score)

    def sizes(self) -> Float64:
        """Width and height (N, 2), relative to the median height: independent of the camera's distance."""
        size = self.boxes[:, 2:] - self.boxes[:, :2]
        sizes: Float64 = size / max(_upper_median(size[:, 1]), 1e-9) if len(size) else size
        return sizes

    def bounds(self) -> Float64 | None:
        """The box (4,) around all digits, or None if there are none."""
        if not len(self):
            return None
        return np.concatenate([self.boxes[:, :2].min(axis=0), self.boxes[:, 2:].max(axis=0)])

    @classmethod
    def none(cls) -> Glyphs:
        return cls((), np.empty(0), np.empty((0, 4)), False)


class Digits:
    """Extracts digits from detections. Raises OptionError if an ignore mask is not a valid polygon."""

    def __init__(self, labels: tuple[str, ...], min_score: float, ignore: tuple[tuple[Point, ...], ...]) -> None:
        self._labels, self._min_score = labels, min_score
        self._ignore = [polygon_of("ignore", polygon) for polygon in ignore]

    def extract(self, result: Detections, frame: Frame) -> DetectedDigits:
        """The digits with at least the minimum score, outside the ignore masks."""
        image_size = np.array([frame.width, frame.height], np.float64)
        xyxy = result.xyxy.astype(np.float64)
        keep = result.score >= self._min_score
        if self._ignore:
            keep &= ~inside_any(anchor_points(xyxy, (frame.width, frame.height), "center"), self._ignore)
        rows = np.flatnonzero(keep)
        text = tuple(self._labels[i] if i < len(self._labels) else "?" for i in result.class_id[rows].tolist())
        xyxy = xyxy[rows]
        center, size = (xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]
        return DetectedDigits(center, size, text, result.score[rows].astype(np.float64), image_size)


def arrange(
    digits: DetectedDigits, panels: tuple[Float32, ...] | None, max_rows: int, last_box: Float64 | None
) -> Glyphs:
    """Arrange digits in reading order.

    panels: outlines (K, 2), image pixels; None if no head detects panels. If it does, only digits on a panel count, and
    digits that extend over its outline are not whole. max_rows: the number of rows to read. last_box: the box (4,),
    0..1, of the last number, or None. The panel there is preferred, then the panel with the most digits.
    """
    angle, whole = 0.0, True
    if panels is not None:
        last_center = None if last_box is None else (last_box[:2] + last_box[2:]) / 2 * digits.image_size
        outline, on_panel = _choose_panel(digits, panels, last_center)
        if outline is None:
            return Glyphs.none()
        digits = digits.select(on_panel)
        angle = _panel_angle(outline)
        whole = _within(digits, outline, angle)
    elif max_rows == 1:
        angle = _row_angle(digits)
    if not len(digits.score):
        return Glyphs.none()
    return _in_order(digits, angle, max_rows, whole)


def _in_order(digits: DetectedDigits, angle: float, max_rows: int, whole: bool) -> Glyphs:
    along, down = _rotated(digits.center, angle).T
    height = _upper_median(digits.size[:, 1])
    order = np.argsort(down, kind="stable")
    breaks = np.flatnonzero(np.diff(down[order]) > _MIN_ROW_DISTANCE * height) + 1
    rows = [row[np.argsort(along[row], kind="stable")] for row in np.split(order, breaks)]
    fullest = sorted(range(len(rows)), key=lambda i: -len(rows[i]))[:max_rows]
    rows = [_without_uncertain(rows[i], digits.score) for i in sorted(fullest)]
    selected = np.concatenate(rows)
    ratio = digits.size[selected, 1] / _upper_median(digits.size[selected, 1])
    similar = bool((ratio < _MAX_HEIGHT_RATIO).all() and (ratio > 1 / _MAX_HEIGHT_RATIO).all())
    whole = whole and similar and all(_evenly_spaced(along[row]) for row in rows)
    center, half = digits.center[selected], digits.size[selected] / 2
    boxes = np.concatenate([center - half, center + half], axis=1) / np.tile(digits.image_size, 2)
    text = tuple("".join(digits.text[i] for i in row.tolist()) for row in rows)
    return Glyphs(text, digits.score[selected], boxes, whole)


def _without_uncertain(row: NDArray[np.intp], score: Float64) -> NDArray[np.intp]:
    """Drop digits with a far lower score than the rest of their row."""
    certain: NDArray[np.intp] = row[score[row] >= _MIN_SCORE_RATIO * _upper_median(score[row])]
    return certain


def _upper_median(values: Float64) -> float:
    """The upper median. numpy's takes longer than the rest of this module."""
    return float(np.sort(values)[len(values) // 2])


def _evenly_spaced(positions: Float64) -> bool:
    """Whether no digit is missing inside a row: its widest gap is not much wider than its narrowest."""
    gaps = np.diff(positions)
    return len(gaps) < 2 or bool(gaps.max() < _MAX_GAP_RATIO * gaps.min())


def _choose_panel(
    digits: DetectedDigits, panels: tuple[Float32, ...], last_center: Float64 | None
) -> tuple[Float64 | None, NDArray[np.intp]]:
    """The convex hull of the panel around `last_center`, else of the panel with the most digits, and its digits."""
    best: tuple[Float64 | None, NDArray[np.intp]] = (None, np.empty(0, np.intp))
    for polygon in panels:
        if len(polygon) < 3:
            continue
        hull = np.asarray(cv2.convexHull(np.asarray(polygon, np.float32)), np.float64).reshape(-1, 2)
        on_panel = np.flatnonzero(inside_any(digits.center, [hull]))
        if last_center is not None and inside_any(last_center[None], [hull])[0]:
            return hull, on_panel
        if best[0] is None or len(on_panel) > len(best[1]):
            best = hull, on_panel
    return best


def _panel_angle(hull: Float64) -> float:
    """The angle of the panel in radians, within ±45° of horizontal: the mean of its sides, weighted by length."""
    sides = np.roll(hull, -1, axis=0) - hull
    angles = np.arctan2(sides[:, 1], sides[:, 0])
    folded = (angles + np.pi / 4) % (np.pi / 2) - np.pi / 4  # the same for all four sides of a rectangle
    length = np.hypot(*sides.T)
    fourfold = (length**2 * np.exp(4j * folded)).sum()  # -45° and 45° are the same angle
    return float(np.angle(fourfold) / 4)


def _row_angle(digits: DetectedDigits) -> float:
    """The angle in radians of the line through the digits; 0 if there are fewer than three, or they form no line."""
    if len(digits.score) < 3:
        return 0.0
    x, y = (digits.center - digits.center.mean(axis=0)).T
    xx, xy, yy = float((x * x).sum()), float((x * y).sum()), float((y * y).sum())
    mean, spread = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)  # variance along: +, across: -
    if mean + spread < 9 * max(mean - spread, 1e-9):
        return 0.0
    angle = math.atan2(2 * xy, xx - yy) / 2
    return (angle + np.pi / 2) % np.pi - np.pi / 2  # read from left to right


def _within(digits: DetectedDigits, hull: Float64, angle: float) -> bool:
    """Whether the box of every digit is inside the panel's outline, with a margin."""
    sides = _rotated(hull, angle)
    low, high = sides.min(axis=0), sides.max(axis=0)
    margin = _PANEL_MARGIN * (high[1] - low[1])
    center, half = _rotated(digits.center, angle), digits.size / 2
    return bool((center - half >= low - margin).all() and (center + half <= high + margin).all())


def _rotated(points: Float64, angle: float) -> Float64:
    """Points (N, 2) in axes rotated by `angle`: along the rows, and down."""
    cosine, sine = math.cos(angle), math.sin(angle)
    x, y = points.T
    return np.stack((cosine * x + sine * y, cosine * y - sine * x), axis=1)
