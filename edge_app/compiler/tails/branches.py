"""The convolutions that a tail starts from, whatever lies between them and the outputs.

ultralytics before 8.4 joins the two convolutions of a grid, then reshapes them; since 8.4 it reshapes each one first.
Other exporters split, permute, and select by TopK or NonMaxSuppression. All of them end the network in convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edge_app.compiler.net import Net, Shape
from edge_app.heads._grids import STRIDES, grid


@dataclass(frozen=True, slots=True)
class CutPoints:
    """Where to cut. names: the tensors to cut at, each with a readable name. options, assumed: as in Cut."""

    names: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Branch:
    """The last convolution of a branch: its output (1, channels, height, width)."""

    name: str
    channels: int
    height: int
    width: int


def branches(net: Net, shapes: Mapping[str, Shape]) -> list[list[Branch]] | None:
    """The branches of each grid, from the finest; in the order of the graph. None: an output has another source.

    The convolution that weights the bins of a distribution is no branch, also if its output has the size of a grid.
    """
    height, width = net.inputs[0].shape[2:]
    grids = {(g.height, g.width) for g in (grid((width or 0, height or 0), stride) for stride in STRIDES)}
    producers = net.producers()
    images = {value.name for value in net.inputs}
    stack, visited, found = list(net.outputs), set(), set()
    while stack:
        name = stack.pop()
        if name in images:
            return None
        node = producers.get(name)
        if node is None or name in visited:
            continue
        visited.add(name)
        shape = shapes.get(name, ())
        before = producers.get(node.inputs[0])
        if node.op == "Conv" and shape[2:] in grids and (before is None or before.op != "Softmax"):
            found.add(name)
        else:
            stack.extend(node.inputs)
    levels: dict[tuple[int, int], list[Branch]] = {}
    for node in net.nodes:
        if node.outputs[0] in found:
            _, channels, rows, columns = (n or 0 for n in shapes[node.outputs[0]])
            branch = Branch(node.outputs[0], channels, rows, columns)
            levels.setdefault((rows, columns), []).append(branch)
    return [levels[size] for size in sorted(levels, reverse=True)] or None
