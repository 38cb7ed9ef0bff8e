"""Second-stage heads: each runs on crops of the detections of another head in the same frame.

With reuse, the result for an object is reused while its crop does not change (reuse/crop_cache.py).
Not here: how a crop is cut and aligned (alignment.py), heads that run on the whole image (stage.py).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from edge_app import registry
from edge_app.backends import Array, Session
from edge_app.config import HeadConfig
from edge_app.errors import BackendError, ModelError
from edge_app.frame import Crops, Detections, Float32, Frame, HeadOutput, Result, UInt8
from edge_app.geometry.boxes import Transform, fit
from edge_app.heads import Head
from edge_app.inference.alignment import CUTS, Crop, mapped
from edge_app.inference.decoding import decode
from edge_app.inference.filters import DetectionFilter
from edge_app.inference.preprocess import Preprocess
from edge_app.inference.score_check import ScoreCheck
from edge_app.model.manifest import ManifestHead
from edge_app.reuse.crop_cache import CropCache

_LOG = logging.getLogger(__name__)

_MAX_BATCH = 16  # crops in one run


@dataclass(slots=True, eq=False)
class _Row:
    """One detection with its crop, and the result in pixels of the crop once it is known.

    resized: the crop as the model gets it, if the result will be cached. transform: from crop to input.
    """

    row: int
    box: Float32
    crop: Crop
    transform: Transform
    resized: UInt8 | None = None
    result: Result | None = None


class SecondStage:
    """One second-stage head.

    session: its graph; the caller closes it. All crops of a frame run at once if the batch of its input and outputs is
    free, otherwise one by one. scores: the check of its results.
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
        self._cut = CUTS[spec.crops.align]
        shape = (min(spec.crops.limit, _MAX_BATCH), *spec.crops.input.shape[1:])
        self._batch: Array | None = np.zeros(shape, spec.crops.input.dtype)  # the crops of one run
        if not _runs_batches(session, self._batch):
            self._batch = None

    def infer_crops(self, frame: Frame) -> HeadOutput | None:
        """Run on the highest-scoring detections of a frame. None if not due, or if the detections are not fresh."""
        output = (frame.heads or {}).get(self._crops.of)
        if not self.enabled or output is None or not output.fresh or not isinstance(output.result, Detections):
            return None
        if self._last_ns is not None and 0 <= frame.captured_ns - self._last_ns < self._every_ns:
            return None
        self._last_ns = frame.captured_ns
        rows, since_ns = self._prepare(frame, output.result)
        size = (frame.width, frame.height)
        results: list[Result] = []
        for each in rows:
            assert each.result is not None
            if each.resized is not None and self._cache is not None:
                self._cache.add(each.box, each.resized, each.result, frame.captured_ns)
            results.append(self._filter.apply(mapped(each.result, each.crop.to_image, size), size))
        if self._cache is not None:
            self._cache.end_frame()
        crops = Crops(self._crops.of, tuple(each.row for each in rows), tuple(results))
        age_ns = frame.captured_ns - since_ns
        return HeadOutput(crops, age_ns, "result" if age_ns else "")

    def _prepare(self, frame: Frame, detections: Detections) -> tuple[list[_Row], int]:
        """The best detections with the results of their crops, and when the oldest of these was computed."""
        rows: list[_Row] = []
        pending: list[_Row] = []  # in the batch
        since_ns = frame.captured_ns
        for row in np.argsort(-detections.score, kind="stable")[: self._crops.limit].tolist():
            crop = self._crop(frame, detections, row)
            if crop is None:
                continue
            tensor, transform = self._preprocess.prepare(crop.frame)
            found = _Row(row, detections.xyxy[row], crop, transform)
            rows.append(found)
            if self._cache is not None:
                cached = self._cache.find(found.box, self._preprocess.resized, frame.captured_ns)
                if cached is not None:
                    found.result, since_ns = cached[0], min(since_ns, cached[1])
                    continue
                found.resized = self._preprocess.resized.copy()
            if self._batch is None:
                found.result = self._run(tensor, transform)
                continue
            self._batch[len(pending)] = tensor[0]
            pending.append(found)
            if len(pending) == len(self._batch):
                self._run_batch(pending)
                pending = []
        if pending:
            self._run_batch(pending)
        return rows, since_ns

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

    def _crop(self, frame: Frame, detections: Detections, row: int) -> Crop | None:
        try:
            return self._cut(frame, detections, row, self._crops)
        except ModelError as exc:
            raise ModelError(f"heads.{self._spec.name}.{exc}") from exc

    def _run_batch(self, rows: list[_Row]) -> None:
        """Run the graph once on the first crops of the batch, and fill in their results."""
        assert self._batch is not None
        arrays = _outputs(self._session, self._batch[: len(rows)])
        for i, each in enumerate(rows):
            one = {name: array[i : i + 1] for name, array in arrays.items()}
            each.result = self.scores.apply(decode(self._head, self._spec, one, each.transform))

    def _run(self, tensor: Array, transform: Transform) -> Result:
        arrays = _outputs(self._session, tensor)
        return self.scores.apply(decode(self._head, self._spec, arrays, transform))


def _outputs(session: Session, tensor: Array) -> dict[str, Array]:
    outputs = session.run({session.inputs[0].name: tensor})
    return {name: value if isinstance(value, np.ndarray) else value.array() for name, value in outputs.items()}


def _runs_batches(session: Session, batch: Array) -> bool:
    """Whether the graph says that it takes several images at once, and really does."""
    free = all(spec.shape[:1] == (None,) for spec in (*session.inputs, *session.outputs))
    if not free or len(batch) < 2:
        return False
    try:
        return all(len(array) == 2 for array in _outputs(session, batch[:2]).values())
    except BackendError as exc:  # such as a Reshape with a fixed batch
        _LOG.debug("the graph takes one crop at a time: %s", exc)
        return False
