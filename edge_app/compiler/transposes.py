"""Move Transposes of maps (rank 4) together, so that they cancel: graphs from TensorFlow have the channels last.

A graph on (1, H, W, 3) has a Transpose behind its first operations and another in front of its output. Not here: the
Transpose that the compiler adds at the input (frontend.py), the layout of the outputs (output_layout.py).
"""

from __future__ import annotations

import numpy as np

from edge_app.compiler.net import Array, Net, Node, Shape

# operations on each value separately
_UNARY = frozenset((
    "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Clip", "HardSwish", "HardSigmoid", "Cast", "Sqrt", "Exp", "Log", "Neg",
    "Abs", "Identity", "Elu", "Selu", "Celu", "Softplus", "Softsign", "Mish", "Erf", "Floor", "Round", "Reciprocal",
))  # fmt: skip
_BINARY = frozenset(("Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "PRelu"))
_ON_AXIS = frozenset(("Softmax", "LogSoftmax"))


def cancel(net: Net, shapes: dict[str, Shape]) -> None:
    """Move Transposes of maps behind the operations after them, to another Transpose or an output, and merge them."""
    for node in list(net.nodes):
        if node.op == "Transpose" and len(node.attrs.get("perm", ())) == 4:
            _sink(net, node, shapes)
    _reduced(net)
    merge(net)


def merge(net: Net) -> None:
    """Merge two consecutive Transposes into one, or none."""
    producers = net.producers()
    for node in net.nodes:
        before = producers.get(node.inputs[0]) if node.op == "Transpose" else None
        if before is None or before.op != "Transpose":
            continue
        perm = [int(before.attrs["perm"][i]) for i in node.attrs["perm"]]
        node.inputs = [before.inputs[0]]
        node.attrs = {"perm": perm}
        if perm == sorted(perm):
            node.op, node.attrs = "Identity", {}


def _sink(net: Net, transpose: Node, shapes: dict[str, Shape]) -> None:
    """Move one Transpose behind the chain of operations on its result."""
    perm = [int(i) for i in transpose.attrs["perm"]]
    chain = _chain(net, transpose, shapes)
    if not chain:
        return
    for node in chain:
        _apply_before(net, node, perm)
    source, first, last = transpose.inputs[0], chain[0], chain[-1]
    moved, result = transpose.outputs[0], last.outputs[0]
    first.inputs = [source if name == moved else name for name in first.inputs]
    inner = net.fresh(f"{result}_planes")
    last.outputs = [inner]
    transpose.inputs, transpose.outputs = [inner], [result]
    net.nodes.remove(transpose)
    net.nodes.insert(net.nodes.index(last) + 1, transpose)


def _chain(net: Net, transpose: Node, shapes: dict[str, Shape]) -> list[Node]:
    """The operations up to the next Transpose or an output; empty if there is none, or they use other tensors."""
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
        if not _moves_through(net, node, name, shapes):
            return []
        chain.append(node)
        name = node.outputs[0]
    return [] if consumers.get(name) else chain


def _moves_through(net: Net, node: Node, name: str, shapes: dict[str, Shape]) -> bool:
    others = [other for other in node.inputs if other and other != name]
    if any(other not in net.weights for other in others) or len(shapes.get(node.outputs[0], ())) != 4:
        return False
    if node.op in _UNARY:
        return all(net.weights[other].size == 1 for other in others)  # the limits of Clip
    return node.op in _ON_AXIS or (node.op in _BINARY and all(net.weights[other].ndim <= 4 for other in others))


def _apply_before(net: Net, node: Node, perm: list[int]) -> None:
    """Change an operation on a transposed tensor to the same on the tensor before the Transpose."""
    if node.op in _ON_AXIS:
        node.attrs["axis"] = perm[node.attrs.get("axis", -1)]
    if node.op not in _BINARY:
        return
    for position, name in enumerate(node.inputs):
        constant = net.weights.get(name)
        if constant is None or constant.size == 1:
            continue
        node.inputs[position] = net.fresh(f"{name}_planes")
        net.weights[node.inputs[position]] = _untransposed(constant, perm)


def _untransposed(constant: Array, perm: list[int]) -> Array:
    whole = constant.reshape((1,) * (4 - constant.ndim) + constant.shape)
    return np.ascontiguousarray(whole.transpose(np.argsort(perm)))


def _reduced(net: Net) -> None:
    """Take the mean of (1, H, W, C) over H and W in front of the Transpose that made it."""
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
        node.inputs[0] = before.inputs[0]  # what is left is (1, C) either way
        if len(node.inputs) == 1:
            node.attrs["axes"] = [2, 3]
        else:
            node.inputs[1] = net.fresh(f"{node.outputs[0]}_axes")
            net.weights[node.inputs[1]] = np.array([2, 3], np.int64)
