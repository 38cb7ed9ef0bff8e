"""The cached maps of one model, and their partial update after a change.

A change is propagated from segment to segment. A segment is run on the boxes that its changed inputs can affect. If its
outputs there differ by less than the tolerance, the old values are kept and the change ends. With EXACT propagation,
the maps equal those of a full run.
Not here: which boxes of the image changed (change_detection.py), whether an update is worthwhile (planner.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import cv2
import numpy as np

from edge_app.backends import Array
from edge_app.reuse.costs import Costs
from edge_app.reuse.dirty_rects import MAX_BOXES, Box, union
from edge_app.reuse.segments import Segment, end_outputs

_OUTPUT_SCALE = 0.05  # of the tolerance: a head's outputs are compared more strictly than maps
_SHALLOW_STRIDE = 8  # the rolling refresh computes maps up to this stride tile by tile
Dirty = dict[str, list[Box]]  # by cached map (Segment.keys), the boxes that changed


@dataclass(frozen=True, slots=True)
class Propagation:
    """How far a change is propagated.

    share: of a segment's receptive field, 0..1 (Segment.limit). tolerance: a change ends where values differ by less,
    as a share of the map's root mean square.
    """

    share: float
    tolerance: float


EXACT = Propagation(1.0, 0.0)
NEAR, FAR = Propagation(0.35, 0.5), Propagation(0.6, 0.3)  # defaults without tuning: for expensive and cheap frames
_CHEAP, _EXPENSIVE = 0.35, 0.5  # of a dense frame: switch to FAR below, to NEAR above


class FeatureCache:
    """The maps of the last images.

    segments: in order, heads last. image: the name of the first segment's input. costs: of these segments. stack: what
    `close` releases. spent_ms: by the cost model, since the last `fill`, `update` or refresh. calls: of segments, since
    construction.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        image: str,
        costs: Costs,
        propagation: Propagation,
        stack: ExitStack | None = None,
    ) -> None:
        self._stack = stack or ExitStack()
        self._backbone = [segment for segment in segments if not segment.head]
        self._heads: dict[str, list[Segment]] = {}
        for segment in segments:
            if segment.head:
                self._heads.setdefault(segment.head, []).append(segment)
        self._ends = {head: end_outputs(parts) for head, parts in self._heads.items()}
        self._image = image
        self.costs = costs
        self.set_propagation(propagation)
        self._maps: dict[str, Array] = {}
        self._scales: dict[str, float] = {}  # root mean square, by map
        self._pending: dict[str, Dirty | None] = dict.fromkeys(
            self._heads
        )  # for the next run of a head; None: everything
        self.spent_ms = 0.0
        self.calls = 0

    def set_propagation(self, propagation: Propagation) -> None:
        """Set how far changes are propagated."""
        self.propagation = propagation
        for segment in self.segments:
            segment.limit(propagation.share)

    def adapt_propagation(self, share: float) -> None:
        """Without tuned values, propagate changes far on cheap frames. share: a frame's cost in dense frames."""
        if self.propagation == NEAR and share < _CHEAP:
            self.set_propagation(FAR)
        elif self.propagation == FAR and share > _EXPENSIVE:
            self.set_propagation(NEAR)

    @property
    def exact(self) -> bool:
        """Whether the maps always equal those of a full run."""
        return self.propagation == EXACT

    @property
    def segments(self) -> list[Segment]:
        """All segments in order."""
        return [*self._backbone, *(segment for parts in self._heads.values() for segment in parts)]

    @property
    def heads(self) -> list[str]:
        """The names of the heads."""
        return list(self._heads)

    def inputs_of(self, segment: Segment) -> Mapping[str, Array]:
        """A segment's inputs, by name: the current maps, which must not be modified."""
        return {name: self._maps[segment.keys[name]] for name in segment.inputs}

    def predict_ms(self, boxes: Sequence[Box]) -> float:
        """The cost of an update, by the cost model, if every change is propagated over the full receptive field."""
        dirty: Dirty = {self._image: list(boxes)}
        total = 0.0
        for segment in self.segments:
            planned, cost = self._plan(segment, dirty)
            total += cost
            if planned:
                dirty.update((segment.keys[name], planned) for name in segment.outputs)
        return total

    def fill(self, tensor: Array) -> None:
        """Compute all maps. Heads run when their outputs are requested."""
        self.spent_ms = 0.0
        self._maps[self._image] = tensor
        for segment in self._backbone:
            self.run_whole(segment)
        self._pending = dict.fromkeys(self._heads)

    def update(self, tensor: Array, boxes: Sequence[Box]) -> None:
        """Recompute the maps where the image changed. boxes: input pixels."""
        self.spent_ms = 0.0
        self._maps[self._image] = tensor
        dirty: Dirty = {self._image: list(boxes)}
        for segment in self._backbone:
            self._propagate(segment, dirty)
        for head, parts in self._heads.items():
            inputs = {segment.keys[name] for segment in parts for name in segment.inputs}
            self._add_pending(head, {key: boxes for key, boxes in dirty.items() if boxes and key in inputs})

    def refresh_tile(self, tensor: Array, tile: Box) -> None:
        """Recompute the shallow maps in a tile, whether they changed or not. `refresh_deep` recomputes the others."""
        self._maps[self._image] = tensor
        self.spent_ms = 0.0
        dirty: Dirty = {self._image: [tile]}
        for segment in self._backbone:
            if _is_shallow(segment):
                self._propagate(segment, dirty, keep_all=True)

    def refresh_deep(self) -> None:
        """Recompute all maps that `refresh_tile` skips."""
        self.spent_ms = 0.0
        for segment in self._backbone:
            if not _is_shallow(segment):
                self.run_whole(segment)
        self._pending = dict.fromkeys(self._heads)

    def forget_heads(self, heads: Iterable[str]) -> None:
        """Run these heads on everything the next time."""
        self._pending.update(dict.fromkeys(heads))

    def pending(self, head: str) -> bool:
        """Whether a head has not processed all of the current maps."""
        return self._pending[head] is None or bool(self._pending[head])

    def changed_outputs_of(self, head: str) -> Mapping[str, Array] | None:
        """As `outputs_of`, but None if the head's outputs did not change."""
        dirty = self._pending[head]
        self._pending[head] = None  # if the run fails, everything must be recomputed
        changed = not dirty
        for segment in self._heads[head]:
            if dirty is None:
                self.run_whole(segment)
            elif dirty and self._propagate(segment, dirty):
                changed |= any(key in self._ends[head] for key in segment.keys.values())
        self._pending[head] = {}
        return self._outputs(head) if changed else None

    def outputs_of(self, head: str) -> Mapping[str, Array]:
        """A head's outputs for the current maps, recomputed where these changed. Valid until the next update."""
        return self.changed_outputs_of(head) or self._outputs(head)

    def set_image(self, tensor: Array) -> None:
        """Replace the input image without updating the maps. For measuring."""
        self._maps[self._image] = tensor

    def run_box(self, segment: Segment, box: Box) -> None:
        """Compute a segment's outputs in an aligned box and store them. For measuring."""
        for name, where, values in segment.run(self.inputs_of(segment), box):
            if name in segment.rows:
                self._paste_rows(segment, name, where, values)
            else:
                self._paste(segment, name, where, values, keep_all=False)

    def mark_pending(self, head: str, boxes: Sequence[Box]) -> None:
        """Treat boxes of all maps that a head takes from the backbone as changed. For measuring."""
        names = {name for segment in self._heads[head] for name in segment.inputs if segment.keys[name] == name}
        self._pending[head] = {name: list(boxes) for name in names}

    def cache_bytes(self) -> int:
        """Memory of the maps."""
        return sum(array.nbytes for name, array in self._maps.items() if name != self._image)

    def close(self) -> None:
        """Free the graphs; safe to call twice."""
        self._stack.close()

    def _outputs(self, head: str) -> dict[str, Array]:
        return {name: self._maps[key] for key, name in self._ends[head].items()}

    def _add_pending(self, head: str, dirty: Dirty) -> None:
        pending = self._pending[head]
        if pending is None:
            return
        for name, boxes in dirty.items():
            waiting = pending.setdefault(name, [])
            waiting.extend(boxes)
            if len(waiting) > MAX_BOXES:
                whole = waiting[0]
                for box in waiting[1:]:
                    whole = union(whole, box)
                pending[name] = [whole]

    def _plan(self, segment: Segment, dirty: Mapping[str, Sequence[Box]]) -> tuple[list[Box], float]:
        """The boxes of a segment's outputs to compute, and their cost in milliseconds."""
        cost = self.costs.segments[segment.name]
        if not segment.croppable:
            changed = any(dirty.get(segment.keys[name]) for name in segment.inputs)
            return ([segment.whole], cost(1.0)) if changed else ([], 0.0)
        boxes = [segment.affected(name, box) for name in segment.inputs for box in dirty.get(segment.keys[name], ())]
        if not boxes:
            return [], 0.0
        if len(boxes) > 1:
            boxes = segment.joined(boxes, cost)
        total = sum(cost(segment.part(segment.needed(box))) for box in boxes)
        if total >= cost(1.0):
            return [segment.whole], cost(1.0)
        return boxes, total

    def _propagate(self, segment: Segment, dirty: Dirty, *, keep_all: bool = False) -> bool:
        """Run a segment where its inputs are dirty, and add its changed outputs to `dirty`.

        keep_all: store every new value, without a tolerance. Returns whether any output changed.
        """
        boxes, cost = self._plan(segment, dirty)
        if not boxes:
            return False
        if boxes == [segment.whole]:
            if segment.comparable and self.propagation.tolerance and not keep_all:
                return self._run_compared(segment, dirty)
            self.run_whole(segment)
            dirty.update((segment.keys[name], boxes) for name in segment.outputs)
            return True
        self.spent_ms += cost
        self.calls += len(boxes)
        differs = False
        maps = self.inputs_of(segment)
        for box in boxes:
            for name, where, values in segment.run(maps, box):
                if name in segment.rows:
                    differs |= self._paste_rows(segment, name, where, values)
                    continue
                changed = self._paste(segment, name, where, values, keep_all)
                if changed is not None:
                    differs = True
                    dirty.setdefault(segment.keys[name], []).append(changed)
        return differs

    def _run_compared(self, segment: Segment, dirty: Dirty) -> bool:
        """Run a segment that cannot run on a box, and add the boxes in which its maps changed to `dirty`."""
        self.spent_ms += self.costs.segments[segment.name](1.0)
        self.calls += 1
        differs = False
        for name, value in segment.run_all(self.inputs_of(segment)).items():
            key, changed = segment.keys[name], segment.whole
            if name in segment.comparable:
                found = self._paste(segment, name, segment.cells(name, segment.whole), value[0], keep_all=False)
                if found is None:
                    continue
                changed = found
            else:
                self._maps[key] = value.copy()
            differs = True
            dirty.setdefault(key, []).append(changed)
        return differs

    def run_whole(self, segment: Segment) -> None:
        """Compute all outputs of a segment and store them."""
        self.spent_ms += self.costs.segments[segment.name](1.0)
        self.calls += 1
        ends = self._ends.get(segment.head, ())
        for name, value in segment.run_all(self.inputs_of(segment)).items():
            key = segment.keys[name]
            # Copied: keeping the engine's own array would fragment its memory arena, which took 2.5 MB more.
            if key in self._maps and key not in ends:
                np.copyto(self._maps[key], value)
            else:
                self._maps[key] = value.copy()
            if key not in self._scales:
                segment.check_cells(name, value)
                share = _OUTPUT_SCALE if key in ends else 1.0
                compared = segment.croppable or name in segment.comparable
                self._scales[key] = share * float(cv2.norm(value.reshape(-1))) / value.size**0.5 if compared else 0.0

    def _paste(
        self, segment: Segment, name: str, where: tuple[slice, slice], values: Array, keep_all: bool
    ) -> Box | None:
        """Store new values in a map where they differ by more than the tolerance.

        Returns the box of those, input pixels, or None. keep_all: store all of them.
        """
        rows, columns = where
        stride, key = segment.strides[name], segment.keys[name]
        target = self._maps[key][0]
        tolerance = 0.0 if keep_all else self.propagation.tolerance * self._scales.get(key, 0.0)
        if tolerance:
            height, width = values.shape[1:]
            new, old = np.ascontiguousarray(values), np.ascontiguousarray(target[:, rows, columns])
            difference = cv2.absdiff(new.reshape(len(new), -1), old.reshape(len(old), -1))
            largest = cv2.reduce(difference, 0, cv2.REDUCE_MAX).reshape(height, width)
            x, y, width, height = cv2.boundingRect((largest > tolerance).astype(np.uint8))
            if not width:
                return None
            values = new[:, y : y + height, x : x + width]
            rows = slice(rows.start + y, rows.start + y + height)
            columns = slice(columns.start + x, columns.start + x + width)
        target[:, rows, columns] = values
        return columns.start * stride, rows.start * stride, columns.stop * stride, rows.stop * stride

    def _paste_rows(self, segment: Segment, name: str, where: tuple[slice, slice], values: Array) -> bool:
        """Store new values in a head's rows if any differs by more than the tolerance. Returns whether one does."""
        (rows, columns), key = segment.cells(name, segment.whole), segment.keys[name]
        target = self._maps[key].reshape(rows.stop, columns.stop, -1)
        tolerance = self.propagation.tolerance * self._scales.get(key, 0.0)
        if tolerance:
            old, new = np.ascontiguousarray(target[where]), np.ascontiguousarray(values)
            if float(cv2.norm(old, new, cv2.NORM_INF)) <= tolerance:
                return False
        target[where] = values
        return True


def _is_shallow(segment: Segment) -> bool:
    return segment.croppable and max(segment.strides.values()) <= _SHALLOW_STRIDE
