"""Cancel the NHWC-NCHW Transposes of maps (rank 4) in graphs exported from NHWC frameworks, such as TensorFlow.

Such a graph takes (1, H, W, 3), converts to NCHW before a convolution and back to NHWC after it, and returns NHWC. Each
Transpose is moved down the graph, past elementwise operations, until it meets its inverse or an output. Not here: the
Transpose that the compiler adds after the input (frontend.py), the layout of the outputs (output_layout.py).
"""

from __future__ import annotations

import numpy as np

from edge_app.compiler.net import Array, Net, Node, Shape

# elementwise operations
_UNARY = frozenset((
    "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "HardSwish", "HardSigmoid", "Cast", "Sqrt", "Exp", "Log", "Neg",
    "Abs", "Identity", "Elu", "Selu", "Celu", "Softplus", "Softsign", "Mish", "Erf", "Floor", "Round", "Reciprocal",
))  # fmt: skip
_BINARY = frozenset(("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu"))
_ON_AXIS = frozenset(("Softmax", "LogSoftmax"))


def cancel(net: Net, shapes: dict[str, Shape]) -> None:
    """Move every Transpose of a map to the next Transpose or output, and merge consecutive ones."""
    for node in list(net.nodes):
        if node.op == "Transpose" and len(node.attrs.get("perm", ())) == 4:
            _move_down(net, node, shapes)
    _move_reductions(net)
    merge(net)


def merge(net: Net) -> None:
    """Merge two consecutive Transposes into one, or into an Identity if they are inverse."""
    producers = net.producers()
    for node in net.nodes:
        before = producers.get(node.inputs[0]) if node.op == "Transpose" else None
        if before is None or before.op != "Transpose" or not (before.attrs.get("perm") and node.attrs.get("perm")):
            continue
        perm = [int(before.attrs["perm"][i]) for i in node.attrs["perm"]]
        node.inputs = [before.inputs[0]]
        node.attrs = {"perm": perm}
        if perm == sorted(perm):
            node.op, node.attrs = "Identity", {}


def _move_down(net: Net, transpose: Node, shapes: dict[str, Shape]) -> None:
    """Move one Transpose to the end of the chain of operations that follows it."""
    perm = [int(i) for i in transpose.attrs["perm"]]
    chain = _chain(net, transpose, shapes)
    if not chain:
        return
    for node in chain:
        _convert_operation(net, node, perm)
    source, first, last = transpose.inputs[0], chain[0], chain[-1]
    moved, result = transpose.outputs[0], last.outputs[0]
    first.inputs = [source if name == moved else name for name in first.inputs]
    inner = net.fresh(f"{result}_nchw")
    last.outputs = [inner]
    transpose.inputs, transpose.outputs = [inner], [result]
    net.nodes.remove(transpose)
    net.nodes.insert(net.nodes.index(last) + 1, transpose)


def _chain(net: Net, transpose: Node, shapes: dict[str, Shape]) -> list[Node]:
    """The elementwise operations from a Transpose to the next one or an output; empty if it cannot be moved there."""
    consumers = net.consumers()
    chain: list[Node] = []
    name = transpose.outputs[0]
    while name not in net.outputs:
        after = consumers.get(name, [])
        if len(after) != 1:
            return []
        (node,) = after
        if node.op == "Transpose":
            return chain if len(node.attrs.get("perm", ())) == 4 else []
        if not _can_pass(net, node, name, shapes):
            return []
        chain.append(node)
        name = node.outputs[0]
    return [] if consumers.get(name) else chain


def _can_pass(net: Net, node: Node, name: str, shapes: dict[str, Shape]) -> bool:
    """Whether the Transpose that computes `name` can be moved past a node: all other inputs are constants."""
    others = [other for other in node.inputs if other and other != name]
    if any(other not in net.weights for other in others) or len(shapes.get(node.outputs[0], ())) != 4:
        return False
    if node.op in _UNARY:
        return all(net.weights[other].size == 1 for other in others)  # the limits of Clip
    return node.op in _ON_AXIS or (node.op in _BINARY and all(net.weights[other].ndim <= 4 for other in others))


def _convert_operation(net: Net, node: Node, perm: list[int]) -> None:
    """Convert the axis and constants of an operation to the layout of the Transpose's input."""
    if node.op in _ON_AXIS:
        node.attrs["axis"] = perm[node.attrs.get("axis", -1)]
    if node.op not in _BINARY:
        return
    for position, name in enumerate(node.inputs):
        constant = net.weights.get(name)
        if constant is None or constant.size == 1:
            continue
        node.inputs[position] = net.fresh(f"{name}_nchw")
        net.weights[node.inputs[position]] = _untransposed(constant, perm)


def _untransposed(constant: Array, perm: list[int]) -> Array:
    whole = constant.reshape((1,) * (4 - constant.ndim) + constant.shape)
    return np.ascontiguousarray(whole.transpose(np.argsort(perm)))


def _move_reductions(net: Net) -> None:
    """Replace a mean or maximum over H and W of an NHWC map by the same over the NCHW map, without the Transpose."""
    producers, consumers = net.producers(), net.consumers()
    for node in net.nodes:
        before = producers.get(node.inputs[0]) if node.op in ("ReduceMean", "ReduceMax") else None
        if before is None or before.op != "Transpose" or node.attrs.get("keepdims", 1):
            continue
        axes = node.attrs.get("axes") if len(node.inputs) == 1 else net.weights.get(node.inputs[1])
        perm = list(before.attrs.get("perm", ()))
        if axes is None or perm != [0, 2, 3, 1] or sorted(int(a) % 4 for a in axes) != [1, 2]:
            continue
        if len(consumers[before.outputs[0]]) != 1:
            continue
        node.inputs[0] = before.inputs[0]  # the result is (1, C) in both layouts
        if len(node.inputs) == 1:
            node.attrs["axes"] = [2, 3]
        else:
            node.inputs[1] = net.fresh(f"{node.outputs[0]}_axes")
            net.weights[node.inputs[1]] = np.array([2, 3], np.int64)
