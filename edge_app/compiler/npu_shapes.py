"""Convert segments and heads for parts of an image in several sizes, and check that a part equals the whole.

An NPU graph has one fixed shape, so a segment is converted once for the whole image and once for each smaller size,
always with the scales of the whole quantized graph. The runtime's own code cuts and pastes the parts. The simulator's
outputs for parts must equal those for the whole image bit by bit. Not here: the conversion (rknn.py), the other
graphs (npu.py).
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
from edge_app.compiler.frontend import IMAGE
from edge_app.compiler.net import Net
from edge_app.compiler.output_cells import with_free_size
from edge_app.compiler.rknn import ConvertedGraph
from edge_app.compiler.session import Array
from edge_app.errors import ConfigError, ModelError
from edge_app.reuse.dirty_rects import Box
from edge_app.reuse.fixed_shapes import FixedShapeSegment, Size, fits_image
from edge_app.reuse.segments import ALIGN, Reach, backbone_reach, head_reach

_BOXES, _TRIES = 6, 400  # boxes checked for each shape; random boxes tried to find them
Maps = dict[str, Array]
Convert = Callable[[str, Net, Maps, Maps], ConvertedGraph]  # name, graph, calibration, feeds


@dataclass(frozen=True, slots=True)
class GraphSegment:
    """A backbone segment, or a head that can run on a part of its maps. net: for the whole image, on planes."""

    name: str
    net: Net
    strides: Mapping[str, int]
    reach: Mapping[str, Reach]

    def sized(self, size: Size) -> Net:
        """The graph for a part of the image. size: width and height, pixels of the model's input."""
        net = self.net.copy()
        net.declared = {}
        net.inputs = [
            replace(v, shape=(1, v.shape[1], *(-(-side // self.strides[v.name]) for side in size[::-1])))
            for v in self.net.inputs
        ]
        return net


def segments(assembly: Assembly) -> list[GraphSegment]:
    """The backbone's segments, in order. Segments that need the whole image have an empty reach."""
    fields = describe.receptive_fields(assembly)
    return [
        GraphSegment(net.name, net, *backbone_reach(fields, [v.name for v in net.inputs], net.outputs, first=not i))
        for i, net in enumerate(assembly.segments)
    ]


def heads(assembly: Assembly) -> list[GraphSegment]:
    """Heads that can run on a part of their maps."""
    strides = {name: field.stride for name, field in describe.receptive_fields(assembly).items()}
    return [
        GraphSegment(name, with_free_size(assembly.heads[name]), *head_reach(strides, head_cells))
        for name, head_cells in describe.output_cells(assembly).items()
    ]


def check(sizes: Sequence[Size], whole: Size, assembly: Assembly) -> None:
    """Check that every size is possible for every segment and the whole image. Raises ConfigError."""
    if not sizes:
        return
    align = math.lcm(
        ALIGN, *(n for segment in (*segments(assembly), *heads(assembly)) for n in segment.strides.values())
    )
    for width, height in sizes:
        fits = all(fits_image(side, limit, align) for side, limit in zip((width, height), whole))
        if not assembly.segments or not fits or (width, height) == whole:
            sides = f"sides that are multiples of {align}, or one of the image's"
            expected = sides if assembly.segments else "a model with a backbone, which --npu-shapes needs"
            raise ConfigError(f"--npu-shapes: found {width}x{height} for {whole[0]}x{whole[1]}; expected {expected}")


@dataclass(frozen=True, slots=True)
class SegmentShapes:
    """One segment in several shapes. files: by size, the whole image first. boxes: number of parts checked."""

    files: dict[Size, ConvertedGraph]
    boxes: int


def convert_shapes(
    segment: GraphSegment, whole: tuple[Size, ConvertedGraph], sizes: Sequence[Size], maps: Maps, convert: Convert
) -> SegmentShapes:
    """Convert a segment for smaller sizes and check each. whole: the size and graph of the whole image.

    maps: the inputs of one image, for which `whole` has outputs. Raises ModelError if a part of it differs.
    """
    if not segment.reach:
        return SegmentShapes(dict([whole]), 0)
    nets = {size: segment.sized(size) for size in (whole[0], *sizes)}
    recorders = {size: _RecordingSession(net) for size, net in nets.items()}
    sessions: dict[Size, Session] = {**recorders}
    fixed = FixedShapeSegment(segment.name, sessions, whole[0], segment.strides, segment.reach)
    boxes = _boxes(fixed)
    for box in boxes:
        list(fixed.run(maps, box))
    files = dict([whole])
    for size in sizes:
        feeds = recorders[size].feeds or [{name: _corner(maps[name], nets[size], name) for name in fixed.inputs}]
        stacked = {name: np.concatenate([feed[name] for feed in feeds]) for name in fixed.inputs}
        first = {name: array[:1] for name, array in stacked.items()}
        files[size] = convert(f"{segment.name}.{size[0]}x{size[1]}", nets[size], first, stacked)
        recorders[size].answers = files[size].outputs
    expected = dict(zip(fixed.outputs, whole[1].outputs))
    for box in boxes:
        for name, where, values in fixed.run(maps, box):
            _compare(fixed, box, name, _inside(fixed, name, expected[name], where), values)
    return SegmentShapes(files, len(boxes))


def _compare(fixed: FixedShapeSegment, box: Box, name: str, expected: Array, values: Array) -> None:
    if not np.array_equal(expected, values):
        off = float(np.abs(expected - values).max())
        raise ModelError(
            f"{fixed.name}: output '{name}' of the part {box} differs from the whole image by up to {off:.3g}; "
            "expected bit equality: compile this model without --npu-shapes"
        )


def _inside(fixed: FixedShapeSegment, name: str, whole: Array, where: tuple[slice, slice]) -> Array:
    """The cells of a whole output at `where`, as FixedShapeSegment.run yields them."""
    if name in fixed.rows:
        rows, columns = fixed.cells(name, fixed.whole)
        cells: Array = whole[:1].reshape(rows.stop, columns.stop, -1)[where]
    else:
        cells = whole[0][:, where[0], where[1]]
    return cells


def _boxes(fixed: FixedShapeSegment) -> list[Box]:
    """Output boxes to check, up to six for each shape: two opposite corners, and random boxes."""
    align = fixed.align
    columns, rows = (-(-side // align) for side in fixed.whole[2:])
    rng = random.Random(0)
    ends = [((0, 1), (0, 1)), ((columns - 1, columns), (rows - 1, rows))]
    ends += [_span(rng, columns, rows) for _ in range(_TRIES)]
    sizes: dict[Box, Size] = {}
    for (x1, x2), (y1, y2) in ends:
        box = fixed.aligned((x1 * align, y1 * align, x2 * align, y2 * align))
        needed = fixed.needed(box)
        size = (needed[2] - needed[0], needed[3] - needed[1])
        if needed != fixed.whole and list(sizes.values()).count(size) < _BOXES:
            sizes[box] = size
    return list(sizes)


def _span(rng: random.Random, columns: int, rows: int) -> tuple[tuple[int, int], tuple[int, int]]:
    (x1, x2), (y1, y2) = (sorted(rng.sample(range(side + 1), 2)) for side in (columns, rows))
    return (x1, x2), (y1, y2)


def _corner(array: Array, net: Net, name: str) -> Array:
    """The upper left part of a map, in the size that a graph takes."""
    height, width = next(value.shape[2:] for value in net.inputs if value.name == name)
    return array[:, :height, :width] if name == IMAGE else array[:, :, :height, :width]


class _RecordingSession:
    """A session that records its feeds, and on the second pass returns `answers`, (N, …) each, in the same order."""

    def __init__(self, net: Net) -> None:
        values = net.values()
        self.inputs = tuple(_spec(value.name, value.shape) for value in net.inputs)
        self.outputs = tuple(TensorSpec(name, values[name].shape, "float32") for name in net.outputs)
        self.feeds: list[Maps] = []
        self.answers: tuple[Array, ...] | None = None
        self._answered = 0

    def run(self, feeds: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        if self.answers is None:
            self.feeds.append({name: np.asarray(value) for name, value in feeds.items()})
            return {spec.name: np.zeros(tuple(n or 0 for n in spec.shape), np.float32) for spec in self.outputs}
        row = slice(self._answered, self._answered + 1)
        self._answered += 1
        return {spec.name: answer[row] for spec, answer in zip(self.outputs, self.answers)}

    def close(self) -> None: ...


def _spec(name: str, shape: tuple[int | None, ...]) -> TensorSpec:
    """The input as the device's engine declares it: the image as uint8 NHWC pixels."""
    if name != IMAGE:
        return TensorSpec(name, shape, "float32")
    n, channels, height, width = shape
    return TensorSpec(name, (n, height, width, channels), "uint8")
