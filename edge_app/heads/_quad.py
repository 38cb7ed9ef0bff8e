"""Fit a quadrilateral to an outline, such as a label, a display or a license plate seen in perspective."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Float32

_SIMPLIFY = 0.01  # tolerance of the initial simplification of the hull, as a fraction of its perimeter
_MIDDLE = (0.15, 0.85)  # the part of a side to which a line is fitted; excludes the rounded corners
_NEAR = 0.1  # greatest distance of outline points that belong to a side, as a fraction of the side
_SHIFT = 0.25  # greatest movement of a corner when the fitted lines are intersected, relative to the shortest side


def quadrilateral(outline: Float32) -> Float32:
    """The corners (4, 2) of an outline (K, 2), K >= 3: clockwise in the image, starting nearest the top left.

    Removes sides of the convex hull, always the one that adds the least area, by extending its neighbors until they
    meet; this restores rounded or covered corners. Then fits a line to the outline along each of the four sides and
    intersects these lines. Falls back to the smallest enclosing rectangle if this does not end with four sides.
    """
    corners = _clockwise(_four_sides(np.asarray(cv2.convexHull(outline), np.float32)))
    ends = np.roll(corners, -1, axis=0)
    lines = [_side(outline, corners[i], ends[i]) for i in range(4)]
    limit = _SHIFT * float(np.hypot(*(ends - corners).T).min())
    crossings = [_cross(lines[i - 1], lines[i], corners[i], limit) for i in range(4)]
    return np.asarray(crossings, np.float32)


def _four_sides(hull: Float32) -> Float32:
    """The quadrilateral (4, 2) around a convex hull, found by greedily removing the side that adds the least area."""
    tolerance = _SIMPLIFY * cv2.arcLength(hull, True)
    corners: NDArray[np.float64] = np.asarray(cv2.approxPolyDP(hull, tolerance, True), np.float64).reshape(-1, 2)
    while len(corners) > 4:
        start, end = corners, np.roll(corners, -1, axis=0)
        before, after = start - np.roll(start, 1, axis=0), end - np.roll(end, -1, axis=0)
        sine = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):  # parallel neighbors do not meet
            reach = ((end - start)[:, 0] * after[:, 1] - (end - start)[:, 1] * after[:, 0]) / sine
            meet = start + reach[:, None] * before
            side = end - start
            added = np.abs(side[:, 0] * (meet - start)[:, 1] - side[:, 1] * (meet - start)[:, 0])
        added[~(reach > 0) | ~np.isfinite(added)] = np.inf  # they meet on the wrong side, or not at all
        least = int(added.argmin())
        if not np.isfinite(added[least]):
            break
        corners[least] = meet[least]
        corners = np.delete(corners, (least + 1) % len(corners), axis=0)
    if len(corners) != 4:
        return np.asarray(cv2.boxPoints(cv2.minAreaRect(hull)), np.float32)
    return corners.astype(np.float32)


def _clockwise(corners: Float32) -> Float32:
    """Order corners clockwise in the image, starting nearest the top left."""
    x, y = corners.T
    if np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) < 0:  # y points down: positive is clockwise
        corners = corners[::-1]
    return np.roll(corners, -int(corners.sum(axis=1).argmin()), axis=0)


def _side(outline: Float32, start: Float32, end: Float32) -> tuple[Float32, Float32]:
    """A line fitted to the outline's points along one side, as a point and a direction; else the side itself."""
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
    """The intersection of two sides; the corner itself if they are almost parallel or intersect too far from it."""
    (p, u), (q, v) = before, after
    sine = float(u[0] * v[1] - u[1] * v[0])
    if abs(sine) < 0.05:
        return corner
    step = ((q[0] - p[0]) * v[1] - (q[1] - p[1]) * v[0]) / sine
    crossing: Float32 = p + np.float32(step) * u
    return crossing if float(np.hypot(*(crossing - corner))) <= limit else corner
