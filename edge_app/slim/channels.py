"""Find the groups of channels of a graph that can only change together: additions and depthwise layers tie them.

Not here: pruning (it needs weights), which widths are good ones (widths.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge_app.compiler.net import Net, Node
from edge_app.model.cycles import Layer

_ELEMENTWISE = (
    "Abs", "Add", "AveragePool", "BatchNormalization", "Clip", "Dropout", "Elu", "GlobalAveragePool", "GlobalMaxPool",
    "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "MaxPool", "Mul", "PRelu", "ReduceMean", "Relu", "Resize",
    "Sigmoid", "Softplus", "Sub", "Tanh",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChannelGroup:
    """Channels of one width. layers of the network by position: those that return, take, or only filter the group."""

    channels: int
    producers: tuple[int, ...]
    consumers: tuple[int, ...]
    depthwise: tuple[int, ...]

    def resized(self, layers: Sequence[Layer], channels: int) -> list[Layer]:
        """All layers, with another number of channels in this group."""
        changed = list(layers)
        for i in (*self.producers, *self.depthwise):
            changed[i] = replace(changed[i], outputs=(channels, *changed[i].outputs[1:]))
        for i in (*self.consumers, *self.depthwise):
            changed[i] = replace(changed[i], inputs=(channels, *changed[i].inputs[1:]))
        for i in self.depthwise:
            changed[i] = replace(changed[i], groups=channels)
        return changed


def channel_groups(
    net: Net, shapes: Mapping[str, tuple[int, ...]], layers: Sequence[Layer], by_node: Mapping[int, Sequence[int]]
) -> tuple[ChannelGroup, ...]:
    """The groups whose width can be chosen, in the order in which they are computed.

    Not listed: channels of the graph's inputs and outputs, and those that pass through anything but convolutions and
    operations on single elements, such as Concat. by_node: positions in `layers` by id of the node.
    """
    sets = _DisjointSets()
    fixed = {value.name for value in net.inputs} | set(net.outputs)
    roles: dict[str, list[tuple[str, int]]] = {}
    for node in net.nodes:
        kind = _kind(node, shapes, layers, by_node)
        data = [name for name in node.inputs if name and name not in net.weights]
        own = by_node[id(node)]
        if kind == "dense":
            roles.setdefault(node.outputs[0], []).append(("producer", own[0]))
            roles.setdefault(data[0], []).append(("consumer", own[0]))
        elif kind == "same":
            for name in data:
                sets.join(name, node.outputs[0])
            filters = [("depthwise", i) for i in own if layers[i].kind == "depthwise"]
            roles.setdefault(node.outputs[0], []).extend(filters)
        else:
            fixed.update((*data, *node.outputs))
    return _collect(sets, fixed, roles, layers)


def _kind(
    node: Node, shapes: Mapping[str, tuple[int, ...]], layers: Sequence[Layer], by_node: Mapping[int, Sequence[int]]
) -> str:
    """`dense`: other channels come out; `same`: the same channels; `mixed`: neither."""
    own = [layers[i] for i in by_node[id(node)]]
    if node.op in ("Conv", "ConvTranspose", "Gemm", "MatMul") and own[0].kind == "conv":
        return "dense" if own[0].groups == 1 else "mixed"
    if any(layer.kind == "depthwise" for layer in own):
        return "same"
    source, result = shapes[node.inputs[0]], shapes[node.outputs[0]]
    if node.op in ("Flatten", "Squeeze", "Reshape"):
        return "same" if len(source) > 1 and source[2:] == (1,) * len(source[2:]) == result[2:] else "mixed"
    ranks = [shapes[name] for name in node.inputs if name and len(shapes[name]) > 1]
    tied = all(shape[1] == result[1] for shape in ranks if len(shape) == len(result) and len(result) > 1)
    return "same" if node.op in _ELEMENTWISE and len(result) > 1 and tied else "mixed"


def _collect(
    sets: _DisjointSets, fixed: set[str], roles: Mapping[str, Sequence[tuple[str, int]]], layers: Sequence[Layer]
) -> tuple[ChannelGroup, ...]:
    members: dict[str, dict[str, list[int]]] = {}
    for name, found in roles.items():
        for role, layer in found:
            members.setdefault(sets.root(name), {}).setdefault(role, []).append(layer)
    blocked = {sets.root(name) for name in fixed}
    groups = []
    for root, by_role in members.items():
        producers = tuple(sorted(by_role.get("producer", ())))
        if root in blocked or not producers:
            continue
        others = (tuple(sorted(by_role.get(role, ()))) for role in ("consumer", "depthwise"))
        groups.append(ChannelGroup(layers[producers[0]].outputs[0], producers, *others))
    return tuple(sorted(groups, key=lambda group: group.producers))


class _DisjointSets:
    """Union-find over tensor names."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def root(self, name: str) -> str:
        while (parent := self._parents.get(name, name)) != name:
            name = parent
        return name

    def join(self, a: str, b: str) -> None:
        self._parents[self.root(a)] = self.root(b)
