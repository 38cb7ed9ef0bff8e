"""The cached maps of one model, and their update where something changed.

A change is followed from step to step: the boxes that a step must compute again are those that its changed inputs can
reach; where its outputs then differ by too little to matter, they keep their old values and the change ends there.
With a share of 1 and no tolerance the maps equal those of a full run.
Not here: which boxes of the picture changed (change.py), whether this pays (frames.py, measure.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import cv2
import numpy as np

from edge_app.backends import Array
from edge_app.reuse.costs import Costs
from edge_app.reuse.dirty_rects import MOST, Box, union
from edge_app.reuse.segments import Segment

_OUTPUT = 0.05  # of the tolerance of maps: what a head says is held to more
SHALLOW = 8  # the stride to which tiles are renewed one by one
Dirty = dict[str, list[Box]]


@dataclass(frozen=True, slots=True)
class Propagation:
    """How changes are followed.

    share: of how far steps look around, 0..1 (units.py). tolerance: what ends a change, in shares of a map's root mean
    square.
    """

    share: float
    tolerance: float


EXACT = Propagation(1.0, 0.0)
NEAR, FAR = Propagation(0.35, 0.5), Propagation(0.6, 0.3)  # where nothing was tuned: on busy frames, and on others
_CHEAP, _DEAR = 0.35, 0.5  # of a dense frame: below, changes are followed far; above, near


class Features:
    """The maps that a model's steps have made of the last pictures.

    units: in order, heads last. image: the name of the first one's input. stack: what `close` releases.
    """

    def __init__(
        self, units: Sequence[Segment], image: str, costs: Costs, following: Propagation, stack: ExitStack | None = None
    ) -> None:
        self._stack = stack or ExitStack()
        self._backbone = [unit for unit in units if not unit.head]
        self._heads = {unit.head: unit for unit in units if unit.head}
        self._shallow = [u for u in self._backbone if u.free and max(u.strides.values()) <= SHALLOW]
        self._image = image
        self.costs = costs
        self.follow(following)
        self._maps: dict[str, Array] = {}
        self._scales: dict[str, float] = {}
        self._pending: dict[str, Dirty | None] = dict.fromkeys(self._heads)  # None: all of it
        self.valid = False
        self.spent_ms = 0.0  # by the cost model, since the last `fill` or `update`
        self.calls = 0  # of steps, since the beginning

    def follow(self, following: Propagation) -> None:
        """From now on follow changes so far."""
        self.following = following
        for unit in self.units:
            unit.limit(following.share)

    @property
    def exact(self) -> bool:
        """Whether the maps equal those of a full run at any time."""
        return self.following == EXACT

    @property
    def units(self) -> list[Segment]:
        """The steps in order."""
        return [*self._backbone, *self._heads.values()]

    def afford(self, share: float) -> None:
        """Where nothing was tuned, follow changes far when frames are cheap. share: what one costs, in dense ones."""
        if self.following == NEAR and share < _CHEAP:
            self.follow(FAR)
        elif self.following == FAR and share > _DEAR:
            self.follow(NEAR)

    def maps(self, unit: Segment) -> Mapping[str, Array]:
        """What a step takes: the present maps, which must not be changed."""
        return {name: self._maps[name] for name in unit.inputs}

    def predict_ms(self, boxes: Sequence[Box]) -> float:
        """What an update would take at most, by the cost model, were every change followed as far as it may reach."""
        dirty: Dirty = {self._image: list(boxes)}
        total = 0.0
        for unit in self.units:
            found, cost = self._plan(unit, dirty)
            total += cost
            if found:
                dirty.update((name, found) for name in unit.outputs)
        return total

    def fill(self, tensor: Array) -> None:
        """Compute all maps; heads run when they are asked for."""
        self.valid = False
        self.spent_ms = 0.0
        self._maps[self._image] = tensor
        for unit in self._backbone:
            self.run_whole(unit)
        self._pending = dict.fromkeys(self._heads)
        self.valid = True

    def update(self, tensor: Array, boxes: Sequence[Box]) -> None:
        """Compute maps again where the picture changed. boxes: input pixels."""
        self.valid = False
        self.spent_ms = 0.0
        self._maps[self._image] = tensor
        dirty: Dirty = {self._image: list(boxes)}
        for unit in self._backbone:
            self._follow(unit, dirty)
        for name, unit in self._heads.items():
            self._note(name, {each: dirty[each] for each in unit.inputs if dirty.get(each)})
        self.valid = True

    def renew(self, tensor: Array, tile: Box) -> None:
        """Compute the shallow maps of a tile again, though nothing changed; what lies deeper follows by `deepen`."""
        self._maps[self._image] = tensor
        self.spent_ms = 0.0
        dirty: Dirty = {self._image: [tile]}
        for unit in self._shallow:
            self._follow(unit, dirty, keep=True)

    def deepen(self) -> None:
        """Compute what lies behind the shallow maps."""
        self.spent_ms = 0.0
        for unit in self._backbone:
            if unit not in self._shallow:
                self.run_whole(unit)
        self._pending = dict.fromkeys(self._heads)

    def forget(self, heads: Iterable[str]) -> None:
        """Nothing of what these heads have said is known any more."""
        self._pending.update(dict.fromkeys(heads))

    def pending(self, head: str) -> bool:
        """Whether a head has not seen all of the present maps."""
        return self._pending[head] is None or bool(self._pending[head])

    def changed_outputs_of(self, head: str) -> Mapping[str, Array] | None:
        """As `outputs_of`, or None where the maps changed, but nothing that the head says of them did."""
        unit, dirty = self._heads[head], self._pending[head]
        self._pending[head] = None  # should it fail, all of it is to be done again
        changed = True
        if dirty is None:
            self.run_whole(unit)
        elif dirty:
            changed = self._follow(unit, dirty)
        self._pending[head] = {}
        return {name: self._maps[_key(unit, name)] for name in unit.outputs} if changed else None

    def outputs_of(self, head: str) -> Mapping[str, Array]:
        """A head's outputs for the present maps, run where they changed. Valid until the next update."""
        found = self.changed_outputs_of(head)
        unit = self._heads[head]
        return found or {name: self._maps[_key(unit, name)] for name in unit.outputs}

    def show(self, tensor: Array) -> None:
        """Make a picture the one that steps take; for measuring, the maps do not follow."""
        self._maps[self._image] = tensor
        self.valid = False

    def run_part(self, unit: Segment, box: Box) -> None:
        """Compute a step's outputs in an aligned box and put them into their maps, whatever changed."""
        for name, where, values in unit.run(self._maps, box):
            if name in unit.rows:
                self._paste_rows(unit, name, where, values)
            else:
                self._paste(unit, name, where, values, keep=False)

    def touch(self, head: str, boxes: Sequence[Box]) -> None:
        """Have a head look at boxes of all of its inputs again."""
        self._pending[head] = {name: list(boxes) for name in self._heads[head].inputs}

    def cache_bytes(self) -> int:
        """What the maps take."""
        return sum(array.nbytes for name, array in self._maps.items() if name != self._image)

    def close(self) -> None:
        """Free the graphs; safe to call twice."""
        self._stack.close()

    def _note(self, head: str, dirty: Dirty) -> None:
        pending = self._pending[head]
        if pending is None:
            return
        for name, boxes in dirty.items():
            known = pending.setdefault(name, [])
            known.extend(boxes)
            if len(known) > MOST:
                whole = known[0]
                for box in known[1:]:
                    whole = union(whole, box)
                pending[name] = [whole]

    def _plan(self, unit: Segment, dirty: Mapping[str, Sequence[Box]]) -> tuple[list[Box], float]:
        """The boxes of a step's outputs to compute, and what that takes."""
        cost = self.costs.units[unit.name]
        if not unit.free:
            return ([unit.whole], cost(1.0)) if any(dirty.get(name) for name in unit.inputs) else ([], 0.0)
        boxes = [unit.touched(name, box) for name in unit.inputs for box in dirty.get(name, ())]
        if not boxes:
            return [], 0.0
        if len(boxes) > 1:
            boxes = unit.joined(boxes, cost)
        total = sum(cost(unit.part(unit.needed(box))) for box in boxes)
        if total >= cost(1.0):
            return [unit.whole], cost(1.0)
        return boxes, total

    def _follow(self, unit: Segment, dirty: Dirty, *, keep: bool = False) -> bool:
        """Run a step where its inputs are dirty, and note which outputs are. keep: every new value, however close.

        Returns whether any output differs.
        """
        boxes, cost = self._plan(unit, dirty)
        if not boxes:
            return False
        if boxes == [unit.whole]:
            self.run_whole(unit)
            dirty.update((name, boxes) for name in unit.outputs)
            return True
        self.spent_ms += cost
        self.calls += len(boxes)
        differs = False
        for box in boxes:
            for name, where, values in unit.run(self._maps, box):
                if name in unit.rows:
                    differs |= self._paste_rows(unit, name, where, values)
                    continue
                changed = self._paste(unit, name, where, values, keep)
                if changed is not None:
                    differs = True
                    dirty.setdefault(name, []).append(changed)
        return differs

    def run_whole(self, unit: Segment) -> None:
        """Compute all of a step's outputs."""
        self.spent_ms += self.costs.units[unit.name](1.0)
        self.calls += 1
        for name, value in unit.run_all(self._maps).items():
            key = _key(unit, name)
            # Copied: an array of the engine's own that lives on splits its arena, which took 2.5 MB more.
            if key in self._maps and not unit.head:
                np.copyto(self._maps[key], value)
            else:
                self._maps[key] = value.copy()
            if key not in self._scales:
                share = _OUTPUT if unit.head else 1.0
                self._scales[key] = share * float(cv2.norm(value.reshape(-1))) / value.size**0.5

    def _paste(self, unit: Segment, name: str, where: tuple[slice, slice], values: Array, keep: bool) -> Box | None:
        """Put new values into a map, as far as they differ. Returns the box in which they did, or None."""
        rows, columns = where
        stride, key = unit.strides[name], _key(unit, name)
        target = self._maps[key][0]
        tolerance = 0.0 if keep else self.following.tolerance * self._scales.get(key, 0.0)
        if tolerance:
            high, wide = values.shape[1:]
            new, old = np.ascontiguousarray(values), np.ascontiguousarray(target[:, rows, columns])
            difference = cv2.absdiff(new.reshape(len(new), -1), old.reshape(len(old), -1))
            most = cv2.reduce(difference, 0, cv2.REDUCE_MAX).reshape(high, wide)
            x, y, width, height = cv2.boundingRect((most > tolerance).astype(np.uint8))
            if not width:
                return None
            values = new[:, y : y + height, x : x + width]
            rows = slice(rows.start + y, rows.start + y + height)
            columns = slice(columns.start + x, columns.start + x + width)
        target[:, rows, columns] = values
        return columns.start * stride, rows.start * stride, columns.stop * stride, rows.stop * stride

    def _paste_rows(self, unit: Segment, name: str, where: tuple[slice, slice], values: Array) -> bool:
        """Put new values into a head's rows, unless they are as good as the old ones. Returns whether they differ."""
        (rows, columns), key = unit.cells(name, unit.whole), _key(unit, name)
        target = self._maps[key].reshape(rows.stop, columns.stop, -1)
        tolerance = self.following.tolerance * self._scales.get(key, 0.0)
        if (
            tolerance
            and float(cv2.norm(np.ascontiguousarray(target[where]), np.ascontiguousarray(values), cv2.NORM_INF))
            <= tolerance
        ):
            return False
        target[where] = values
        return True


def _key(unit: Segment, output: str) -> str:
    """What a map is kept under: heads may name their outputs alike; graphs' names may hold anything but NUL."""
    return f"{unit.head}\0{output}" if unit.head else output
