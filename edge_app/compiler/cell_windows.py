"""Which input cells one cell of an operation's output reads, for operations on maps (N, C, H, W).

An operation has a window only if it can be computed on a crop of its input: what a cell reads may depend on its own
position, but not on the size of the map. Everything else depends on the whole map: global pooling, normalization and
Softmax over cells, attention, Reshape, Resize to a fixed size or with aligned corners.
Not here: windows of several operations in a row (receptive_field.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from edge_app.compiler.net import Net, Node, Shape

ZERO, ONE = Fraction(0), Fraction(1)


@dataclass(frozen=True, slots=True)
class Window:
    """On one axis, output cell i reads the input cells i * step + low to i * step + high, as far as they exist."""

    step: Fraction = ONE
    low: Fraction = ZERO
    high: Fraction = ZERO


Windows = tuple[Window, Window]  # rows, columns
SAME: Windows = (Window(), Window())

_CELLWISE = frozenset((
    "Relu", "LeakyRelu", "Clip", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu", "PRelu", "Softplus", "Softsign",
    "Erf", "Exp", "Log", "Sqrt", "Abs", "Neg", "Pow", "Reciprocal", "Floor", "Ceil", "Round", "Identity", "Cast", "Add",
    "Sub", "Mul", "Div", "Min", "Max", "Sum", "Mean", "BatchNormalization", "Dropout", "QuantizeLinear",
    "DequantizeLinear", "Mish", "Gelu", "Celu", "Selu", "ThresholdedRelu", "LRN",
))  # fmt: skip
_CHANNEL_PARAMETERS = frozenset(("BatchNormalization", "QuantizeLinear", "DequantizeLinear"))  # (C,): along axis 1
_CHANNELWISE = frozenset(("Concat", "Split", "Gather", "Softmax", "LogSoftmax", "LpNormalization"))  # if on axis 1
_LAST_AXIS = frozenset(("Softmax", "LogSoftmax", "LpNormalization", "DequantizeLinear", "QuantizeLinear"))
_REDUCTIONS = frozenset((
    "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceProd",
))  # fmt: skip


def windows(node: Node, net: Net, shapes: Mapping[str, Shape]) -> Windows | None:
    """The input cells that an output cell of a node reads; None if it needs the whole map, or this is not known.

    shapes: static, at least of the node's inputs and outputs. Operands that are constants are checked here.
    """
    if node.domain not in ("", "ai.onnx") or any(_rank(shapes, name) != 4 for name in node.outputs if name):
        return None
    if node.op in _CELLWISE:
        return SAME if _same_for_all_cells(node, net) else None
    if node.op in _CHANNELWISE:
        return SAME if _axis(node) == 1 and _constants_fit(node, net) else None
    if node.op in _REDUCTIONS:
        return SAME if _reduced_axes(node, net) == [1] and node.attrs.get("keepdims", 1) else None
    spatial = _SPATIAL.get(node.op)
    if spatial is None or _rank(shapes, node.inputs[0]) != 4 or any(name not in net.weights for name in _rest(node)):
        return None
    return spatial(node, net, shapes)


def _rank(shapes: Mapping[str, Shape], name: str) -> int:
    return len(shapes.get(name, ()))


def _rest(node: Node) -> list[str]:
    return [name for name in node.inputs[1:] if name]


def _same_for_all_cells(node: Node, net: Net) -> bool:
    """Whether the constants of an elementwise operation have one value for all cells, and not one for each."""
    if node.op in _CHANNEL_PARAMETERS:
        vectors = [net.weights[name] for name in _rest(node) if name in net.weights]
        return all(array.size == 1 for array in vectors) or (_axis(node, 1) == 1 and all(a.ndim <= 1 for a in vectors))
    return all(all(side == 1 for side in net.weights[name].shape[-2:]) for name in node.inputs if name in net.weights)


def _axis(node: Node, default: int | None = None) -> int:
    if default is None:
        default = -1 if node.op in _LAST_AXIS else 0
    axis = int(node.attrs.get("axis", default))
    return axis if axis >= 0 else 4 + axis


def _constants_fit(node: Node, net: Net) -> bool:
    """Concat: no constant map, which has a fixed size. Gather: constant channels."""
    if node.op == "Gather":
        index = net.weights.get(node.inputs[1])
        return node.inputs[0] not in net.weights and index is not None and index.ndim == 1
    return node.op != "Concat" or not any(name in net.weights for name in node.inputs)


def _reduced_axes(node: Node, net: Net) -> list[int]:
    axes = node.attrs.get("axes")
    if axes is None and len(node.inputs) > 1:
        constant = net.weights.get(node.inputs[1])
        axes = None if constant is None else constant.ravel().tolist()
    return sorted(axis % 4 for axis in axes or ())


def _kernel(node: Node, net: Net, shapes: Mapping[str, Shape]) -> Windows | None:
    """Conv and pooling."""
    if len([name for name in node.outputs if name]) != 1:  # the indices of MaxPool count from the start of the map
        return None
    kernel = node.attrs.get("kernel_shape") or (net.weights[node.inputs[1]].shape[2:] if _rest(node) else None)
    if kernel is None or len(kernel) != 2:
        return None
    strides, dilations = node.attrs.get("strides", [1, 1]), node.attrs.get("dilations", [1, 1])
    spans = [(k - 1) * d for k, d in zip(kernel, dilations)]
    begins = _begins(node, shapes, spans, strides)
    if begins is None:
        return None
    rows, columns = (
        Window(Fraction(step), Fraction(-begin), Fraction(span - begin))
        for step, begin, span in zip(strides, begins, spans)
    )
    return rows, columns


def _begins(
    node: Node, shapes: Mapping[str, Shape], spans: Sequence[int], strides: Sequence[int]
) -> tuple[int, int] | None:
    """The cells of padding above and to the left. spans: of the kernel, from its first to its last cell."""
    auto, pads = node.attrs.get("auto_pad", "NOTSET"), node.attrs.get("pads", [0, 0, 0, 0])
    if auto == "VALID":
        return 0, 0
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        sides = [int(n or 0) for n in shapes[node.inputs[0]][2:]]
        totals = [max(0, (-(-n // s) - 1) * s + span + 1 - n) for n, s, span in zip(sides, strides, spans)]
        first, second = [(total + (auto == "SAME_LOWER")) // 2 for total in totals]
        return first, second
    return (int(pads[0]), int(pads[1])) if len(pads) == 4 else None


def _transposed_kernel(node: Node, net: Net, _: Mapping[str, Shape]) -> Windows | None:
    """ConvTranspose: output cell i gets input cell (i + begin - tap) / stride, for each tap of the kernel."""
    if node.attrs.get("output_shape") or node.attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None
    kernel, pads = net.weights[node.inputs[1]].shape[2:], node.attrs.get("pads", [0, 0, 0, 0])
    strides, dilations = node.attrs.get("strides", [1, 1]), node.attrs.get("dilations", [1, 1])
    if len(kernel) != 2 or len(pads) != 4:
        return None
    rows, columns = (
        Window(Fraction(1, s), Fraction(begin - (k - 1) * d, s), Fraction(begin, s))
        for s, begin, k, d in zip(strides, pads[:2], kernel, dilations)
    )
    return rows, columns


_CENTERED = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric")
_MAX_DENOMINATOR = 16  # with other factors, rounding decides how many cells there are


def _resized(node: Node, net: Net, _: Mapping[str, Shape]) -> Windows | None:
    """Resize by a factor that is exact in float32."""
    scales = net.weights.get(node.inputs[2]) if len(node.inputs) > 2 else None
    sizes = len(node.inputs) > 3 and node.inputs[3]
    special = any(node.attrs.get(name) for name in ("antialias", "axes", "keep_aspect_ratio_policy", "exclude_outside"))
    if scales is None or sizes or special or scales.size != 4 or list(scales[:2]) != [1, 1]:
        return None
    mode = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    if mode not in (*_CENTERED, "tf_half_pixel_for_nn", "asymmetric"):
        return None
    margin = 2 if node.attrs.get("mode") == "cubic" else 1
    found = []
    for scale in scales[2:]:
        factor = Fraction(float(scale))
        if factor <= 0 or factor.denominator > _MAX_DENOMINATOR:
            return None
        step = 1 / factor
        shift = {"asymmetric": ZERO, "tf_half_pixel_for_nn": step / 2}.get(mode, (step - 1) / 2)
        found.append(Window(step, shift - margin, shift + margin))
    return found[0], found[1]


def _depth_to_space(node: Node, _net: Net, _: Mapping[str, Shape]) -> Windows:
    block = int(node.attrs["blocksize"])
    window = Window(Fraction(1, block), Fraction(1 - block, block), ZERO)
    return window, window


def _space_to_depth(node: Node, _net: Net, _: Mapping[str, Shape]) -> Windows:
    block = int(node.attrs["blocksize"])
    window = Window(Fraction(block), ZERO, Fraction(block - 1))
    return window, window


def _padded(node: Node, net: Net, _: Mapping[str, Shape]) -> Windows | None:
    """Pad with a constant or with the border's cells; mirrored cells would need a crop of a minimum size."""
    amounts = net.weights.get(node.inputs[1]) if len(node.inputs) > 1 else node.attrs.get("pads")
    mode = node.attrs.get("mode", "constant")
    if amounts is None or len(amounts) != 8 or mode not in ("constant", "edge") or amounts[0] or amounts[4]:
        return None
    if len(node.inputs) > 3 and node.inputs[3]:  # axes
        return None
    found = []
    for begin, end in ((int(amounts[2]), int(amounts[6])), (int(amounts[3]), int(amounts[7]))):
        repeated = max(0, end) if mode == "edge" else 0  # cells after the end read the last one
        found.append(Window(ONE, Fraction(-begin - repeated), Fraction(max(0, -begin))))
    return found[0], found[1]


def _sliced(node: Node, net: Net, shapes: Mapping[str, Shape]) -> Windows | None:
    """Slice of channels, or of every n-th row or column from a fixed first one to the last."""
    constants: list[np.ndarray | None] = [net.weights.get(name) if name else None for name in node.inputs[1:]]
    starts, ends, axes, steps = (*constants, None, None)[:4]
    if starts is None or ends is None or axes is None:
        return None
    found = [Window(), Window()]
    for i, axis in enumerate(int(a) % 4 for a in axes):
        start, end, step = int(starts[i]), int(ends[i]), 1 if steps is None else int(steps[i])
        if axis == 1:
            continue
        if axis == 0 or start < 0 or step < 1 or end < (shapes[node.inputs[0]][axis] or 0):
            return None
        found[axis - 2] = Window(Fraction(step), Fraction(start), Fraction(start))
    return found[0], found[1]


_SPATIAL: dict[str, Callable[[Node, Net, Mapping[str, Shape]], Windows | None]] = {
    "Conv": _kernel, "MaxPool": _kernel, "AveragePool": _kernel, "LpPool": _kernel,
    "ConvTranspose": _transposed_kernel, "Resize": _resized, "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth, "Pad": _padded, "Slice": _sliced,
}  # fmt: skip
