"""Second-stage heads: each runs on crops of the detections of another head in the same frame.

With reuse, the result for an object is reused while its crop does not change (reuse/crop_cache.py).
Not here: heads that run on the whole image (stage.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_app import registry
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
    Text,
)
from edge_app.geometry.boxes import Transform, fit
from edge_app.heads import Head
from edge_app.inference.decoding import decode
from edge_app.inference.filters import DetectionFilter
from edge_app.inference.preprocess import Preprocess
from edge_app.inference.score_check import ScoreCheck
from edge_app.model.manifest import ManifestHead
from edge_app.reuse.crop_cache import CropCache

_MIN_CROP_PX = 4  # crops with a shorter side are skipped


class SecondStage:
    """One second-stage head.

    session: its graph, which takes one crop at a time; the caller closes it. scores: the check of its results.
    cache: results of earlier frames; None: run on every crop of every frame.
    """

    def __init__(
        self,
        spec: ManifestHead,
        config: HeadConfig,
        session: Session,
        head: Head,
        *,
        scores: ScoreCheck,
        cache: CropCache | None = None,
    ) -> None:
        assert spec.crops is not None
        self.enabled = config.common.enabled
        self._spec, self._crops, self._session, self._head = spec, spec.crops, session, head
        self.scores = scores
        self._filter = DetectionFilter(config, spec.labels)
        self._every_ns = round(config.common.every_s * 1e9)
        self._preprocess = Preprocess(spec.crops.input)
        self._last_ns: int | None = None
        self._cache = cache

    def infer_crops(self, frame: Frame) -> HeadOutput | None:
        """Run on the highest-scoring detections of a frame. None if not due, or if the detections are not fresh."""
        output = (frame.heads or {}).get(self._crops.of)
        if not self.enabled or output is None or not output.fresh or not isinstance(output.result, Detections):
            return None
        if self._last_ns is not None and 0 <= frame.captured_ns - self._last_ns < self._every_ns:
            return None
        self._last_ns = frame.captured_ns
        rows = np.argsort(-output.result.score, kind="stable")[: self._crops.limit]
        since_ns = frame.captured_ns  # when the oldest result was computed
        results: list[tuple[int, Result]] = []
        for row in rows.tolist():
            box = output.result.xyxy[row]
            crop = self._crop(frame, box)
            if crop is None:
                continue
            tensor, transform = self._preprocess.prepare(crop[0])
            cached = None
            if self._cache is not None:
                cached = self._cache.find(box, self._preprocess.resized, frame.captured_ns)
            if cached is None:
                result = self._run(tensor, transform)
                if self._cache is not None:
                    self._cache.add(box, self._preprocess.resized, result, frame.captured_ns)
            else:
                result, computed_ns = cached
                since_ns = min(since_ns, computed_ns)
            results.append((row, self._filter.apply(shifted(result, *crop[1]), (frame.width, frame.height))))
        if self._cache is not None:
            self._cache.end_frame()
        crops = Crops(self._crops.of, tuple(row for row, _ in results), tuple(result for _, result in results))
        age_ns = frame.captured_ns - since_ns
        return HeadOutput(crops, age_ns, "result" if age_ns else "")

    def reconfigure(self, config: HeadConfig) -> None:
        """Change the score and the filters from the next frame on."""
        spec = self._spec.spec(self._session.outputs)
        self._head = registry.build("heads", self._spec.family, spec, **config.options)
        self._filter = DetectionFilter(config, self._spec.labels)
        if self._cache is not None:
            self._cache.clear()

    def check_decoder(self) -> None:
        """Decode the outputs of an empty crop. Raises ModelError if the head breaks its contract."""
        spec = self._crops.input
        size = (spec.width, spec.height)
        self._run(np.zeros(spec.shape, spec.dtype), fit(size, size, "stretch"))

    def relax(self, wanted: bool) -> None:
        """Reuse results for longer than configured, or restore the configured time. Any thread may call it."""
        if self._cache is not None:
            self._cache.relax(wanted)

    def _crop(self, frame: Frame, box: Float32) -> tuple[Frame, tuple[int, int]] | None:
        """The crop of a box, as a frame, and the x and y of its top left corner; None if it is too small."""
        corners = box.reshape(2, 2)
        margin = self._crops.margin * (corners[1] - corners[0])
        size = (frame.width, frame.height)
        x1, y1 = np.clip(np.floor(corners[0] - margin), 0, size).astype(int).tolist()
        x2, y2 = np.clip(np.ceil(corners[1] + margin), 0, size).astype(int).tolist()
        if x2 - x1 < _MIN_CROP_PX or y2 - y1 < _MIN_CROP_PX:
            return None
        crop = Frame(frame.source, frame.sequence, frame.captured_ns, frame.utc_ns, frame.image[y1:y2, x1:x2])
        return crop, (x1, y1)

    def _run(self, tensor: Array, transform: Transform) -> Result:
        outputs = self._session.run({self._session.inputs[0].name: tensor})
        arrays = {name: value if isinstance(value, np.ndarray) else value.array() for name, value in outputs.items()}
        return self.scores.apply(decode(self._head, self._spec, arrays, transform))


def shifted(result: Result, x: int, y: int) -> Result:
    """Move the coordinates of a result from a crop to the image. x, y: top left corner of the crop, image pixels."""
    by = np.array([x, y], np.float32)
    if isinstance(result, Detections):
        keypoints = result.keypoints
        if keypoints is not None:
            keypoints = keypoints + np.array([x, y, 0], np.float32)
        return replace(
            result,
            xyxy=result.xyxy + np.tile(by, 2),
            keypoints=keypoints,
            corners=None if result.corners is None else result.corners + by,
            polygons=None if result.polygons is None else tuple(polygon + by for polygon in result.polygons),
        )
    if isinstance(result, Segmentation):
        return replace(result, polygons=tuple(polygon + by for polygon in result.polygons))
    assert isinstance(result, (Classification, Embedding, Text))
    return result
