"""Stride and receptive field of every tensor of a graph.

Cell i of a map depends on the pixels i * stride + low to i * stride + high, in x and y (the wider of both counts). A
tensor that depends on the whole image (global pooling, a Softmax over the map, a Reshape) has no receptive field.
Reuse recomputes crops by these numbers: they may be too wide, but never too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from edge_app.compiler.net import Net, Node, Shape


@dataclass(frozen=True, slots=True)
class FieldBounds:
    """Receptive field of the cells of a map, in exact fractions of a pixel (schema.ReceptiveField has integers).

    stride: pixels from cell to cell. low <= 0 <= high + 1: pixels, relative to the first pixel of the cell.
    """

    stride: Fraction
    low: Fraction
    high: Fraction

    def joined(self, other: FieldBounds) -> FieldBounds | None:
        """The bounds of a cell that depends on both; None if their strides differ."""
        if self.stride != other.stride:
            return None
        return FieldBounds(self.stride, min(self.low, other.low), max(self.high, other.high))


_CELLWISE = frozenset((
    "Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "PRelu", "Softplus", "Erf",
    "Exp", "Log", "Sqrt", "Abs", "Neg", "Pow", "Identity", "Cast", "Add", "Sub", "Mul", "Div", "Min", "Max",
    "BatchNormalization", "Dropout", "QuantizeLinear", "DequantizeLinear", "Mish", "Gelu", "Celu", "Selu",
))  # fmt: skip
_CHANNELWISE = frozenset(("Concat", "Split", "Gather", "Slice", "Softmax"))  # if their axis is 1


def receptive_fields(net: Net, shapes: dict[str, Shape]) -> dict[str, FieldBounds]:
    """The receptive field of every map (N, C, H, W) that has one. net: on an image (1, 3, H, W)."""
    bounds = {net.inputs[0].name: FieldBounds(Fraction(1), Fraction(0), Fraction(0))}
    for node in net.nodes:
        inputs = [bounds.get(name) for name in node.inputs if name and name not in net.weights]
        if not inputs or any(field is None for field in inputs):
            continue
        before: FieldBounds | None = inputs[0]
        for other in inputs[1:]:
            before = before.joined(other) if before is not None and other is not None else None
        after = None if before is None else after_node(node, before, net, shapes)
        if after is not None:
            bounds.update(dict.fromkeys(node.outputs, after))
    return bounds


def after_node(node: Node, before: FieldBounds, net: Net, shapes: dict[str, Shape]) -> FieldBounds | None:
    """The bounds after one node; None if its output depends on a whole map."""
    if node.op in _CELLWISE:
        return before
    if node.op in _CHANNELWISE:
        return before if _axis(node, net) == 1 else None
    if node.op in ("Conv", "MaxPool", "AveragePool"):
        kernel = node.attrs.get("kernel_shape") or _kernel(node, net)
        if kernel is None:
            return None
        dims = range(len(kernel))
        strides, dilations = (
            node.attrs.get("strides", [1] * len(kernel)),
            node.attrs.get("dilations", [1] * len(kernel)),
        )
        pads = node.attrs.get("pads", [0] * 2 * len(kernel))
        if len(set(strides)) != 1 or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            return None
        low = max(pads[i] for i in dims)
        high = max((kernel[i] - 1) * dilations[i] - pads[i] for i in dims)
        return FieldBounds(
            before.stride * strides[0], before.low - low * before.stride, before.high + max(0, high) * before.stride
        )
    if node.op in ("Resize", "ConvTranspose", "DepthToSpace"):
        return _resized(node, before, shapes)
    return None


def _resized(node: Node, before: FieldBounds, shapes: dict[str, Shape]) -> FieldBounds | None:
    """Change of the grid: one old cell on either side covers every interpolation except cubic."""
    start, end = shapes.get(node.inputs[0], ()), shapes.get(node.outputs[0], ())
    if len(start) != 4 or len(end) != 4 or not (start[2] and start[3] and end[2] and end[3]):
        return None
    if node.attrs.get("mode") == "cubic" or start[2] * end[3] != end[2] * start[3]:
        return None
    stride = before.stride * start[2] / end[2]
    margin = before.stride if node.op == "Resize" else before.stride * max(1, *node.attrs.get("kernel_shape", [1]))
    return FieldBounds(stride, before.low - margin, before.high + max(margin, stride))


def _axis(node: Node, net: Net) -> int | None:
    if node.op == "Slice":
        axes = net.weights.get(node.inputs[3]) if len(node.inputs) > 3 else None
        return int(axes[0]) if axes is not None and len(axes) == 1 else None
    axis = node.attrs.get("axis", -1 if node.op == "Softmax" else 0)
    return int(axis) if axis >= 0 else 4 + int(axis)


def _kernel(node: Node, net: Net) -> list[int] | None:
    weights = net.weights.get(node.inputs[1]) if node.op == "Conv" else None
    return None if weights is None else list(weights.shape[2:])
