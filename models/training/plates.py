"""Plates for digits: blank plates, windows for single digits, and the pose of a plate in a scene.

Not here: the digits on them and the background (scenes.py).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

import backdrops
from backdrops import Picture, Rng
from canvas import Canvas


def blank(rng: Rng, height: int, width: int) -> tuple[Canvas, Picture]:
    """An empty plate and the color of its ink: dark on light or light on dark."""
    dark_ink = rng.random() < 0.62
    ground, ink = (backdrops.color(rng, 130, 250), backdrops.color(rng, 2, 75, 0.8))
    if not dark_ink:
        ground, ink = (backdrops.color(rng, 5, 100), backdrops.color(rng, 150, 255, 0.6))
    picture = ground * backdrops.gradient(rng, height, width, float(rng.uniform(0, 0.3)))
    picture = (
        picture + (backdrops.noise(rng, height, width, float(rng.uniform(3, 40)), 2) * rng.uniform(0, 5))[:, :, None]
    )
    if rng.random() < 0.5:
        inset = int(rng.integers(0, 3))
        frame = (inset, inset), (width - 1 - inset, height - 1 - inset)
        cv2.rectangle(picture, *frame, (ink if rng.random() < 0.5 else ground * 0.5).tolist(), int(rng.integers(1, 4)))
    return Canvas(picture.astype(np.float32)), ink


def window(rng: Rng, picture: Picture, x: float, y: float, pitch: float, size: float) -> None:
    """Draw a frame around one digit, as mechanical counters have it."""
    corner, other = (round(x + 1), round(y - 0.08 * size)), (round(x + pitch - 1), round(y + 1.1 * size))
    cv2.rectangle(
        picture, corner, other, (picture.mean((0, 1)) * rng.uniform(0.55, 1.25)).tolist(), int(rng.integers(1, 3))
    )


def mounted_corners(
    rng: Rng, corners: NDArray[np.float32], size: tuple[int, int], tilt: float, perspective: float
) -> NDArray[np.float32]:
    """The corners (4, 2) of a flat plate after a random pose in the scene, pixels.

    size: (width, height) of the scene. tilt: standard deviation of the rotation, degrees. perspective: displacement of
    corners, as a share of the plate.
    """
    width, height = size
    angle = np.deg2rad(rng.normal(0, tilt if rng.random() < 0.8 else 3))
    spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = (corners - corners[2] / 2) * rng.uniform(1 - 2 * perspective, 1, 2)
    moved = moved * (1 + rng.normal(0, perspective / 2, (4, 2))) @ spin.T
    reach, middle = np.abs(moved).max(0), np.array([width / 2, height / 2])
    low, high = np.minimum(reach, middle), np.maximum((width, height) - reach, middle)
    return (moved + rng.uniform(low, high) + rng.normal(0, 2, 2)).astype(np.float32)
