"""Remove the last Softmax and Sigmoid of a graph, so that two graphs can be compared where these saturate.

A score of 0.9999 tells little about the value that it was computed from: many errors of that value are invisible in it.
Not here: the comparison (proof.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import NodeProto, helper

_ACTIVATIONS = ("Softmax", "Sigmoid", "HardSigmoid")
_MOVES = (  # operations that only move values, or change their type
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout", "Concat", "Split",
    "Slice", "Gather", "QuantizeLinear", "DequantizeLinear",
)  # fmt: skip
_Producers = Mapping[str, NodeProto]


def last(model: onnx.ModelProto) -> dict[str, str]:
    """The input of each activation that only moves of values separate from an output, by its output, in order."""
    producers = {name: node for node in model.graph.node for name in node.output}
    stack = [info.name for info in reversed(model.graph.output)]
    found: dict[str, str] = {}
    visited = set()
    while stack:
        name = stack.pop()
        node = producers.get(name)
        if node is None or name in visited:
            continue
        visited.add(name)
        if (source := _source(node, producers)) is not None:
            found[name] = source
        elif node.op_type in _MOVES:
            stack.extend(reversed(node.input if node.op_type == "Concat" else node.input[:1]))
    return found


def removed(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    """A copy without these activations, and their number. The outputs keep their names, shapes and order."""
    activations = last(model)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for position, node in enumerate(copy.graph.node):
        if len(node.output) == 1 and node.output[0] in activations:
            name = node.output[0]
            copy.graph.node[position].CopyFrom(helper.make_node("Identity", [activations[name]], [name], node.name))
    return copy, len(activations)


def _source(node: NodeProto, producers: _Producers) -> str | None:
    """The input of an activation, also of a Softmax in parts: Exp divided by its ReduceSum; None for other nodes."""
    if node.op_type in _ACTIVATIONS:
        return str(node.input[0])
    if node.op_type != "Div":
        return None
    power, total = (producers.get(name) for name in node.input)
    if power is None or total is None or (power.op_type, total.op_type) != ("Exp", "ReduceSum"):
        return None
    if total.input[0] != node.input[0]:
        return None
    shifted = producers.get(power.input[0])
    if shifted is not None and shifted.op_type == "Sub":  # the largest value is subtracted against overflow
        largest = producers.get(shifted.input[1])
        if largest is not None and largest.op_type == "ReduceMax" and largest.input[0] == shifted.input[0]:
            return str(shifted.input[0])
    return str(power.input[0])
