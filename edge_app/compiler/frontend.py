"""The input layer: the camera's uint8 BGR pixels instead of normalized float planes.

`core` is the graph for the NPU's converter: float32 (1, 3, H, W), BGR, normalized. `with_pixels` adds the uint8 image
(1, H, W, 3) of the camera in front of it and folds std into the first convolution. Not here: the values of mean and
std (families.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edge_app.compiler.net import Net, Node, Value
from edge_app.errors import ModelError

IMAGE = "image"
REVERSED = np.array([2, 1, 0], np.int64)


def core(net: Net, color: str) -> Net:
    """The graph on float32 (1, 3, H, W) BGR. color: its order in training. Raises ModelError for other inputs."""
    if len(net.inputs) != 1:
        names = ", ".join(value.name for value in net.inputs) or "none"
        raise ModelError(f"{net.name}: found the inputs {names}; expected one image")
    net = with_planes(net).copy()
    (value,) = net.inputs
    if len(value.shape) != 4 or value.shape[1] != 3:
        raise ModelError(f"{net.name}: input '{value.name}' {value.shape}; expected (1, 3, H, W) or (1, H, W, 3)")
    if value.name != IMAGE:
        net.rename(IMAGE, net.fresh("a_tensor_called_image")) if net.fresh(IMAGE) != IMAGE else None
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
    transpose = Node(
        "Transpose", [IMAGE], [planes], {"perm": [0, 3, 1, 2]}
    )  # before the cast: a pixel is one byte, not four
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
    """Remove a uint8 image input with its Transpose and Cast; other graphs are returned unchanged.

    DequantizeLinear in place of Cast is replaced by Sub and Mul.
    """
    (value,) = net.inputs
    if value.dtype != "uint8" or len(value.shape) != 4:
        return net
    net = net.copy()
    transpose, to_float = _first_two(net, value.name)
    perm = transpose.attrs["perm"]
    net.nodes = [node for node in net.nodes if node is not transpose and node is not to_float]
    net.inputs = [Value(value.name, "float32", tuple([value.shape[i] for i in perm]))]
    if to_float.op == "Cast":
        net.redirect(to_float.outputs[0], value.name)
    else:
        scale, zero = (net.weights[name].astype(np.float32) for name in to_float.inputs[1:3])
        net.redirect(to_float.outputs[0], value.name)
        _constant(net, "Mul", _constant(net, "Sub", value.name, zero), scale)
    net.prune()
    return net


def _first_two(net: Net, image: str) -> tuple[Node, Node]:
    """The Transpose after the image, and the Cast or DequantizeLinear after that."""
    consumers = net.consumers()
    first = consumers.get(image, [])
    second = consumers.get(first[0].outputs[0], []) if len(first) == 1 else []
    if len(second) != 1 or first[0].op != "Transpose" or second[0].op not in ("Cast", "DequantizeLinear"):
        raise ModelError(f"{net.name}: a uint8 input must go through one Transpose and one Cast to float")
    return first[0], second[0]


def with_planes(net: Net) -> Net:
    """The graph on (1, 3, H, W): a graph on (1, H, W, 3) gets a Transpose in front."""
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
    """Swap red and blue: in the weights of the first convolutions, or by a Gather before any other first layer."""
    if _change_weights(net, IMAGE, lambda weights: weights[:, ::-1]):
        return
    index, swapped = net.fresh("bgr_to_rgb"), net.fresh("rgb")
    for node in net.nodes:
        node.inputs = [swapped if name == IMAGE else name for name in node.inputs]
    net.weights[index] = REVERSED
    net.nodes.insert(0, Node("Gather", [IMAGE, index], [swapped], {"axis": 1}))


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
