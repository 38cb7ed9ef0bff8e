"""Motion-gated crops: the model runs only on windows around motion, as in surveillance recorders.

Outside the windows the last objects stay. Unspent allowance accumulates for a full inference. Not here: finding motion
(motion.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_app.bench.reuse import motion
from edge_app.bench.reuse.allowance import CostAllowance
from edge_app.bench.reuse.clips import with_image
from edge_app.bench.reuse.objects import Objects
from edge_app.bench.reuse.runs import FrameResult, InferenceRun
from edge_app.frame import Float32, Frame
from edge_app.geometry.boxes import iou

_CELL = 32  # pixels: side of a cell of the map that records when each place was last computed
_SAME_IOU = 0.5  # between the box of an object before and after a window was computed
_EDGE_PX = 2.0


@dataclass(frozen=True, slots=True)
class WindowModel:
    """A model to run on windows. price: of one window, as a share of full inference."""

    run: InferenceRun
    price: float


class MotionCrops:
    """Runs a model on windows of half the width and height of the image.

    models: the one that agrees best with full inference is used. share: the allowance per frame as a share of full
    inference, which takes full_ns. The measured time is spent, not the price.
    """

    def __init__(self, full: InferenceRun, models: Sequence[WindowModel], share: float, full_ns: float) -> None:
        self._full, self._models, self._full_ns = full, models, full_ns
        self._allowance = CostAllowance(share)
        self._motion = motion.Motion()
        self._objects = Objects.joined([])
        self._model: WindowModel | None = None
        self._computed_at: NDArray[np.int64] = np.zeros((0, 0), np.int64)  # by cell: the number of the last frame
        self._full_inference_ns = 0
        self._number = 0

    def infer(self, frame: Frame) -> FrameResult:
        """The objects after a frame, the time without resizing, and the age of the last full inference."""
        begin = self._full.stopwatch()
        boxes = self._motion.boxes(frame.image)
        spent_ns = self._full.stopwatch() - begin
        self._allowance.earn()
        self._allowance.spend(spent_ns / self._full_ns)
        self._number += 1
        if self._number == 1 or self._allowance.affords(1.0):
            spent_ns += self._infer_full(frame)
        else:
            spent_ns += self._infer_windows(frame, boxes)
        return FrameResult(self._objects, spent_ns, frame.captured_ns - self._full_inference_ns)

    def _infer_full(self, frame: Frame) -> int:
        self._objects, cost_ns, _ = self._full.infer(frame)
        self._full_inference_ns = frame.captured_ns
        self._computed_at = np.full((frame.height // _CELL + 1, frame.width // _CELL + 1), self._number)
        self._allowance.spend(0 if self._number == 1 else cost_ns / self._full_ns)
        if self._model is None and len(self._objects):
            self._model = self._best_model(frame)
        return cost_ns

    def _infer_windows(self, frame: Frame, boxes: Sequence[motion.Box]) -> int:
        """Run the model on windows around motion, those computed longest ago first, until the allowance is spent."""
        model = self._model or self._models[0]
        windows = motion.windows(boxes, _window_size(frame), (frame.width, frame.height))
        spent_ns = 0
        for window in sorted(windows, key=self._mean_computed_at):
            if not self._allowance.affords(model.price):
                break
            detected, cost_ns = _infer_window(model, frame, window)
            begin = self._full.stopwatch()
            self._objects = merge_window(self._objects, detected, window, (frame.width, frame.height))
            self._computed_at[_cells(window)] = self._number
            cost_ns += self._full.stopwatch() - begin
            self._allowance.spend(cost_ns / self._full_ns)
            spent_ns += cost_ns
        return spent_ns

    def _mean_computed_at(self, window: motion.Box) -> float:
        return float(self._computed_at[_cells(window)].mean())

    def _best_model(self, frame: Frame) -> WindowModel:
        """The model that finds most objects of full inference, on four windows that cover the image."""
        w, h = _window_size(frame)
        corners = [(x, y) for x in (0, frame.width - w) for y in (0, frame.height - h)]
        scores = []
        for model in self._models:
            parts = [_infer_window(model, frame, (x, y, x + w, y + h))[0] for x, y in corners]
            detected = Objects.joined(parts)
            overlap = iou(self._objects.xyxy, detected.xyxy) * (self._objects.class_id[:, None] == detected.class_id)
            scores.append(int((overlap.max(axis=1, initial=0) >= _SAME_IOU).sum()) - model.price / 2)
        return self._models[int(np.argmax(scores))]


def merge_window(before: Objects, detected: Objects, window: motion.Box, image_size: tuple[int, int]) -> Objects:
    """The objects after a window was computed. before, detected: in pixels of the image. image_size: width and height.

    Objects found in the window replace those that were there, except boxes that cross the window's edge.
    """
    detected = detected[~_cut(detected.xyxy, window, image_size)]
    center = (before.xyxy[:, :2] + before.xyxy[:, 2:]) / 2
    inside = ((center >= window[:2]) & (center < window[2:])).all(axis=1)
    overlap = iou(before.xyxy, detected.xyxy) * (before.class_id[:, None] == detected.class_id)
    redetected = overlap.max(axis=1, initial=0) >= _SAME_IOU
    stays = ~redetected & (~inside | _cut(before.xyxy, window, image_size))
    return Objects.joined([before[stays], detected])


def _infer_window(model: WindowModel, frame: Frame, window: motion.Box) -> tuple[Objects, int]:
    x1, y1, x2, y2 = window
    detected, cost_ns, _ = model.run.infer(with_image(frame, frame.image[y1:y2, x1:x2]))
    return replace(detected, xyxy=detected.xyxy + np.array([x1, y1, x1, y1], np.float32)), cost_ns


def _cut(xyxy: Float32, window: motion.Box, image_size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which boxes (N, 4) touch or cross an edge of the window that is not an edge of the image."""
    x1, y1, x2, y2 = window
    low = np.array([x1 if x1 > 0 else -np.inf, y1 if y1 > 0 else -np.inf], np.float32) + _EDGE_PX
    high = np.array([x2 if x2 < image_size[0] else np.inf, y2 if y2 < image_size[1] else np.inf], np.float32) - _EDGE_PX
    return np.asarray(((xyxy[:, :2] < low) | (xyxy[:, 2:] > high)).any(axis=1), np.bool_)


def _window_size(frame: Frame) -> tuple[int, int]:
    return frame.width // 2, frame.height // 2


def _cells(window: motion.Box) -> tuple[slice, slice]:
    x1, y1, x2, y2 = (side // _CELL for side in window)
    return slice(y1, y2 + 1), slice(x1, x2 + 1)
