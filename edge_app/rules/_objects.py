"""Select the detections that a rule evaluates, by class, score and ignore masks, and give each an anchor point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Detections, Frame, JsonValue
from edge_app.geometry.polygons import Anchor, Float64, anchor_points, foot_points, inside_any, polygon_of
from edge_app.rules import Point, RuleContext

Box = tuple[float, float, float, float]  # x1, y1, x2, y2


@dataclass(frozen=True, slots=True)
class ObjectFilter:
    """Options that select objects. labels: empty for all labels of the head."""

    head: str
    labels: tuple[str, ...] = ()
    min_score: float = 0.0
    anchor: Anchor = "bottom"
    ignore: tuple[tuple[Point, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Object:
    """A selected detection. track_id: 0 without a track. box and anchor: 0..1 of the image."""

    track_id: int
    label: str
    score: float
    box: Box
    anchor: Point

    def value(self) -> dict[str, JsonValue]:
        """The fields of an event about this object."""
        return {"label": self.label, "track_id": self.track_id, "score": round(self.score, 4), "box": rounded(self.box)}


class ObjectSelector:
    """Selects objects from frames. Raises OptionError if the options do not match the model.

    tracked: only detections with a track id.
    """

    def __init__(self, context: RuleContext, options: ObjectFilter, *, tracked: bool) -> None:
        self._labels = context.head("head", options.head, tracked=tracked)
        self._classes = np.array(sorted(context.classes("labels", options.head, options.labels)), np.int32)
        self._all = len(self._classes) == len(self._labels)
        self._ignore = [polygon_of("ignore", polygon) for polygon in options.ignore]
        self._options, self._tracked = options, tracked

    def select(self, frame: Frame) -> list[Object] | None:
        """The objects of a frame, or None if the head has no result."""
        output = frame.outputs.get(self._options.head)
        if output is None or not isinstance(output.result, Detections):
            return None
        detections = output.result
        keep = detections.score >= self._options.min_score
        if not self._all:
            keep &= np.isin(detections.class_id, self._classes)
        if self._tracked:
            keep &= detections.track_id > 0 if detections.track_id is not None else False
        width, height = frame.width, frame.height
        boxes = detections.xyxy.astype(np.float64) / (width, height, width, height)
        points = anchor_points(detections.xyxy, (width, height), self._options.anchor)
        if self._options.anchor == "feet":
            points = foot_points(points, detections.keypoints, (width, height))
        if self._ignore:
            keep &= ~inside_any(points, self._ignore)
        return [self._object(detections, boxes, points, row) for row in np.flatnonzero(keep).tolist()]

    def _object(self, detections: Detections, boxes: Float64, points: Float64, row: int) -> Object:
        class_id = int(detections.class_id[row])
        label = self._labels[class_id] if class_id < len(self._labels) else str(class_id)
        x1, y1, x2, y2 = boxes[row].tolist()
        track_id = 0 if detections.track_id is None else int(detections.track_id[row])
        x, y = points[row].tolist()
        return Object(track_id, label, float(detections.score[row]), (x1, y1, x2, y2), (x, y))


def rounded(values: Sequence[float] | NDArray[np.float64]) -> list[JsonValue]:
    """Coordinates as they are published: clipped to 0..1, four decimals."""
    return [round(min(max(float(value), 0.0), 1.0), 4) for value in values]
