"""Box geometry: fit an image into a model's input and map boxes back, IoU, non-maximum suppression."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Float32

Resize = Literal["letterbox", "stretch", "crop", "line"]


@dataclass(frozen=True, slots=True)
class Transform:
    """The mapping of an image into a model's input: input = image * scale + pad, in pixels.

    The image covers `fitted` (width, height) pixels of the input, starting at `pad`. A cropped image covers more than
    the input, and `pad` is negative.
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
        """Width and height of the image inside the input, input pixels."""
        return (
            max(1, round(self.image_width * self.scale_x)),
            max(1, round(self.image_height * self.scale_y)),
        )

    def to_image(self, xyxy: Float32) -> Float32:
        """Map boxes (N, 4) from input pixels to image pixels, clipped to the image."""
        return self.points_to_image(xyxy.reshape(-1, 2)).reshape(-1, 4)

    def points_to_image(self, points: Float32, *, clip: bool = True) -> Float32:
        """Map points (..., 2), x and y, from input pixels to image pixels. clip: to the image."""
        pad, scale, limit = _arrays(self)
        mapped: Float32 = points - pad
        mapped /= scale
        if not clip:
            return mapped
        np.maximum(mapped, 0, out=mapped)  # two calls because np.clip is slower on small arrays
        np.minimum(mapped, limit, out=mapped)
        return mapped


@lru_cache(maxsize=16)
def _arrays(transform: Transform) -> tuple[Float32, Float32, Float32]:
    """Pad, scale and image size, (2,) each. Cached: computed once per transform instead of once per frame."""
    pad = np.array([transform.pad_x, transform.pad_y], np.float32)
    scale = np.array([transform.scale_x, transform.scale_y], np.float32)
    return pad, scale, np.array([transform.image_width, transform.image_height], np.float32)


def fit(
    image_size: tuple[int, int], input_size: tuple[int, int], resize: Resize, crop_fraction: float = 1.0
) -> Transform:
    """Fit an image (width, height) into an input (width, height).

    `letterbox` and `crop` keep the aspect ratio. `crop` covers the input: the short side of the image becomes that of
    the input divided by `crop_fraction`, and the center is taken, rounded as torchvision does. `line`, for text, takes
    the height of the input, keeps the aspect ratio and pads on the right, as PaddleOCR does, and compresses what is
    longer.
    """
    (image_w, image_h), (input_w, input_h) = image_size, input_size
    if resize == "crop":
        fitted_w, fitted_h = round(input_w / crop_fraction), round(input_h / crop_fraction)
        if image_w * fitted_h < image_h * fitted_w:
            fitted_h = image_h * fitted_w // image_w
        else:
            fitted_w = image_w * fitted_h // image_h
        pad_x, pad_y = -round((fitted_w - input_w) / 2), -round((fitted_h - input_h) / 2)
        return Transform(image_w, image_h, input_w, input_h, fitted_w / image_w, fitted_h / image_h, pad_x, pad_y)
    if resize == "stretch":
        return Transform(image_w, image_h, input_w, input_h, input_w / image_w, input_h / image_h, 0, 0)
    if resize == "line":
        fitted_w = min(input_w, -(-input_h * image_w // image_h))
        return Transform(image_w, image_h, input_w, input_h, fitted_w / image_w, input_h / image_h, 0, 0)
    scale = min(input_w / image_w, input_h / image_h)
    fitted_w, fitted_h = max(1, round(image_w * scale)), max(1, round(image_h * scale))
    pad_x, pad_y = (input_w - fitted_w) // 2, (input_h - fitted_h) // 2
    return Transform(image_w, image_h, input_w, input_h, fitted_w / image_w, fitted_h / image_h, pad_x, pad_y)


def iou(a: Float32, b: Float32) -> Float32:
    """Intersection over union of every pair. a: (N, 4), b: (M, 4). Returns (N, M); 0 for two empty boxes."""
    overlap = _overlap(a, b)
    union = _area(a)[:, None] + _area(b) - overlap
    ratio: Float32 = overlap / np.maximum(union, np.finfo(np.float32).tiny)
    return ratio


_PLAIN_PYTHON_LIMIT = 8  # boxes; above this the array version is faster
_CLASS_OFFSET = 1 << 20  # px; shifts the boxes of each class so that classes cannot overlap


def nms(
    xyxy: Float32,
    score: Float32,
    class_id: NDArray[np.int32] | None,
    iou_threshold: float,
    limit: int = 300,
) -> NDArray[np.intp]:
    """Suppress boxes whose IoU with a higher-scoring box of the same class exceeds `iou_threshold`.

    xyxy: (N, 4). score: (N,); boxes with score 0 are dropped. class_id: (N,), or None to suppress across classes.
    Returns the kept rows, best first, at most `limit`. Boxes with equal scores keep their order: deterministic.
    """
    import cv2  # imported here to keep `import edge_app.geometry` fast

    if len(score) <= _PLAIN_PYTHON_LIMIT or not hasattr(cv2, "dnn"):  # minimal OpenCV builds for cameras lack dnn
        kept = _nms_plain(xyxy.tolist(), score.tolist(), None if class_id is None else class_id.tolist(), iou_threshold)
        return np.array(kept[:limit], np.intp)
    xywh = xyxy.astype(np.float64)
    xywh[:, 2:] -= xywh[:, :2]
    np.maximum(xywh[:, 2:], 0, out=xywh[:, 2:])  # OpenCV lets an inverted box suppress every smaller one
    if class_id is not None:
        xywh[:, 0] += class_id * _CLASS_OFFSET
    kept_rows = cv2.dnn.NMSBoxes(xywh, score, 0.0, iou_threshold)  # type: ignore[arg-type]  # arrays work too, faster
    return np.asarray(kept_rows, np.intp)[:limit]


def _nms_plain(
    boxes: list[list[float]], score: list[float], class_id: list[int] | None, iou_threshold: float
) -> list[int]:
    """NMS in plain Python: faster for up to 8 boxes, as array calls take 50 us with the caches cold after inference."""
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
                overlap = width * height
                if overlap > iou_threshold * (area + (x2 - x1) * (y2 - y1) - overlap):
                    break
        else:
            kept.append(i)
    return kept


def _overlap(a: Float32, b: Float32) -> Float32:
    """Intersection areas (N, M) of a (N, 4) and b (M, 4), computed by column to save passes over memory."""
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
