"""Convert outputs to the layout that the heads read: with a batch axis, and maps in NCHW.

`applied` converts the outputs of the published file in the same way, so that both can be compared.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from edge_app.compiler.net import Array, Net, Node, Shape

Layout = Literal["", "no batch", "channels last"]  # of an output of the published file
_LAST = [0, 2, 3, 1]  # (1, C, H, W) -> (1, H, W, C)


def normalize(net: Net) -> tuple[Layout, ...]:
    """Change the outputs of a graph in place. Returns the layout that each output had.

    (N, 6) becomes (1, N, 6), and (C,) becomes (1, C). A map (1, H, W, C) that a Transpose returns becomes (1, C, H, W).
    An output of rank 2 or more whose first size is 1 has a batch axis.
    """
    values = net.values()
    layouts: list[Layout] = []
    for position, name in enumerate(net.outputs):
        shape = values[name].shape if name in values else ()
        node = None if net.consumers().get(name) else net.producers().get(name)
        if shape and (shape[0] != 1 or len(shape) == 1):
            _add_batch(net, position, {key: value.shape for key, value in values.items()})
            layouts.append("no batch")
        elif node is not None and node.op == "Transpose" and node.attrs.get("perm") == _LAST and _is_map(shape):
            node.op, node.attrs = "Identity", {}
            layouts.append("channels last")
        else:
            layouts.append("")
    net.declared = {name: value for name, value in net.declared.items() if name not in net.outputs}
    net.prune()
    return tuple(layouts)


def applied(layout: Layout, output: Array) -> Array:
    """An output of the published file in the layout that `normalize` gives it."""
    if layout == "no batch":
        return output[None]
    return np.ascontiguousarray(output.transpose(0, 3, 1, 2)) if layout == "channels last" else output


def _is_map(shape: Shape) -> bool:
    return len(shape) == 4 and shape[0] == 1


def _add_batch(net: Net, position: int, shapes: dict[str, Shape]) -> None:
    """Add a batch axis to an output, which keeps its name. Drops the Squeeze or Reshape that removed the axis."""
    name = net.outputs[position]
    node = net.producers()[name]
    wanted = (1, *shapes[name])
    if node.op in ("Squeeze", "Reshape") and shapes.get(node.inputs[0]) == wanted and name not in net.consumers():
        node.op, node.inputs, node.attrs = "Identity", [node.inputs[0]], {}
        return
    inner = net.fresh(f"{name}_without_batch")
    axes = net.fresh(f"{name}_batch_axis")
    net.weights[axes] = np.array([0], np.int64)
    for user in net.nodes:
        user.inputs = [inner if other == name else other for other in user.inputs]
        user.outputs = [inner if other == name else other for other in user.outputs]
    net.nodes.append(Node("Unsqueeze", [inner, axes], [name]))
