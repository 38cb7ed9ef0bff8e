"""Four corners for an outline that should have four: a label, a window, a plate seen in perspective."""

from __future__ import annotations

import cv2
import numpy as np

from edge_app.frame import Float32

_TOLERANCES = (0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.12)  # of the perimeter
_MIDDLE = (0.15, 0.85)  # the part of a side that its line is fitted to: corners are rounded
_NEAR = 0.1  # how far from a side an outline may run and belong to it, of the side
_SHIFT = 0.25  # how far a corner may move when the lines are crossed, of the shortest side


def quadrilateral(outline: Float32) -> Float32:
    """The corners (4, 2) of an outline (K, 2), K >= 3: clockwise in a picture, from the one nearest the top left.

    The hull is thinned out to four points; a line is fitted to the outline along each side, and the lines are crossed.
    An outline that does not thin out to four points gets its smallest enclosing rectangle.
    """
    corners = _clockwise(_thinned(np.asarray(cv2.convexHull(outline), np.float32)))
    ends = np.roll(corners, -1, axis=0)
    lines = [_side(outline, corners[i], ends[i]) for i in range(4)]
    limit = _SHIFT * float(np.hypot(*(ends - corners).T).min())
    crossed = [_cross(lines[i - 1], lines[i], corners[i], limit) for i in range(4)]
    return np.asarray(crossed, np.float32)


def _thinned(hull: Float32) -> Float32:
    perimeter = cv2.arcLength(hull, True)
    for tolerance in _TOLERANCES:
        points = cv2.approxPolyDP(hull, tolerance * perimeter, True).reshape(-1, 2)
        if len(points) == 4:
            return np.asarray(points, np.float32)
        if len(points) < 4:
            break
    return np.asarray(cv2.boxPoints(cv2.minAreaRect(hull)), np.float32)


def _clockwise(corners: Float32) -> Float32:
    x, y = corners.T
    if np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) < 0:  # y points down: positive is clockwise
        corners = corners[::-1]
    return np.roll(corners, -int(corners.sum(axis=1).argmin()), axis=0)


def _side(outline: Float32, start: Float32, end: Float32) -> tuple[Float32, Float32]:
    """A point and a direction: the line through the outline's points along one side, or the side itself."""
    along = end - start
    length = max(float(np.hypot(*along)), 1e-6)
    along = along / length
    offset = outline - start
    share = offset @ along / length
    away = np.abs(offset @ np.array([-along[1], along[0]], np.float32))
    near = outline[(share > _MIDDLE[0]) & (share < _MIDDLE[1]) & (away < _NEAR * length)]
    if len(near) < 4:
        return start, along
    vx, vy, x, y = cv2.fitLine(near, cv2.DIST_HUBER, 0, 0.01, 0.01).reshape(-1)
    return np.array([x, y], np.float32), np.array([vx, vy], np.float32)


def _cross(
    before: tuple[Float32, Float32], after: tuple[Float32, Float32], corner: Float32, limit: float
) -> Float32:
    """Where two sides cross; the corner itself where they hardly do, or do so far from it."""
    (p, u), (q, v) = before, after
    sine = float(u[0] * v[1] - u[1] * v[0])
    if abs(sine) < 0.05:
        return corner
    step = ((q[0] - p[0]) * v[1] - (q[1] - p[1]) * v[0]) / sine
    crossing: Float32 = p + np.float32(step) * u
    return crossing if float(np.hypot(*(crossing - corner))) <= limit else corner
