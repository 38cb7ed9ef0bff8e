"""Cut off non-maximum suppression in a graph: the head does it, with the thresholds of the file.

The graph is cut at a table of all boxes, through which everything passes on its way to the outputs. Such a table is
only used if the tail behind it can be cut off as well (tails/), which proves what its columns are: exporters change
boxes to corners, or multiply scores, before they suppress. Not here: end-to-end models that need no suppression.
Sources: ultralytics (`nms=True`), YOLOv5 to v7 (`--end2end`), TensorRT's plug-ins.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import helper

from edge_app.compiler.net import Net, Node
from edge_app.compiler.session import HostSession
from edge_app.errors import ModelError
from edge_app.heads._yolo_tables import runs

OPERATOR = "NonMaxSuppression"
_PLUGINS = ("EfficientNMS_TRT", "BatchedNMS_TRT", "BatchedNMSDynamic_TRT")  # boxes and scores are the first inputs
_LAST = 16  # tensors before the end that may be the table
_ANCHORS = (1, 3, 4, 5, 6)  # boxes of a cell
_LEAST_COLUMNS = 5


def without_plugin(model: onnx.ModelProto) -> tuple[str, dict[str, float]]:
    """Replace the outputs of a model that ends in TensorRT's suppression by the inputs of that, in place.

    Returns the operator, empty if there is none, and the options for a head.
    """
    plugin = next((node for node in model.graph.node if node.op_type in _PLUGINS), None)
    if plugin is None:
        return "", {}
    name = plugin.op_type
    attributes = {a.name: helper.get_attribute_value(a) for a in plugin.attribute}
    sources = list(plugin.input[:2])
    kept = _needed(model, sources)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=source) for source in sources)
    score, iou = (attributes.get(key) for key in ("score_threshold", "iou_threshold"))
    options = _options(score or attributes.get("scoreThreshold"), iou or attributes.get("iouThreshold"))
    return name, {**options, **({"class_aware": False} if attributes.get("class_agnostic") else {})}


def settings(net: Net, table: Net) -> dict[str, float]:
    """The options for a head, from the constants of NonMaxSuppression, and from what its boxes are computed of.

    table: the part of the graph that is kept. Exporters give the best score of each box, and move the boxes of each
    class apart by its number; if they do not move them, boxes suppress those of other classes.
    """
    nodes = [node for node in net.nodes if node.op == OPERATOR]
    if not nodes:
        return {}
    boxes, scores = nodes[0].inputs[:2]
    constants = [net.weights.get(name) for name in (*nodes[0].inputs[3:], "", "")[:2]]
    iou, score = (float(c.reshape(-1)[0]) if c is not None and c.size == 1 else None for c in constants)
    kept = {output for node in table.nodes for output in node.outputs}
    best = _shapes(_ending_at(net, [scores])).get(scores, ())[1:2] == (1,)
    agnostic = len(nodes) == 1 and best and "ArgMax" not in _operators(net, boxes, kept)
    return {**_options(score, iou), **({"class_aware": False} if agnostic else {})}


def tables(net: Net) -> Iterator[Net]:
    """The graph, ending at each tensor that may be a table of all boxes, from the last one. net: of a fixed size.

    Each table follows a second time with its boxes changed from corners to centers and sizes.
    """
    names = _passages(net)[-_LAST:]
    if not names:
        return
    part = _ending_at(net, names)
    height, width = net.inputs[0].shape[2:] if net.inputs[0].shape[1] == 3 else net.inputs[0].shape[1:3]
    counts = {n * sum(grid.cells for grid in grids) for grids in runs((width or 0, height or 0)) for n in _ANCHORS}
    for name, shape in reversed(list(_shapes(part).items())):
        if len(shape) == 3 and shape[0] == 1 and set(shape[1:]) & counts and min(shape[1:]) >= _LEAST_COLUMNS:
            table = _ending_at(net, [name])
            yield table
            yield _with_centers(table, shape, 2 if shape[1] in counts else 1)


def _options(score: float | None, iou: float | None) -> dict[str, float]:
    """Thresholds that are not given, or mean nothing, keep the defaults of the head."""
    found = {"score": score, "nms_iou": iou}
    return {name: round(float(value), 4) for name, value in found.items() if value is not None and 0 < value < 1}


def _operators(net: Net, name: str, kept: set[str]) -> set[str]:
    """The operators between the tensors that are kept and this one."""
    producers, stack = net.producers(), [name]
    visited, found = set[str](), set[str]()
    while stack:
        node = producers.get(name := stack.pop())
        if node is not None and name not in visited and name not in kept:
            visited.add(name)
            found.add(node.op)
            stack += node.inputs
    return found


def _passages(net: Net) -> list[str]:
    """The tensors through which every value passes on its way from the image to the outputs, in order.

    In topological order, these are the tensors after which no other one is still needed.
    """
    images = {value.name for value in net.inputs}
    live = _dependents(net, images)
    last_use: dict[str, int] = {}
    for position, node in enumerate(net.nodes):
        if node.outputs[0] in live:
            last_use.update(dict.fromkeys(node.inputs, position))
    last_use.update(dict.fromkeys(net.outputs, len(net.nodes)))
    pending, found = set(images), list[str]()
    for position, node in enumerate(net.nodes):
        if node.outputs[0] not in live:
            continue
        pending |= {name for name in node.outputs if name in last_use}
        pending = {name for name in pending if last_use.get(name, -1) > position}
        if len(pending) == 1:
            found += pending
    return list(dict.fromkeys(found))


def _dependents(net: Net, images: set[str]) -> set[str]:
    """The tensors that depend on the values of the image, not only on its shape, and lead to an output."""
    valued = set(images)
    for each in net.nodes:
        if each.op != "Shape" and valued.intersection(each.inputs):
            valued.update(each.outputs)
    producers = net.producers()
    stack, needed = list(net.outputs), set[str]()
    while stack:
        name = stack.pop()
        node = producers.get(name)
        if name not in valued or node is None or node.outputs[0] in needed:
            continue
        needed.update(node.outputs)
        stack += node.inputs
    return needed


def _ending_at(net: Net, names: list[str]) -> Net:
    part = net.copy()
    part.outputs, part.declared = names, {}
    part.prune()
    return part


def _with_centers(table: Net, shape: tuple[int, ...], axis: int) -> Net:
    """Boxes of x1, y1, x2, y2 become x, y, w, h. axis: of these values; scores follow them."""
    net = table.copy()
    (name,) = table.outputs
    parts = [net.fresh(f"{name}_{kind}") for kind in ("low", "high", "scores", "sum", "center", "size", "boxes")]
    low, high, scores, total, center, size, boxes = parts
    sizes, half = (net.fresh(f"{name}_{kind}") for kind in ("sizes", "half"))
    net.weights[sizes] = np.array([2, 2, shape[axis] - 4], np.int64)
    net.weights[half] = np.array(0.5, np.float32)
    net.nodes += [
        Node("Split", [name, sizes], [low, high, scores], {"axis": axis}),
        Node("Add", [low, high], [total]),
        Node("Mul", [total, half], [center]),
        Node("Sub", [high, low], [size]),
        Node("Concat", [center, size, scores], [boxes], {"axis": axis}),
    ]
    net.outputs = [boxes]
    return net


def _shapes(part: Net) -> Mapping[str, tuple[int, ...]]:
    """The shapes of the outputs, found by running the graph: exporters compute them in the graph."""
    (image,) = part.inputs
    model = part.to_model() if all(name in part.values() for name in part.outputs) else _untyped(part)
    try:
        session = HostSession(model.SerializeToString(), optimize=False)
        values = session.run(np.zeros([n or 1 for n in image.shape], image.dtype))
    except ModelError:
        return {}
    return {name: value.shape for name, value in zip(session.outputs, values)}


def _untyped(part: Net) -> onnx.ModelProto:
    """The graph with outputs whose types are not declared: onnxruntime infers them."""
    names, part = part.outputs, part.copy()
    part.outputs = []
    model = part.to_model()
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return model


def _needed(model: onnx.ModelProto, names: list[str]) -> list[onnx.NodeProto]:
    """Copies of the nodes that compute these tensors, in the order of the graph."""
    positions = {output: i for i, node in enumerate(model.graph.node) for output in node.output}
    stack, kept = list(names), set[int]()
    while stack:
        position = positions.get(stack.pop())
        if position is not None and position not in kept:
            kept.add(position)
            stack += model.graph.node[position].input
    nodes = [onnx.NodeProto() for _ in kept]
    for node, position in zip(nodes, sorted(kept)):
        node.CopyFrom(model.graph.node[position])
    return nodes
