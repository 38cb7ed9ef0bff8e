"""The detections that a rule looks at: of some classes, sure enough, outside its ignore masks, each with an anchor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Detections, Frame, JsonValue
from edge_app.geometry.polygons import Float64, inside_any, polygon_of
from edge_app.rules import Point, RuleContext

Anchor = Literal["bottom", "center", "top"]


@dataclass(frozen=True, slots=True)
class ObjectFilter:
    """The options that choose objects. labels empty: all of the head's."""

    head: str
    labels: tuple[str, ...] = ()
    min_score: float = 0.0
    anchor: Anchor = "bottom"
    ignore: tuple[tuple[Point, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Object:
    """One of them. track_id 0: none. box: 0..1; anchor: 0..1."""

    track_id: int
    label: str
    score: float
    box: tuple[float, float, float, float]
    anchor: Point

    def value(self) -> dict[str, JsonValue]:
        """What every event says of its object."""
        return {"label": self.label, "track_id": self.track_id, "score": round(self.score, 4), "box": rounded(self.box)}


class Objects:
    """Takes them out of frames. Raises OptionError where the options do not fit the model.

    tracked: only those with an identity.
    """

    def __init__(self, context: RuleContext, look: ObjectFilter, *, tracked: bool) -> None:
        self._labels = context.head("head", look.head, tracked=tracked)
        self._classes = np.array(sorted(context.classes("labels", look.head, look.labels)), np.int32)
        self._all = len(self._classes) == len(self._labels)
        self._ignore = [polygon_of("ignore", polygon) for polygon in look.ignore]
        self._look, self._tracked = look, tracked

    def __call__(self, frame: Frame) -> list[Object] | None:
        """The objects of a frame, or None where the head said nothing at all."""
        output = frame.outputs.get(self._look.head)
        if output is None or not isinstance(output.result, Detections):
            return None
        found = output.result
        keep = found.score >= self._look.min_score
        if not self._all:
            keep &= np.isin(found.class_id, self._classes)
        if self._tracked:
            keep &= found.track_id > 0 if found.track_id is not None else False
        boxes = found.xyxy.astype(np.float64) / (frame.width, frame.height, frame.width, frame.height)
        points = anchors(boxes, self._look.anchor)
        if self._ignore:
            keep &= ~inside_any(points, self._ignore)
        return [self._object(found, boxes, points, row) for row in np.flatnonzero(keep).tolist()]

    def _object(self, found: Detections, boxes: Float64, points: Float64, row: int) -> Object:
        class_id = int(found.class_id[row])
        label = self._labels[class_id] if class_id < len(self._labels) else str(class_id)
        x1, y1, x2, y2 = boxes[row].tolist()
        track_id = 0 if found.track_id is None else int(found.track_id[row])
        x, y = points[row].tolist()
        return Object(track_id, label, float(found.score[row]), (x1, y1, x2, y2), (x, y))


def anchors(boxes: Float64, anchor: Anchor) -> Float64:
    """The point (N, 2) of each box (N, 4) that says where its object is: where a person stands is its bottom centre."""
    x = (boxes[:, 0] + boxes[:, 2]) / 2
    y = {"bottom": boxes[:, 3], "top": boxes[:, 1], "center": (boxes[:, 1] + boxes[:, 3]) / 2}[anchor]
    return np.stack([x, y], axis=1)


def rounded(values: Sequence[float] | NDArray[np.float64]) -> list[JsonValue]:
    """Coordinates as they are published, kept within 0..1."""
    return [round(min(max(float(value), 0.0), 1.0), 4) for value in values]
