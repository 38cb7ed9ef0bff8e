"""Polygons and lines in normalised coordinates: which are usable, and what lies inside."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_app.errors import OptionError

Float64 = NDArray[np.float64]
Point = tuple[float, float]


def inside(points: Float64, polygon: Float64) -> NDArray[np.bool_]:
    """Whether points (N, 2) lie in a simple polygon (K, 2); those on its border may go either way.

    Counts how often a ray to the right crosses an edge (even-odd).
    """
    x, y = points[:, 0, None], points[:, 1, None]
    x1, y1 = polygon.T
    x2, y2 = np.roll(polygon, -1, axis=0).T
    spans = (y1 > y) != (y2 > y)  # (N, K)
    rise = np.where(y2 == y1, 1.0, y2 - y1)
    crossing = x1 + (y - y1) / rise * (x2 - x1)
    hits: NDArray[np.bool_] = (spans & (x < crossing)).sum(axis=1) % 2 == 1
    return hits


def inside_any(points: Float64, polygons: Sequence[Float64]) -> NDArray[np.bool_]:
    """Whether points (N, 2) lie in one of the polygons."""
    found = np.zeros(len(points), bool)
    for polygon in polygons:
        found |= inside(points, polygon)
    return found


def polygon_of(option: str, points: Sequence[Point]) -> Float64:
    """A polygon (K, 2) that encloses something. Raises OptionError where it has too few points, or crosses itself."""
    if len(points) < 3:
        raise OptionError(option, f"found a polygon of {len(points)} points; expected at least 3")
    corners = np.array(points, np.float64)
    count = len(corners)
    for i in range(count):
        for j in range(i + 1, count):
            neighbours = j == i + 1 or (i == 0 and j == count - 1)
            if _touch(corners, i, j, neighbours):
                raise OptionError(
                    option,
                    f"found a polygon that crosses or touches itself: its sides from {_name(points[i])} and from "
                    f"{_name(points[j])}; expected its corners in order around it",
                )
    return corners


def line_of(option: str, points: tuple[Point, Point]) -> Float64:
    """A line (2, 2). Raises OptionError where its ends are the same."""
    if points[0] == points[1]:
        raise OptionError(option, f"found a line of length 0 at {_name(points[0])}; expected two different points")
    return np.array(points, np.float64)


def cross(a: Float64, b: Float64) -> Float64:
    """The z component of a x b, of vectors (..., 2)."""
    z: Float64 = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return z


def _touch(corners: Float64, i: int, j: int, neighbours: bool) -> bool:
    a, b = corners[i], corners[(i + 1) % len(corners)]
    c, d = corners[j], corners[(j + 1) % len(corners)]
    if (a == b).all() or (c == d).all():
        return True
    if neighbours:  # they share a corner; more than that only where one folds back onto the other
        shared, before, after = (b, a, d) if j == i + 1 else (a, b, c)
        return bool(cross(before - shared, after - shared) == 0 and np.dot(before - shared, after - shared) > 0)
    first = _side(a, b, c) * _side(a, b, d)
    second = _side(c, d, a) * _side(c, d, b)
    if first < 0 and second < 0:
        return True
    return any(_on(p, q, r) for p, q, r in ((a, b, c), (a, b, d), (c, d, a), (c, d, b)))


def _side(a: Float64, b: Float64, p: Float64) -> float:
    return float(np.sign(cross(b - a, p - a)))


def _on(a: Float64, b: Float64, p: Float64) -> bool:
    return _side(a, b, p) == 0 and bool((np.minimum(a, b) <= p).all() and (p <= np.maximum(a, b)).all())


def _name(point: Point) -> str:
    return f"[{point[0]:g}, {point[1]:g}]"
