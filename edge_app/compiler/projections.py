"""Compute the query, key and value of an attention block by one convolution each.

YOLO v10, v11, v12 and 26 compute all three in one convolution, whose output is reshaped to heads and then split. With
three convolutions, each tensor has its own INT8 scale. The RKNN converter 2.5.0 fails on the joint convolution (an
IndexError in `_p_seperate_conv_rs_split`). Not here: a convolution directly followed by Split (canonical.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_app.compiler.net import Net, Node, Shape


def separate(net: Net, shapes: Mapping[str, Shape]) -> None:
    """Replace Conv - Reshape to (1, heads, values, cells) - Split of the values by Conv - Reshape for each part."""
    consumers = net.consumers()
    for conv in [node for node in net.nodes if node.op == "Conv" and node.attrs.get("group", 1) == 1]:
        reshape = _only(consumers.get(conv.outputs[0], []), "Reshape")
        split = None if reshape is None else _only(consumers.get(reshape.outputs[0], []), "Split")
        if reshape is None or split is None or {conv.outputs[0], reshape.outputs[0]} & set(net.outputs):
            continue
        rows = _channels(net, conv, split, shapes.get(reshape.outputs[0], ()))
        if rows is None:
            continue
        for output, part in zip(split.outputs, rows):
            inputs = [conv.inputs[0]]
            for name in conv.inputs[1:]:
                inputs.append(net.fresh(f"{output}_{name}"))
                net.weights[inputs[-1]] = net.weights[name][part.ravel()]
            projected, shape = net.fresh(f"{output}_conv"), net.fresh(f"{output}_shape")
            net.weights[shape] = np.array([1, *part.shape, -1], np.int64)
            net.nodes.append(Node("Conv", inputs, [projected], dict(conv.attrs)))
            net.nodes.append(Node("Reshape", [projected, shape], [output]))
        net.nodes = [node for node in net.nodes if node not in (conv, reshape, split)]


def _only(nodes: list[Node], op: str) -> Node | None:
    return nodes[0] if len(nodes) == 1 and nodes[0].op == op else None


def _channels(net: Net, conv: Node, split: Node, heads: Shape) -> list[np.ndarray] | None:
    """The channels of the convolution in each part, (heads, values); None if they cannot be split. heads: the shape."""
    sizes = net.weights.get(split.inputs[1]) if len(split.inputs) > 1 else None
    weights = net.weights.get(conv.inputs[1])
    known = weights is not None and all(name in net.weights for name in conv.inputs[2:])
    if sizes is None or weights is None or not known or len(heads) != 4 or heads[0] != 1:
        return None
    count, values = heads[1] or 0, heads[2] or 0
    if split.attrs.get("axis", 0) not in (2, -2) or count * values != len(weights):
        return None
    numbers = np.arange(count * values).reshape(count, values)
    return np.split(numbers, np.cumsum(sizes)[:-1].tolist(), axis=1)
