"""Stride and receptive field of every tensor of a graph.

Cell i of a map depends on the pixels i * stride + low to i * stride + high, in x and y (the wider of both counts). A
tensor that depends on the whole image (global pooling, a Softmax over the map, a Reshape) has no receptive field.
Reuse recomputes crops by these numbers: they may be too wide, but never too narrow.
Not here: single operations (cell_windows.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from edge_app.compiler.cell_windows import Window, windows
from edge_app.compiler.net import Net, Shape
from edge_app.reuse.segments import ALIGN

Size = tuple[int, int]  # height and width of the image, pixels


@dataclass(frozen=True, slots=True)
class FieldBounds:
    """Receptive field of the cells of a map, in exact fractions of a pixel (schema.ReceptiveField has integers).

    stride: pixels from cell to cell. low <= 0 <= high + 1: pixels, relative to the first pixel of the cell.
    tiles: whether the cells tile the image, ceil(side / stride) in each direction, and no map before has fewer. Only
    such a map can be computed on a crop of any size: after an unpadded kernel, a crop may have no cell at all.
    """

    stride: Fraction
    low: Fraction
    high: Fraction
    tiles: bool = True

    def joined(self, other: FieldBounds) -> FieldBounds | None:
        """The bounds of a cell that depends on both; None if their strides differ."""
        if self.stride != other.stride:
            return None
        return FieldBounds(
            self.stride, min(self.low, other.low), max(self.high, other.high), self.tiles and other.tiles
        )

    def through(self, window: Window) -> FieldBounds:
        """The bounds of a cell that reads a window of these cells, in whole pixels.

        Whole, since the reach of a segment is the difference of two bounds, which rounding must not make smaller.
        """
        low = self.low + min(Fraction(0), window.low) * self.stride
        high = self.high + max(Fraction(0), window.high) * self.stride
        return FieldBounds(self.stride * window.step, Fraction(math.floor(low)), Fraction(math.ceil(high)), self.tiles)


@dataclass(frozen=True, slots=True)
class MapField:
    """The bounds of a map on both axes. surplus: whether it has more cells than tile the image, as after a Pad."""

    rows: FieldBounds
    columns: FieldBounds
    surplus: bool = False

    def joined(self, other: MapField) -> MapField | None:
        rows, columns = self.rows.joined(other.rows), self.columns.joined(other.columns)
        if rows is None or columns is None:
            return None
        return MapField(rows, columns, self.surplus or other.surplus)

    def through(self, both: tuple[Window, Window], shape: Shape, size: Size) -> MapField:
        """The field after one operation, whose output has this shape."""
        rows, columns = self.rows.through(both[0]), self.columns.through(both[1])
        cells = [(n or 0) - -(-side // axis.stride) for n, side, axis in zip(shape[2:], size, (rows, columns))]
        tiles = rows.tiles and columns.tiles and min(cells) >= 0
        return MapField(
            FieldBounds(rows.stride, rows.low, rows.high, tiles),
            FieldBounds(columns.stride, columns.low, columns.high, tiles),
            max(cells) > 0,
        )

    def bounds(self) -> FieldBounds | None:
        """The wider of both axes; None if their strides differ."""
        both = self.rows.joined(self.columns)
        return None if both is None else FieldBounds(both.stride, both.low, both.high, both.tiles and not self.surplus)


def receptive_fields(net: Net, shapes: Mapping[str, Shape]) -> dict[str, FieldBounds]:
    """The receptive field of every map (N, C, H, W) that has one. net: on an image (1, 3, H, W)."""
    image = net.inputs[0]
    size = int(image.shape[2] or 0), int(image.shape[3] or 0)
    fields = fields_from(net, image.name, Fraction(1), shapes, size)
    bounds = {name: field.bounds() for name, field in fields.items() if field is not None}
    return {name: found for name, found in bounds.items() if found is not None}


def fields_from(
    net: Net, source: str, stride: Fraction, shapes: Mapping[str, Shape], size: Size
) -> dict[str, MapField | None]:
    """The field, in one of the graph's inputs, of every tensor that depends on it; None: on all of it.

    stride: of that input. size: of the image.
    """
    start = FieldBounds(stride, Fraction(0), Fraction(0), tiles=shapes[source][0] == 1)
    fields: dict[str, MapField | None] = {source: MapField(start, start)}
    computed = {value.name for value in net.inputs}  # everything that depends on any input
    for node in net.nodes:
        operands = [name for name in node.inputs if name and name not in net.weights]
        if computed.intersection(operands):
            computed.update(node.outputs)
        known = [fields[name] for name in operands if name in fields]
        if not known:
            continue
        before = _joined(known) if computed.issuperset(operands) and one_size(operands, shapes) else None
        both = None if before is None else windows(node, net, shapes)
        after = None
        if before is not None and both is not None:
            after = before.through(both, shapes[node.outputs[0]], size)
        fields.update(dict.fromkeys((name for name in node.outputs if name), after))
    return fields


def crops_align(outside: Iterable[Fraction], inside: Iterable[Fraction]) -> bool:
    """Whether crops of a graph can start at a whole cell of every map in it.

    outside: strides of its inputs and outputs, at multiples of which crops start; inside: of all maps.
    """
    outside = list(outside)
    if any(stride.denominator != 1 for stride in outside):
        return False
    align = math.lcm(ALIGN, *(int(stride) for stride in outside))
    return all((align / stride).denominator == 1 for stride in inside)


def _joined(fields: Sequence[MapField | None]) -> MapField | None:
    joined = fields[0]
    for other in fields[1:]:
        joined = None if joined is None or other is None else joined.joined(other)
    return joined


def one_size(operands: Sequence[str], shapes: Mapping[str, Shape]) -> bool:
    """Whether all operands are maps of the same, known size: none is broadcast over the cells of another."""
    found = [shapes.get(name, ()) for name in operands]
    return all(len(shape) == 4 and None not in shape and shape[2:] == found[0][2:] for shape in found)
