"""Geometry of boxes: fitting an image into a model's input and back, overlap, suppression."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
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
        pad, scale, limit = _arrays(self)
        mapped: Float32 = points - pad
        mapped /= scale
        np.maximum(mapped, 0, out=mapped)  # two calls: np.clip costs more on small arrays
        np.minimum(mapped, limit, out=mapped)
        return mapped


@lru_cache(maxsize=16)
def _arrays(transform: Transform) -> tuple[Float32, Float32, Float32]:
    """Pad, scale and the image's size, (2,) each: made once a transform, not once a frame."""
    pad = np.array([transform.pad_x, transform.pad_y], np.float32)
    scale = np.array([transform.scale_x, transform.scale_y], np.float32)
    return pad, scale, np.array([transform.image_width, transform.image_height], np.float32)


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


_FEW = 8  # boxes
_FAR_APART = 1 << 20  # px: what moves boxes of one class out of reach of another's


def nms(
    xyxy: Float32,
    score: Float32,
    class_id: NDArray[np.int32] | None,
    iou_threshold: float,
    limit: int = 300,
) -> NDArray[np.intp]:
    """Suppress boxes that overlap a better one of their class by more than `iou_threshold`.

    xyxy: (N, 4); score: (N,), those of 0 are left out; class_id: (N,), or None to let every box suppress every other.
    Returns the rows kept, best first, at most `limit`. Equal scores keep their order, so that results repeat.
    """
    import cv2  # here, so that importing the geometry stays light

    if len(score) <= _FEW or not hasattr(cv2, "dnn"):  # an OpenCV that was built small for a camera has no dnn
        kept = _nms_of_few(
            xyxy.tolist(), score.tolist(), None if class_id is None else class_id.tolist(), iou_threshold
        )
        return np.array(kept[:limit], np.intp)
    xywh = xyxy.astype(np.float64)
    xywh[:, 2:] -= xywh[:, :2]
    if class_id is not None:
        xywh[:, 0] += class_id * _FAR_APART
    found = cv2.dnn.NMSBoxes(xywh, score, 0.0, iou_threshold)  # type: ignore[arg-type]  # arrays do, faster than lists
    return np.asarray(found, np.intp)[:limit]


def _nms_of_few(
    boxes: list[list[float]], score: list[float], class_id: list[int] | None, iou_threshold: float
) -> list[int]:
    """In plain Python: for up to 8 boxes, whose array calls cost 50 us behind a network that fills the caches."""
    kept: list[int] = []
    for i in sorted((i for i, s in enumerate(score) if s > 0), key=lambda i: -score[i]):
        left, top, right, bottom = boxes[i]
        area = (right - left) * (bottom - top)
        for k in kept:
            if class_id is not None and class_id[k] != class_id[i]:
                continue
            x1, y1, x2, y2 = boxes[k]
            width, height = min(right, x2) - max(left, x1), min(bottom, y2) - max(top, y1)
            if width > 0 and height > 0:
                shared = width * height
                if shared > iou_threshold * (area + (x2 - x1) * (y2 - y1) - shared):
                    break
        else:
            kept.append(i)
    return kept


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
