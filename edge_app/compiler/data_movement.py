"""Rewrite chains of nodes that only move data, so that they contain no image size.

Exporters write channel shuffles and splits as Reshape - Transpose - Reshape - Gather with fixed map sizes. To find out
where such a chain moves each channel, it is evaluated on a tensor of element numbers, regardless of its node types.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_app.compiler.net import Array, Net, Node, Shape

_MAX_CHAIN = 12  # nodes; no exporter is known to write longer chains


def rewrite(net: Net, shapes: dict[str, Shape]) -> int:
    """Replace shuffles by a channel Gather, and sizes in Reshape by -1. Returns how many nodes were rewritten."""
    changed = _channels(net, shapes) + _transposes(net) + _reshapes(net, shapes)
    net.prune()
    return changed


def _channels(net: Net, shapes: dict[str, Shape]) -> int:
    """Replace chains that move whole channels of (1, C, H, W) by one Gather."""
    producers = net.producers()
    gathers: list[Node] = []
    for node in list(net.nodes):
        for output in node.outputs:
            selection = _source(net, producers, shapes, output)
            if selection is None:
                continue
            source, channels = selection
            gathers.append(_gather(net, source, output, channels, shapes[source][1] or 0))
    replaced = {output for node in gathers for output in node.outputs}
    for node in net.nodes:
        node.outputs = ["" if name in replaced else name for name in node.outputs]
    net.nodes = [node for node in net.nodes if any(node.outputs)]
    for node in net.nodes:
        if node.op == "Split" and "" in node.outputs:  # every output of a Split has a name, used or not
            node.outputs = [name or net.fresh(f"{node.inputs[0]}_unused_{i}") for i, name in enumerate(node.outputs)]
    net.nodes += gathers
    return len(gathers)


def _gather(net: Net, source: str, output: str, channels: NDArray[np.int64], depth: int) -> Node:
    """depth: the channels of `source`."""
    if len(channels) == depth and np.array_equal(channels, np.arange(depth)):
        return Node("Identity", [source], [output])
    name = net.fresh(f"{output}_channels")
    net.weights[name] = channels
    return Node("Gather", [source, name], [output], {"axis": 1})


def _source(
    net: Net, producers: dict[str, Node], shapes: dict[str, Shape], output: str
) -> tuple[str, NDArray[np.int64]] | None:
    """The earliest tensor whose whole channels make up `output`, and which ones; None if no Reshape is between."""
    shape = shapes.get(output)
    if shape is None or len(shape) != 4 or None in shape:
        return None
    steps: list[tuple[Node, str]] = []
    best = None
    name = output
    reshaped = False
    while len(steps) < _MAX_CHAIN:
        node = producers.get(name)
        if node is None or node.op not in _MOVES or any(i not in net.weights for i in node.inputs[1:] if i):
            break
        steps.append((node, name))
        reshaped |= node.op == "Reshape"
        name = node.inputs[0]
        start = shapes.get(name)
        if start is None or None in start:
            break
        if reshaped and len(start) == 4 and start[0] == 1 and start[2:] == shape[2:] and shape[0] == 1:
            channels = _selected_channels(net, steps, start, shape)
            if channels is not None:
                best = (name, channels)
    return best


def _selected_channels(
    net: Net, steps: Sequence[tuple[Node, str]], start: Shape, end: Shape
) -> NDArray[np.int64] | None:
    """Evaluate the chain on element numbers. Returns the channels it selects, or None if it splits channels."""
    numbers = np.arange(np.prod([n or 0 for n in start]), dtype=np.int64).reshape([n or 0 for n in start])
    array = numbers
    try:
        for node, output in reversed(steps):
            array = _MOVES[node.op](node, [net.weights[i] if i else None for i in node.inputs[1:]], array)[
                node.outputs.index(output)
            ]
    except (ValueError, IndexError):
        return None
    if array.shape != tuple(end):
        return None
    channels = array[0, :, 0, 0] // max(1, (end[2] or 0) * (end[3] or 0))
    return channels if np.array_equal(array, numbers[:, channels]) else None


_Evaluate = Callable[[Node, "list[Array | None]", Array], "list[Array]"]


def _reshape(node: Node, constants: list[Array | None], array: Array) -> list[Array]:
    target = constants[0]
    assert target is not None
    dims = [array.shape[i] if d == 0 and not node.attrs.get("allowzero") else int(d) for i, d in enumerate(target)]
    return [array.reshape(dims)]


def _split(node: Node, constants: list[Array | None], array: Array) -> list[Array]:
    axis = node.attrs.get("axis", 0)
    sizes = constants[0] if constants else None
    if sizes is None:
        return list(np.split(array, len(node.outputs), axis))
    return list(np.split(array, np.cumsum(sizes)[:-1], axis))


def _slice(_: Node, constants: list[Array | None], array: Array) -> list[Array]:
    starts, ends, axes, steps = (*constants, None, None)[:4]
    assert starts is not None
    assert ends is not None
    index = [slice(None)] * array.ndim
    for i, (start, end) in enumerate(zip(starts, ends)):
        step = 1 if steps is None else int(steps[i])
        low = None if step < 0 and end < -array.size else int(np.clip(end, -array.size, array.size))
        index[i if axes is None else int(axes[i])] = slice(int(start), low, step)
    return [array[tuple(index)]]


def _squeeze(_: Node, constants: list[Array | None], array: Array) -> list[Array]:
    axes = constants[0] if constants else None
    return [np.squeeze(array, None if axes is None else tuple(int(a) for a in axes))]


def _unsqueeze(_: Node, constants: list[Array | None], array: Array) -> list[Array]:
    axes = constants[0]
    assert axes is not None
    return [np.expand_dims(array, tuple(int(a) for a in axes))]


def _gather_values(node: Node, constants: list[Array | None], array: Array) -> list[Array]:
    index = constants[0]
    assert index is not None
    return [np.take(array, index, axis=node.attrs.get("axis", 0))]


_MOVES: dict[str, _Evaluate] = {
    "Reshape": _reshape, "Split": _split, "Slice": _slice, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Gather": _gather_values,
    "Transpose": lambda node, _, array: [np.transpose(array, node.attrs.get("perm"))],
    "Identity": lambda _node, _constants, array: [array],
    "Flatten": lambda node, _, array: [array.reshape(int(np.prod(array.shape[: node.attrs.get("axis", 1)])), -1)],
}  # fmt: skip


def _transposes(net: Net) -> int:
    """Replace Transpose - Softmax - inverse Transpose by Softmax on the transposed axis."""
    producers, consumers = net.producers(), net.consumers()
    changed = 0
    for last in net.nodes:
        middle = producers.get(last.inputs[0]) if last.op == "Transpose" else None
        first = producers.get(middle.inputs[0]) if middle is not None and middle.op == "Softmax" else None
        if middle is None or first is None or first.op != "Transpose" or len(consumers[middle.outputs[0]]) != 1:
            continue
        perm, back = first.attrs.get("perm"), last.attrs.get("perm")
        if not perm or not back or [perm[i] for i in back] != sorted(perm):
            continue
        axis = int(perm[middle.attrs.get("axis", -1)])
        last.op, last.inputs, last.attrs = "Softmax", [first.inputs[0]], {"axis": axis}
        changed += 1
    return changed


def _reshapes(net: Net, shapes: dict[str, Shape]) -> int:
    """Put -1 for the dimension that depends on the map size into Reshapes to (1, H * W * a, C / a) or (1, C, H * W)."""
    changed = 0
    producers = net.producers()
    for node in net.nodes:
        target = net.weights.get(node.inputs[1]) if node.op == "Reshape" else None
        if target is None or -1 in target or 0 in target:
            continue
        area = _area(node.inputs[0], producers, shapes)
        position = None if area is None else _position(target, area)
        if position is None:
            continue
        name = net.fresh(f"{node.outputs[0]}_shape")
        free = target.copy()
        free[position] = -1
        net.weights[name] = free
        node.inputs[1] = name
        changed += 1
    return changed


def _area(name: str, producers: dict[str, Node], shapes: dict[str, Shape]) -> int | None:
    """H * W of the map (N, C, H, W) that a tensor is, or was before a Transpose or elementwise operations."""
    for _ in range(4):
        node = producers.get(name)
        if node is not None and node.op == "Transpose" and node.attrs.get("perm") == [0, 2, 3, 1]:
            name = node.inputs[0]
            break
        if node is None or node.op not in ("Sigmoid", "Relu", "Identity"):
            break
        name = node.inputs[0]
    shape = shapes.get(name, ())
    return shape[2] * shape[3] if len(shape) == 4 and shape[2] and shape[3] else None


def _position(target: Array, area: int) -> int | None:
    """The only dimension that is a multiple of the map's area, or None."""
    if area == 1:
        return None
    holding = [i for i, n in enumerate(target) if i > 0 and n % area == 0]
    return holding[0] if len(holding) == 1 else None
