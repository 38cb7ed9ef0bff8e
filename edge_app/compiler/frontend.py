"""The input layer: the camera's uint8 BGR pixels instead of normalized float planes.

`core` is the graph for the NPU's converter: float32 (1, 3, H, W), BGR, normalized. `with_pixels` changes its input to
the camera's uint8 image (1, H, W, 3) and folds std into the first convolution. Not here: the values of mean and std
(preprocessing.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edge_app.compiler.net import Net, Node, Value
from edge_app.errors import ModelError, foreign_text

IMAGE = "image"
REVERSED = np.array([2, 1, 0], np.int64)


def core(net: Net, color: str) -> Net:
    """The graph on float32 (1, 3, H, W) BGR. color: its order in training. Raises ModelError for other inputs."""
    if len(net.inputs) != 1:
        names = ", ".join(foreign_text(value.name) for value in net.inputs) or "none"
        raise ModelError(f"{net.name}: found the inputs {names}; expected one image")
    net = with_planes(net).copy()
    (value,) = net.inputs
    if len(value.shape) != 4 or value.shape[1] != 3:
        raise ModelError(
            f"{net.name}: input '{foreign_text(value.name)}' {value.shape}; expected (1, 3, H, W) or (1, H, W, 3)"
        )
    if value.name != IMAGE:
        if net.fresh(IMAGE) != IMAGE:
            net.rename(IMAGE, net.fresh("a_tensor_called_image"))
        net.rename(value.name, IMAGE)
    if color == "rgb":
        _reverse_colors(net)
    net.prune()
    return net


def with_pixels(net: Net, mean: Sequence[float], std: Sequence[float], *, one_pass: bool = True) -> Net:
    """`core` with a uint8 input (1, H, W, 3) BGR. mean, std: in BGR order, of pixels 0..255.

    one_pass: normalize by one DequantizeLinear if mean allows it; not for graphs that will be quantized.
    """
    net = net.copy()
    (value,) = net.inputs
    pixels, planes = net.fresh("pixels"), net.fresh("planes")
    net.rename(IMAGE, pixels)
    n, channels, height, width = value.shape
    net.inputs = [Value(IMAGE, "uint8", (n, height, width, channels))]
    # before the cast: a value is one byte, not four
    transpose = Node("Transpose", [IMAGE], [planes], {"perm": [0, 3, 1, 2]})
    if one_pass and any(mean) and all(m == int(m) and 0 <= m <= 255 for m in mean):
        scale, zero = net.fresh("pixel_scale"), net.fresh("pixel_zero")
        net.weights[scale] = (1 / np.array(std, np.float64)).astype(np.float32)
        net.weights[zero] = np.array(mean, np.uint8)
        net.nodes = [transpose, Node("DequantizeLinear", [planes, scale, zero], [pixels], {"axis": 1}), *net.nodes]
        return net
    net.nodes = [transpose, Node("Cast", [planes], [pixels], {"to": 1}), *net.nodes]
    last = pixels
    if any(mean):  # padding zeros come after the subtraction, so a padded convolution's bias cannot do it
        last = _constant(net, "Sub", last, np.array(mean, np.float32))
    if any(s != 1 for s in std) and not _scale_weights(net, last, 1 / np.array(std, np.float64)):
        _constant(net, "Mul", last, (1 / np.array(std, np.float64)).astype(np.float32))
    net.prune()
    return net


def without_pixels(net: Net) -> Net:
    """The graph on float32 pixels in place of an integer image; a graph on float32 is returned unchanged.

    The Cast of the image is dropped; a DequantizeLinear becomes Sub and Mul. Operations between that only move pixels
    stay. Raises ModelError for a graph that computes in integers.
    """
    (value,) = net.inputs
    if value.dtype == "float32":
        return net
    net = net.copy()
    net.inputs = [replace(value, dtype="float32")]
    consumers = net.consumers()
    pending = [value.name]
    for name in pending:
        for node in consumers.get(name, []):
            if node.op == "DequantizeLinear" and node.inputs[0] == name:
                _subtract_and_multiply(net, node)
            elif node.op in _MOVES:
                pending += node.outputs
            elif node.op == "Cast":
                pending += node.outputs if node.attrs["to"] != _FLOAT else []
                node.op, node.attrs = "Identity", {}
            else:
                found = f"input '{foreign_text(value.name)}' is {value.dtype} and used by {foreign_text(node.op)}"
                raise ModelError(f"{net.name}: {found}; expected a Cast to float")
    if set(pending) & set(net.outputs):
        raise ModelError(f"{net.name}: returns its {value.dtype} input; expected an operation on float")
    net.prune()
    return net


def pixel_offset(net: Net) -> float | None:
    """The pixel value that is 0 in the graph's input, if the graph normalizes the image; None if the host does.

    An integer input holds pixels, in int8 minus 128. A float input holds pixels if the graph divides it by 50 or more:
    graphs for an image in 0..1, or for a normalized image, do not.
    """
    (value,) = net.inputs
    if value.dtype != "float32":
        return 128.0 if value.dtype == "int8" else 0.0
    consumers, name, factor = net.consumers(), value.name, 1.0
    while len(after := consumers.get(name, [])) == 1:
        (node,) = after
        by = [net.weights[other] for other in node.inputs if other in net.weights]
        if node.op == "BatchNormalization" and len(by) == 4:
            factor *= float(np.mean(np.abs(by[0] / np.sqrt(by[3] + node.attrs.get("epsilon", 1e-5)))))
            break
        if node.op in ("Mul", "Div") and len(by) == 1 and (node.op == "Mul" or node.inputs[1] in net.weights):
            size = float(np.mean(np.abs(by[0])))
            factor *= size if node.op == "Mul" else 1 / max(size, 1e-9)
        elif node.op not in (*_MOVES, "Cast", "Add", "Sub") or (node.op in ("Add", "Sub") and len(by) != 1):
            break
        name = node.outputs[0]
    return 0.0 if factor < _NORMALIZES else None


_NORMALIZES = 1 / 50  # factors of published graphs: 1 / 255, 1 / 128, 1 / 127.5, 1 / 58
_FLOAT = 1  # onnx.TensorProto.FLOAT
_MOVES = frozenset(
    ("Transpose", "Reshape", "Slice", "Squeeze", "Unsqueeze", "Gather", "Concat", "Split", "Identity", "Flatten")
)


def _subtract_and_multiply(net: Net, node: Node) -> None:
    """Replace a DequantizeLinear by (x - zero) * scale, with constants per channel of its axis or for all channels."""
    constants = [net.weights.get(name) for name in node.inputs[1:]]
    if any(constant is None for constant in constants):
        raise ModelError(f"{net.name}: '{foreign_text(node.outputs[0])}' has a computed scale; expected a constant one")
    scale, zero = (*constants, np.zeros(1))[:2]
    source, (output,) = node.inputs[0], node.outputs
    after_axis = 3 - node.attrs.get("axis", 1) % 4
    net.nodes.remove(node)
    for op, constant in (("Sub", zero), ("Mul", scale)):
        assert constant is not None
        name, result = (
            net.fresh(f"{output}_{op.lower()}_by"),
            output if op == "Mul" else net.fresh(f"{output}_centered"),
        )
        shape = (-1, *[1] * after_axis) if constant.size > 1 else ()
        net.weights[name] = constant.astype(np.float32).reshape(shape)
        net.nodes.append(Node(op, [source, name], [result]))
        source = result


def with_planes(net: Net) -> Net:
    """The graph on (1, 3, H, W): if it takes (1, H, W, 3), a Transpose is added after the input."""
    (value,) = net.inputs
    if len(value.shape) != 4 or value.shape[1] == 3 or value.shape[3] != 3:
        return net
    net = net.copy()
    inside = net.fresh(f"{value.name}_nhwc")
    net.rename(value.name, inside)
    n, height, width, channels = value.shape
    net.inputs = [replace(value, shape=(n, channels, height, width))]
    net.nodes.insert(0, Node("Transpose", [value.name], [inside], {"perm": [0, 2, 3, 1]}))
    return net


def _reverse_colors(net: Net) -> None:
    """Swap red and blue: in the weights of the first convolutions, or by a Gather if another layer is first.

    The per-channel constants with which a graph normalizes the image are swapped too.
    """
    normalization, last = _normalization(net)
    if _change_weights(net, last, lambda weights: weights[:, ::-1]):
        for node in normalization:
            for position, name in enumerate(node.inputs):
                if name in net.weights and net.weights[name].size > 1:
                    node.inputs[position] = net.fresh(f"{name}_bgr")
                    net.weights[node.inputs[position]] = net.weights[name][..., ::-1, :, :]
        return
    index, swapped = net.fresh("bgr_to_rgb"), net.fresh("rgb")
    for node in net.nodes:
        node.inputs = [swapped if name == IMAGE else name for name in node.inputs]
    net.weights[index] = REVERSED
    net.nodes.insert(0, Node("Gather", [IMAGE, index], [swapped], {"axis": 1}))


def _normalization(net: Net) -> tuple[list[Node], str]:
    """The first operations on the image, as long as they combine it with a constant, and their result."""
    consumers, name = net.consumers(), IMAGE
    chain: list[Node] = []
    while len(after := consumers.get(name, [])) == 1 and after[0].op in ("Sub", "Add", "Mul", "Div"):
        (node,) = after
        constants = [net.weights[other] for other in node.inputs if other in net.weights]
        if len(constants) != 1 or (constants[0].size > 1 and constants[0].shape[-3:] != (3, 1, 1)):
            break
        chain.append(node)
        name = node.outputs[0]
    return chain, name


def _scale_weights(net: Net, tensor: str, factors: np.ndarray) -> bool:
    return _change_weights(net, tensor, lambda weights: weights * factors.reshape(1, -1, 1, 1))


def _change_weights(net: Net, tensor: str, change: Callable[[np.ndarray], np.ndarray]) -> bool:
    """Change the weights (out, 3, kh, kw) of every convolution on `tensor`. False if another operation uses it too."""
    after = net.consumers().get(tensor, [])
    if not after or any(
        n.op != "Conv" or n.attrs.get("group", 1) != 1 or n.inputs[1] not in net.weights for n in after
    ):
        return False
    for node in after:
        name = net.fresh(f"{node.inputs[1]}_image")
        net.weights[name] = np.ascontiguousarray(change(net.weights[node.inputs[1]].astype(np.float64)), np.float32)
        node.inputs[1] = name
    return True


def _constant(net: Net, op: str, tensor: str, values: np.ndarray) -> str:
    """Insert `op` with one constant per channel after a tensor. Returns the new tensor."""
    output, constant = net.fresh(f"{tensor}_{op.lower()}"), net.fresh(f"{tensor}_{op.lower()}_by")
    for node in net.nodes:
        node.inputs = [output if name == tensor else name for name in node.inputs]
    net.weights[constant] = values.reshape(1, -1, 1, 1)
    net.nodes.append(Node(op, [tensor, constant], [output]))
    return output
