"""Bring a graph into the form that pnnx converts: it takes no Gather of several channels.

The compiler writes channel shuffles, selections and reversals as a Gather (data_movement.py). A shuffle becomes
Reshape - Transpose - Reshape, which pnnx recognizes as one layer without an image size; neighboring channels become a
Slice; any other selection a 1x1 convolution with ones and zeros, which is exact.
A Reshape to rows of cells has a fixed size after the conversion, which `with_free_rows` removes.
Not here: the conversion (pnnx.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_app.compiler.net import Net, Node, Shape

Indices = NDArray[np.int64]


def for_pnnx(net: Net) -> Net:
    """An equivalent graph that pnnx can convert, as far as is known."""
    net = net.copy()
    shapes = net.shapes()
    for source, gathers in _channel_gathers(net, shapes).items():
        depth, height, width = (int(size or 0) for size in shapes[source][1:])
        ordered = sorted(gathers, key=lambda node: int(net.weights[node.inputs[1]][0]))
        groups = shuffle_groups([net.weights[node.inputs[1]] for node in ordered], depth)
        if groups:
            nodes = _shuffle(net, source, ordered, groups, (depth, height, width))
        else:
            nodes = [_selection(net, source, node, depth) for node in gathers]
        position = min(net.nodes.index(node) for node in gathers)
        net.nodes[position:position] = nodes
        net.nodes = [node for node in net.nodes if not any(node is gather for gather in gathers)]
    net.prune()
    return net


def shuffle_groups(selections: Sequence[Indices], depth: int) -> int:
    """The groups of the channel shuffle that the selections, one after the other, make up; 0 if they do not."""
    order = np.concatenate([np.ravel(each) for each in selections])
    if len(order) != depth or depth < 3 or order[0] != 0:
        return 0
    step = int(order[1])  # channels of a group
    if step <= 1 or depth % step:
        return 0
    return depth // step if np.array_equal(order, np.arange(depth).reshape(-1, step).T.ravel()) else 0


def with_free_rows(param: str, net: Net) -> str:
    """Replace the cells of a map by -1 in every Reshape of a .param to two dimensions: rows of cells, for any map size.

    net: the graph of which pnnx made it, with known shapes. The result is a guess: the caller runs it.
    """
    maps = [shape for shape in net.shapes().values() if len(shape) == 4 and None not in shape]
    cells = {int(shape[2] or 0) * int(shape[3] or 0) for shape in maps} - {0, 1}
    lines = param.splitlines()
    for i, line in enumerate(lines):
        if line.startswith("Reshape "):
            *words, width, height = line.split()
            sizes = [width.removeprefix("0="), height.removeprefix("1=")]
            if not all(size.isdigit() for size in sizes):
                continue  # another number of dimensions
            rows = [any(int(size) % count == 0 for count in cells) for size in sizes]
            if any(rows):
                sizes[rows.index(True)] = "-1"
                lines[i] = " ".join([*words, f"0={sizes[0]}", f"1={sizes[1]}"])
    return "\n".join([*lines, ""])


def _channel_gathers(net: Net, shapes: dict[str, Shape]) -> dict[str, list[Node]]:
    """Gathers of several channels of a map (1, C, H, W), by source."""
    found: dict[str, list[Node]] = {}
    for node in net.nodes:
        indices = net.weights.get(node.inputs[1]) if node.op == "Gather" else None
        shape = shapes.get(node.inputs[0], ())
        if indices is None or indices.ndim != 1 or node.attrs.get("axis", 0) != 1 or len(shape) != 4:
            continue
        if indices.size and indices.min() >= 0 and None not in shape:
            found.setdefault(node.inputs[0], []).append(node)
    return found


def _shuffle(net: Net, source: str, gathers: Sequence[Node], groups: int, size: tuple[int, int, int]) -> list[Node]:
    """size: channels, rows and columns of the map."""
    depth, height, width = size
    names = [net.fresh(f"{source}_{word}") for word in ("grouped", "swapped", "shuffled", "parts")]
    for name, shape in ((names[0], [1, groups, depth // groups, height, width]), (names[2], [1, depth, height, width])):
        net.weights[f"{name}_shape"] = np.array(shape, np.int64)
    grouped, swapped, shuffled, parts = names
    outputs = [node.outputs[0] for node in gathers]
    last = shuffled if len(outputs) > 1 else outputs[0]
    nodes = [
        Node("Reshape", [source, f"{grouped}_shape"], [grouped]),
        Node("Transpose", [grouped], [swapped], {"perm": [0, 2, 1, 3, 4]}),
        Node("Reshape", [swapped, f"{shuffled}_shape"], [last]),
    ]
    if len(outputs) > 1:
        net.weights[parts] = np.array([net.weights[node.inputs[1]].size for node in gathers], np.int64)
        nodes.append(Node("Split", [shuffled, parts], outputs, {"axis": 1}))
    return nodes


def _selection(net: Net, source: str, gather: Node, depth: int) -> Node:
    indices = net.weights[gather.inputs[1]]
    output = gather.outputs[0]
    first, count = int(indices[0]), indices.size
    if np.array_equal(indices, np.arange(first, first + count)):
        names = [net.fresh(f"{output}_{word}") for word in ("from", "to", "axis")]
        for name, value in zip(names, (first, first + count, 1)):
            net.weights[name] = np.array([value], np.int64)
        return Node("Slice", [source, *names], [output])
    weights = np.zeros((count, depth, 1, 1), np.float32)
    weights[np.arange(count), indices, 0, 0] = 1
    name = net.fresh(f"{output}_selection")
    net.weights[name] = weights
    return Node("Conv", [source, name], [output], {"kernel_shape": [1, 1]})
