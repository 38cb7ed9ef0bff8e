"""Four corners for an outline that should have four: a label, a window, a plate seen in perspective."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Float32

_ROUGH = 0.01  # how far the hull may be simplified first, of its perimeter
_MIDDLE = (0.15, 0.85)  # the part of a side that its line is fitted to: corners are rounded
_NEAR = 0.1  # how far from a side an outline may run and belong to it, of the side
_SHIFT = 0.25  # how far a corner may move when the lines are crossed, of the shortest side


def quadrilateral(outline: Float32) -> Float32:
    """The corners (4, 2) of an outline (K, 2), K >= 3: clockwise in a picture, from the one nearest the top left.

    The hull's shortest sides are dropped, their neighbours prolonged until they meet: a corner that is rounded or
    covered comes back. Then a line is fitted to the outline along each side, and the lines are crossed. An outline
    that has no four such sides gets its smallest enclosing rectangle.
    """
    corners = _clockwise(_four_sides(np.asarray(cv2.convexHull(outline), np.float32)))
    ends = np.roll(corners, -1, axis=0)
    lines = [_side(outline, corners[i], ends[i]) for i in range(4)]
    limit = _SHIFT * float(np.hypot(*(ends - corners).T).min())
    crossed = [_cross(lines[i - 1], lines[i], corners[i], limit) for i in range(4)]
    return np.asarray(crossed, np.float32)


def _four_sides(hull: Float32) -> Float32:
    """The quadrilateral around a hull that adds the least area, side by side."""
    tolerance = _ROUGH * cv2.arcLength(hull, True)
    corners: NDArray[np.float64] = np.asarray(cv2.approxPolyDP(hull, tolerance, True), np.float64).reshape(-1, 2)
    while len(corners) > 4:
        start, end = corners, np.roll(corners, -1, axis=0)
        before, after = start - np.roll(start, 1, axis=0), end - np.roll(end, -1, axis=0)
        sine = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):  # parallel neighbours never meet
            reach = ((end - start)[:, 0] * after[:, 1] - (end - start)[:, 1] * after[:, 0]) / sine
            meet = start + reach[:, None] * before
            side = end - start
            added = np.abs(side[:, 0] * (meet - start)[:, 1] - side[:, 1] * (meet - start)[:, 0])
        added[~(reach > 0) | ~np.isfinite(added)] = np.inf  # they meet on the other side, or not at all
        least = int(added.argmin())
        if not np.isfinite(added[least]):
            break
        corners[least] = meet[least]
        corners = np.delete(corners, (least + 1) % len(corners), axis=0)
    if len(corners) != 4:
        return np.asarray(cv2.boxPoints(cv2.minAreaRect(hull)), np.float32)
    return corners.astype(np.float32)


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
    share = (offset * along).sum(axis=1) / length
    away = np.abs(offset[:, 1] * along[0] - offset[:, 0] * along[1])
    near = outline[(share > _MIDDLE[0]) & (share < _MIDDLE[1]) & (away < _NEAR * length)]
    if len(near) < 4:
        return start, along
    vx, vy, x, y = cv2.fitLine(near, cv2.DIST_HUBER, 0, 0.01, 0.01).reshape(-1)
    return np.array([x, y], np.float32), np.array([vx, vy], np.float32)


def _cross(before: tuple[Float32, Float32], after: tuple[Float32, Float32], corner: Float32, limit: float) -> Float32:
    """Where two sides cross; the corner itself where they hardly do, or do so far from it."""
    (p, u), (q, v) = before, after
    sine = float(u[0] * v[1] - u[1] * v[0])
    if abs(sine) < 0.05:
        return corner
    step = ((q[0] - p[0]) * v[1] - (q[1] - p[1]) * v[0]) / sine
    crossing: Float32 = p + np.float32(step) * u
    return crossing if float(np.hypot(*(crossing - corner))) <= limit else corner
