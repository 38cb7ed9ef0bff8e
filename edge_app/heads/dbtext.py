"""dbtext: lines of text by differentiable binarization (DBNet), such as PP-OCR detection.

One output (1, 1, H, W): the probability that a pixel belongs to the core of a line, softmax or sigmoid applied. The
rectangle of each core is enlarged by `unclip` times area / perimeter on every side, since the network was trained with
cores that are smaller than the lines.
Source: `DBPostProcess` in PaddleOCR, without its polygon clipper: only the minimal rectangle of the enlarged polygon is
needed, which is the enlarged rectangle. Not here: reading the lines (ctc.py), cutting them out (crops, align: quad).
"""

from __future__ import annotations

from typing import Annotated

import cv2
import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Detections, Float32, UInt8
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._outputs import (
    Arrays,
    check_labels,
    float32,
    shape_of,
    shapes_known,
    specs_of,
    unsupported_outputs,
)
from edge_app.options import Fraction, Positive, Range

_EXPECTED = "one probability map 1x1xHxW, at the size of the input or at a quarter of it"
_LEAST_CORE_PX, _LEAST_LINE_PX = 3, 5  # shorter side, pixels of the map; as PaddleOCR
_MAX_CANDIDATES = 1000
_DILATION: UInt8 = np.ones((2, 2), np.uint8)


class Head:
    """Finds lines of text, with corners that start at the upper left one. Class 0: labels are [text].

    score: the least mean probability inside a line's core. threshold: probability at the edge of a core. unclip: how
    much cores are enlarged. dilate: enlarge cores by a pixel before, as PaddleOCR does for its small models.
    """

    result_type = Detections

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.5,
        threshold: Fraction = 0.3,
        unclip: Annotated[float, Range(0, 5)] = 1.6,
        dilate: bool = True,
        max_detections: Positive = 100,
    ) -> None:
        self._spec = spec
        self._score, self._threshold, self._unclip, self._dilate = score, threshold, unclip, dilate
        self._limit = max_detections
        if shapes_known(spec.outputs):
            _check(spec, spec.outputs)

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Decode the lines of one image."""
        specs = specs_of(outputs)
        _check(self._spec, specs)
        probability = float32(outputs[specs[0].name].reshape(specs[0].shape[-2:]))  # (H, W)
        core = (probability > self._threshold).astype(np.uint8)
        if self._dilate:
            core = cv2.dilate(core, _DILATION).astype(np.uint8, copy=False)
        contours, _ = cv2.findContours(core, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        found = [line for contour in contours[:_MAX_CANDIDATES] if (line := self._line(contour, probability))]
        if not found:
            return Detections.empty()
        height, width = probability.shape
        scale = np.array([transform.input_width / width, transform.input_height / height], np.float32)
        corners = transform.points_to_image(np.stack([quad for quad, _ in found]) * scale, clip=False)
        limit = np.array([transform.image_width, transform.image_height], np.float32)
        xyxy = np.concatenate([corners.min(axis=1).clip(0, limit), corners.max(axis=1).clip(0, limit)], axis=1)
        score = np.array([each for _, each in found], np.float32)
        order = np.argsort(-score, kind="stable")
        rows = order[(xyxy[order, 2:] > xyxy[order, :2]).all(axis=1)][: self._limit]
        return Detections(xyxy[rows], score[rows], np.zeros(len(rows), np.int32), corners=corners[rows])

    def _line(self, contour: np.ndarray, probability: Float32) -> tuple[Float32, float] | None:
        """The corners (4, 2) of a line, pixels of the map, and its score; None if it is too small or too uncertain."""
        center, size, angle = cv2.minAreaRect(contour)
        if min(size) < _LEAST_CORE_PX:
            return None
        score = _mean_inside(probability, _ordered(cv2.boxPoints((center, size, angle))))
        if not score >= self._score:  # NaN, too
            return None
        offset = size[0] * size[1] * self._unclip / (2 * (size[0] + size[1]))
        size = size[0] + 2 * offset, size[1] + 2 * offset
        if min(size) < _LEAST_LINE_PX:
            return None
        return _ordered(cv2.boxPoints((center, size, angle))), score


def _check(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> None:
    """Raise ModelError unless there is one map."""
    shape = shape_of(outputs[0]) if len(outputs) == 1 else ()
    if len(shape) != 3 or shape[0] != 1 or min(shape[1:]) < 2:
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    check_labels(spec, 1)


def _ordered(corners: np.ndarray) -> Float32:
    """The corners (4, 2) from the upper left one clockwise: of the two on the left, the upper one is first."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    left, right = left[np.argsort(left[:, 1], kind="stable")], right[np.argsort(right[:, 1], kind="stable")]
    return np.array([left[0], right[0], right[1], left[1]], np.float32)


def _mean_inside(probability: Float32, corners: Float32) -> float:
    """The mean probability inside a quadrilateral, corners (4, 2), truncated to whole pixels as in PaddleOCR."""
    height, width = probability.shape
    limit = [width - 1, height - 1]
    low = np.floor(corners.min(axis=0)).astype(int).clip(0, limit)
    high = np.ceil(corners.max(axis=0)).astype(int).clip(0, limit)
    inside = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), np.uint8)
    cv2.fillPoly(inside, [(corners - low).astype(np.int32)], (1.0,))
    return float(cv2.mean(probability[low[1] : high[1] + 1, low[0] : high[0] + 1], inside)[0])
