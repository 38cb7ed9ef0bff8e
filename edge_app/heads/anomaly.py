"""anomaly: regions that differ from the pictures of a training without defects: PaDiM, PatchCore, EfficientAD.

Output: a map of scores (1, 1, H, W) or (1, H, W) at any stride; a file of anomalib also has the score, the label and
the mask of the whole image, which are not used. Files without anomalib's normalization have distances instead of 0..1:
`normal` and `anomalous` say which of them become 0 and 1.
Source: anomalib, `InferenceModel` and `PostProcessor`. Not here: classes of defects (segment.py, instances.py).
"""

from __future__ import annotations

from typing import Annotated

import cv2
import numpy as np

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._outline import refined
from edge_app.heads._outputs import Arrays, check_labels, float32, shape_of, shapes_known, specs_of, unsupported_outputs
from edge_app.options import Fraction, Positive, Range

_EXPECTED = "a map of scores 1x1xHxW or 1xHxW"
_FINE_PX = 4  # input pixels per cell to which a coarse map is enlarged before outlines are traced
_LEAST_BORDER = 3  # pixels: a single one is noise
_LIMIT = np.float32(1e6)  # of a value, which avoids infinities


class Head:
    """Finds anomalous regions, each with its outline. Class 0: labels are [anomaly]. The score is the region's highest.

    threshold: score at the edge of a region. score: the least highest score of a region. normal, anomalous: values of
    the map that become the scores 0 and 1. simplify: greatest distance between polygon and outline, input pixels.
    """

    result_type = Detections

    def __init__(
        self,
        spec: HeadSpec,
        *,
        score: Fraction = 0.5,
        threshold: Fraction = 0.5,
        normal: Annotated[float, Range(-1e6, 1e6)] = 0.0,
        anomalous: Annotated[float, Range(-1e6, 1e6)] = 1.0,
        simplify: Annotated[float, Range(0)] = 1.0,
        max_detections: Positive = 20,
    ) -> None:
        if not normal < anomalous:
            found = f"normal {normal:g}, anomalous {anomalous:g}"
            raise ModelError(f"heads.{spec.name}: found {found}; expected normal < anomalous")
        self._spec, self._score, self._threshold = spec, score, threshold
        self._offset, self._scale = np.float32(normal), np.float32(1 / (anomalous - normal))
        self._simplify, self._limit = simplify, max_detections
        self._name = _map_of(spec, spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Outline the regions of one image, the highest score first."""
        name = self._name = self._name or _map_of(self._spec, specs_of(outputs))
        output = float32(outputs[name])
        values = np.clip(np.nan_to_num(output.reshape(output.shape[-2:])), -_LIMIT, _LIMIT)
        scores = float32(((values - self._offset) * self._scale).clip(0, 1))  # (H, W)
        if not (scores > self._threshold).any():
            return Detections.empty()
        size = (transform.input_width, transform.input_height)
        enlargement = max(1, *(-(-side // (cells * _FINE_PX)) for side, cells in zip(size, scores.shape[::-1])))
        if enlargement > 1:
            scores = np.asarray(cv2.resize(scores, None, fx=enlargement, fy=enlargement), np.float32)
        step = (np.array(size) / np.array(scores.shape[::-1])).astype(np.float32)
        contours, _ = cv2.findContours(
            (scores > self._threshold).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        found = [(_peak(scores, contour), contour) for contour in contours if len(contour) >= _LEAST_BORDER]
        found = sorted((each for each in found if each[0] >= self._score), key=lambda each: -each[0])[: self._limit]
        margin = float32(scores - np.float32(self._threshold))
        regions = [(score, self._polygon(contour, margin, step, transform)) for score, contour in found]
        regions = [each for each in regions if (np.ptp(each[1], axis=0) > 0).all()]
        if not regions:
            return Detections.empty()
        return Detections(
            np.stack([np.concatenate([polygon.min(axis=0), polygon.max(axis=0)]) for _, polygon in regions]),
            np.array([score for score, _ in regions], np.float32),
            np.zeros(len(regions), np.int32),
            polygons=tuple(polygon for _, polygon in regions),
        )

    def _polygon(self, contour: np.ndarray, margin: Float32, step: Float32, transform: Transform) -> Float32:
        """The outline (K, 2) of a region, image pixels."""
        outline = refined(contour.reshape(-1, 2).astype(np.intp), margin) * step
        corners = np.asarray(cv2.approxPolyDP(outline, self._simplify, True), np.float32).reshape(-1, 2)
        if len(corners) < 3:  # a region of a pixel or a line
            low, high = outline.min(axis=0), outline.max(axis=0)
            corners = np.array([low, [high[0], low[1]], high, [low[0], high[1]]], np.float32)
        return transform.points_to_image(corners)


def _peak(scores: Float32, contour: np.ndarray) -> float:
    """The highest score in a region."""
    x, y, width, height = cv2.boundingRect(contour)
    mask = np.zeros((height, width), np.uint8)
    cv2.drawContours(mask, [contour - (x, y)], 0, (1.0,), cv2.FILLED)
    return float(scores[y : y + height, x : x + width][mask > 0].max())


def _map_of(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> str:
    """The output with the map. Raises ModelError if there is none, or more than one."""
    maps = [output for output in outputs if output.dtype.startswith("float") and _is_map(shape_of(output))]
    named = [output for output in maps if "map" in output.name.lower()]
    if len(named if len(maps) > 1 else maps) != 1:
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    check_labels(spec, 1)
    return (named if len(maps) > 1 else maps)[0].name


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) in (2, 3) and (len(shape) == 2 or shape[0] == 1) and min(shape[-2:]) > 1
