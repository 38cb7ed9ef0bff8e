"""Read an example into the network's input: letterboxed, with its boxes and mask, and random changes for training.

The changes are OpenCV's functions, not a library's: one warp for scale, shift and mirror, and a change of light.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.slim.data.examples import Example, read_mask, read_picture

_GRAY = 114  # around the picture, as the runtime letterboxes
_UNKNOWN = 255
_LEAST_VISIBLE = 0.3  # of a box's area, else the box is left out


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """An example in the network's input. image: (H, W, 3) uint8 RGB. boxes: (N, 4) float32, input pixels.

    classes: (N,) int64. mask: (H, W) uint8, 255 where it is unknown; empty if the example has none.
    """

    image: NDArray[np.uint8]
    label: int
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    mask: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """Random changes of a picture. mirror: whether left and right may be swapped, which letters do not allow."""

    rng: np.random.Generator
    mirror: bool


def load(example: Example, size: tuple[int, int], labels: int, changes: Changes | None) -> Sample:
    """Read an example. size: width and height. Raises ConfigError."""
    picture = read_picture(example.path)
    height, width = picture.shape[:2]
    matrix = _letterbox(width, height, size)
    if changes is not None:
        matrix = _changed(matrix, size, changes)
    image = _warped(picture, matrix, size, (_GRAY,) * 3, cv2.INTER_LINEAR)
    if changes is not None:
        image = _relit(image, changes.rng)
    mask = np.zeros((0, 0), np.uint8)
    if example.mask is not None:
        mask = _warped(read_mask(example.mask, labels), matrix, size, (_UNKNOWN,), cv2.INTER_NEAREST)
    boxes, kept = _moved(example.boxes * np.array([width, height] * 2, np.float32), matrix, size)
    return Sample(np.ascontiguousarray(image[..., ::-1]), example.label, boxes[kept], example.classes[kept], mask)


def _letterbox(width: int, height: int, size: tuple[int, int]) -> NDArray[np.float64]:
    zoom = min(size[0] / width, size[1] / height)
    left, top = (size[0] - width * zoom) / 2, (size[1] - height * zoom) / 2
    return np.array([[zoom, 0, left], [0, zoom, top]])


def _changed(matrix: NDArray[np.float64], size: tuple[int, int], changes: Changes) -> NDArray[np.float64]:
    """The same map, then scaled about the center, shifted and mirrored."""
    rng = changes.rng
    zoom = float(np.exp(rng.uniform(-0.35, 0.35)))
    mirror = -1.0 if changes.mirror and rng.random() < 0.5 else 1.0
    center = np.array(size) / 2
    shift = rng.uniform(-0.1, 0.1, 2) * size
    linear = np.diag([zoom * mirror, zoom])
    return np.hstack([linear @ matrix[:, :2], (linear @ (matrix[:, 2] - center) + center + shift)[:, None]])


def _warped(
    picture: NDArray[np.uint8], matrix: NDArray[np.float64], size: tuple[int, int], fill: tuple[int, ...], how: int
) -> NDArray[np.uint8]:
    zoom = float(np.hypot(*matrix[:, 0]))
    if zoom < 0.5 and how == cv2.INTER_LINEAR:  # a warp has no area filter: shrink first
        small = cv2.resize(picture, None, fx=2 * zoom, fy=2 * zoom, interpolation=cv2.INTER_AREA)
        matrix = matrix.copy()
        matrix[:, :2] *= np.array([picture.shape[1] / small.shape[1], picture.shape[0] / small.shape[0]])
        picture = np.asarray(small, np.uint8)
    moved = matrix.copy()
    moved[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5  # pixel centers
    return np.asarray(cv2.warpAffine(picture, moved, size, flags=how, borderValue=fill), np.uint8)


def _relit(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Another gain, offset and color balance."""
    gains = np.exp(rng.uniform(-0.3, 0.3)) * np.exp(rng.uniform(-0.08, 0.08, 3))
    table = np.clip(np.arange(256)[:, None] * gains + rng.uniform(-20, 20), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def _moved(
    boxes: NDArray[np.float32], matrix: NDArray[np.float64], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Boxes in the input, clipped to it, and which of them are still visible."""
    corners = boxes.reshape(-1, 2, 2) @ matrix[:, :2].T + matrix[:, 2]
    low, high = corners.min(axis=1), corners.max(axis=1)
    inside_low, inside_high = np.clip(low, 0, size), np.clip(high, 0, size)
    area = np.prod(high - low, axis=1)
    visible = np.prod(inside_high - inside_low, axis=1)
    return np.hstack([inside_low, inside_high]).astype(np.float32), visible > _LEAST_VISIBLE * area
