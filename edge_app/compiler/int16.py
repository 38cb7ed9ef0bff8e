"""Rewrite graphs for int16 on RV1103 and RV1106, and find operations that the converter does not have in int16.

In int16, a block of channels has 8 instead of 16 channels, and release 2.5.0 of the converter leaves a Split that is
not at a multiple of 8 to the CPU. Not here: the conversion (npu.py).
"""

from __future__ import annotations

import numpy as np

from edge_app.compiler.net import Net, Node

_ELEMENTWISE = ("Sigmoid", "Mul", "Relu", "LeakyRelu", "Clip", "HardSwish", "HardSigmoid", "Tanh")


def activation_product(net: Net) -> Node | None:
    """The first product of two activations. Converted to int16, it ends release 2.5.0 of the converter with SIGSEGV."""
    products = (node for node in net.nodes if node.op in ("MatMul", "Gemm"))
    return next((node for node in products if not set(node.inputs[:2]) & set(net.weights)), None)


def without_splits(net: Net) -> Net:
    """An equal graph with each `convolution, activation, Split` as several convolutions with activations."""
    net = net.copy()
    for split in [node for node in net.nodes if node.op == "Split" and node.attrs.get("axis", 0) == 1]:
        region = _region(net, split)
        if region:
            _separate(net, split, region)
    net.prune()
    return net


def _region(net: Net, split: Node) -> list[Node]:
    """The convolution and its activation before a Split, in order; [] if something else uses a tensor of them."""
    producers, consumers = net.producers(), net.consumers()
    region: list[Node] = []
    names = [split.inputs[0]]
    while names:
        name = names.pop()
        node = producers.get(name)
        if _among(node, region) or (name in net.weights and net.weights[name].size == 1):
            continue
        if node is None or not _is_part(net, node) or name in net.outputs:
            return []
        region.append(node)
        names += [] if node.op == "Conv" else node.inputs
    users = [user for node in region for user in consumers.get(node.outputs[0], [])]
    inside = all(user is split or _among(user, region) for user in users)
    one_source = sum(node.op == "Conv" for node in region) == 1
    return [node for node in net.nodes if _among(node, region)] if inside and one_source else []


def _among(node: Node | None, nodes: list[Node]) -> bool:
    """By identity: attributes may be arrays, which have no plain equality."""
    return any(node is one for one in nodes)


def _is_part(net: Net, node: Node) -> bool:
    if node.op == "Conv":
        return node.attrs.get("group", 1) == 1 and set(node.inputs[1:]) <= set(net.weights)
    return node.op in _ELEMENTWISE


def _separate(net: Net, split: Node, region: list[Node]) -> None:
    conv = next(node for node in region if node.op == "Conv")
    count, channels = len(split.outputs), len(net.weights[conv.inputs[1]])
    sizes = net.weights[split.inputs[1]] if len(split.inputs) > 1 else np.full(count, channels // count)
    for output, end, size in zip(split.outputs, np.cumsum(sizes), sizes):
        part = slice(int(end - size), int(end))
        renamed = {split.inputs[0]: output}
        for node in region:
            copy = node.copy()
            if node is conv:
                for i, name in enumerate(conv.inputs[1:], 1):
                    copy.inputs[i] = net.fresh(f"{name}_{part.start}")
                    net.weights[copy.inputs[i]] = net.weights[name][part]
            copy.inputs = [renamed.get(name, name) for name in copy.inputs]
            old = node.outputs[0]
            renamed.setdefault(old, f"{output}/{old}")
            copy.outputs = [renamed[old]]
            net.nodes.append(copy)
    for node in (*region, split):
        net.nodes = [kept for kept in net.nodes if kept is not node]
