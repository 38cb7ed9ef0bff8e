"""The results of all heads for a frame, of any family, as boxes with classes that can be compared.

A region becomes its bounding box; the class of an image becomes a box around the image. Not here: comparing them
(agreement.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_app import registry
from edge_app.config import HeadCommon, HeadConfig
from edge_app.frame import Classification, Detections, Float32, Frame, Segmentation
from edge_app.model.manifest import Manifest

_HYSTERESIS = 0.1  # of a score: an object this far below its threshold still matches a confident one
_CLASS_STRIDE = 10_000  # between the classes of one head and those of the next


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects of one frame. xyxy: (N, 4) float32, image pixels; class_id: (N,) int64; score: (N,) float32.

    confident: (N,) bool, at or above the threshold of the head; the others are just below it.
    """

    xyxy: Float32
    class_id: NDArray[np.int64]
    score: Float32
    confident: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> Objects:
        return Objects(self.xyxy[index], self.class_id[index], self.score[index], self.confident[index])

    @classmethod
    def joined(cls, parts: list[Objects]) -> Objects:
        """Concatenate; without parts, no objects."""
        empty = cls(np.empty((0, 4), np.float32), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.bool_))
        columns = zip(*((part.xyxy, part.class_id, part.score, part.confident) for part in (empty, *parts)))
        return cls(*(np.concatenate(column) for column in columns))


class ObjectReader:
    """Extracts the objects of a model's frames. heads: as configured; None: all heads with the model's own options.

    The attribute `heads` is the configuration to run the model with: its score thresholds are lower by the hysteresis.
    """

    def __init__(self, manifest: Manifest, heads: Mapping[str, HeadConfig] | None = None) -> None:
        self._thresholds: dict[str, float] = {}
        self.heads: dict[str, HeadConfig] = {}
        for name in manifest.heads if heads is None else heads:
            spec = manifest.heads[name]
            options = dict(spec.options if heads is None else heads[name].options)
            defaults = {option.name: option.default for option in registry.options("heads", spec.family)}
            if "score" in defaults and spec.family not in ("classify", "embed"):
                threshold = float(options.get("score", defaults["score"]))
                self._thresholds[name] = threshold
                options["score"] = max(threshold - _HYSTERESIS, threshold / 2)
            self.heads[name] = HeadConfig(HeadCommon(), options)

    def threshold(self, head: str) -> float:
        """The score from which an object of the head is confident; 0 if the head has no threshold."""
        return self._thresholds.get(head, 0.0)

    def objects(self, frame: Frame) -> Objects:
        """The objects in a frame after inference. Embeddings and results of crops are left out."""
        parts = []
        for number, name in enumerate(self.heads):
            output = frame.outputs.get(name)
            boxes = None if output is None else _boxes(output.result, frame.width, frame.height)
            if boxes is not None:
                confident = boxes.score >= np.float32(self.threshold(name))
                classes = boxes.class_id.astype(np.int64) + class_of(number, 0)
                parts.append(Objects(boxes.xyxy, classes, boxes.score, confident))
        return Objects.joined(parts)


def class_of(head: int, class_id: int) -> int:
    """The number that a class of a head is compared by. head: its index in the model."""
    return head * _CLASS_STRIDE + class_id


def head_of(objects: Objects) -> NDArray[np.int64]:
    """The index of each object's head, (N,)."""
    return objects.class_id // _CLASS_STRIDE


def age_ns(frame: Frame) -> int:
    """The age of the oldest result in a frame."""
    return max((output.age_ns for output in frame.outputs.values()), default=0)


def _boxes(result: object, width: int, height: int) -> Detections | None:
    if isinstance(result, Detections):
        return result
    if isinstance(result, Segmentation):
        corners = [np.concatenate([p.min(axis=0), p.max(axis=0)]) for p in result.polygons]
        return Detections(np.array(corners, np.float32).reshape(-1, 4), result.score, result.class_id)
    if isinstance(result, Classification) and len(result.score):
        whole = np.array([[0, 0, width, height]], np.float32)
        return Detections(whole, np.ones(1, np.float32), result.class_id[:1])
    return None
