"""Cut one model into a backbone and its head at its feature maps.

The backbone is everything that the deepest map before the first enlargement depends on; what crosses from there into
the rest are the features. Not here: several models (share.py), writing files (build.py).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from fractions import Fraction

from edge_app.compiler.extent import Extent, extents
from edge_app.compiler.net import Net, Node, Shape, subgraph

_LEARNED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Feature:
    """A map that the backbone gives to heads. extent None: it depends on the whole picture."""

    name: str
    shape: Shape
    extent: Extent | None


@dataclass(frozen=True, slots=True)
class Parts:
    """backbone None: nothing to share or to reuse, the head is the whole model."""

    backbone: Net | None
    features: tuple[Feature, ...]
    heads: tuple[Net, ...]


def at_features(net: Net) -> Parts:
    """Split one model on (1, 3, H, W). Outputs equal the original's, since no node is changed."""
    shapes = net.shapes()
    deepest = _deepest(net, shapes)
    if deepest is None:
        return Parts(None, (), (net,))
    ancestors = _ancestors(net, {deepest})
    trunk = {output for node in net.nodes if id(node) in ancestors for output in node.outputs}
    crossing = [
        name
        for name in _ordered(net, trunk)
        if name in net.outputs or any(id(node) not in ancestors for node in net.consumers().get(name, []))
    ]
    if set(crossing) & set(net.outputs):
        return Parts(None, (), (net,))
    return parts(net, crossing, [net])


def named(found: Parts) -> Parts:
    """The same parts with readable names for what goes between them: c8 is the map of stride 8."""
    if found.backbone is None:
        return found
    names: dict[str, str] = {}
    used = {
        name for net in (found.backbone, *found.heads) for node in net.nodes for name in (*node.inputs, *node.outputs)
    }
    used -= {feature.name for feature in found.features}
    for feature in found.features:
        stem = f"c{feature.extent.stride}" if feature.extent and feature.extent.stride.denominator == 1 else "map"
        choices = [
            stem,
            *(f"{stem}{letter}" for letter in "bcdefghijklmnopqrstuvwxyz"),
            *(f"{stem}_{i}" for i in range(99)),
        ]
        names[feature.name] = next(n for n in choices if n not in used)
        used.add(names[feature.name])
    nets = [found.backbone.copy(), *(head.copy() for head in found.heads)]
    for net in nets:  # by way of names that nothing has: an old one may be another's new one
        for old in names:
            net.rename(old, f"feature:{old}")
        for old, new in names.items():
            net.rename(f"feature:{old}", new)
    features = tuple(replace(feature, name=names[feature.name]) for feature in found.features)
    return Parts(nets[0], features, tuple(nets[1:]))


def segments(found: Parts, strides: Collection[int]) -> tuple[Net, ...]:
    """The backbone cut behind its last map of each of `strides`, in order; features come out where they arise.

    A cut is left out where a later part would need more than the maps in front of it.
    """
    backbone = found.backbone
    assert backbone is not None
    values = backbone.values()
    reach = extents(backbone, {name: value.shape for name, value in values.items()})
    wanted = {feature.name for feature in found.features}
    ends = [*wanted]
    there = {reach[name].stride for name in wanted if name in reach}
    for stride in set(strides) - there:
        name = passage(backbone, reach, stride)
        if name is not None:
            ends.append(name)
    ends = _ordered(backbone, set(ends))
    made: list[Net] = []
    given = {backbone.inputs[0].name}
    pending: list[str] = []
    for end in ends:
        pending.append(end)
        cut = end == ends[-1] or (end in reach and reach[end].stride in strides)
        if not cut or not _clean(backbone, given | set(pending), ends[ends.index(end) + 1 :]):
            continue
        outputs = [name for name in pending if name in wanted or name == end]
        needed = _needed(backbone, given, outputs)
        inputs = [v for v in (*backbone.inputs, *(values[n] for n in ends)) if v.name in needed]
        made.append(subgraph(backbone, f"backbone{len(made)}", inputs, outputs))
        given, pending = given | set(outputs), []
    return tuple(made) if len(made) > 1 else (backbone,)


def _clean(net: Net, given: set[str], later: list[str]) -> bool:
    """Whether what comes later needs only cut maps, so that no layer is computed twice."""
    image = net.inputs[0].name
    return image not in _needed(net, given, later)


def _needed(net: Net, given: set[str], outputs: list[str]) -> set[str]:
    """Which of `given` some tensors depend on, without looking behind them."""
    producers = net.producers()
    stack, seen = [name for name in outputs if name not in given], set()
    found = set()
    while stack:
        for name in producers[stack.pop()].inputs:
            if name in given:
                found.add(name)
            elif name in producers and name not in seen:
                seen.add(name)
                stack.append(name)
    return found


def passage(net: Net, reach: dict[str, Extent], stride: int) -> str | None:
    """The last map of a stride that everything behind the maps of that stride passes through."""
    maps = [node.outputs[0] for node in net.nodes if node.outputs[0] in reach and node.op in (*_LEARNED, *_ENDS)]
    return _last_passage(net, maps, reach, Fraction(stride))


def parts(trunk: Net, features: list[str], nets: list[Net]) -> Parts:
    """A backbone that ends in `features` and the rest of every net behind it. features: names that all nets use."""
    values = trunk.values()
    reach = extents(trunk, {name: value.shape for name, value in values.items()})
    backbone = subgraph(trunk, "backbone", trunk.inputs, features)
    heads = []
    for net in nets:
        wanted = _wanted(net, features)
        heads.append(
            subgraph(_apart(net, wanted), net.name, [values[name] for name in features if name in wanted], net.outputs)
        )
    found = tuple(Feature(name, values[name].shape, reach.get(name)) for name in features)
    return Parts(backbone, found, tuple(heads))


def features(net: Net, names: Collection[str]) -> tuple[Feature, ...]:
    """Maps of a graph with their extents, in the graph's order."""
    values = net.values()
    reach = extents(net, {name: value.shape for name, value in values.items()})
    return tuple(Feature(name, values[name].shape, reach.get(name)) for name in _ordered(net, set(names)))


def _apart(net: Net, features: set[str]) -> Net:
    """The same graph with no output that is a feature itself: a graph's output is no input of it."""
    if not features & set(net.outputs):
        return net
    net = net.copy()
    for position, name in enumerate(net.outputs):
        if name in features:
            net.outputs[position] = net.fresh(f"{name}_output")
            net.nodes.append(Node("Identity", [name], [net.outputs[position]]))
    return net


def _wanted(net: Net, features: list[str]) -> set[str]:
    """The features that the outputs depend on without passing through another one."""
    producers = net.producers()
    stack, seen, wanted = list(net.outputs), set(), set()
    while stack:
        name = stack.pop()
        if name in features:
            wanted.add(name)
        elif name in producers and name not in seen:
            seen.add(name)
            stack.extend(producers[name].inputs)
    return wanted


def _deepest(net: Net, shapes: dict[str, Shape]) -> str | None:
    """The last map of the deepest stride, before the first enlargement, that all of its later use passes through."""
    reach = extents(net, shapes)
    enlarged = next((node for node in net.nodes if _enlarges(node, reach)), None)
    nodes = net.nodes
    if enlarged is not None:
        before = _ancestors(net, {enlarged.inputs[0]})
        nodes = [node for node in net.nodes if id(node) in before]
    maps = [node.outputs[0] for node in nodes if node.outputs[0] in reach and node.op in (*_LEARNED, *_ENDS)]
    depth = max((reach[name].stride for name in maps), default=None)
    if depth is None or depth <= 1:
        return None
    return _last_passage(net, maps, reach, depth)


def _last_passage(net: Net, maps: list[str], reach: dict[str, Extent], stride: Fraction) -> str | None:
    found = None
    for name in maps:
        if reach[name].stride == stride and name not in net.outputs and _is_passage(net, name, maps, reach, stride):
            found = name
    return found


# a map that another layer takes ends in one of these, or in a convolution
_ENDS = frozenset((
    "Relu", "LeakyRelu", "Clip", "HardSwish", "Add", "Mul", "Concat", "MaxPool", "AveragePool", "PRelu", "Sigmoid",
    "Elu", "Mish",
))  # fmt: skip


def _enlarges(node: Node, reach: dict[str, Extent]) -> bool:
    before, after = reach.get(node.inputs[0] if node.inputs else ""), reach.get(node.outputs[0])
    return before is not None and after is not None and after.stride < before.stride


def _is_passage(net: Net, name: str, maps: list[str], reach: dict[str, Extent], depth: Fraction) -> bool:
    """Whether everything learned behind the maps of this depth passes through `name`, and something is."""
    before = _ancestors(net, {name})
    deep = {m for m in maps if reach[m].stride == depth}
    consumers = net.consumers()
    for node in net.nodes:
        if id(node) not in before or node.outputs[0] == name:
            continue
        if any(output in deep and id(c) not in before for output in node.outputs for c in consumers.get(output, [])):
            return False
    behind = _descendants(net, name)
    unrelated = {
        output
        for node in net.nodes
        if id(node) not in before and id(node) not in behind
        for output in node.outputs
        if output in deep
    }
    return not unrelated and any(node.op in _LEARNED for node in net.nodes if id(node) in behind)


def _ancestors(net: Net, names: set[str]) -> set[int]:
    """Ids of the nodes that some tensors depend on, their own included."""
    producers = net.producers()
    stack, found = list(names), set()
    while stack:
        node = producers.get(stack.pop())
        if node is not None and id(node) not in found:
            found.add(id(node))
            stack.extend(node.inputs)
    return found


def _descendants(net: Net, name: str) -> set[int]:
    """Ids of the nodes that depend on a tensor."""
    tainted, found = {name}, set()
    for node in net.nodes:
        if tainted & set(node.inputs):
            tainted.update(node.outputs)
            found.add(id(node))
    return found


def _ordered(net: Net, names: set[str]) -> list[str]:
    return [output for node in net.nodes for output in node.outputs if output in names]
