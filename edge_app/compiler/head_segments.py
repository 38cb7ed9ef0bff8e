"""Cut a head into segments where maps cross from one stride to another: its neck, and a tower for each stride.

Then a change that ends in the neck does not reach the towers, and the tower of a fine stride, which is most of the
work, does not compute the large boxes of a coarse map. No layer is in two segments.
Not here: cutting the backbone (split.py), the cells that a segment needs (output_cells.py).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from edge_app.compiler.cell_windows import windows
from edge_app.compiler.net import Net, Node, Shape, subgraph
from edge_app.compiler.output_cells import CellDependency, cell_dependencies, with_free_size
from edge_app.compiler.receptive_field import Size, one_size

SMALLEST = 0.02  # of the model's operations: a smaller segment joins a neighbor, since each call has a cost
_Level = Fraction | None  # the stride of a node's output; None: it depends on whole maps
_ON_ROWS = frozenset(("Sigmoid", "Softmax", "Identity", "Clip", "Exp", "Relu", "HardSigmoid", "Tanh"))


@dataclass(frozen=True, slots=True)
class HeadSegment:
    """A part of a head. net: has the head's name. cells: of its maps; without reach if it needs whole inputs."""

    net: Net
    cells: Mapping[str, CellDependency]


@dataclass(slots=True)
class _Part:
    """Nodes that form one segment, by position in the head. work: see `operations`."""

    nodes: set[int]
    level: _Level
    work: float


def cut(head: Net, strides: Mapping[str, Fraction], size: Size, smallest: float) -> tuple[HeadSegment, ...]:
    """The segments of a head in order; () if there is nothing to cut.

    strides: of its inputs. size: height and width of the image. smallest: work of a segment that is worth a call. Every
    output of the head is an output of exactly one segment, and no segment takes it as an input.
    """
    if not head.inputs or set(strides) != {value.name for value in head.inputs}:
        return ()
    head = _with_separate_outputs(head)
    shapes = head.shapes()
    levels, map_strides = _levels(head, strides, shapes, size)
    parts = _parts(head, levels, shapes)
    _join_small(head, parts, smallest)
    if len(parts) < 2 or all(part.level is None for part in parts):
        return ()
    segments = []
    for net in _graphs(head, parts):
        known = {value.name: map_strides[value.name] for value in net.inputs if value.name in map_strides}
        cells = cell_dependencies(net, known, size)
        maps = [name for name in net.outputs if name in map_strides and map_strides[name].denominator == 1]
        whole = {name: CellDependency(map_strides[name], {}) for name in maps}
        segments.append(HeadSegment(net if cells is None else with_free_size(net), whole if cells is None else cells))
    return tuple(segments)


def operations(net: Net, shapes: Mapping[str, Shape]) -> float:
    """The multiplications of a graph, roughly."""
    return sum(_operations(node, net, shapes) for node in net.nodes)


def _operations(node: Node, net: Net, shapes: Mapping[str, Shape]) -> float:
    values = float(np.prod([n or 1 for n in shapes.get(node.outputs[0], (1,))]))
    weights = net.weights.get(node.inputs[1]) if len(node.inputs) > 1 else None
    return values * float(np.prod(weights.shape[1:])) if node.op == "Conv" and weights is not None else values


def _with_separate_outputs(head: Net) -> Net:
    """The head with an Identity for each output that a node also uses, so that no segment takes an output."""
    used = [name for name in head.outputs if name in head.consumers()]
    if not used:
        return head
    head, outputs = head.copy(), list(head.outputs)
    for name in used:
        inner = head.fresh(f"{name}_map")
        head.rename(name, inner)
        head.nodes.append(Node("Identity", [inner], [name]))
    return replace(head, outputs=outputs)


def _levels(
    head: Net, strides: Mapping[str, Fraction], shapes: Mapping[str, Shape], size: Size
) -> tuple[list[_Level], dict[str, Fraction]]:
    """The level of every node, and the stride of every map that may be passed from segment to segment.

    Rows of one map have its level, unless they are joined with others. What follows a map that was computed from whole
    maps, as by attention, has a level again: it can be computed in parts from that map.
    """
    found: dict[str, Fraction] = dict(strides)
    rows: dict[str, Fraction] = {}
    levels: list[_Level] = []
    for node in head.nodes:
        operands = [name for name in node.inputs if name and name not in head.weights]
        level = _level_of_rows(node, operands, found, rows)
        if level is not None:
            rows.update(dict.fromkeys(node.outputs, level))
        else:
            level = _level_of_map(node, operands, head, found, shapes)
            stride = _fitting_stride(node, shapes, set(strides.values()), size) if level is None else level
            if stride is not None:
                found.update(dict.fromkeys(node.outputs, stride))
        levels.append(level)
    users = _users(head)
    for i in range(len(head.nodes) - 1, -1, -1):  # between segments there are only maps
        if head.nodes[i].outputs[0] in rows and any(levels[j] is None for j in users[i]):
            levels[i] = None
    return levels, found


def _level_of_rows(
    node: Node, operands: Sequence[str], maps: Mapping[str, Fraction], rows: Mapping[str, Fraction]
) -> _Level:
    """The stride of the only map whose cells the output lists in another order, as far as can be seen here; or None."""
    if len(operands) != 1:
        return None
    if node.op in ("Transpose", "Reshape"):
        return rows.get(operands[0], maps.get(operands[0]))
    return rows.get(operands[0]) if node.op in _ON_ROWS else None


def _level_of_map(
    node: Node, operands: Sequence[str], head: Net, maps: Mapping[str, Fraction], shapes: Mapping[str, Shape]
) -> _Level:
    """The stride of a map that can be computed in parts from the operands, which are maps of one stride; or None."""
    found = {maps.get(name) for name in operands}
    stride = found.pop() if len(found) == 1 else None
    both = windows(node, head, shapes) if stride is not None and one_size(operands, shapes) else None
    return stride * both[0].step if stride is not None and both is not None and both[0].step == both[1].step else None


def _fitting_stride(node: Node, shapes: Mapping[str, Shape], strides: Collection[Fraction], size: Size) -> _Level:
    """The stride of which a tensor that was computed from whole maps is a map, by its size; or None."""
    shape = shapes.get(node.outputs[0], ())
    if len(shape) != 4 or node.op == "Transpose":
        return None
    return next((s for s in sorted(strides) if shape[2:] == tuple(math.ceil(side / s) for side in size)), None)


def _users(head: Net) -> list[list[int]]:
    """By position of a node, the positions of those that use its outputs."""
    position = _positions(head)
    users: list[list[int]] = [[] for _ in head.nodes]
    for i, node in enumerate(head.nodes):
        for name in node.inputs:
            if name in position:
                users[position[name]].append(i)
    return users


def _positions(head: Net) -> dict[str, int]:
    return {name: i for i, node in enumerate(head.nodes) for name in node.outputs}


def _parts(head: Net, levels: Sequence[_Level], shapes: Mapping[str, Shape]) -> list[_Part]:
    """The nodes by phase and level, in an order in which each part needs only earlier ones.

    In each part, what other parts need is separated from the rest: the neck from the tower.
    """
    groups: dict[tuple[int, _Level], set[int]] = {}
    for i, key in enumerate(zip(_phases(head, levels), levels)):
        groups.setdefault(key, set()).add(i)
    parts = []
    for phase, level in sorted(groups, key=lambda key: (key[0], -(key[1] or 0))):
        group = groups[phase, level]
        neck = _needed_outside(head, group)
        for nodes in (neck, group - neck):
            if nodes:
                work = sum(_operations(head.nodes[i], head, shapes) for i in nodes)
                parts.append(_Part(nodes, level, work))
    return parts


def _phases(head: Net, levels: Sequence[_Level]) -> list[int]:
    """By node, the number of changes of level before it: at first the smallest, then the largest that users allow.

    So a lateral convolution is in the part of the sum that it enters.
    """
    position, users = _positions(head), _users(head)
    phases: list[int] = []
    for i, node in enumerate(head.nodes):
        before = [position[name] for name in node.inputs if name in position]
        phases.append(max((phases[j] + (levels[j] != levels[i]) for j in before), default=0))
    for i in range(len(head.nodes) - 1, -1, -1):
        if users[i]:
            phases[i] = min(phases[j] - (levels[j] != levels[i]) for j in users[i])
    return phases


def _needed_outside(head: Net, nodes: Collection[int]) -> set[int]:
    """Those of the nodes that nodes of other parts depend on."""
    position, users = _positions(head), _users(head)
    stack = [i for i in nodes if any(j not in nodes for j in users[i])]
    needed: set[int] = set()
    while stack:
        i = stack.pop()
        if i in nodes and i not in needed:
            needed.add(i)
            stack.extend(position[name] for name in head.nodes[i].inputs if name in position)
    return needed


def _join_small(head: Net, parts: list[_Part], smallest: float) -> None:
    """Join each part with less work with a neighbor: one of the same stride, else the one with the least work.

    A part that can be computed in parts is not joined with a large one that cannot.
    """
    while len(parts) > 1:
        for part in sorted(parts, key=lambda part: part.work):
            choices = [other for other in parts if _may_join(head, parts, part, other, smallest)]
            if choices:
                break
        else:
            return
        other = min(choices, key=lambda other: (other.level is None, other.level != part.level, other.work))
        first, second = sorted((parts.index(part), parts.index(other)))
        level = None if part.level is None or other.level is None else min(part.level, other.level)
        joined = _Part(part.nodes | other.nodes, level, part.work + other.work)
        del parts[second]
        parts[first] = joined
        _sort(head, parts)


def _may_join(head: Net, parts: Sequence[_Part], small: _Part, other: _Part, smallest: float) -> bool:
    """Whether a part is too small for a call, exchanges a map with another, and no third one is between them."""
    if small is other or small.work >= smallest:
        return False
    if small.level is None and other.level is not None and other.work >= smallest:
        return False
    needs = _needs(head, parts)
    a, b = parts.index(small), parts.index(other)
    if a > b:
        a, b = b, a
    return a in needs[b] and not any(a in needs[k] and k in needs[b] for k in range(len(parts)) if k not in (a, b))


def _needs(head: Net, parts: Sequence[_Part]) -> list[set[int]]:
    """By part, all earlier ones that it depends on, directly or not. parts: in order."""
    position = _positions(head)
    owner = {i: k for k, part in enumerate(parts) for i in part.nodes}
    needs: list[set[int]] = []
    for k, part in enumerate(parts):
        direct = {owner[position[n]] for i in part.nodes for n in head.nodes[i].inputs if n in position} - {k}
        needs.append(direct.union(*(needs[j] for j in direct)))
    return needs


def _sort(head: Net, parts: list[_Part]) -> None:
    """Sort parts so that each needs only earlier ones."""
    position = _positions(head)
    pending, done = list(parts), set[int]()
    parts.clear()
    while pending:
        part = next(p for p in pending if _inputs(head, p, position) <= done)
        pending.remove(part)
        parts.append(part)
        done |= part.nodes


def _inputs(head: Net, part: _Part, position: Mapping[str, int]) -> set[int]:
    """The nodes of other parts whose outputs a part takes."""
    return {position[n] for i in part.nodes for n in head.nodes[i].inputs if n in position} - part.nodes


def _graphs(head: Net, parts: Sequence[_Part]) -> list[Net]:
    """The parts as graphs with the head's name."""
    values, position = head.values(), _positions(head)
    given = [value.name for value in head.inputs]
    graphs = []
    for part in parts:
        taken = {name for i in part.nodes for name in head.nodes[i].inputs}
        inputs = [name for name in (*given, *position) if name in taken and position.get(name) not in part.nodes]
        outside = {name for i, node in enumerate(head.nodes) if i not in part.nodes for name in node.inputs}
        made = [name for i in sorted(part.nodes) for name in head.nodes[i].outputs]
        outputs = [name for name in made if name in outside or name in head.outputs]
        graphs.append(subgraph(head, head.name, [values[name] for name in inputs], outputs))
    return graphs
