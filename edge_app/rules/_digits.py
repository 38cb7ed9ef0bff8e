"""Digits of a frame, brought into reading order: those on the panel, along its axes, row by row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Detections, Float32, Frame
from edge_app.geometry.polygons import Float64, inside_any, polygon_of
from edge_app.rules import Point
from edge_app.rules._objects import anchors

_ROW_GAP = 0.5  # of a digit's height: how far the next row's middle lies lower, at least
_UNLIKE = 1.45  # a digit of a row is at most so many times as high or low as its median, or it is partly hidden
_FAINT = 0.5  # of the row's median score: what is less sure is a stain, or a digit that is about to change
_GAP = 1.7  # of the narrowest gap between digits of a row: from here on one is missing; numbers are evenly spaced
_RIM = 0.06  # of the panel's height: a digit may reach so far over the outline, whose corners are only so exact


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Digits of a frame: centre (N, 2) and size (N, 2) in image pixels, text and score; size of the picture (2,)."""

    centre: Float64
    size: Float64
    text: tuple[str, ...]
    score: Float64
    picture: Float64

    def at(self, rows: NDArray[np.intp]) -> Found:
        text = tuple(self.text[i] for i in rows.tolist())
        return Found(self.centre[rows], self.size[rows], text, self.score[rows], self.picture)


@dataclass(frozen=True, slots=True, eq=False)
class Glyphs:
    """Digits in reading order. rows: their text, a line each; score (N,); boxes (N, 4) 0..1 of the picture.

    whole: nothing speaks for it that some are hidden or cut.
    """

    rows: tuple[str, ...]
    score: Float64
    boxes: Float64
    whole: bool

    def __len__(self) -> int:
        return len(self.score)

    def sizes(self) -> Float64:
        """Width and height (N, 2) of each, in the median's height: the same wherever the camera looks from."""
        size = self.boxes[:, 2:] - self.boxes[:, :2]
        sizes: Float64 = size / max(_middle(size[:, 1]), 1e-9) if len(size) else size
        return sizes

    def extent(self) -> Float64 | None:
        """The box (4,) round all of them; None where there are none."""
        if not len(self):
            return None
        return np.concatenate([self.boxes[:, :2].min(axis=0), self.boxes[:, 2:].max(axis=0)])

    @classmethod
    def none(cls) -> Glyphs:
        return cls((), np.empty(0), np.empty((0, 4)), False)


class Digits:
    """Takes the digits out of a result. Raises OptionError where an ignore mask is no polygon."""

    def __init__(self, labels: tuple[str, ...], min_score: float, ignore: tuple[tuple[Point, ...], ...]) -> None:
        self._labels, self._min_score = labels, min_score
        self._ignore = [polygon_of("ignore", polygon) for polygon in ignore]

    def __call__(self, result: Detections, frame: Frame) -> Found:
        picture = np.array([frame.width, frame.height], np.float64)
        xyxy = result.xyxy.astype(np.float64)
        keep = result.score >= self._min_score
        if self._ignore:
            keep &= ~inside_any(anchors(xyxy / np.tile(picture, 2), "center"), self._ignore)
        rows = np.flatnonzero(keep)
        text = tuple(self._labels[i] if i < len(self._labels) else "?" for i in result.class_id[rows].tolist())
        xyxy = xyxy[rows]
        centre, size = (xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]
        return Found(centre, size, text, result.score[rows].astype(np.float64), picture)


def arrange(found: Found, panels: tuple[Float32, ...] | None, most_rows: int, place: Float64 | None) -> Glyphs:
    """Bring digits into reading order. panels: outlines (K, 2); None: there is no head for them.

    place: the box (4,) 0..1 where a number was last: a panel there counts before any other, then the one with most
    digits. A panel that is not seen has no digits; digits that stick out of theirs are cut by what hides it.
    """
    angle, whole = 0.0, True
    if panels is not None:
        at = None if place is None else (place[:2] + place[2:]) / 2 * found.picture
        outline, held = _fullest(found, panels, at)
        if outline is None:
            return Glyphs.none()
        found = found.at(held)
        angle = _slope(outline)
        whole = _within(found, outline, angle)
    elif most_rows == 1:
        angle = _lie(found)
    if not len(found.score):
        return Glyphs.none()
    return _in_order(found, angle, most_rows, whole)


def _in_order(found: Found, angle: float, most_rows: int, whole: bool) -> Glyphs:
    along, down = _turned(found.centre, angle).T
    height = _middle(found.size[:, 1])
    order = np.argsort(down, kind="stable")
    breaks = np.flatnonzero(np.diff(down[order]) > _ROW_GAP * height) + 1
    rows = [row[np.argsort(along[row], kind="stable")] for row in np.split(order, breaks)]
    fullest = sorted(range(len(rows)), key=lambda i: -len(rows[i]))[:most_rows]
    rows = [_sure(rows[i], found.score) for i in sorted(fullest)]
    everything = np.concatenate(rows)
    ratio = found.size[everything, 1] / _middle(found.size[everything, 1])
    alike = bool((ratio < _UNLIKE).all() and (ratio > 1 / _UNLIKE).all())
    whole = whole and alike and all(_closed(along[row]) for row in rows)
    centre, half = found.centre[everything], found.size[everything] / 2
    boxes = np.concatenate([centre - half, centre + half], axis=1) / np.tile(found.picture, 2)
    text = tuple("".join(found.text[i] for i in row.tolist()) for row in rows)
    return Glyphs(text, found.score[everything], boxes, whole)


def _sure(row: NDArray[np.intp], score: Float64) -> NDArray[np.intp]:
    """A row without what is far less sure than the rest of it."""
    kept: NDArray[np.intp] = row[score[row] >= _FAINT * _middle(score[row])]
    return kept


def _middle(values: Float64) -> float:
    """The upper median: numpy's costs more than all the rest here."""
    return float(np.sort(values)[len(values) // 2])


def _closed(places: Float64) -> bool:
    """Whether no digit is missing between others: the widest gap of a row is near its narrowest."""
    gaps = np.diff(places)
    return len(gaps) < 2 or bool(gaps.max() < _GAP * gaps.min())


def _fullest(found: Found, panels: tuple[Float32, ...], at: Float64 | None) -> tuple[Float64 | None, NDArray[np.intp]]:
    """The panel round `at`, or else with most digits on it (the first of equals), as its hull, and those digits."""
    best: tuple[Float64 | None, NDArray[np.intp]] = (None, np.empty(0, np.intp))
    for polygon in panels:
        if len(polygon) < 3:
            continue
        hull = np.asarray(cv2.convexHull(np.asarray(polygon, np.float32)), np.float64).reshape(-1, 2)
        held = np.flatnonzero(inside_any(found.centre, [hull]))
        if at is not None and inside_any(at[None], [hull])[0]:
            return hull, held
        if best[0] is None or len(held) > len(best[1]):
            best = hull, held
    return best


def _slope(hull: Float64) -> float:
    """The angle in radians, within 45° of level, of the panel's sides that are nearest to level; long ones count."""
    sides = np.roll(hull, -1, axis=0) - hull
    angles = np.arctan2(sides[:, 1], sides[:, 0])
    folded = (angles + np.pi / 4) % (np.pi / 2) - np.pi / 4  # of a rectangle, all four sides agree
    length = np.hypot(*sides.T)
    fourfold = (length**2 * np.exp(4j * folded)).sum()  # so that -45° and 45° are one
    return float(np.angle(fourfold) / 4)


def _lie(found: Found) -> float:
    """The angle in radians of the line through at least three digits that clearly form one, else 0."""
    if len(found.score) < 3:
        return 0.0
    x, y = (found.centre - found.centre.mean(axis=0)).T
    xx, xy, yy = float((x * x).sum()), float((x * y).sum()), float((y * y).sum())
    mean, spread = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)  # scatter along it: mean + spread; across: -
    if mean + spread < 9 * max(mean - spread, 1e-9):
        return 0.0
    angle = math.atan2(2 * xy, xx - yy) / 2
    return (angle + np.pi / 2) % np.pi - np.pi / 2  # read from left to right


def _within(found: Found, hull: Float64, angle: float) -> bool:
    """Whether every digit's box lies within the panel's outline, but for a rim."""
    sides = _turned(hull, angle)
    low, high = sides.min(axis=0), sides.max(axis=0)
    rim = _RIM * (high[1] - low[1])
    centre, half = _turned(found.centre, angle), found.size / 2
    return bool((centre - half >= low - rim).all() and (centre + half <= high + rim).all())


def _turned(points: Float64, angle: float) -> Float64:
    """Points (N, 2) in axes turned by `angle`: along the rows, and down."""
    cosine, sine = math.cos(angle), math.sin(angle)
    x, y = points.T
    return np.stack((cosine * x + sine * y, cosine * y - sine * x), axis=1)
