"""Bring a graph from any framework into canonical form: folded, without dead nodes or fixed image sizes.

Not here: reading (onnx_file.py), opsets (opset.py), channel shuffles (data_movement.py), the input layer (frontend.py).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx

from edge_app.compiler import data_movement, output_layout, projections, transposes
from edge_app.compiler.net import Net, Node, Shape, from_model
from edge_app.compiler.output_layout import Layout
from edge_app.compiler.session import HostSession
from edge_app.errors import ModelError, foreign_message


def canonicalize(net: Net) -> Net:
    """An equivalent graph in canonical form. net: with known input shapes. Raises ModelError if it cannot be folded."""
    net = _folded(_without_cast_like(net))
    for rewrite in (
        _no_identities,
        transposes.cancel,
        _no_identities,
        _explicit_pads,
        _plain_softmax,
        _separate_convolutions,
        projections.separate,
        _no_pads,
        _scaled_resizes,
    ):
        rewrite(net, net.shapes())
        net.prune()
    data_movement.rewrite(net, net.shapes())
    _no_identities(net, {})
    net.prune()
    return net


def with_head_layout(net: Net) -> tuple[Net, tuple[Layout, ...]]:
    """`net` with outputs as the heads read them, and the layout that each one had (output_layout.py)."""
    net = net.copy()
    layouts = output_layout.normalize(net)
    _no_identities(net, {})
    net.prune()
    return net, layouts


def _without_cast_like(net: Net) -> Net:
    """Fold every CastLike of a constant. ONNX defines some operators, such as Gelu, as functions that contain it."""
    casts = [node for node in net.nodes if node.op == "CastLike" and node.inputs[0] in net.weights]
    if not casts:
        return net
    values = net.values()
    dtypes = {name: array.dtype for name, array in net.weights.items()} | {n: v.dtype for n, v in values.items()}
    net = net.copy()
    for node in net.nodes:
        if node.op == "CastLike" and node.inputs[0] in net.weights and node.inputs[1] in dtypes:
            net.weights[node.outputs[0]] = net.weights[node.inputs[0]].astype(dtypes[node.inputs[1]])
    net.nodes = [node for node in net.nodes if node.outputs[0] not in net.weights]
    return net


def _folded(net: Net) -> Net:
    """Constants and BatchNorm folded by onnxslim."""
    import onnxslim

    model = net.to_model()
    try:
        slim = onnxslim.slim(model)
    except Exception as exc:  # onnxslim's passes raise many types
        raise ModelError(f"{net.name}: cannot be simplified: {foreign_message(exc)}; expected a valid graph") from exc
    folded = from_model(slim, net.name)
    folded.declared = {}
    _recompute_integers(net, folded)
    return folded


def _recompute_integers(net: Net, folded: Net) -> None:
    """Replace the integer constants that onnxslim has folded by the values that onnxruntime computes.

    onnxslim 0.1.98 swaps the edges of an asymmetric Pad whose pads PyTorch computes from shapes.
    """
    computed = {output for node in net.nodes for output in node.outputs if node.op != "Constant"} - set(net.outputs)
    names = [n for n in folded.weights if n in computed and folded.weights[n].dtype.kind == "i"]
    if not names or any(None in value.shape for value in net.inputs):
        return
    model = net.to_model()
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = HostSession(model.SerializeToString(), optimize=False)
    feeds = {value.name: np.zeros([n or 1 for n in value.shape], value.dtype) for value in net.inputs}
    folded.weights.update(zip(session.outputs, session.feed({name: feeds[name] for name in session.inputs})))


def _no_identities(net: Net, _: dict[str, Shape]) -> None:
    """Remove Identity and Dropout, except an Identity that connects an input directly to an output."""
    input_names = {value.name for value in net.inputs}
    for node in list(net.nodes):
        if node.op not in ("Identity", "Dropout"):
            continue
        source, output = node.inputs[0], node.outputs[0]
        if output not in net.outputs:
            net.redirect(output, source)
        elif source not in net.outputs and source not in input_names and source not in net.weights:
            net.nodes.remove(node)
            net.rename(source, output)
            continue
        else:
            continue
        net.nodes.remove(node)


def _plain_softmax(net: Net, shapes: dict[str, Shape]) -> None:
    """Replace Flatten - Softmax - Reshape, which opset conversion writes, by a Softmax on the last axis."""
    producers = net.producers()
    for node in net.nodes:
        softmax = producers.get(node.inputs[0]) if node.op == "Reshape" else None
        flatten = producers.get(softmax.inputs[0]) if softmax is not None and softmax.op == "Softmax" else None
        if flatten is None or flatten.op != "Flatten":
            continue
        start = shapes.get(flatten.inputs[0], ())
        if shapes.get(node.outputs[0]) == start and flatten.attrs.get("axis", 1) == len(start) - 1:
            node.op, node.inputs, node.attrs = "Softmax", [flatten.inputs[0]], {"axis": len(start) - 1}


def _separate_convolutions(net: Net, _: dict[str, Shape]) -> None:
    """Replace a convolution followed by Split by several: class scores and boxes must not share an INT8 scale."""
    consumers = net.consumers()
    for conv in list(net.nodes):
        after = consumers.get(conv.outputs[0], []) if conv.op == "Conv" and conv.attrs.get("group", 1) == 1 else []
        if len(after) != 1 or after[0].op != "Split" or conv.outputs[0] in net.outputs:
            continue
        split = after[0]
        weights = net.weights.get(conv.inputs[1])
        sizes = net.weights.get(split.inputs[1]) if len(split.inputs) > 1 else None
        if weights is None or sizes is None or split.attrs.get("axis", 0) != 1:
            continue
        ends = np.cumsum(sizes)
        for output, end, size in zip(split.outputs, ends, sizes):
            part = slice(int(end - size), int(end))
            inputs = [conv.inputs[0]]
            for name in conv.inputs[1:]:
                inputs.append(net.fresh(f"{name}_{part.start}"))
                net.weights[inputs[-1]] = net.weights[name][part]
            net.nodes.append(Node("Conv", inputs, [output], dict(conv.attrs)))
        net.nodes.remove(split)
        net.nodes.remove(conv)


def _explicit_pads(net: Net, shapes: dict[str, Shape]) -> None:
    """Replace auto_pad, which TensorFlow's `same` padding becomes, by explicit pads for this image size."""
    for node in net.nodes:
        mode = node.attrs.get("auto_pad") if node.op in ("Conv", "MaxPool", "AveragePool") else None
        weights = net.weights.get(node.inputs[1]) if node.op == "Conv" else None
        kernel = node.attrs.get("kernel_shape") or (list(weights.shape[2:]) if weights is not None else None)
        size = shapes.get(node.inputs[0], ())[2:]
        if mode in ("SAME_UPPER", "SAME_LOWER") and kernel is not None and size and None not in size:
            dims = range(len(kernel))
            steps, spread = (node.attrs.get(key, [1] * len(kernel)) for key in ("strides", "dilations"))
            needed = [(-(-(size[i] or 0) // steps[i]) - 1) * steps[i] + (kernel[i] - 1) * spread[i] + 1 for i in dims]
            totals = [max(0, needed[i] - (size[i] or 0)) for i in dims]
            less, more = [total // 2 for total in totals], [-(-total // 2) for total in totals]
            node.attrs["pads"] = [*less, *more] if mode == "SAME_UPPER" else [*more, *less]
            del node.attrs["auto_pad"]
        elif mode in ("NOTSET", "VALID"):
            del node.attrs["auto_pad"]
            if mode == "VALID":
                node.attrs.pop("pads", None)


def _no_pads(net: Net, _: dict[str, Shape]) -> None:
    """Fold a zero Pad into the convolution or average pooling that follows."""
    producers, consumers = net.producers(), net.consumers()
    for node in net.nodes:
        pad = producers.get(node.inputs[0]) if node.op in ("Conv", "AveragePool") else None
        if pad is None or pad.op != "Pad" or len(consumers[pad.outputs[0]]) != 1:
            continue
        amounts = net.weights.get(pad.inputs[1])
        value = net.weights.get(pad.inputs[2]) if len(pad.inputs) > 2 and pad.inputs[2] else np.zeros(1)
        own = list(node.attrs.get("pads", [0, 0, 0, 0]))
        if pad.attrs.get("mode", "constant") != "constant" or amounts is None or value is None or np.any(value):
            continue
        counted = node.op == "Conv" or not any(own) or node.attrs.get("count_include_pad", 0)
        if len(amounts) != 8 or any(amounts[[0, 1, 4, 5]]) or len(own) != 4 or np.any(amounts < 0) or not counted:
            continue
        node.attrs["pads"] = [int(a + b) for a, b in zip(own, amounts[[2, 3, 6, 7]])]
        if node.op == "AveragePool":
            node.attrs["count_include_pad"] = 1
        node.inputs[0] = pad.inputs[0]


def _scaled_resizes(net: Net, shapes: dict[str, Shape]) -> None:
    """Replace Resize to a size by Resize by a factor, for any image size. Drop attributes that have no effect."""
    for node in net.nodes:
        if node.op != "Resize":
            continue
        for name in ("cubic_coeff_a", "extrapolation_value", "exclude_outside"):
            if node.attrs.get("mode") != "cubic":
                node.attrs.pop(name, None)
        if node.attrs.get("mode") != "nearest":
            node.attrs.pop("nearest_mode", None)
        sizes = net.weights.get(node.inputs[3]) if len(node.inputs) > 3 else None
        start = shapes.get(node.inputs[0], ())
        if sizes is None or len(start) != len(sizes) or None in start:
            continue
        name = net.fresh(f"{node.outputs[0]}_scales")
        net.weights[name] = np.array([int(n) / (s or 1) for n, s in zip(sizes, start)], np.float32)
        node.inputs = [node.inputs[0], "", name]


def set_input_size(net: Net, width: int, height: int) -> Net:
    """The same graph for another image size. Raises ModelError if it contains a fixed size."""
    net = net.copy()
    (value,) = net.inputs
    net.inputs = [replace(value, shape=(1, value.shape[1], height, width))]
    net.declared = {}
    try:
        HostSession(net.serialize()).run(np.zeros((1, value.shape[1] or 3, height, width), np.float32))
    except ModelError as exc:
        raise ModelError(f"{net.name}: cannot take {width}x{height} images: {exc}") from exc
    return net


def any_size(net: Net) -> Net:
    """The same graph with a free image size; unchanged if it contains a fixed size."""
    free = net.copy()
    free.inputs = [
        replace(v, shape=(1, None, None, 3) if v.dtype == "uint8" else (1, v.shape[1], None, None)) for v in net.inputs
    ]
    values = free.values()
    return free if all(name in values for name in free.outputs) else net
