"""Cut one model into a backbone and its head at its feature maps.

The backbone is everything that the deepest map before the first enlargement depends on; what crosses from there into the
rest are the features. Not here: several models (share.py), writing files (build.py).
"""

from __future__ import annotations

from dataclasses import dataclass

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


def parts(trunk: Net, features: list[str], nets: list[Net]) -> Parts:
    """A backbone that ends in `features` and the rest of every net behind it. features: names that all nets use."""
    values = trunk.values()
    reach = extents(trunk, {name: value.shape for name, value in values.items()})
    backbone = subgraph(trunk, "backbone", trunk.inputs, features)
    heads = []
    for net in nets:
        wanted = _wanted(net, features)
        heads.append(subgraph(_apart(net, wanted), net.name, [values[name] for name in features if name in wanted], net.outputs))
    found = tuple(Feature(name, values[name].shape, reach.get(name)) for name in features)
    return Parts(backbone, found, tuple(heads))


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
    found = None
    for name in maps:
        if reach[name].stride == depth and name not in net.outputs and _is_passage(net, name, maps, reach, depth):
            found = name
    return found


# a map that another layer takes ends in one of these, or in a convolution
_ENDS = frozenset("Relu LeakyRelu Clip HardSwish Add Mul Concat MaxPool AveragePool PRelu Sigmoid Elu Mish".split())


def _enlarges(node: Node, reach: dict[str, Extent]) -> bool:
    before, after = reach.get(node.inputs[0] if node.inputs else ""), reach.get(node.outputs[0])
    return before is not None and after is not None and after.stride < before.stride


def _is_passage(net: Net, name: str, maps: list[str], reach: dict[str, Extent], depth: object) -> bool:
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
