"""Second-stage heads: each looks at crops of what another head detected in the same frame.

With reuse, what it said of an object stands while the object's crop looks as it did (reuse/crops.py).

Not here: the heads that look at the whole picture (inference.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_app.backends import Array, Session
from edge_app.config import HeadConfig
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
from edge_app.geometry.boxes import Transform
from edge_app.heads import Head
from edge_app.inference.preprocess import Preprocess
from edge_app.model.manifest import ManifestHead
from edge_app.reuse.crop_cache import KeptCrops

_LEAST_PX = 4  # a crop that is smaller on either side shows nothing


class SecondStage:
    """One second-stage head. session: its graph, which takes one crop at a time; it is closed by whoever opened it.

    kept: what it has said of objects; None: it looks at every one, every time.
    """

    def __init__(
        self, spec: ManifestHead, config: HeadConfig, session: Session, head: Head, kept: KeptCrops | None = None
    ) -> None:
        assert spec.crops is not None
        self.enabled = config.common.enabled
        self._crops, self._session, self._head = spec.crops, session, head
        self._every_ns = round(config.common.every_s * 1e9)
        self._preprocess = Preprocess(spec.crops.input)
        self._last_ns: int | None = None
        self._kept = kept

    def infer_crops(self, frame: Frame) -> HeadOutput | None:
        """What the head says of the surest detections of this frame; None where it is not due or they are not fresh."""
        output = (frame.heads or {}).get(self._crops.of)
        if not self.enabled or output is None or not output.fresh or not isinstance(output.result, Detections):
            return None
        if self._last_ns is not None and 0 <= frame.captured_ns - self._last_ns < self._every_ns:
            return None
        self._last_ns = frame.captured_ns
        rows = np.argsort(-output.result.score, kind="stable")[: self._crops.limit]
        since_ns = frame.captured_ns
        seen: list[tuple[int, Result]] = []
        for row in rows.tolist():
            box = output.result.xyxy[row]
            cut = self._cut(frame, box)
            if cut is None:
                continue
            tensor, transform = self._preprocess.prepare(cut[0])
            known = None
            if self._kept is not None:
                known = self._kept.find(box, self._preprocess.picture, frame.captured_ns)
            if known is None:
                result = self._look(tensor, transform)
                if self._kept is not None:
                    self._kept.add(box, self._preprocess.picture, result, frame.captured_ns)
            else:
                result, computed_ns = known
                since_ns = min(since_ns, computed_ns)
            seen.append((row, shifted(result, *cut[1])))
        if self._kept is not None:
            self._kept.end_frame()
        crops = Crops(self._crops.of, tuple(row for row, _ in seen), tuple(result for _, result in seen))
        age_ns = frame.captured_ns - since_ns
        return HeadOutput(crops, age_ns, "result" if age_ns else "")

    def ease(self, wanted: bool) -> None:
        """Let what was said of objects stand for longer than configured, or as long. For any thread."""
        if self._kept is not None:
            self._kept.ease(wanted)

    def _cut(self, frame: Frame, box: Float32) -> tuple[Frame, tuple[int, int]] | None:
        """The crop of a box as a frame of its own, and where its corner lies; None where it is too small."""
        corners = box.reshape(2, 2)
        margin = self._crops.margin * (corners[1] - corners[0])
        size = (frame.width, frame.height)
        x1, y1 = np.clip(np.floor(corners[0] - margin), 0, size).astype(int).tolist()
        x2, y2 = np.clip(np.ceil(corners[1] + margin), 0, size).astype(int).tolist()
        if x2 - x1 < _LEAST_PX or y2 - y1 < _LEAST_PX:
            return None
        cut = Frame(frame.source, frame.sequence, frame.captured_ns, frame.utc_ns, frame.image[y1:y2, x1:x2])
        return cut, (x1, y1)

    def _look(self, tensor: Array, transform: Transform) -> Result:
        outputs = self._session.run({self._session.inputs[0].name: tensor})
        arrays = {name: value if isinstance(value, np.ndarray) else value.array() for name, value in outputs.items()}
        return self._head.decode(arrays, transform)


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
