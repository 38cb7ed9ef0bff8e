"""Motion-gated crops: the model looks only at windows around what moves, as surveillance recorders use it.

Where no window was laid, the last objects stand. What is left of the budget is saved for a look at the whole picture.
Not here: finding what moves (motion.py).
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
from edge_app.bench.reuse.runs import InferenceRun
from edge_app.frame import Float32, Frame
from edge_app.geometry.boxes import iou

_CELL = 32  # pixels of the map that tells when each place was last looked at
_SAME = 0.5  # IoU of a box from a window with one from before that are the same object
_EDGE_PX = 2.0


@dataclass(frozen=True, slots=True)
class WindowModel:
    """A way to look at a window. price: of a look, in shares of full inference."""

    eye: InferenceRun
    price: float


class MotionCrops:
    """MethodResults at windows of half the picture's width and height. lenses: the one that suits the model is found out.

    share: what may be spent, of full inference, which takes full_ns. What is spent is what things have really taken.
    """

    def __init__(self, full: InferenceRun, lenses: Sequence[WindowModel], share: float, full_ns: float) -> None:
        self._full, self._lenses, self._full_ns = full, lenses, full_ns
        self._budget = CostAllowance(share)
        self._motion = motion.Motion()
        self._objects = Objects.joined([])
        self._lens: WindowModel | None = None
        self._looked: NDArray[np.int64] = np.zeros((0, 0), np.int64)
        self._whole_ns = 0  # when the whole picture was last looked at
        self._number = 0

    def infer(self, frame: Frame) -> tuple[Objects, int, int]:
        """What is known after a frame, nanoseconds that it took (less resizing), and the age of the last whole look."""
        begin = self._full.stopwatch()
        boxes = self._motion.boxes(frame.image)
        spent_ns = self._full.stopwatch() - begin
        self._budget.earn()
        self._budget.spend(spent_ns / self._full_ns)
        self._number += 1
        first = self._number == 1
        if first or self._budget.affords(1.0):
            self._objects, cost_ns, _ = self._full.infer(frame)
            self._whole_ns = frame.captured_ns
            self._looked = np.full((frame.height // _CELL + 1, frame.width // _CELL + 1), self._number)
            spent_ns += cost_ns
            self._budget.spend(0 if first else cost_ns / self._full_ns)
            if self._lens is None and len(self._objects):
                self._lens = self._suited(frame)
        else:
            spent_ns += self._look_where_it_moves(frame, boxes)
        return self._objects, spent_ns, frame.captured_ns - self._whole_ns

    def _look_where_it_moves(self, frame: Frame, boxes: Sequence[motion.Box]) -> int:
        lens = self._lens or self._lenses[0]
        laid = motion.windows(boxes, _window(frame), (frame.width, frame.height))
        spent_ns = 0
        for window in sorted(laid, key=self._last_look):
            if not self._budget.affords(lens.price):
                break
            found, cost_ns = _look_at(lens, frame, window)
            begin = self._full.stopwatch()
            self._objects = merge_window(self._objects, found, window, (frame.width, frame.height))
            self._looked[_cells(window)] = self._number
            cost_ns += self._full.stopwatch() - begin
            self._budget.spend(cost_ns / self._full_ns)
            spent_ns += cost_ns
        return spent_ns

    def _last_look(self, window: motion.Box) -> float:
        return float(self._looked[_cells(window)].mean())

    def _suited(self, frame: Frame) -> WindowModel:
        """The lens that sees most of what full inference sees, on four windows that make up the picture."""
        w, h = _window(frame)
        corners = [(x, y) for x in (0, frame.width - w) for y in (0, frame.height - h)]
        agreeing = []
        for lens in self._lenses:
            parts = [_look_at(lens, frame, (x, y, x + w, y + h))[0] for x, y in corners]
            found = Objects.joined(parts)
            overlap = iou(self._objects.xyxy, found.xyxy) * (self._objects.class_id[:, None] == found.class_id)
            agreeing.append(int((overlap.max(axis=1, initial=0) >= _SAME).sum()) - lens.price / 2)
        return self._lenses[int(np.argmax(agreeing))]


def merge_window(known: Objects, found: Objects, window: motion.Box, picture: tuple[int, int]) -> Objects:
    """What is known after a window was looked at. known, found: in pixels of the picture (width, height).

    What lay in the window gives way to what was found there, but for boxes that the window's edge cuts.
    """
    found = found[~_cut(found.xyxy, window, picture)]
    centre = (known.xyxy[:, :2] + known.xyxy[:, 2:]) / 2
    inside = ((centre >= window[:2]) & (centre < window[2:])).all(axis=1)
    overlap = iou(known.xyxy, found.xyxy) * (known.class_id[:, None] == found.class_id)
    again = overlap.max(axis=1, initial=0) >= _SAME
    stays = ~again & (~inside | _cut(known.xyxy, window, picture))
    return Objects.joined([known[stays], found])


def _look_at(lens: WindowModel, frame: Frame, window: motion.Box) -> tuple[Objects, int]:
    x1, y1, x2, y2 = window
    found, cost_ns, _ = lens.eye.infer(with_image(frame, frame.image[y1:y2, x1:x2]))
    return replace(found, xyxy=found.xyxy + np.array([x1, y1, x1, y1], np.float32)), cost_ns


def _cut(xyxy: Float32, window: motion.Box, picture: tuple[int, int]) -> NDArray[np.bool_]:
    """Boxes (N, 4) that reach to or over an edge of the window that is no edge of the picture."""
    x1, y1, x2, y2 = window
    low = np.array([x1 if x1 > 0 else -np.inf, y1 if y1 > 0 else -np.inf], np.float32) + _EDGE_PX
    high = np.array([x2 if x2 < picture[0] else np.inf, y2 if y2 < picture[1] else np.inf], np.float32) - _EDGE_PX
    return np.asarray(((xyxy[:, :2] < low) | (xyxy[:, 2:] > high)).any(axis=1), np.bool_)


def _window(frame: Frame) -> tuple[int, int]:
    return frame.width // 2, frame.height // 2


def _cells(window: motion.Box) -> tuple[slice, slice]:
    x1, y1, x2, y2 = (side // _CELL for side in window)
    return slice(y1, y2 + 1), slice(x1, x2 + 1)
