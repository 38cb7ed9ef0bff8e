"""Split one model into backbone and head at its feature maps, and cut the backbone into segments.

The backbone is everything that the deepest map before the first upsampling depends on. Its maps that the rest of the
model uses are the features. Not here: several models (share.py), writing files (folder_writer.py).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from edge_app.compiler.net import Net, Node, Shape, subgraph
from edge_app.compiler.receptive_field import FieldBounds, crops_align, receptive_fields

_LEARNED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Feature:
    """A map that heads take from the backbone. receptive_field None: it depends on the whole image."""

    name: str
    shape: Shape
    receptive_field: FieldBounds | None


@dataclass(frozen=True, slots=True)
class Parts:
    """A split model. backbone None: it cannot be split, and the head is the whole model."""

    backbone: Net | None
    features: tuple[Feature, ...]
    heads: tuple[Net, ...]


def at_features(net: Net) -> Parts:
    """Split one model on (1, 3, H, W). No node is changed, so the outputs stay equal."""
    shapes = net.shapes()
    deepest = _deepest_map(net, shapes)
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


def with_readable_names(split_model: Parts) -> Parts:
    """The same parts with readable feature names: c8 is the map of stride 8."""
    if split_model.backbone is None:
        return split_model
    names: dict[str, str] = {}
    used = {
        name
        for net in (split_model.backbone, *split_model.heads)
        for node in net.nodes
        for name in (*node.inputs, *node.outputs)
    }
    used -= {feature.name for feature in split_model.features}
    for feature in split_model.features:
        stem = (
            f"c{feature.receptive_field.stride}"
            if feature.receptive_field and feature.receptive_field.stride.denominator == 1
            else "map"
        )
        choices = [
            stem,
            *(f"{stem}{letter}" for letter in "bcdefghijklmnopqrstuvwxyz"),
            *(f"{stem}_{i}" for i in range(99)),
        ]
        names[feature.name] = next(n for n in choices if n not in used)
        used.add(names[feature.name])
    nets = [split_model.backbone.copy(), *(head.copy() for head in split_model.heads)]
    for net in nets:  # through temporary names: an old name may be the new name of another map
        for old in names:
            net.rename(old, f"feature:{old}")
        for old, new in names.items():
            net.rename(f"feature:{old}", new)
    features = tuple(replace(feature, name=names[feature.name]) for feature in split_model.features)
    return Parts(nets[0], features, tuple(nets[1:]))


def segments(split_model: Parts, strides: Collection[int]) -> tuple[Net, ...]:
    """The backbone cut after its last map of each of `strides`; a feature is an output of the segment that computes it.

    A cut is omitted if a later segment would need tensors other than the maps of earlier ones.
    """
    backbone = split_model.backbone
    assert backbone is not None
    values = backbone.values()
    reach = receptive_fields(backbone, {name: value.shape for name, value in values.items()})
    feature_names = {feature.name for feature in split_model.features}
    ends = [*feature_names]
    present = {reach[name].stride for name in feature_names if name in reach}
    for stride in set(strides) - present:
        name = bottleneck(backbone, reach, stride)
        if name is not None:
            ends.append(name)
    ends = _ordered(backbone, set(ends))
    cut_parts: list[Net] = []
    available = {backbone.inputs[0].name}
    pending: list[str] = []
    for end in ends:
        pending.append(end)
        cut = end == ends[-1] or (end in reach and reach[end].stride in strides)
        if not cut or not _needs_only_cuts(backbone, available | set(pending), ends[ends.index(end) + 1 :]):
            continue
        outputs = [name for name in pending if name in feature_names or name == end]
        needed = _needed(backbone, available, outputs)
        inputs = [v for v in (*backbone.inputs, *(values[n] for n in ends)) if v.name in needed]
        cut_parts.append(subgraph(backbone, f"backbone{len(cut_parts)}", inputs, outputs))
        available, pending = available | set(outputs), []
    return tuple(cut_parts) if len(cut_parts) > 1 else (backbone,)


def croppable_fields(backbone: Net, cut_parts: Sequence[Net]) -> dict[str, FieldBounds]:
    """The receptive fields of the maps that leave the segments which can be computed on a part of the image.

    A segment can if all its inputs and outputs tile the image, and crops start at whole cells of every map inside it.
    """
    reach = receptive_fields(backbone, backbone.shapes())
    fields: dict[str, FieldBounds] = {backbone.inputs[0].name: reach[backbone.inputs[0].name]}
    for net in cut_parts:
        ends = [fields.get(value.name) for value in net.inputs] + [reach.get(name) for name in net.outputs]
        known = [field for field in ends if field is not None and field.tiles]
        inside = [reach[name].stride for node in net.nodes for name in node.outputs if name in reach]
        if len(known) == len(ends) and crops_align([field.stride for field in known], inside):
            fields.update((name, reach[name]) for name in net.outputs)
    del fields[backbone.inputs[0].name]
    return fields


def _needs_only_cuts(net: Net, available: set[str], later: list[str]) -> bool:
    """Whether later tensors need only cut maps and not the image, so that no layer is computed twice."""
    image = net.inputs[0].name
    return image not in _needed(net, available, later)


def _needed(net: Net, available: set[str], outputs: list[str]) -> set[str]:
    """Which of `available` the outputs depend on directly, not through another of `available`."""
    producers = net.producers()
    stack, visited = [name for name in outputs if name not in available], set()
    needed = set()
    while stack:
        for name in producers[stack.pop()].inputs:
            if name in available:
                needed.add(name)
            elif name in producers and name not in visited:
                visited.add(name)
                stack.append(name)
    return needed


def bottleneck(net: Net, reach: dict[str, FieldBounds], stride: int) -> str | None:
    """The last map of a stride through which everything after the maps of that stride passes."""
    maps = [node.outputs[0] for node in net.nodes if node.outputs[0] in reach and node.op in (*_LEARNED, *_MAP_ENDS)]
    return _last_bottleneck(net, maps, reach, Fraction(stride))


def parts(trunk: Net, features: list[str], nets: list[Net]) -> Parts:
    """A backbone that ends in `features`, and the rest of every net as a head. features: names used by all nets."""
    values = trunk.values()
    reach = receptive_fields(trunk, {name: value.shape for name, value in values.items()})
    backbone = subgraph(trunk, "backbone", trunk.inputs, features)
    heads = []
    for net in nets:
        used_features = _used_features(net, features)
        heads.append(
            subgraph(
                _without_feature_outputs(net, used_features),
                net.name,
                [values[name] for name in features if name in used_features],
                net.outputs,
            )
        )
    described = tuple(Feature(name, values[name].shape, reach.get(name)) for name in features)
    return Parts(backbone, described, tuple(heads))


def features(net: Net, names: Collection[str]) -> tuple[Feature, ...]:
    """Maps of a graph with their receptive fields, in the graph's order."""
    values = net.values()
    reach = receptive_fields(net, {name: value.shape for name, value in values.items()})
    return tuple(Feature(name, values[name].shape, reach.get(name)) for name in _ordered(net, set(names)))


def _without_feature_outputs(net: Net, features: set[str]) -> Net:
    """The graph with an Identity for each output that is also a feature: an ONNX output cannot be an input."""
    if not features & set(net.outputs):
        return net
    net = net.copy()
    for position, name in enumerate(net.outputs):
        if name in features:
            net.outputs[position] = net.fresh(f"{name}_output")
            net.nodes.append(Node("Identity", [name], [net.outputs[position]]))
    return net


def _used_features(net: Net, features: list[str]) -> set[str]:
    """The features that the outputs depend on without passing through another one."""
    producers = net.producers()
    stack, visited, used = list(net.outputs), set(), set()
    while stack:
        name = stack.pop()
        if name in features:
            used.add(name)
        elif name in producers and name not in visited:
            visited.add(name)
            stack.extend(producers[name].inputs)
    return used


def _deepest_map(net: Net, shapes: dict[str, Shape]) -> str | None:
    """The last map of the deepest stride before the first upsampling through which all later layers pass."""
    reach = receptive_fields(net, shapes)
    upsampling = next((node for node in net.nodes if _upsamples(node, reach)), None)
    nodes = net.nodes
    if upsampling is not None:
        before = _ancestors(net, {upsampling.inputs[0]})
        nodes = [node for node in net.nodes if id(node) in before]
    maps = [node.outputs[0] for node in nodes if node.outputs[0] in reach and node.op in (*_LEARNED, *_MAP_ENDS)]
    maps = [name for name in maps if reach[name].tiles] or maps  # of other maps, no part can be computed
    depth = max((reach[name].stride for name in maps), default=None)
    if depth is None or depth <= 1:
        return None
    return _last_bottleneck(net, maps, reach, depth)


def _last_bottleneck(net: Net, maps: list[str], reach: dict[str, FieldBounds], stride: Fraction) -> str | None:
    last = None
    for name in maps:
        if reach[name].stride == stride and name not in net.outputs and _is_bottleneck(net, name, maps, reach, stride):
            last = name
    return last


# the last operation of a map that other layers use is one of these, or a convolution
_MAP_ENDS = frozenset((
    "Relu", "LeakyRelu", "Clip", "HardSwish", "Add", "Mul", "Concat", "MaxPool", "AveragePool", "PRelu", "Sigmoid",
    "Elu", "Mish",
))  # fmt: skip


def _upsamples(node: Node, reach: dict[str, FieldBounds]) -> bool:
    before, after = reach.get(node.inputs[0] if node.inputs else ""), reach.get(node.outputs[0])
    return before is not None and after is not None and after.stride < before.stride


def _is_bottleneck(net: Net, name: str, maps: list[str], reach: dict[str, FieldBounds], depth: Fraction) -> bool:
    """Whether all learned layers after the maps of this depth, at least one, depend on them through `name` only."""
    before = _ancestors(net, {name})
    deep = {m for m in maps if reach[m].stride == depth}
    consumers = net.consumers()
    for node in net.nodes:
        if id(node) not in before or node.outputs[0] == name:
            continue
        if any(output in deep and id(c) not in before for output in node.outputs for c in consumers.get(output, [])):
            return False
    after = _descendants(net, name)
    unrelated = {
        output
        for node in net.nodes
        if id(node) not in before and id(node) not in after
        for output in node.outputs
        if output in deep
    }
    return not unrelated and any(node.op in _LEARNED for node in net.nodes if id(node) in after)


def _ancestors(net: Net, names: set[str]) -> set[int]:
    """Ids of the nodes that the tensors depend on, including the nodes that compute them."""
    producers = net.producers()
    stack, ids = list(names), set()
    while stack:
        node = producers.get(stack.pop())
        if node is not None and id(node) not in ids:
            ids.add(id(node))
            stack.extend(node.inputs)
    return ids


def _descendants(net: Net, name: str) -> set[int]:
    """Ids of the nodes that depend on a tensor."""
    tainted, ids = {name}, set()
    for node in net.nodes:
        if tainted & set(node.inputs):
            tainted.update(node.outputs)
            ids.add(id(node))
    return ids


def _ordered(net: Net, names: set[str]) -> list[str]:
    return [output for node in net.nodes for output in node.outputs if output in names]
