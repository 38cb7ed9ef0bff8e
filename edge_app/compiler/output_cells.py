"""Which heads can run on a rectangle of their input maps, and which input cells each output cell depends on.

A head can if every output is a map (1, C, H, W), or the rows of one (1, H * W * anchors, C), and no operation before it
needs a whole map. Fixed sizes are then removed from its graph. Not here: the backbone (split.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from edge_app.compiler.canonical import any_size
from edge_app.compiler.net import Net, Node, Shape
from edge_app.compiler.receptive_field import Size, crops_align, fields_from
from edge_app.errors import ModelError

_AFTER_ROWS = frozenset(("Sigmoid", "Identity", "Clip", "Exp", "Relu", "HardSigmoid", "Tanh"))  # element by element


@dataclass(frozen=True, slots=True)
class CellDependency:
    """The input cells that a cell of one output depends on.

    stride: pixels from output cell to output cell. reach: by input, the lowest and highest first pixel of the cells
    that an output cell needs, relative to its own first pixel.
    """

    stride: Fraction
    reach: Mapping[str, tuple[Fraction, Fraction]]


def cell_dependencies(head: Net, strides: Mapping[str, Fraction], size: Size) -> dict[str, CellDependency] | None:
    """By output; None if an output depends on a whole map. strides: of the inputs, all of which must be maps.

    size: height and width of the image.
    """
    if not head.inputs or set(strides) != {value.name for value in head.inputs}:
        return None
    shapes = head.shapes()
    ends = {name: _source_map(head, name, shapes) for name in head.outputs}
    dependencies: dict[str, CellDependency] = {}
    inside: set[Fraction] = set()  # strides of all maps
    for value in head.inputs:
        reached = fields_from(head, value.name, strides[value.name], shapes, size)
        inside.update(axis.stride for field in reached.values() if field for axis in (field.rows, field.columns))
        for output, end in ends.items():
            if end is None:
                return None
            if end not in reached:
                continue  # it does not depend on this input
            field = reached[end]
            bounds, known = None if field is None else field.bounds(), dependencies.get(output)
            if bounds is None or not bounds.tiles or (known is not None and known.stride != bounds.stride):
                return None
            reach = {} if known is None else dict(known.reach)
            dependencies[output] = CellDependency(bounds.stride, {**reach, value.name: (bounds.low, bounds.high)})
    outside = [*strides.values(), *(dependency.stride for dependency in dependencies.values())]
    complete = set(dependencies) == set(head.outputs) and crops_align(outside, inside)
    return dependencies if complete else None


def with_free_size(head: Net) -> Net:
    """The same head for maps of any size, or unchanged if not possible. head: one that has `cell_dependencies`."""
    free = head.copy()
    shapes = head.shapes()
    for node in free.nodes:
        if node.op != "Reshape":
            continue
        start, target = shapes.get(node.inputs[0], ()), free.weights.get(node.inputs[1])
        if target is None or len(target) != 3:
            return head
        sizes = [int(n) for n in target]
        sizes[1 if len(start) == 4 and start[3] == _channels(start, free, node) else 2] = -1
        name = free.fresh(f"{node.outputs[0]}_shape")
        free.weights[name] = np.array(sizes, np.int64)
        node.inputs[1] = name
    free.prune()
    try:
        return any_size(free)
    except ModelError:
        return head


def _channels(start: Shape, net: Net, node: Node) -> int | None:
    """C, if the input of a Reshape is a map transposed to (1, H, W, C); else None."""
    before = net.producers().get(node.inputs[0])
    while before is not None and before.op in _AFTER_ROWS:
        before = net.producers().get(before.inputs[0])
    turned = before is not None and before.op == "Transpose" and list(before.attrs["perm"]) == [0, 2, 3, 1]
    return start[3] if turned else None


def _source_map(net: Net, output: str, shapes: Mapping[str, Shape]) -> str | None:
    """The map whose cells an output lists row by row; the output itself if it is a map; else None."""
    producers = net.producers()
    name = output
    if len(shapes.get(name, ())) == 4 and not _is_transposed(net, name):
        return name
    name = _before_rows(net, name)
    node = producers.get(name)
    if node is None or len(shapes.get(output, ())) != 3:
        return None
    if node.op == "Transpose" and list(node.attrs["perm"]) == [0, 2, 1]:  # (1, C, H * W) -> (1, H * W, C)
        flat = producers.get(_before_rows(net, node.inputs[0]))
        return _flattened(flat, shapes)
    if node.op == "Reshape":  # (1, H, W, A * C) -> (1, H * W * A, C)
        turn = producers.get(_before_rows(net, node.inputs[0]))
        if turn is not None and turn.op == "Transpose" and list(turn.attrs["perm"]) == [0, 2, 3, 1]:
            (_, height, width, _), rows = shapes.get(turn.outputs[0], (None,) * 4), shapes[output][1]
            return turn.inputs[0] if height and width and rows and rows % (height * width) == 0 else None
    return None


def _flattened(node: Node | None, shapes: Mapping[str, Shape]) -> str | None:
    """The map (1, C, H, W) that a Reshape flattens to (1, C, H * W); else None."""
    if node is None or node.op != "Reshape":
        return None
    start, end = shapes.get(node.inputs[0], ()), shapes.get(node.outputs[0], ())
    same = len(start) == 4 and len(end) == 3 and start[:2] == end[:2]
    return node.inputs[0] if same else None


def _before_rows(net: Net, name: str) -> str:
    """The tensor before elementwise operations and a Softmax over the last axis."""
    producers = net.producers()
    while True:
        node = producers.get(name)
        last = node is not None and node.op == "Softmax" and node.attrs.get("axis", -1) in (-1, 2)
        if node is None or not (last or node.op in _AFTER_ROWS):
            return name
        name = node.inputs[0]


def _is_transposed(net: Net, name: str) -> bool:
    node = net.producers().get(name)
    return node is not None and node.op in ("Transpose", "Reshape")
