"""Estimate the cycles that an NPU needs for each layer of a network, by the formula of RKNN's converter.

Source: fitted to the layer tables of rknn-toolkit2 2.5.0 for int8 graphs; tests/system/test_slim_converter.py compares
them. They are the converter's estimates: nothing was measured on an NPU. Needs no library, so a device can use it.
Not here: reading layers from a graph (slim/layers.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from edge_app.errors import ConfigError

_ROW = 16  # output cells are computed in blocks of this many
_DEPTH = 32  # input channels per step of a dense convolution, on both NPUs
_TILE = 16  # input channels by which a split convolution is cut
_LEAST_STEPS = 4  # of a dense convolution: a 1x1 kernel on up to 128 channels takes as long as on 128
_DRAM_CHANNELS = 16  # maps are stored in blocks of this many channels
_BIAS = 8  # bytes per output channel
_AVERAGES = ("GlobalAveragePool", "ReduceMean")
_POOL = 7  # largest kernel side into which a global average is split

Kind = Literal["conv", "depthwise", "free"]
Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Npu:
    """An NPU's block sizes. dense, depthwise: output channels per step. ddr: cycles per byte of memory traffic.

    weights: per output channel, the most that one pass of a dense convolution takes; the converter splits larger ones.
    """

    name: str
    dense: int
    depthwise: int
    ddr: float
    weights: int


NPUS: Mapping[str, Npu] = {
    npu.name: npu for npu in (Npu("rv1106", 16, 32, 0.16245, 6144), Npu("rk3588", 32, 64, 0.04241, 3072))
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as an NPU runs it.

    kind: `free` for what the converter estimates at 0, which is not true on a board (additions, activations, resizing).
    inputs, outputs: channels, height, width. kernel: height, width. addend: an addition of a map of the output's size
    is part of the layer. image: the input is the camera's image, which is not stored in blocks of channels.
    """

    name: str
    op: str
    kind: Kind
    inputs: Shape
    outputs: Shape
    kernel: tuple[int, int] = (1, 1)
    groups: int = 1
    addend: bool = False
    image: bool = False

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self._weights + self.outputs[0] if self._weights else 0

    @property
    def macs(self) -> int:
        """Multiplications."""
        return self._weights * prod(self.outputs[1:])

    @property
    def _weights(self) -> int:
        """Without biases; 0 for an average that an NPU computes as a convolution."""
        if self.kind == "free" or self.op in _AVERAGES:
            return 0
        return self.outputs[0] * prod(self.kernel) * self.inputs[0] // self.groups


@dataclass(frozen=True, slots=True)
class LayerCost:
    """Cycles of one layer. compute: of the NPU's array; memory: of its traffic. The layer takes the greater of both."""

    layer: Layer
    compute: int
    memory: int

    @property
    def cycles(self) -> int:
        return max(self.compute, self.memory)


def npu(target: str) -> Npu:
    """The NPU of a target. Raises ConfigError if its formula is not known."""
    if target not in NPUS:
        raise ConfigError(f"--target: found '{target}'; expected {' or '.join(NPUS)}: the formula covers only these")
    return NPUS[target]


def costs(layers: Iterable[Layer], target: str) -> list[LayerCost]:
    """The cost of each layer. Raises ConfigError for an unknown target."""
    chip = npu(target)
    return [LayerCost(layer, _compute(layer, chip), _memory(layer, chip)) for layer in layers]


def total(layers: Iterable[Layer], target: str) -> int:
    """Cycles of one run of all layers. Raises ConfigError for an unknown target."""
    return sum(cost.cycles for cost in costs(layers, target))


def global_average(name: str, op: str, inputs: Shape) -> Iterator[Layer]:
    """The depthwise convolutions into which the converter splits a global average."""
    while inputs[1:] != (1, 1):
        channels, height, width = inputs
        kernel = min(_POOL, height), min(_POOL, width)
        outputs = channels, _blocks(height, kernel[0]), _blocks(width, kernel[1])
        yield Layer(name, op, "depthwise", inputs, outputs, kernel, channels)
        inputs = outputs


def _compute(layer: Layer, chip: Npu) -> int:
    if layer.kind == "free":
        return 0
    cells = _blocks(prod(layer.outputs[1:]), _ROW) * _ROW
    if layer.kind == "depthwise":
        return cells * prod(layer.kernel) * _blocks(layer.outputs[0], chip.depthwise)
    area = prod(layer.kernel)
    tile = max(chip.weights // area // _TILE, 1) * _TILE  # input channels of one pass; each pass fills whole blocks
    passes = (min(tile, layer.inputs[0] - first) for first in range(0, layer.inputs[0], tile))
    steps = sum(max(area * _blocks(channels, _DEPTH), _LEAST_STEPS) for channels in passes)
    return cells * _blocks(layer.outputs[0], chip.dense) * steps


def _memory(layer: Layer, chip: Npu) -> int:
    """Input, output, weights and biases cross the memory's bus once. Grouped convolutions are stored as dense ones."""
    if layer.kind == "free":
        return 0
    outputs = _stored(layer.outputs)
    traffic = prod(layer.inputs) if layer.image else _stored(layer.inputs)
    traffic += outputs * (1 + layer.addend) + layer.outputs[0] * _BIAS
    if layer.kind == "depthwise":
        return round(chip.ddr * (traffic + _blocks(layer.outputs[0], _DRAM_CHANNELS) * 16 * prod(layer.kernel)))
    padded = layer.outputs[0] % _DRAM_CHANNELS == 0 and not layer.image
    depth = max(layer.inputs[0], _DEPTH) if padded else layer.inputs[0]
    return round(chip.ddr * (traffic + layer.outputs[0] * depth * prod(layer.kernel)))


def _stored(shape: Sequence[int]) -> int:
    """Bytes of an int8 map."""
    return _blocks(shape[0], _DRAM_CHANNELS) * _DRAM_CHANNELS * shape[1] * shape[2]


def _blocks(count: int, size: int) -> int:
    return -(-count // size)
