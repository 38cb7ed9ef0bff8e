"""Where to cut FastestDet and UltraFace. Not here: YOLO (yolo.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_app.compiler.net import Net
from edge_app.compiler.tails.branches import CutPoints
from edge_app.heads.ultraface import priors


def fastestdet(net: Net, _: dict[str, Any]) -> CutPoints | None:
    """Objectness, boxes and classes, before they are joined into one tensor."""
    last = net.producers().get(net.outputs[0])
    if len(net.outputs) != 1 or last is None or last.op != "Concat" or len(last.inputs) != 3:
        return None
    return CutPoints(dict(zip(last.inputs, ("objectness", "boxes", "classes"))))


def ultraface(net: Net, _: dict[str, Any]) -> CutPoints | None:
    """Class logits and deltas of all maps, if the graph decodes them with the priors of the decoder."""
    producers, shapes = net.producers(), net.shapes()
    softmax = [name for name in net.outputs if name in producers and producers[name].op == "Softmax"]
    height, width = net.inputs[0].shape[2:]
    expected = priors((width or 0, height or 0))
    constants = [w[0] for w in net.weights.values() if w.shape == (1, len(expected), 2)]
    halves = (expected[:, :2], expected[:, 2:])
    if len(softmax) != 1 or not all(any(np.allclose(c, half, atol=1e-6) for c in constants) for half in halves):
        return None
    stack, deltas = [name for name in net.outputs if name not in softmax][:1], []
    while stack:
        node = producers.get(stack.pop())
        if node is None:
            continue
        if node.op == "Concat" and node.attrs.get("axis") == 1 and shapes.get(node.outputs[0]) == (1, len(expected), 4):
            deltas.append(node.outputs[0])
            continue
        stack.extend(node.inputs)
    if len(set(deltas)) != 1:
        return None
    return CutPoints({producers[softmax[0]].inputs[0]: "logits", deltas[0]: "deltas"}, {"boxes": "deltas"})
