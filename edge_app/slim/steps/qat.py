"""Train with the rounding of int8: uint8 activations with learned ranges, int8 weights with a scale per channel.

BatchNorm is folded first. The ranges are those of the tensors that the compiler's int8 graphs store, by the same names:
`edge-app compile --ranges` takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch

from edge_app.compiler.net import Net
from edge_app.options import Range
from edge_app.slim.graph.fake_quant import TensorRange
from edge_app.slim.graph.network import GraphNetwork, range_key
from edge_app.slim.steps import _step
from edge_app.slim.steps._step import Control, Steps, Work

_LEARNED = ("Conv", "Gemm", "MatMul")
_FUSED = ("Relu", "Clip", "LeakyRelu")  # after a convolution: the tensor between them is not stored
_MOVES = (
    "Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Resize", "Slice", "SpaceToDepth", "Split", "Squeeze",
    "Transpose", "Unsqueeze",
)  # fmt: skip  # their output has the range of their input


@dataclass(frozen=True, slots=True)
class Step(_step.Step):
    """images: of the training part, on which the first ranges are measured."""

    steps: Steps = 200
    images: Annotated[int, Range(2, 1000)] = 32
    INT8 = True

    def change(self, network: GraphNetwork, work: Work) -> GraphNetwork:
        folded = GraphNetwork(network.to_net(fold=True))
        names = stored(folded.net)
        limits = measured(folded, names, work, self.images)
        for name in names:
            folded.ranges[range_key(name)] = TensorRange(*limits[name])
        folded.int8_weights = True
        return folded

    def comparisons(self, number: int, before: Sequence[_step.Step]) -> tuple[Control, ...]:
        del before
        return (Control("int8 without training", number - 1, ()),)


def stored(net: Net) -> list[str]:
    """The tensors that an int8 graph stores with a range of their own, the image first."""
    consumers = net.consumers()
    tail = _float_tail(net)
    found = [net.inputs[0].name]
    for node in net.nodes:
        after = consumers.get(node.outputs[0], [])
        fused = node.op in _LEARNED and len(after) == 1 and after[0].op in _FUSED
        if not fused and node.op not in _MOVES and id(node) not in tail:
            found += node.outputs
    return found


def measured(network: GraphNetwork, names: Sequence[str], work: Work, count: int) -> dict[str, tuple[float, float]]:
    """The least and greatest value of tensors over images of the training part."""
    limits = dict.fromkeys(names, (0.0, 0.0))
    network.eval()
    image = network.net.inputs[0].name
    with torch.no_grad():
        for each in work.model.planes(work.task.images(count)):
            found = {image: each[None], **network(each[None], [name for name in names if name != image])}
            for name, value in found.items():
                low, high = limits[name]
                limits[name] = min(low, float(value.min())), max(high, float(value.max()))
    return limits


def with_moved(net: Net, ranges: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Ranges with those of the tensors that are only moved, and of convolutions before a fused activation."""
    found = dict(ranges)
    for node in net.nodes:
        if node.op in _MOVES and node.inputs[0] in found:
            for name in node.outputs:
                found.setdefault(name, found[node.inputs[0]])
    for node in reversed(net.nodes):
        if node.op in _FUSED and node.outputs[0] in found:
            found.setdefault(node.inputs[0], found[node.outputs[0]])
    return found


def _float_tail(net: Net) -> set[int]:
    """The nodes after the last layers with weights: the compiler leaves them in float."""
    needed: set[str] = set()
    tail = set()
    producers = net.producers()
    for node in reversed(net.nodes):
        if node.op in _LEARNED or any(output in needed for output in node.outputs):
            needed.update(node.inputs)
        elif not (node.op in _FUSED and producers[node.inputs[0]].op in _LEARNED):
            tail.add(id(node))
    return tail
