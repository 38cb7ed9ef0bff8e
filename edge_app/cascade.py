"""Second-stage heads: each looks at crops of what another head detected in the same frame.

Not here: the heads that look at the whole picture (inference.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_app.backends import Session
from edge_app.config import Head as HeadConfig
from edge_app.frame import (
    Classification,
    Crops,
    Detections,
    Embedding,
    Float32,
    Frame,
    HeadOutput,
    Result,
    Segmentation,
)
from edge_app.heads import Head
from edge_app.manifest import HeadSpec
from edge_app.preprocess import Preprocess

_LEAST_PX = 4  # a crop that is smaller on either side shows nothing


class Cascade:
    """One second-stage head. session: its graph, which takes one crop at a time; it is closed by whoever opened it."""

    def __init__(self, spec: HeadSpec, config: HeadConfig, session: Session, head: Head) -> None:
        assert spec.crops is not None
        self.enabled = config.common.enabled
        self._crops, self._session, self._head = spec.crops, session, head
        self._every_ns = round(config.common.every_s * 1e9)
        self._preprocess = Preprocess(spec.crops.input)
        self._last_ns: int | None = None

    def __call__(self, frame: Frame) -> HeadOutput | None:
        """What the head says of the surest detections of this frame; None where it is not due or they are not fresh."""
        output = (frame.heads or {}).get(self._crops.of)
        if not self.enabled or output is None or not output.fresh or not isinstance(output.result, Detections):
            return None
        if self._last_ns is not None and 0 <= frame.captured_ns - self._last_ns < self._every_ns:
            return None
        self._last_ns = frame.captured_ns
        rows = np.argsort(-output.result.score, kind="stable")[: self._crops.limit]
        looks = [(row, self._look(frame, output.result.xyxy[row])) for row in rows.tolist()]
        seen = [(row, result) for row, result in looks if result is not None]
        return HeadOutput(Crops(self._crops.of, tuple(row for row, _ in seen), tuple(result for _, result in seen)))

    def _look(self, frame: Frame, box: Float32) -> Result | None:
        corners = box.reshape(2, 2)
        margin = self._crops.margin * (corners[1] - corners[0])
        size = (frame.width, frame.height)
        x1, y1 = np.clip(np.floor(corners[0] - margin), 0, size).astype(int).tolist()
        x2, y2 = np.clip(np.ceil(corners[1] + margin), 0, size).astype(int).tolist()
        if x2 - x1 < _LEAST_PX or y2 - y1 < _LEAST_PX:
            return None
        cut = Frame(frame.source, frame.sequence, frame.captured_ns, frame.utc_ns, frame.image[y1:y2, x1:x2])
        tensor, transform = self._preprocess(cut)
        outputs = self._session.run({self._session.inputs[0].name: tensor})
        arrays = {name: value if isinstance(value, np.ndarray) else value.array() for name, value in outputs.items()}
        return shifted(self._head.decode(arrays, transform), x1, y1)


def shifted(result: Result, x: int, y: int) -> Result:
    """A result of a crop, its coordinates moved to the picture that the crop's corner (x, y) lies in."""
    by = np.array([x, y], np.float32)
    if isinstance(result, Detections):
        keypoints = result.keypoints
        if keypoints is not None:
            keypoints = keypoints + np.array([x, y, 0], np.float32)
        return replace(result, xyxy=result.xyxy + np.tile(by, 2), keypoints=keypoints)
    if isinstance(result, Segmentation):
        return replace(result, polygons=tuple(polygon + by for polygon in result.polygons))
    assert isinstance(result, (Classification, Embedding))
    return result
