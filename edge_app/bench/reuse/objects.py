"""What the heads of a model saw in a frame, whatever their families, as boxes of classes that can be compare_readings.

A region is its bounding box; what the whole picture is, is a box around all of it. Not here: comparing them
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

_BELOW = 0.1  # of a score: how far below its threshold an object is still there where the other side is sure
_APART = 10_000  # between the classes of one head and those of the next


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """One frame's objects. xyxy (N, 4) float32 image pixels, class_id (N,) int64, score (N,) float32 of the head.

    sure (N,) bool: at or above the head's own threshold; the others lie just below it.
    """

    xyxy: Float32
    class_id: NDArray[np.int64]
    score: Float32
    sure: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, index: NDArray[np.bool_] | NDArray[np.intp]) -> Objects:
        return Objects(self.xyxy[index], self.class_id[index], self.score[index], self.sure[index])

    @classmethod
    def joined(cls, parts: list[Objects]) -> Objects:
        """All of them in one; none where there are no parts."""
        none = cls(np.empty((0, 4), np.float32), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.bool_))
        columns = zip(*((part.xyxy, part.class_id, part.score, part.sure) for part in (none, *parts)))
        return cls(*(np.concatenate(column) for column in columns))


class ObjectReader:
    """Reads frames of one model. heads: as configured; None: all of them, as the model has them.

    The attribute `heads` is the configuration that the model must run with, so that it shows what is just below.
    """

    def __init__(self, manifest: Manifest, heads: Mapping[str, HeadConfig] | None = None) -> None:
        self._thresholds: dict[str, float] = {}
        self.heads: dict[str, HeadConfig] = {}
        for name in manifest.heads if heads is None else heads:
            spec = manifest.heads[name]
            given = dict(spec.options if heads is None else heads[name].options)
            defaults = {option.name: option.default for option in registry.options("heads", spec.family)}
            if "score" in defaults and spec.family not in ("classify", "embed"):
                high = float(given.get("score", defaults["score"]))
                self._thresholds[name] = high
                given["score"] = max(high - _BELOW, high / 2)
            self.heads[name] = HeadConfig(HeadCommon(), given)

    def threshold(self, head: str) -> float:
        """The score from which on an object of a head is sure; 0 where the head has no such thing."""
        return self._thresholds.get(head, 0.0)

    def objects(self, frame: Frame) -> Objects:
        """What the heads saw in a frame that went through inference. Embeddings and crops are left out."""
        parts = []
        for number, name in enumerate(self.heads):
            output = frame.outputs.get(name)
            found = None if output is None else _boxes(output.result, frame.width, frame.height)
            if found is not None:
                sure = found.score >= np.float32(self.threshold(name))
                classes = found.class_id.astype(np.int64) + class_of(number, 0)
                parts.append(Objects(found.xyxy, classes, found.score, sure))
        return Objects.joined(parts)


def class_of(head: int, class_id: int) -> int:
    """The number under which a class of the model's so-many-th head is compare_readings."""
    return head * _APART + class_id


def head_of(objects: Objects) -> NDArray[np.int64]:
    """Which head each object is of."""
    return objects.class_id // _APART


def age_ns(frame: Frame) -> int:
    """The age of the oldest head's result in a frame."""
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
