"""Semantic segmentation: a map of class scores, turned into polygons.

Source: the common format of exports, one output (1, C, H, W) at any stride. C = 1: a mask, inside is above the
threshold. C > 1: each cell belongs to its best class. Outlines are traced on a bilinearly enlarged map and then moved
to the contour line, so that they are more precise than a cell. Holes are not reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Float32, Segmentation
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._outline import refined
from edge_app.heads._outputs import (
    Arrays,
    check_labels,
    float32,
    logit,
    shape_of,
    shapes_known,
    sigmoid,
    specs_of,
    unsupported_outputs,
)
from edge_app.heads._quad import quadrilateral
from edge_app.options import Fraction, Positive, Range

_EXPECTED = "one output 1xCxHxW"
_MAX_LOGIT = 50.0  # logits are clipped to this, which avoids infinities
_FINE_PX = 2.0  # cell size of the enlarged map on which outlines are traced, input pixels
_MAX_ENLARGEMENT = 4
_PREFILTER = 0.25  # of min_area: regions that are smaller before refinement are skipped


class Head:
    """Turns class maps into polygons.

    threshold: probability at the edge of a mask (C = 1). score: minimum mean probability inside a region. min_area:
    minimum size of a region, as a fraction of the image. max_regions: only the largest are reported. simplify:
    greatest distance between polygon and outline, input pixels. shape: `quad` fits four corners. background: class 0 of
    C > 1 is not reported. activation: `auto` treats values as probabilities if all are in 0..1, otherwise as logits.
    """

    result_type = Segmentation

    def __init__(
        self,
        spec: HeadSpec,
        *,
        threshold: Fraction = 0.5,
        score: Fraction = 0.0,
        min_area: Fraction = 0.001,
        max_regions: Positive = 20,
        simplify: Annotated[float, Range(0)] = 1.0,
        shape: Literal["contour", "quad"] = "contour",
        background: bool = True,
        activation: Literal["auto", "apply", "none"] = "auto",
    ) -> None:
        self._spec = spec
        self._threshold = threshold
        self._score = score
        self._min_area = min_area
        self._max_regions = max_regions
        self._simplify = simplify
        self._shape = shape
        self._background = background
        self._activation = activation
        self._layout = _layout(spec, spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Segmentation:
        """Outline the regions of one image, the largest first."""
        layout = self._layout = self._layout or _layout(self._spec, specs_of(outputs))
        maps = np.nan_to_num(float32(outputs[layout.output])[0], nan=-_MAX_LOGIT, posinf=_MAX_LOGIT, neginf=-_MAX_LOGIT)
        image_area = transform.image_width * transform.image_height
        cells = np.prod(transform.fitted) / np.prod(layout.step)
        min_cells = _PREFILTER * self._min_area * float(cells)
        regions: list[tuple[float, int, float, Float32]] = []  # area, class, score, polygon
        for class_id, margin, probability in self._classes(maps):
            for outline, score in _outlines(margin, probability, layout.enlargement, min_cells, self._max_regions):
                polygon = self._polygon(outline * layout.step, transform)
                area = cv2.contourArea(polygon) if len(polygon) >= 3 else 0.0
                if score >= self._score and area > 0 and area >= self._min_area * image_area:
                    regions.append((area, class_id, score, polygon))
        regions.sort(key=lambda region: -region[0])
        regions = regions[: self._max_regions]
        return Segmentation(
            np.array([region[1] for region in regions], np.int32),
            np.array([region[2] for region in regions], np.float32),
            tuple(region[3] for region in regions),
        )

    def _classes(self, maps: Float32) -> Iterator[tuple[int, Float32, Float32]]:
        """Yield each class that has cells: its number, its margin (H, W), > 0 inside, and its probability (H, W)."""
        logits = self._activation == "apply" or (
            self._activation == "auto" and not (maps.min() >= 0 and maps.max() <= 1)
        )
        if len(maps) == 1:
            level = np.clip(logit(self._threshold), -_MAX_LOGIT, _MAX_LOGIT) if logits else self._threshold
            margin = maps[0] - np.float32(level)
            if (margin > 0).any():
                yield 0, margin, sigmoid(maps[0]) if logits else maps[0]
            return
        best = maps.argmax(axis=0)
        second, first = np.partition(maps, (-2, -1), axis=0)[-2:]
        total = np.exp(maps - first).sum(axis=0) if logits else None
        for class_id in np.flatnonzero(np.bincount(best.reshape(-1))).tolist():
            if class_id == 0 and self._background:
                continue
            scores = maps[class_id]
            margin = scores - np.where(best == class_id, second, first)
            yield class_id, margin, scores if total is None else np.exp(scores - first) / total

    def _polygon(self, outline: Float32, transform: Transform) -> Float32:
        if self._shape == "quad" and len(outline) >= 3:
            corners = quadrilateral(outline)
        else:
            corners = np.asarray(cv2.approxPolyDP(outline, self._simplify, True), np.float32).reshape(-1, 2)
        return transform.points_to_image(corners)


@dataclass(frozen=True, slots=True)
class _Layout:
    """enlargement: factor of the map before outlines are traced. step: (2,), input pixels per enlarged cell."""

    output: str
    enlargement: int
    step: Float32


def _layout(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> _Layout:
    shape = shape_of(outputs[0])
    if len(outputs) != 1 or len(shape) != 3:
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    channels, height, width = shape
    check_labels(spec, channels)
    stride = np.array(spec.input_size, np.float32) / np.array([width, height], np.float32)
    enlargement = int(np.clip(np.ceil(stride.max() / _FINE_PX), 1, _MAX_ENLARGEMENT))
    return _Layout(outputs[0].name, enlargement, stride / np.float32(enlargement))


def _outlines(
    margin: Float32, probability: Float32, enlargement: int, min_cells: float, limit: int
) -> Iterator[tuple[Float32, float]]:
    """Yield the outlines (K, 2), in enlarged cells, and mean probabilities of the largest regions, at most `limit`.

    min_cells: smaller regions are skipped.
    """
    size = (margin.shape[1] * enlargement, margin.shape[0] * enlargement)
    fine = np.asarray(cv2.resize(margin, size, interpolation=cv2.INTER_LINEAR), np.float32)
    probability = np.asarray(cv2.resize(probability, size, interpolation=cv2.INTER_LINEAR), np.float32)
    inside = (fine > 0).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contours = [contour for contour in contours if cv2.contourArea(contour) >= min_cells]
    for contour in sorted(contours, key=cv2.contourArea, reverse=True)[:limit]:
        x, y, width, height = cv2.boundingRect(contour)
        mask = np.zeros((height, width), np.uint8)
        cv2.drawContours(mask, [contour - (x, y)], 0, 1, cv2.FILLED)
        score = cv2.mean(probability[y : y + height, x : x + width], mask)[0]
        yield refined(contour.reshape(-1, 2).astype(np.intp), fine), score
