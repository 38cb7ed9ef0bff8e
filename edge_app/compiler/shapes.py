"""The steps that reuse can run on a part of a picture, converted for several sizes, and proved to agree.

An NPU's graph has one shape, so a step is made once for the whole picture and once for each smaller size, all with the
scales of one quantised graph. What the converter's simulator gives for parts, cut and pasted by the runtime's own code,
must be what it gives for the whole, bit by bit. Not here: the conversion (rknn.py), the other graphs (npu.py).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_app.backends import Session, Tensor, TensorSpec
from edge_app.compiler import describe
from edge_app.compiler.assemble import Assembly
from edge_app.compiler.cells import freed
from edge_app.compiler.frontend import IMAGE
from edge_app.compiler.net import Net
from edge_app.compiler.rknn import Converted
from edge_app.compiler.session import Array
from edge_app.errors import ConfigError, ModelError
from edge_app.reuse.dirty_rects import Box
from edge_app.reuse.fixed_shapes import FixedShapeSegment, Size, can_be_laid
from edge_app.reuse.segments import ALIGN, Reach, backbone_reach, head_reach

_BOXES, _TRIES = 6, 400  # of each shape that are proved; random boxes looked at to find them
Maps = dict[str, Array]
Convert = Callable[[str, Net, Maps, Maps], Converted]  # name, graph, calibration, feeds


@dataclass(frozen=True, slots=True)
class Step:
    """A segment of the backbone, or a head that lists cells. net: for the whole picture, on planes."""

    name: str
    net: Net
    strides: Mapping[str, int]
    reach: Mapping[str, Reach]

    def sized(self, size: Size) -> Net:
        """The graph for a part of the picture. size: width and height, pixels of the model's input."""
        net = self.net.copy()
        net.declared = {}
        net.inputs = [
            replace(v, shape=(1, v.shape[1], *(-(-side // self.strides[v.name]) for side in size[::-1])))
            for v in self.net.inputs
        ]
        return net


def segments(assembly: Assembly) -> list[Step]:
    """The backbone's, in order. Those that need the whole picture have no reach."""
    extents = describe.extents(assembly)
    return [
        Step(net.name, net, *backbone_reach(extents, [v.name for v in net.inputs], net.outputs))
        for net in assembly.segments
    ]


def heads(assembly: Assembly) -> list[Step]:
    """Those that list cells."""
    extents, behind = describe.extents(assembly), describe.cells(assembly)
    return [Step(name, freed(assembly.heads[name]), *head_reach(extents, found)) for name, found in behind.items()]


def check(sizes: Sequence[Size], whole: Size, assembly: Assembly) -> None:
    """Whether every size can be laid into the picture for every step. Raises ConfigError."""
    if not sizes:
        return
    align = math.lcm(ALIGN, *(n for step in (*segments(assembly), *heads(assembly)) for n in step.strides.values()))
    for width, height in sizes:
        fits = all(can_be_laid(side, limit, align) for side, limit in zip((width, height), whole))
        if not assembly.segments or not fits or (width, height) == whole:
            sides = f"sides that are multiples of {align}, or one of the picture's"
            expected = sides if assembly.segments else "a model with a backbone, which --npu-shapes cuts up"
            raise ConfigError(f"--npu-shapes: found {width}x{height} for {whole[0]}x{whole[1]}; expected {expected}")


@dataclass(frozen=True, slots=True)
class Shapes:
    """One step's. files: by size, that of the picture first. boxes: of outputs, that were proved."""

    files: dict[Size, Converted]
    boxes: int


def made(step: Step, whole: tuple[Size, Converted], sizes: Sequence[Size], maps: Maps, convert: Convert) -> Shapes:
    """Convert a step for smaller sizes and prove each. whole: what it gives for `maps`, the inputs of one picture.

    Raises ModelError where a part of a picture comes out differently.
    """
    if not step.reach:
        return Shapes(dict([whole]), 0)
    nets = {size: step.sized(size) for size in (whole[0], *sizes)}
    recorders = {size: _Recorder(net) for size, net in nets.items()}
    sessions: dict[Size, Session] = {**recorders}
    unit = FixedShapeSegment(step.name, sessions, whole[0], step.strides, step.reach)
    boxes = _boxes(unit)
    for box in boxes:
        list(unit.run(maps, box))
    found = dict([whole])
    for size in sizes:
        feeds = recorders[size].feeds or [{name: _corner(maps[name], nets[size], name) for name in unit.inputs}]
        stacked = {name: np.concatenate([each[name] for each in feeds]) for name in unit.inputs}
        first = {name: array[:1] for name, array in stacked.items()}
        found[size] = convert(f"{step.name}.{size[0]}x{size[1]}", nets[size], first, stacked)
        recorders[size].answers = found[size].outputs
    expected = dict(zip(unit.outputs, whole[1].outputs))
    for box in boxes:
        for name, where, values in unit.run(maps, box):
            _compare(unit, box, name, _inside(unit, name, expected[name], where), values)
    return Shapes(found, len(boxes))


def _compare(unit: FixedShapeSegment, box: Box, name: str, expected: Array, values: Array) -> None:
    if not np.array_equal(expected, values):
        off = float(np.abs(expected - values).max())
        raise ModelError(
            f"{unit.name}: '{name}' of the part {box} is not that of the whole picture, by up to {off:.3g}; expected "
            "equality bit by bit: leave --npu-shapes away for this model"
        )


def _inside(unit: FixedShapeSegment, name: str, whole: Array, where: tuple[slice, slice]) -> Array:
    """The cells of a whole output that Unit.run gives values of."""
    if name in unit.rows:
        rows, columns = unit.cells(name, unit.whole)
        cells: Array = whole[:1].reshape(rows.stop, columns.stop, -1)[where]
    else:
        cells = whole[0][:, where[0], where[1]]
    return cells


def _boxes(unit: FixedShapeSegment) -> list[Box]:
    """Boxes of outputs that every shape is used for, where there are any: two opposite corners, others by chance."""
    columns, rows, align = unit.whole[2] // unit.align, unit.whole[3] // unit.align, unit.align
    rng = random.Random(0)
    ends = [((0, 1), (0, 1)), ((columns - 1, columns), (rows - 1, rows))]
    ends += [_span(rng, columns, rows) for _ in range(_TRIES)]
    found: dict[Box, Size] = {}
    for (x1, x2), (y1, y2) in ends:
        box = (x1 * align, y1 * align, x2 * align, y2 * align)
        needed = unit.needed(box)
        size = (needed[2] - needed[0], needed[3] - needed[1])
        if needed != unit.whole and list(found.values()).count(size) < _BOXES:
            found[box] = size
    return list(found)


def _span(rng: random.Random, columns: int, rows: int) -> tuple[tuple[int, int], tuple[int, int]]:
    (x1, x2), (y1, y2) = (sorted(rng.sample(range(side + 1), 2)) for side in (columns, rows))
    return (x1, x2), (y1, y2)


def _corner(array: Array, net: Net, name: str) -> Array:
    """The first cells of a map, as many as a graph takes."""
    height, width = next(value.shape[2:] for value in net.inputs if value.name == name)
    return array[:, :height, :width] if name == IMAGE else array[:, :, :height, :width]


class _Recorder:
    """A session that first notes what it is asked for, and then gives `answers`, (N, …) each, in that order."""

    def __init__(self, net: Net) -> None:
        values = net.values()
        self.inputs = tuple(_spec(value.name, value.shape) for value in net.inputs)
        self.outputs = tuple(TensorSpec(name, values[name].shape, "float32") for name in net.outputs)
        self.feeds: list[Maps] = []
        self.answers: tuple[Array, ...] | None = None
        self._given = 0

    def run(self, feeds: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if self.answers is None:
            self.feeds.append({name: np.asarray(value) for name, value in feeds.items()})
            return {spec.name: np.zeros(tuple(n or 0 for n in spec.shape), np.float32) for spec in self.outputs}
        row = slice(self._given, self._given + 1)
        self._given += 1
        return {spec.name: answer[row] for spec, answer in zip(self.outputs, self.answers)}

    def close(self) -> None: ...


def _spec(name: str, shape: tuple[int | None, ...]) -> TensorSpec:
    """As the device's engine has it: the image as pixels."""
    if name != IMAGE:
        return TensorSpec(name, shape, "float32")
    n, channels, height, width = shape
    return TensorSpec(name, (n, height, width, channels), "uint8")
