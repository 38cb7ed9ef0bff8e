"""The model's graphs as steps that can be run on a rectangle: which inputs it needs, which outputs it changes.

All boxes are in pixels of the model's input, whatever the stride of a map. Zero padding is right at the picture's true
borders only: so a rectangle is widened by what its cells look at, kept within the picture, and only the cells that were
asked for are taken from what comes out. Not here: what is cached (features.py).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_app.backends import Array, Session, TensorSpec
from edge_app.model.schema import OutputCells, ReceptiveField
from edge_app.reuse.costs import Cost
from edge_app.reuse.dirty_rects import Box, merged

ALIGN = 16  # pixels at least: fewer shapes for the engine to prepare for
_IMAGE = ReceptiveField(1, 0, 0, 3)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a step looks, in pixels of the model's input.

    spread: a change of an input box moves outputs so far before and behind it. halo: an output box needs inputs so far
    before and behind it.
    """

    spread: tuple[int, int]
    halo: tuple[int, int]


class Segment:
    """One graph. strides: of every input and output; reach: by input. head: the head's name, "" for the backbone's.

    free: whether it can be run on a box. rows: the outputs that list cells row by row, (1, rows * columns * n,
    channels).
    """

    def __init__(
        self,
        name: str,
        session: Session,
        size: tuple[int, int],
        strides: Mapping[str, int],
        reach: Mapping[str, Reach],
        *,
        head: str = "",
    ) -> None:
        self.name, self.session, self.strides = name, session, strides
        self.head = head
        self.inputs = [spec.name for spec in session.inputs]
        self.outputs = [spec.name for spec in session.outputs]
        self.rows = frozenset(spec.name for spec in session.outputs if len(spec.shape) == 3)
        self.free = bool(reach) and all(_is_free(spec) for spec in session.inputs)
        self.align = math.lcm(ALIGN, *strides.values()) if strides else 1
        self.whole: Box = (0, 0, -(-size[0] // self.align) * self.align, -(-size[1] // self.align) * self.align)
        self._size = size
        self._reach = dict(reach)
        self._layouts = {spec.name: _is_nhwc(spec) for spec in session.inputs}
        self.limit(1.0)

    def limit(self, share: float) -> None:
        """Look only a share as far around a box as a step does, 0..1, and follow changes its square; 1 is exact.

        A change fades on its way; where a box ends too early, what is missing is missing altogether.
        """
        self.spread = {name: _ints(reach.spread, share**2) for name, reach in self._reach.items()}
        halos = [_ints(reach.halo, share) for reach in self._reach.values()]
        self.halo = max((h[0] for h in halos), default=0), max((h[1] for h in halos), default=0)
        self._both = sum(self.halo)

    def touched(self, name: str, box: Box) -> Box:
        """The outputs that may change where an input changes in `box`."""
        return self._aligned(box, *self.spread[name])

    def needed(self, box: Box) -> Box:
        """The inputs that the outputs in `box` depend on."""
        return self._aligned(box, *self.halo)

    def joined(self, boxes: Sequence[Box], cost: Cost) -> list[Box]:
        """Join boxes of outputs where one call is cheaper than two."""
        return merged(boxes, self._both, cost.a / max(cost.b, 1e-9) * self.whole[2] * self.whole[3])

    def part(self, box: Box) -> float:
        """The share of the whole that a box is, 0..1."""
        return (box[2] - box[0]) * (box[3] - box[1]) / (self.whole[2] * self.whole[3])

    def run_all(self, maps: Mapping[str, Array]) -> dict[str, Array]:
        """Every output as a whole."""
        found = self.session.run({name: maps[name] for name in self.inputs})
        return {name: _array(value) for name, value in found.items()}

    def run(self, maps: Mapping[str, Array], box: Box) -> Iterator[tuple[str, tuple[slice, slice], Array]]:
        """Compute the outputs in an aligned `box`: name, rows and columns of the map, values (channels, rows, columns).

        Of those that list cells row by row: values (rows, columns, n * channels).
        """
        needed = self.needed(box)
        found = self.session.run({name: self._cut(name, maps[name], needed) for name in self.inputs})
        for name in self.outputs:
            stride, value = self.strides[name], _array(found[name])
            rows, columns = self.cells(name, box)
            top, left = needed[1] // stride, needed[0] // stride
            inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
            if name in self.rows:
                high, wide = self.cells(name, needed)
                yield name, (rows, columns), value.reshape(high.stop - high.start, wide.stop - wide.start, -1)[inside]
            else:
                yield name, (rows, columns), value[0][:, inside[0], inside[1]]

    def cells(self, name: str, box: Box) -> tuple[slice, slice]:
        """Rows and columns of a map that an aligned box covers."""
        stride = self.strides[name]
        rows, columns = -(-self._size[1] // stride), -(-self._size[0] // stride)
        return (
            slice(box[1] // stride, min(rows, box[3] // stride)),
            slice(box[0] // stride, min(columns, box[2] // stride)),
        )

    def _cut(self, name: str, array: Array, box: Box) -> Array:
        rows, columns = self.cells(name, box)
        part = array[:, rows, columns] if self._layouts[name] else array[:, :, rows, columns]
        return np.ascontiguousarray(part)

    def _aligned(self, box: Box, before: int, behind: int) -> Box:
        align, (_, _, width, height) = self.align, self.whole
        return (
            max(0, (box[0] - before) // align * align),
            max(0, (box[1] - before) // align * align),
            min(width, -(-(box[2] + behind) // align) * align),
            min(height, -(-(box[3] + behind) // align) * align),
        )


def backbone_reach(
    extents: Mapping[str, ReceptiveField], takes: Collection[str], gives: Collection[str]
) -> tuple[dict[str, int], dict[str, Reach]]:
    """Strides and reach of a part of the backbone; empty where the manifest does not say. takes, gives: its tensors.

    From extents in the image: what an output sees of the image beyond what its input sees, it sees by its input.
    """
    inputs = {name: extents.get(name) for name in takes}
    if len(inputs) == 1 and next(iter(inputs.values())) is None:
        inputs = dict.fromkeys(inputs, _IMAGE)
    outputs = {name: extents.get(name) for name in gives}
    strides: dict[str, int] = {}
    reach: dict[str, Reach] = {}
    for name, before in inputs.items():
        pairs = []
        for after in outputs.values():
            if before is None or after is None:
                return {}, {}
            pairs.append((after.stride, after.low - before.low, after.high - before.high))
        assert before is not None
        strides[name] = before.stride
        reach[name] = _reach(before.stride, pairs)
    return strides | {name: each.stride for name, each in outputs.items() if each is not None}, reach


def head_reach(
    extents: Mapping[str, ReceptiveField], cells: Mapping[str, OutputCells]
) -> tuple[dict[str, int], dict[str, Reach]]:
    """Strides and reach of a head; empty where the manifest does not say. extents: of the backbone's maps."""
    names = {name for each in cells.values() for name in each.reach}
    if not cells or not names <= set(extents):
        return {}, {}
    strides = {name: extents[name].stride for name in names} | {name: each.stride for name, each in cells.items()}
    reach = {
        name: _reach(strides[name], [(each.stride, *each.reach[name]) for each in cells.values() if name in each.reach])
        for name in names
    }
    return strides, reach


def _reach(stride: int, outputs: list[tuple[int, int, int]]) -> Reach:
    """outputs: stride, and the first pixels of the cells of the input that a cell needs, at least and at most."""
    return Reach(
        (max(high for _, _, high in outputs), max(own - stride - low for own, low, _ in outputs)),
        (max(-low for _, low, _ in outputs), max(high + stride - own for own, _, high in outputs)),
    )


def _ints(pair: tuple[int, int], share: float) -> tuple[int, int]:
    return math.ceil(pair[0] * share), math.ceil(pair[1] * share)


def _is_free(spec: TensorSpec) -> bool:
    sizes = spec.shape[1:3] if _is_nhwc(spec) else spec.shape[2:4]
    return len(spec.shape) == 4 and sizes == (None, None)


def _is_nhwc(spec: TensorSpec) -> bool:
    return len(spec.shape) == 4 and spec.shape[3] == 3 and spec.shape[1] != 3


def _array(value: object) -> Array:
    assert isinstance(value, np.ndarray)
    return value
