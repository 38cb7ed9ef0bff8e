"""Codes and markers as printed on a plane and seen by a camera: images with known content and a known homography.

The camera model is written out here, so that it shares no code with what it tests.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import zxingcpp

_QUIET = 24  # pixels around a symbol
_BACKGROUND = 200


@dataclass(frozen=True)
class Printed:
    """image: (H, W) uint8. symbol: its corners (4, 2), from the upper left one clockwise, pixels of the image."""

    image: np.ndarray
    symbol: np.ndarray

    def with_image(self, image: np.ndarray) -> Printed:
        return replace(self, image=image)


def code(text: str, format_: str, module_px: int) -> Printed:
    """A code, with modules of a whole number of pixels."""
    made = zxingcpp.create_barcode(text, getattr(zxingcpp.BarcodeFormat, format_))
    image = np.pad(np.array(made.to_image(scale=module_px)), _QUIET, constant_values=255)
    return Printed(image, _corners_of(image))


def marker(dictionary: int, number: int, side_px: int) -> Printed:
    """An ArUco marker or AprilTag."""
    drawn = cv2.aruco.generateImageMarker(cv2.aruco.getPredefinedDictionary(dictionary), number, side_px)
    image = np.pad(drawn, _QUIET, constant_values=255)
    return Printed(image, _corners_of(image))


def _corners_of(image: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero((image < 128).any(axis=1)), np.flatnonzero((image < 128).any(axis=0))
    x1, x2, y1, y2 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], float)


def in_scene(
    printed: Printed,
    *,
    turn: float = 0,
    tilt: float = 0,
    toward: float = 30,
    blur: float = 0.6,
    noise: float = 0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """A gray image of the print, and the homography from the print to it.

    turn: in the plane, degrees. tilt: of the plane against the image, degrees, around an axis at `toward` degrees.
    noise: standard deviation, gray levels. The print's center is seen at its own scale.
    """
    height, width = printed.image.shape
    side = int(np.ceil(np.hypot(height, width))) + 40
    homography = plane(turn, tilt, toward, (width, height), side)
    margin = np.full((side, side), _BACKGROUND, np.uint8)
    image = cv2.warpPerspective(
        printed.image, _centers(homography), (side, side), dst=margin,
        flags=cv2.INTER_AREA, borderMode=cv2.BORDER_TRANSPARENT,
    )  # fmt: skip
    if blur:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    if noise:
        image = np.clip(image + np.random.default_rng(seed).normal(0, noise, image.shape), 0, 255).round()
    return image.astype(np.uint8), homography


def plane(turn: float, tilt: float, toward: float, size: tuple[int, int], side: int) -> np.ndarray:
    """The homography (3, 3) of a plane, seen by a camera at four times its diagonal."""
    a, b, c = np.radians([turn, tilt, toward])
    in_plane = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    axis = np.array([np.cos(c), np.sin(c), 0])
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    tilted = np.eye(3) + np.sin(b) * cross + (1 - np.cos(b)) * cross @ cross
    rotation = tilted @ in_plane
    distance = 4 * np.hypot(*size)
    to_center = np.array([[1, 0, -size[0] / 2], [0, 1, -size[1] / 2], [0, 0, 1]])
    outside = np.column_stack([rotation[:, 0], rotation[:, 1], [0, 0, distance]])
    camera = np.array([[distance, 0, side / 2], [0, distance, side / 2], [0, 0, 1]])
    return camera @ outside @ to_center


def mapped(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, 2) of the print, in the image."""
    there = np.column_stack([points, np.ones(len(points))]) @ homography.T
    return there[:, :2] / there[:, 2:]


def _centers(homography: np.ndarray) -> np.ndarray:
    """The same for OpenCV, where the center of a pixel is at whole numbers."""
    shift = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    return np.linalg.inv(shift) @ homography @ shift
