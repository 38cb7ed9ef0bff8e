"""Geometry of boxes: fitting an image into a model's input and back, overlap, suppression. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Float32

Resize = Literal["letterbox", "stretch"]


@dataclass(frozen=True, slots=True)
class Transform:
    """How an image was laid into a model's input: input = image * scale + pad, in pixels.

    The picture occupies `fitted` (width, height) pixels of the input from `pad` on.
    """

    image_width: int
    image_height: int
    input_width: int
    input_height: int
    scale_x: float
    scale_y: float
    pad_x: int
    pad_y: int

    @property
    def fitted(self) -> tuple[int, int]:
        """Width and height of the picture inside the input, input pixels."""
        return (
            max(1, round(self.image_width * self.scale_x)),
            max(1, round(self.image_height * self.scale_y)),
        )

    def to_image(self, xyxy: Float32) -> Float32:
        """Map boxes (N, 4), input pixels, to image pixels, clipped to the image."""
        return self.points_to_image(xyxy.reshape(-1, 2)).reshape(-1, 4)

    def points_to_image(self, points: Float32) -> Float32:
        """Map points (..., 2), x and y in input pixels, to image pixels, clipped to the image."""
        pad = np.array([self.pad_x, self.pad_y], np.float32)
        scale = np.array([self.scale_x, self.scale_y], np.float32)
        limit = np.array([self.image_width, self.image_height], np.float32)
        mapped: Float32 = points - pad
        mapped /= scale
        np.maximum(mapped, 0, out=mapped)  # two calls: np.clip costs more on small arrays
        np.minimum(mapped, limit, out=mapped)
        return mapped


def fit(image_size: tuple[int, int], input_size: tuple[int, int], resize: Resize) -> Transform:
    """Lay an image (width, height) into an input (width, height): keep its shape, or fill the input."""
    (image_w, image_h), (input_w, input_h) = image_size, input_size
    if resize == "stretch":
        return Transform(image_w, image_h, input_w, input_h, input_w / image_w, input_h / image_h, 0, 0)
    scale = min(input_w / image_w, input_h / image_h)
    fitted_w, fitted_h = max(1, round(image_w * scale)), max(1, round(image_h * scale))
    pad_x, pad_y = (input_w - fitted_w) // 2, (input_h - fitted_h) // 2
    return Transform(image_w, image_h, input_w, input_h, fitted_w / image_w, fitted_h / image_h, pad_x, pad_y)


def iou(a: Float32, b: Float32) -> Float32:
    """Intersection over union of every pair, 0 of two empty boxes. a: (N, 4), b: (M, 4), same space. Returns (N, M)."""
    overlap = _overlap(a, b)
    union = _area(a)[:, None] + _area(b) - overlap
    ratio: Float32 = overlap / np.maximum(union, np.finfo(np.float32).tiny)
    return ratio


_BLOCK = 64  # boxes compared with the rest at once: fewer numpy calls than one by one, less memory than all pairs


def nms(
    xyxy: Float32,
    score: Float32,
    class_id: NDArray[np.int32] | None,
    iou_threshold: float,
    limit: int = 300,
) -> NDArray[np.intp]:
    """Suppress boxes that overlap a better one of their class by more than `iou_threshold`.

    xyxy: (N, 4); score: (N,); class_id: (N,), or None to let every box suppress every other.
    Returns the rows kept, best first, at most `limit`. Equal scores keep their order, so that results repeat.
    """
    order = np.argsort(-score, kind="stable")
    if len(order) < 2:
        return order[:limit]
    kept: list[int] = []
    while len(order):
        apart = _apart(xyxy, class_id, order[:_BLOCK], order, iou_threshold)
        alive = np.ones(len(order), bool)
        for i in range(len(apart)):
            if alive[i]:
                kept.append(order[i])
                if len(kept) == limit:
                    return np.array(kept, np.intp)
                alive &= apart[i]
        order = order[_BLOCK:][alive[_BLOCK:]]
    return np.array(kept, np.intp)


def _apart(
    xyxy: Float32,
    class_id: NDArray[np.int32] | None,
    some: NDArray[np.intp],
    others: NDArray[np.intp],
    iou_threshold: float,
) -> NDArray[np.bool_]:
    """Which pairs of rows let each other live: (len(some), len(others))."""
    a, b = xyxy[some], xyxy[others]
    overlap = _overlap(a, b)
    union = _area(a)[:, None] + _area(b) - overlap
    apart: NDArray[np.bool_] = overlap <= np.float32(iou_threshold) * union
    if class_id is not None:
        apart |= class_id[some][:, None] != class_id[others]
    return apart


def _overlap(a: Float32, b: Float32) -> Float32:
    """Areas that a (N, 4) and b (M, 4) share: (N, M). Column by column: far fewer passes than by corner pairs."""
    width = np.minimum(a[:, 2, None], b[:, 2])
    width -= np.maximum(a[:, 0, None], b[:, 0])
    height = np.minimum(a[:, 3, None], b[:, 3])
    height -= np.maximum(a[:, 1, None], b[:, 1])
    np.maximum(width, 0, out=width)
    np.maximum(height, 0, out=height)
    width *= height
    return width


def _area(xyxy: Float32) -> Float32:
    area: Float32 = (xyxy[:, 2] - xyxy[:, 0]) * (xyxy[:, 3] - xyxy[:, 1])
    return area
