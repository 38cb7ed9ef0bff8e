"""Segments: the model's graphs, run as a whole or on a box.

A segment knows which outputs a changed input affects, and which inputs an output requires. All boxes are in pixels of
the model's input, whatever the stride of a map. Zero padding is correct only at the true borders of the image. So a box
is widened by the receptive field of its cells (the halo) and clamped to the image, and only the cells of the original
box are taken from the result. A box starts at a multiple of the strides and ends as many multiples before the end of
the image. So each map of a crop has as many cells fewer than the whole map, and maps of one size stay so.
Not here: cached maps (feature_cache.py).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from edge_app.backends import Array, Session, TensorSpec
from edge_app.model.schema import OutputCells, ReceptiveField
from edge_app.reuse.costs import Cost
from edge_app.reuse.dirty_rects import Box, merge_boxes

ALIGN = 16  # pixels at least, so that the engine sees fewer different shapes
_IMAGE = ReceptiveField(1, 0, 0, 3)


@dataclass(frozen=True, slots=True)
class Reach:
    """The receptive field of a segment, in pixels of the model's input: (left or above, right or below).

    spread: how far beyond a changed input box the outputs change. halo: how far beyond an output box inputs are needed.
    """

    spread: tuple[int, int]
    halo: tuple[int, int]


class Segment:
    """One graph of the model.

    strides: of every input and output. reach: by input; empty if unknown. head: the head's name, "" in the backbone.
    inner: the inputs that earlier segments of the same head compute. croppable: whether it can run on a box.
    comparable: if it cannot, the outputs that are maps of known stride. rows: the outputs that list cells row by row,
    shape (1, rows * columns * n, channels). whole: the box of the entire image. keys: by input and output, its name
    among the cached maps.
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
        inner: Collection[str] = (),
    ) -> None:
        self.name, self.session, self.strides = name, session, strides
        self.head = head
        self.inputs = [spec.name for spec in session.inputs]
        self.outputs = [spec.name for spec in session.outputs]
        self.keys = {name: _key(head, name) if name in inner else name for name in self.inputs}
        self.keys |= {name: _key(head, name) for name in self.outputs}
        self.rows = frozenset(spec.name for spec in session.outputs if len(spec.shape) == 3)
        self.croppable = bool(reach) and all(_has_free_size(spec) for spec in session.inputs)
        self.comparable: set[str] = set()
        self.align = math.lcm(ALIGN, *strides.values()) if strides else 1
        self.whole: Box = (0, 0, *size)
        self._reach = dict(reach)
        # The last cells of a map may extend beyond the image, and those of a box as far beyond the box.
        self._overhang = max((-side % stride for side in size for stride in strides.values()), default=0)
        self._layouts = {spec.name: _is_nhwc(spec) for spec in session.inputs}
        self.limit(1.0)

    def limit(self, share: float) -> None:
        """Use only a share of the reach (0..1): `share` of the halo and `share` squared of the spread. 1 is exact.

        The spread is reduced more: a change fades with distance, but inputs beyond the halo are missing entirely.
        """
        self._share = share
        self.spread = {name: self._scaled(reach.spread, share**2) for name, reach in self._reach.items()}
        halos = [self._scaled(reach.halo, share) for reach in self._reach.values()]
        self.halo = max((h[0] for h in halos), default=0), max((h[1] for h in halos), default=0)
        self._halo_sum = sum(self.halo)
        whole = {name: self._scaled(reach.spread, 1.0) for name, reach in self._reach.items()}
        ignored = [(whole[name][0] - used[0], whole[name][1] - used[1]) for name, used in self.spread.items()]
        self._ignored = max((i[0] for i in ignored), default=0), max((i[1] for i in ignored), default=0)

    @contextmanager
    def unlimited(self) -> Iterator[None]:
        """Use the whole reach within a `with` block."""
        share = self._share
        self.limit(1.0)
        try:
            yield
        finally:
            self.limit(share)

    def affected(self, name: str, box: Box) -> Box:
        """The box of outputs that may change if the input `name` changes in `box`."""
        return self.aligned(box, *self.spread[name])

    def needed(self, box: Box) -> Box:
        """The box of inputs that the outputs in `box` depend on."""
        return self.aligned(box, *self.halo)

    def overlooked(self, box: Box) -> Box:
        """A computed box and what is near enough to be affected too, but beyond the share that is used."""
        return self.aligned(box, *self._ignored)

    def joined(self, boxes: Sequence[Box], cost: Cost) -> list[Box]:
        """Join boxes of outputs if one call is cheaper than two."""
        return merge_boxes(boxes, self._halo_sum, cost.a / max(cost.b, 1e-9) * self.whole[2] * self.whole[3])

    def aligned(self, box: Box, before: int = 0, after: int = 0) -> Box:
        """The smallest box that can be computed around a box with a margin, pixels."""
        align, (_, _, width, height) = self.align, self.whole
        return (
            max(0, (box[0] - before) // align * align),
            max(0, (box[1] - before) // align * align),
            width - max(0, (width - box[2] - after) // align * align),
            height - max(0, (height - box[3] - after) // align * align),
        )

    def part(self, box: Box) -> float:
        """The area of a box as a share of the whole, 0..1."""
        return (box[2] - box[0]) * (box[3] - box[1]) / (self.whole[2] * self.whole[3])

    def run_all(self, maps: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs, by name. maps: at least the segment's inputs, by name."""
        outputs = self.session.run({name: maps[name] for name in self.inputs})
        return {name: _array(value) for name, value in outputs.items()}

    def run(self, maps: Mapping[str, Array], box: Box) -> Iterator[tuple[str, tuple[slice, slice], Array]]:
        """Compute the outputs in an aligned `box`. Yields name, (rows, columns) in the map, and the new values.

        Values have the shape (channels, rows, columns), for outputs in `rows` (rows, columns, n * channels).
        """
        needed = self.needed(box)
        outputs = self.session.run({name: self._cut(name, maps[name], needed) for name in self.inputs})
        for name in self.outputs:
            stride, value = self.strides[name], _array(outputs[name])
            rows, columns = self.cells(name, box)
            top, left = needed[1] // stride, needed[0] // stride
            inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
            if name in self.rows:
                high, wide = self.cells(name, needed)
                yield name, (rows, columns), value.reshape(high.stop - high.start, wide.stop - wide.start, -1)[inside]
            else:
                yield name, (rows, columns), value[0][:, inside[0], inside[1]]

    def check_cells(self, name: str, value: Array) -> None:
        """Never run on a box if the cells of an output do not tile the image. value: of the whole image.

        The compiler does not describe such a segment, but an old or handwritten model folder may.
        """
        if name not in self.strides:
            self.croppable = False
            return
        rows, columns = self.cells(name, self.whole)
        if name in self.rows:
            tiles = value.shape[0] == 1 and value.shape[1] % (rows.stop * columns.stop) == 0
        else:
            tiles = value.ndim == 4 and value.shape[0] == 1 and value.shape[2:] == (rows.stop, columns.stop)
        fits = tiles and value.dtype == np.float32 and value.size > 0
        if fits and not self.croppable and name not in self.rows:
            self.comparable.add(name)
        self.croppable &= fits

    def cells(self, name: str, box: Box) -> tuple[slice, slice]:
        """Rows and columns of a map that an aligned box covers."""
        stride = self.strides[name]
        return slice(box[1] // stride, -(-box[3] // stride)), slice(box[0] // stride, -(-box[2] // stride))

    def _scaled(self, pair: tuple[int, int], share: float) -> tuple[int, int]:
        return math.ceil(pair[0] * share), math.ceil(pair[1] * share) + self._overhang

    def _cut(self, name: str, array: Array, box: Box) -> Array:
        rows, columns = self.cells(name, box)
        part = array[:, rows, columns] if self._layouts[name] else array[:, :, rows, columns]
        return np.ascontiguousarray(part)


def end_outputs(parts: Sequence[Segment]) -> dict[str, str]:
    """The outputs of a head, which none of its segments takes: their names, by cached map."""
    taken = {segment.keys[name] for segment in parts for name in segment.inputs}
    made = {segment.keys[name]: name for segment in parts for name in segment.outputs}
    return {key: name for key, name in made.items() if key not in taken}


def backbone_reach(
    extents: Mapping[str, ReceptiveField], inputs: Collection[str], outputs: Collection[str], *, first: bool
) -> tuple[dict[str, int], dict[str, Reach]]:
    """Strides and reach of a backbone segment; empty if the manifest does not list them.

    extents: receptive fields in the image, by map. inputs, outputs: the segment's tensors. first: whether the input is
    the image. The reach of a segment is the difference between the receptive fields of its outputs and of its inputs.
    """
    before_by_name = {name: _IMAGE if first else extents.get(name) for name in inputs}
    after_by_name = {name: extents.get(name) for name in outputs}
    strides: dict[str, int] = {}
    reach: dict[str, Reach] = {}
    for name, before in before_by_name.items():
        pairs = []
        for after in after_by_name.values():
            if before is None or after is None:
                return {}, {}
            pairs.append((after.stride, after.low - before.low, after.high - before.high))
        assert before is not None
        strides[name] = before.stride
        reach[name] = _reach(before.stride, pairs)
    return strides | {name: field.stride for name, field in after_by_name.items() if field is not None}, reach


def head_reach(
    map_strides: Mapping[str, int], cells: Mapping[str, OutputCells]
) -> tuple[dict[str, int], dict[str, Reach]]:
    """Strides and reach of a head or a segment of it; empty if the manifest does not list them.

    map_strides: of all maps that can be its inputs, in pixels.
    """
    names = {name for output in cells.values() for name in output.reach}
    if not cells or not names <= set(map_strides):
        return {}, {}
    strides = {name: map_strides[name] for name in names} | {name: output.stride for name, output in cells.items()}
    reach = {
        name: _reach(
            strides[name], [(output.stride, *output.reach[name]) for output in cells.values() if name in output.reach]
        )
        for name in names
    }
    return strides, reach


def _reach(stride: int, outputs: list[tuple[int, int, int]]) -> Reach:
    """outputs: for each, its stride, and the lowest and highest first pixel of the input cells that a cell needs."""
    return Reach(
        (max(high for _, _, high in outputs), max(own - stride - low for own, low, _ in outputs)),
        (max(-low for _, low, _ in outputs), max(high + stride - own for own, _, high in outputs)),
    )


def _has_free_size(spec: TensorSpec) -> bool:
    sizes = spec.shape[1:3] if _is_nhwc(spec) else spec.shape[2:4]
    return len(spec.shape) == 4 and sizes == (None, None)


def _is_nhwc(spec: TensorSpec) -> bool:
    return len(spec.shape) == 4 and spec.shape[3] == 3 and spec.shape[1] != 3


def _key(head: str, name: str) -> str:
    """The name of a cached map: that of a head is prefixed, since two heads may use one name; NUL is in no name."""
    return f"{head}\0{name}" if head else name


def _array(value: object) -> Array:
    assert isinstance(value, np.ndarray)
    return value
