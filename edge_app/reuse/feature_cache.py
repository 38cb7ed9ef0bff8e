"""The cached maps of one model, and their partial update after a change.

A change is propagated from segment to segment. A segment is run on the boxes that its changed inputs can affect. If its
outputs there differ by less than the tolerance, the old values are kept and the change ends. With EXACT propagation,
the maps equal those of a full run.
Not here: which boxes of the image changed (change_detection.py), whether an update is worthwhile (planner.py), storing
and comparing values (maps.py), which tiles are renewed when (refresh.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack

from edge_app.backends import Array
from edge_app.reuse.costs import Costs
from edge_app.reuse.dirty_rects import MAX_BOXES, Box, union
from edge_app.reuse.doubts import Doubts
from edge_app.reuse.maps import CachedMaps
from edge_app.reuse.propagation import EXACT, Propagation, adapted
from edge_app.reuse.segments import Segment, end_outputs

_SAME = 0.02  # of a map's root mean square: a smaller difference that a refresh finds does not spread
Dirty = dict[str, list[Box]]  # by cached map (Segment.keys), the boxes that changed


class FeatureCache:
    """The maps of the last images.

    segments: in order, heads last. image: the name of the first segment's input. costs: of these segments. stack: what
    `close` releases. spent_ms: by the cost model, since the last `fill`, `update` or refresh. calls: of segments, since
    construction. refreshed_ms: as spent_ms, for the rolling refresh. doubts: where the maps may differ from those of a
    full run.
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
        self._maps = CachedMaps({key for ends in self._ends.values() for key in ends})
        self._takers: dict[str, list[tuple[Segment, str]]] = {}  # by map, the segments that take it, and its name there
        for segment in segments:
            for name in segment.inputs:
                self._takers.setdefault(segment.keys[name], []).append((segment, name))
        self._renewed: set[str] = set()  # heads whose outputs a refresh changed since they were last requested
        self.doubts = Doubts()
        self._pending: dict[str, Dirty | None] = dict.fromkeys(
            self._heads
        )  # for the next run of a head; None: everything
        self.spent_ms = self.refreshed_ms = 0.0
        self.calls = 0

    def set_propagation(self, propagation: Propagation) -> None:
        """Set how far changes are propagated."""
        self.propagation = propagation
        for segment in self.segments:
            segment.limit(propagation.share)

    def adapt_propagation(self, share: float) -> None:
        """Without tuned values, propagate changes far on cheap frames. share: a frame's cost in dense frames."""
        propagation = adapted(self.propagation, share)
        if propagation != self.propagation:
            self.set_propagation(propagation)

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
        return {name: self._maps.values[segment.keys[name]] for name in segment.inputs}

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
        self.spent_ms = self.refreshed_ms = 0.0
        self._maps.values[self._image] = tensor
        for segment in self._backbone:
            self.run_whole(segment)
        self.doubts.clear()
        self._renewed.clear()
        self._pending = dict.fromkeys(self._heads)

    def update(self, tensor: Array, boxes: Sequence[Box]) -> None:
        """Recompute the maps where the image changed. boxes: input pixels."""
        self.spent_ms = self.refreshed_ms = 0.0
        self._maps.values[self._image] = tensor
        dirty: Dirty = {self._image: list(boxes)}
        for segment in self._backbone:
            self._propagate(segment, dirty)
        for head, parts in self._heads.items():
            inputs = {segment.keys[name] for segment in parts for name in segment.inputs}
            self._add_pending(head, {key: boxes for key, boxes in dirty.items() if boxes and key in inputs})

    def has_run(self, head: str) -> bool:
        """Whether a head has maps and outputs, so that these can be refreshed."""
        return self._pending[head] is not None

    def refresh_ms(self, segment: Segment, tile: Box) -> float:
        """The cost of `refresh`."""
        cost = self.costs.segments[segment.name]
        if tile == segment.whole:
            return cost(1.0)
        with segment.unlimited():
            return cost(segment.part(segment.needed(tile)))

    def refresh(self, segment: Segment, tile: Box) -> None:
        """Compute a segment's outputs in an aligned tile from all they depend on, and store all of them.

        Where they differ from the old ones, what later segments compute from them becomes doubtful.
        """
        self.refreshed_ms += self.refresh_ms(segment, tile)
        self.calls += 1
        if tile == segment.whole:
            values = ((name, value) for name, value in segment.run_all(self.inputs_of(segment)).items())
            for name, value in values:
                if segment.croppable and name in segment.rows:
                    (rows, columns) = where = segment.cells(name, tile)
                    self._renew(segment, name, where, value.reshape(rows.stop, columns.stop, -1))
                elif segment.croppable or name in segment.comparable:
                    self._renew(segment, name, segment.cells(name, tile), value[0])
                else:
                    self._maps.store(segment, name, value)
                    self._renewed_in(segment, name, segment.whole)
            return
        with segment.unlimited():
            for name, where, value in segment.run(self.inputs_of(segment), tile):
                self._renew(segment, name, where, value)

    def forget_heads(self, heads: Iterable[str]) -> None:
        """Run these heads on everything the next time."""
        self._pending.update(dict.fromkeys(heads))

    def pending(self, head: str) -> bool:
        """Whether a head has not processed all of the current maps."""
        return self._pending[head] is None or bool(self._pending[head]) or head in self._renewed

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
        changed |= head in self._renewed
        self._renewed.discard(head)
        return self._outputs(head) if changed else None

    def outputs_of(self, head: str) -> Mapping[str, Array]:
        """A head's outputs for the current maps, recomputed where these changed. Valid until the next update."""
        return self.changed_outputs_of(head) or self._outputs(head)

    def set_image(self, tensor: Array) -> None:
        """Replace the input image without updating the maps. For measuring."""
        self._maps.values[self._image] = tensor

    def run_box(self, segment: Segment, box: Box) -> None:
        """Compute a segment's outputs in an aligned box and store them. For measuring."""
        for name, where, values in segment.run(self.inputs_of(segment), box):
            paste = self._maps.paste_rows if name in segment.rows else self._maps.paste
            paste(segment, name, where, values, self.propagation.tolerance)

    def mark_pending(self, head: str, boxes: Sequence[Box]) -> None:
        """Treat boxes of all maps that a head takes from the backbone as changed. For measuring."""
        names = {name for segment in self._heads[head] for name in segment.inputs if segment.keys[name] == name}
        self._pending[head] = {name: list(boxes) for name in names}

    def cache_bytes(self) -> int:
        """Memory of the maps."""
        return sum(array.nbytes for name, array in self._maps.values.items() if name != self._image)

    def close(self) -> None:
        """Free the graphs; safe to call twice."""
        self._stack.close()

    def _outputs(self, head: str) -> dict[str, Array]:
        return {name: self._maps.values[key] for key, name in self._ends[head].items()}

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

    def _propagate(self, segment: Segment, dirty: Dirty) -> bool:
        """Run a segment where its inputs are dirty, and add its changed outputs to `dirty`.

        Returns whether any output changed.
        """
        boxes, cost = self._plan(segment, dirty)
        if not boxes:
            return False
        if boxes == [segment.whole]:
            if segment.comparable and self.propagation.tolerance:
                return self._run_compared(segment, dirty)
            self.run_whole(segment)
            dirty.update((segment.keys[name], boxes) for name in segment.outputs)
            return True
        self.spent_ms += cost
        self.calls += len(boxes)
        differs = False
        for box in boxes:
            changed = self._run_box(segment, box, dirty)
            differs |= changed > 0
            if not self.exact:
                self.doubts.add(segment.name, segment.overlooked(box), 1 - changed / 2)
        return differs

    def _run_box(self, segment: Segment, box: Box, dirty: Dirty) -> float:
        """Run a segment on a box, and add its changed outputs to `dirty`. Returns the share of the box that changed."""
        changed_share = 0.0
        for name, where, values in segment.run(self.inputs_of(segment), box):
            if name in segment.rows:
                if self._maps.paste_rows(segment, name, where, values, self.propagation.tolerance):
                    changed_share = 1.0
                continue
            changed = self._maps.paste(segment, name, where, values, self.propagation.tolerance)
            if changed is not None:
                dirty.setdefault(segment.keys[name], []).append(changed)
                changed_share = max(changed_share, min(1.0, segment.part(changed) / segment.part(box)))
        return changed_share

    def _run_compared(self, segment: Segment, dirty: Dirty) -> bool:
        """Run a segment that cannot run on a box, and add the boxes in which its maps changed to `dirty`."""
        self.spent_ms += self.costs.segments[segment.name](1.0)
        self.calls += 1
        differs = False
        for name, value in segment.run_all(self.inputs_of(segment)).items():
            changed: Box | None = segment.whole
            if name in segment.comparable:
                where = segment.cells(name, segment.whole)
                changed = self._maps.paste(segment, name, where, value[0], self.propagation.tolerance)
                if changed is None:
                    continue
            else:
                self._maps.store(segment, name, value)
            differs = True
            dirty.setdefault(segment.keys[name], []).append(changed or segment.whole)
        self.doubts.add(segment.name, segment.whole)
        return differs

    def run_whole(self, segment: Segment) -> None:
        """Compute all outputs of a segment and store them."""
        self.spent_ms += self.costs.segments[segment.name](1.0)
        self.calls += 1
        for name, value in segment.run_all(self.inputs_of(segment)).items():
            self._maps.store(segment, name, value)

    def mark_renewed(self) -> None:
        """Return the outputs of all heads the next time, even if equal: they are younger."""
        self._renewed.update(self._heads)

    def _renew(self, segment: Segment, name: str, where: tuple[slice, slice], values: Array) -> None:
        """Store values that a refresh computed, and note where they differ from the old ones."""
        if name in segment.rows:
            if self._maps.paste_rows(segment, name, where, values, _SAME, all_cells=True):
                self._renewed_in(segment, name, segment.whole)
            return
        changed = self._maps.paste(segment, name, where, values, _SAME, all_cells=True)
        if changed is not None:
            self._renewed_in(segment, name, changed)

    def _renewed_in(self, segment: Segment, name: str, box: Box) -> None:
        """An output changed in a box: what depends on it is doubtful."""
        key = segment.keys[name]
        if key in self._ends.get(segment.head, ()):
            self._renewed.add(segment.head)
        for taker, taken in self._takers.get(key, ()):
            with taker.unlimited():
                self.doubts.add(taker.name, taker.affected(taken, box) if taker.croppable else taker.whole)
