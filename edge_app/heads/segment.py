"""Semantic segmentation: a map of class scores, turned into polygons.

Source: the common form of exports, one output (1, C, H, W) at any stride: C = 1 is a mask (above the threshold is
inside), C > 1 gives each cell to its best class. Outlines are found on a map enlarged bilinearly and then moved onto
the level line, so that they are finer than a cell. Holes are not reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.backends import TensorSpec
from edge_app.frame import Float32, Segmentation
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._outputs import Arrays, check_labels, described, fixed, float32, logit, shape_of, sigmoid, unusable
from edge_app.heads._quad import quadrilateral
from edge_app.options import Fraction, Positive, Range

_EXPECTED = "one output 1xCxHxW"
_MOST = 50.0  # logits beyond this are certain; keeps infinities out of the arithmetic
_FINE_PX = 2.0  # outlines are found on a map of this step, input pixels
_MAX_ENLARGEMENT = 4
_SURELY_LESS = 0.25  # of min_area, between the middles of border pixels: too small whatever the refined outline is


class Head:
    """Turns class maps into polygons.

    threshold: of a mask's probability (C = 1). score: the least mean probability inside a region. min_area: the least
    size of a region, as a share of the picture. max_regions: the largest ones are reported. simplify: how far a
    polygon may leave the outline, input pixels. shape: `quad` fits four corners. background: class 0 of C > 1 is not
    reported. activation: `auto` takes values that all lie in 0..1 as probabilities, any other as logits.
    """

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
        self._layout = _layout(spec, spec.outputs) if fixed(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Segmentation:
        """Outline the regions of one picture, the largest first."""
        layout = self._layout = self._layout or _layout(self._spec, described(outputs))
        maps = np.nan_to_num(float32(outputs[layout.output])[0], nan=-_MOST, posinf=_MOST, neginf=-_MOST)
        picture = transform.image_width * transform.image_height
        cells = np.prod(transform.fitted) / np.prod(layout.step)
        least = _SURELY_LESS * self._min_area * float(cells)
        found: list[tuple[float, int, float, Float32]] = []  # area, class, score, polygon
        for class_id, margin, probability in self._classes(maps):
            for outline, score in _outlines(margin, probability, layout.enlargement, least, self._max_regions):
                polygon = self._polygon(outline * layout.step, transform)
                area = cv2.contourArea(polygon) if len(polygon) >= 3 else 0.0
                if score >= self._score and area > 0 and area >= self._min_area * picture:
                    found.append((area, class_id, score, polygon))
        found.sort(key=lambda region: -region[0])
        found = found[: self._max_regions]
        return Segmentation(
            np.array([region[1] for region in found], np.int32),
            np.array([region[2] for region in found], np.float32),
            tuple(region[3] for region in found),
        )

    def _classes(self, maps: Float32) -> Iterator[tuple[int, Float32, Float32]]:
        """Each class that has a cell: its number, its margin (H, W), above 0 inside, and its probability (H, W)."""
        logits = self._activation == "apply" or (
            self._activation == "auto" and not (maps.min() >= 0 and maps.max() <= 1)
        )
        if not logits:
            maps = np.clip(maps, 0, 1)
        if len(maps) == 1:
            level = np.clip(logit(self._threshold), -_MOST, _MOST) if logits else self._threshold
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
            one = maps[class_id]
            margin = one - np.where(best == class_id, second, first)
            yield class_id, margin, one if total is None else np.exp(one - first) / total

    def _polygon(self, outline: Float32, transform: Transform) -> Float32:
        if self._shape == "quad" and len(outline) >= 3:
            corners = quadrilateral(outline)
        else:
            corners = np.asarray(cv2.approxPolyDP(outline, self._simplify, True), np.float32).reshape(-1, 2)
        return transform.points_to_image(corners)


@dataclass(frozen=True, slots=True)
class _Layout:
    """enlargement: of the map before outlines are found; step: (2,), input pixels per cell of the enlarged map."""

    output: str
    enlargement: int
    step: Float32


def _layout(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> _Layout:
    shape = shape_of(outputs[0])
    if len(outputs) != 1 or len(shape) != 3:
        raise unusable(spec, outputs, _EXPECTED)
    channels, height, width = shape
    check_labels(spec, channels)
    stride = np.array(spec.input_size, np.float32) / np.array([width, height], np.float32)
    enlargement = int(np.clip(np.ceil(stride.max() / _FINE_PX), 1, _MAX_ENLARGEMENT))
    return _Layout(outputs[0].name, enlargement, stride / np.float32(enlargement))


def _outlines(
    margin: Float32, probability: Float32, enlargement: int, least: float, most: int
) -> Iterator[tuple[Float32, float]]:
    """Outlines (K, 2), in cells of the enlarged map, and mean probabilities inside, of the largest regions.

    least: regions of fewer cells are not looked at.
    """
    size = (margin.shape[1] * enlargement, margin.shape[0] * enlargement)
    fine = np.asarray(cv2.resize(margin, size, interpolation=cv2.INTER_LINEAR), np.float32)
    probability = np.asarray(cv2.resize(probability, size, interpolation=cv2.INTER_LINEAR), np.float32)
    inside = (fine > 0).astype(np.uint8)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    contours = [contour for contour in contours if cv2.contourArea(contour) >= least]
    for contour in sorted(contours, key=cv2.contourArea, reverse=True)[:most]:
        x, y, width, height = cv2.boundingRect(contour)
        mask = np.zeros((height, width), np.uint8)
        cv2.drawContours(mask, [contour - (x, y)], 0, 1, cv2.FILLED)
        score = cv2.mean(probability[y : y + height, x : x + width], mask)[0]
        yield _on_level(contour.reshape(-1, 2).astype(np.intp), fine), score


def _on_level(pixels: NDArray[np.intp], margin: Float32) -> Float32:
    """Move the border pixels (K, 2) of a region to where the margin is 0: one Newton step along its gradient.

    A region that is cut off by the map's edge reaches to that edge.
    """
    size = np.array(margin.shape[::-1])  # width, height
    framed = np.asarray(cv2.copyMakeBorder(margin, 1, 1, 1, 1, cv2.BORDER_REPLICATE), np.float32)
    row = framed.shape[1]
    values, at = framed.reshape(-1), (pixels + 1) @ np.array([1, row])
    slope = np.empty((len(pixels), 2), np.float32)
    np.subtract(values.take(at + 1), values.take(at - 1), out=slope[:, 0])
    np.subtract(values.take(at + row), values.take(at - row), out=slope[:, 1])
    slope *= np.float32(0.5)
    steepness = (slope * slope).sum(axis=1)
    step = slope * (-values.take(at) / (steepness + np.float32(1e-6)))[:, None]  # on flat ground nowhere to go
    step /= np.maximum(np.sqrt((step * step).sum(axis=1)), 1)[:, None]  # at most one pixel: farther it is a guess
    points = pixels + np.float32(0.5) + step
    points = np.where(pixels == 0, 0, np.where(pixels == size - 1, size, points))
    return np.ascontiguousarray(points, np.float32)
