"""Cut post-processing off the end of a graph if the family's decoder does it, and keep it for the equality check.

Such tails join boxes and scores into one tensor, which destroys the scores in INT8, and fix the image size. Not here:
recognizing the family (families.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge_app.compiler.net import Net, Shape, subgraph
from edge_app.heads.ultraface import priors


@dataclass(frozen=True, slots=True)
class Cut:
    """A graph without its tail, and the tail, whose inputs are the outputs of `net`, in order.

    options: for the family's decoder.
    """

    net: Net
    tail: Net
    options: dict[str, str]


def cut(net: Net, family: str) -> Cut | None:
    """Cut a graph of this family; None if it has no such tail."""
    find_cut = _FINDERS.get(family)
    cut_names = find_cut(net, net.shapes()) if find_cut else None
    if cut_names is None:
        return None
    net = net.copy()
    outputs = []
    for name, readable in cut_names.items():
        outputs.append(net.fresh(readable))
        net.rename(name, outputs[-1])
    values = net.values()
    tail = subgraph(net, f"{net.name}-tail", [values[name] for name in outputs], net.outputs)
    short = net.copy()
    short.outputs, short.declared = outputs, {}
    short.prune()
    return Cut(short, tail, _OPTIONS.get(family, {}))


_CutNames = dict[str, str]  # the tensors to cut at, each with a readable name


def _fastestdet(net: Net, _: dict[str, Shape]) -> _CutNames | None:
    """Objectness, boxes and classes, before they are joined into one tensor."""
    last = net.producers().get(net.outputs[0])
    if len(net.outputs) != 1 or last is None or last.op != "Concat" or len(last.inputs) != 3:
        return None
    return dict(zip(last.inputs, ("objectness", "boxes", "classes")))


def _yolo(net: Net, shapes: dict[str, Shape]) -> _CutNames | None:
    """v8, v11: the two convolutions of each stride before they are joined. v5, v7: the convolution of each stride."""
    if any(len(shapes.get(name, ())) == 4 for name in net.outputs):
        return None  # exported without decoding
    producers, consumers = net.producers(), net.consumers()
    learned = {name for name, node in producers.items() if node.op == "Conv" and len(shapes.get(name, ())) == 4}
    pairs = [
        node.inputs
        for node in net.nodes
        if node.op == "Concat"
        and node.attrs.get("axis") == 1
        and len(node.inputs) == 2
        and learned.issuperset(node.inputs)
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


def _ultraface(net: Net, shapes: dict[str, Shape]) -> _CutNames | None:
    """Class logits and deltas of all maps, if the graph decodes them with the priors of the decoder."""
    producers = net.producers()
    softmax = [name for name in net.outputs if name in producers and producers[name].op == "Softmax"]
    height, width = net.inputs[0].shape[2:]
    expected = priors((width or 0, height or 0))
    constants = [w[0] for w in net.weights.values() if w.shape == (1, len(expected), 2)]
    halves = (expected[:, :2], expected[:, 2:])
    if len(softmax) != 1 or not all(any(np.allclose(c, half, atol=1e-6) for c in constants) for half in halves):
        return None
    boxes = next(name for name in net.outputs if name not in softmax)
    stack, deltas = [boxes], []
    while stack:
        node = producers.get(stack.pop())
        if node is None:
            continue
        if node.op == "Concat" and node.attrs.get("axis") == 1 and shapes.get(node.outputs[0]) == (1, len(expected), 4):
            deltas.append(node.outputs[0])
            continue
        stack.extend(node.inputs)
    return {producers[softmax[0]].inputs[0]: "logits", deltas[0]: "deltas"} if len(set(deltas)) == 1 else None


_OPTIONS = {"ultraface": {"boxes": "deltas"}}
_FINDERS: dict[str, Callable[[Net, dict[str, Shape]], _CutNames | None]] = {
    "fastestdet": _fastestdet,
    "yolo": _yolo,
    "ultraface": _ultraface,
}
