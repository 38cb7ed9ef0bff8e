"""Cut baked-in post-processing off where the family's decoder does it better, and keep it for proving equality.

What is cut would put boxes and scores into one tensor, which at int8 leaves no scores, and write the image's size into the
graph. Not here: which family a graph is (families.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_app.compiler.net import Net, Node, Shape, Value, subgraph


@dataclass(frozen=True, slots=True)
class Cut:
    """A graph without its tail, and the tail. raw: the tensors between both, as the tail takes them.

    Outputs of `net` are those of `raw`, some of them behind a Sigmoid that the decoder expects or that int8 needs.
    """

    net: Net
    tail: Net
    raw: tuple[str, ...]


def cut(net: Net, family: str) -> Cut | None:
    """Cut a graph of this family, or None where nothing is to be cut."""
    find = _FINDERS.get(family)
    shapes = net.shapes()
    found = find(net, shapes) if find else None
    if found is None:
        return None
    net = net.copy()
    raw = []
    for name, readable in found.named.items():
        raw.append(net.fresh(readable))
        net.rename(name, raw[-1])
    activated = {new for old, new in zip(found.named, raw) if old in found.activated}
    values = net.values()
    tail = subgraph(net, f"{net.name}-tail", [Value(n, values[n].dtype, values[n].shape) for n in raw], net.outputs)
    outputs = []
    short = net.copy()
    for name in raw:
        output = name
        if name in activated:
            output = short.fresh(f"{name}_sigmoid")
            short.nodes.append(Node("Sigmoid", [name], [output]))
        outputs.append(output)
    short.outputs = outputs
    short.declared = {}
    short.prune()
    return Cut(short, tail, tuple(raw))


@dataclass(frozen=True, slots=True)
class _Found:
    """named: the tensors to end in, each with a readable name. activated: those that get a Sigmoid."""

    named: dict[str, str]
    activated: frozenset[str] = frozenset()


def _fastestdet(net: Net, _: dict[str, Shape]) -> _Found | None:
    """Objectness, boxes and classes, before they are joined into one tensor."""
    last = net.producers().get(net.outputs[0])
    if len(net.outputs) != 1 or last is None or last.op != "Concat" or len(last.inputs) != 3:
        return None
    return _Found(dict(zip(last.inputs, ("objectness", "boxes", "classes"))))


def _yolo(net: Net, shapes: dict[str, Shape]) -> _Found | None:
    """v8, v11: the two convolutions of each stride before they are joined. v5, v7: each stride's convolution."""
    if any(len(shapes.get(name, ())) == 4 for name in net.outputs):
        return None  # exported with its grids already
    producers, consumers = net.producers(), net.consumers()
    learned = {name for name, node in producers.items() if node.op == "Conv" and len(shapes.get(name, ())) == 4}
    pairs = [
        node.inputs
        for node in net.nodes
        if node.op == "Concat" and node.attrs.get("axis") == 1 and len(node.inputs) == 2 and learned.issuperset(node.inputs)
        if {c.op for c in consumers.get(node.outputs[0], [])} == {"Reshape"}
    ]
    if pairs:
        named = {n: f"{kind}{i}" for i, pair in enumerate(pairs) for n, kind in zip(pair, ("boxes", "scores"))}
        return _Found(named, frozenset(pair[1] for pair in pairs))
    single = [
        name
        for name in producers
        if name in learned
        and [c.op for c in consumers.get(name, [])] == ["Reshape"]
        and len(shapes.get(consumers[name][0].outputs[0], ())) == 5
    ]
    return _Found({name: f"grid{i}" for i, name in enumerate(single)}, frozenset(single)) if single else None


_FINDERS: dict[str, Callable[[Net, dict[str, Shape]], _Found | None]] = {"fastestdet": _fastestdet, "yolo": _yolo}
