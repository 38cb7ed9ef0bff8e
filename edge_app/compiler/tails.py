"""Cut baked-in post-processing off where the family's decoder does it better, and keep it for proving equality.

What is cut would put boxes and scores into one tensor, which at int8 leaves no scores, and write the image's size into the
graph. Not here: which family a graph is (families.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_app.compiler.net import Net, Shape, subgraph


@dataclass(frozen=True, slots=True)
class Cut:
    """A graph without its tail, and the tail: its inputs are the outputs of `net`, in order."""

    net: Net
    tail: Net


def cut(net: Net, family: str) -> Cut | None:
    """Cut a graph of this family, or None where nothing is to be cut."""
    find = _FINDERS.get(family)
    found = find(net, net.shapes()) if find else None
    if found is None:
        return None
    net = net.copy()
    outputs = []
    for name, readable in found.items():
        outputs.append(net.fresh(readable))
        net.rename(name, outputs[-1])
    values = net.values()
    tail = subgraph(net, f"{net.name}-tail", [values[name] for name in outputs], net.outputs)
    short = net.copy()
    short.outputs, short.declared = outputs, {}
    short.prune()
    return Cut(short, tail)


_Found = dict[str, str]  # the tensors to end in, each with a readable name


def _fastestdet(net: Net, _: dict[str, Shape]) -> _Found | None:
    """Objectness, boxes and classes, before they are joined into one tensor."""
    last = net.producers().get(net.outputs[0])
    if len(net.outputs) != 1 or last is None or last.op != "Concat" or len(last.inputs) != 3:
        return None
    return dict(zip(last.inputs, ("objectness", "boxes", "classes")))


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
        return {n: f"{kind}{i}" for i, pair in enumerate(pairs) for n, kind in zip(pair, ("boxes", "scores"))}
    single = [
        name
        for name in producers
        if name in learned
        and [c.op for c in consumers.get(name, [])] == ["Reshape"]
        and len(shapes.get(consumers[name][0].outputs[0], ())) == 5
    ]
    return {name: f"grid{i}" for i, name in enumerate(single)} or None


_FINDERS: dict[str, Callable[[Net, dict[str, Shape]], _Found | None]] = {"fastestdet": _fastestdet, "yolo": _yolo}
