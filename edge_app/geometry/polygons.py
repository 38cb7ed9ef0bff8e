"""Polygons and lines in normalized coordinates: validation, anchor points, and the point-in-polygon test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_app.errors import OptionError
from edge_app.frame import Float32

Float64 = NDArray[np.float64]
Point = tuple[float, float]
Anchor = Literal["bottom", "center", "top", "feet"]
_ANKLES = {17: (15, 16), 26: (15, 16), 133: (15, 16)}  # by number of keypoints: COCO, Halpe, COCO-WholeBody
_SEEN = 0.5  # score of a keypoint


def anchor_points(xyxy: Float64 | Float32, size: tuple[int, int], anchor: Anchor) -> Float64:
    """The point (N, 2), 0..1 of the image, that decides where each box (N, 4), image pixels, is.

    `feet` is `bottom` here; see `foot_points`. size: width and height of the image. The bottom center is the place
    where a person stands. The point is on a pixel of the image: at most 1 - 1/size. A box that touches the lower border
    would otherwise be below every polygon.
    """
    width, height = size
    points = np.empty((len(xyxy), 2))
    np.add(xyxy[:, 0], xyxy[:, 2], out=points[:, 0], dtype=np.float64)
    if anchor == "center":
        np.add(xyxy[:, 1], xyxy[:, 3], out=points[:, 1], dtype=np.float64)
    else:
        np.multiply(xyxy[:, 1 if anchor == "top" else 3], 2.0, out=points[:, 1], dtype=np.float64)
    points /= (2 * width, 2 * height)
    np.maximum(points, 0.0, out=points)  # two calls because np.clip is slower on small arrays
    np.minimum(points, (1 - 1 / width, 1 - 1 / height), out=points)
    return points


def foot_points(points: Float64, keypoints: Float32 | None, size: tuple[int, int]) -> Float64:
    """The mean (N, 2) of the ankles that are seen, 0..1 of the image; else the row of `points` (N, 2).

    keypoints: (N, K, 3), image pixels, of a person in a published order that has ankles; other ones do not count.
    """
    ankles = None if keypoints is None else _ANKLES.get(keypoints.shape[1])
    if keypoints is None or ankles is None or not len(points):
        return points
    found = keypoints[:, ankles].astype(np.float64)  # (N, 2, 3)
    seen = (found[..., 2:] >= _SEEN).astype(np.float64)
    count = seen.sum(axis=1)  # (N, 1)
    mean = (found[..., :2] * seen).sum(axis=1) / np.maximum(count, 1) / size
    return np.where(count > 0, np.clip(mean, 0.0, 1 - 1 / np.array(size)), points)


def inside(points: Float64, polygon: Float64) -> NDArray[np.bool_]:
    """Whether points (N, 2) are inside a simple polygon (K, 2): (N,) bool.

    Counts the edges that a ray to the right crosses (even-odd rule). Left and upper edges belong to the polygon, right
    and lower ones do not: a point on an edge that two polygons share is in exactly one of them.
    """
    x, y = points[:, 0, None], points[:, 1, None]
    end = np.roll(polygon, -1, axis=0)
    down = (polygon[:, 1] <= end[:, 1])[:, None]  # the same arithmetic for an edge in both directions
    x1, y1 = np.where(down, polygon, end).T
    x2, y2 = np.where(down, end, polygon).T
    spans = (y1 > y) != (y2 > y)  # (N, K)
    rise = np.where(y2 == y1, 1.0, y2 - y1)
    crossing = x1 + (y - y1) / rise * (x2 - x1)
    odd: NDArray[np.bool_] = (spans & (x < crossing)).sum(axis=1) % 2 == 1
    return odd


def inside_any(points: Float64, polygons: Sequence[Float64]) -> NDArray[np.bool_]:
    """Whether points (N, 2) are inside at least one of the polygons: (N,) bool."""
    hits = np.zeros(len(points), bool)
    for polygon in polygons:
        hits |= inside(points, polygon)
    return hits


def polygon_of(option: str, points: Sequence[Point]) -> Float64:
    """A simple polygon (K, 2). Raises OptionError if it has fewer than 3 points or crosses or touches itself.

    It may be closed as in GeoJSON: then the last point, which repeats the first, is left out.
    """
    if len(points) > 3 and tuple(points[0]) == tuple(points[-1]):
        points = points[:-1]
    if len(points) < 3:
        raise OptionError(option, f"found a polygon of {len(points)} points; expected at least 3")
    corners = np.array(points, np.float64)
    count = len(corners)
    for i in range(count):
        for j in range(i + 1, count):
            adjacent = j == i + 1 or (i == 0 and j == count - 1)
            if _touch(corners, i, j, adjacent):
                raise OptionError(
                    option,
                    f"found a polygon that crosses or touches itself (sides from {_text(points[i])} and from "
                    f"{_text(points[j])}); expected the corners in order around the outline",
                )
    return corners


def line_of(option: str, points: tuple[Point, Point]) -> Float64:
    """A line (2, 2). Raises OptionError if both ends are the same point."""
    if points[0] == points[1]:
        raise OptionError(option, f"found a line of length 0 at {_text(points[0])}; expected two different points")
    return np.array(points, np.float64)


def cross(a: Float64, b: Float64) -> Float64:
    """The z component of the cross product a x b of vectors (..., 2)."""
    z: Float64 = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return z


def _touch(corners: Float64, i: int, j: int, adjacent: bool) -> bool:
    """Whether sides i and j touch, beyond the corner that adjacent sides share."""
    a, b = corners[i], corners[(i + 1) % len(corners)]
    c, d = corners[j], corners[(j + 1) % len(corners)]
    if (a == b).all() or (c == d).all():
        return True
    if adjacent:  # they overlap only if one folds back onto the other
        shared, before, after = (b, a, d) if j == i + 1 else (a, b, c)
        return bool(cross(before - shared, after - shared) == 0 and np.dot(before - shared, after - shared) > 0)
    first = _side(a, b, c) * _side(a, b, d)
    second = _side(c, d, a) * _side(c, d, b)
    if first < 0 and second < 0:
        return True
    return any(_on(p, q, r) for p, q, r in ((a, b, c), (a, b, d), (c, d, a), (c, d, b)))


def _side(a: Float64, b: Float64, p: Float64) -> float:
    """The side of the line a-b on which p is: -1, 1, or 0 on the line."""
    return float(np.sign(cross(b - a, p - a)))


def _on(a: Float64, b: Float64, p: Float64) -> bool:
    """Whether p is on the segment a-b."""
    return _side(a, b, p) == 0 and bool((np.minimum(a, b) <= p).all() and (p <= np.maximum(a, b)).all())


def _text(point: Point) -> str:
    return f"[{point[0]:g}, {point[1]:g}]"
