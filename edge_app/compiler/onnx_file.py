"""Read an ONNX file of any exporter: old and new opsets, local functions, weights in other files, float16.

Not here: the editable graph (net.py), weights in other files (external_data.py), opsets (opset.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnx import AttributeProto, inliner

from edge_app.backends import MAX_GRAPH
from edge_app.compiler import external_data, float_types, opset, suppression
from edge_app.compiler.net import Net, from_model
from edge_app.errors import ModelError, foreign_message, foreign_text
from edge_app.options.files import read_regular

_IR_VERSION = 8
_ELEMENTS = {
    TYPE: name
    for name, TYPE in onnx.TensorProto.DataType.items()
    if name in ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "UINT8", "INT8", "INT32", "INT64")
}


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A file as published, and its graph.

    data: one ONNX file that contains all weights, for onnxruntime; in float32 if the published file is in float16.
    widened: whether it is. suppression: the operator of another domain that selected the boxes, which `net` lacks;
    suppression_options: for a head, from its attributes.
    """

    data: bytes
    net: Net
    widened: bool
    suppression: str = ""
    suppression_options: Mapping[str, float] = field(default_factory=dict)


def read(path: Path) -> Net:
    """The graph of an ONNX file. Raises ModelError as `load` does."""
    return load(path).net


def load(path: Path, data: bytes | None = None) -> OnnxFile:
    """Read an ONNX file of opset 7 to 22. data: its bytes, if they are already read.

    Raises ModelError for a file that is truncated, has no graph or no image input, or uses another opset, custom
    operators or control flow; also for weights in another file that is missing, truncated or outside the folder.
    """
    if data is None:
        data = _bytes(path)
    model = _parsed(data, path)
    version = opset.version_of(model)
    opset.check(version, path)
    repaired = _repair_text(model)
    if external_data.embed(model, path, MAX_GRAPH - len(data)) or repaired:
        data = model.SerializeToString()
    model = _flat(model, path)
    plugin, its_options = suppression.without_plugin(model)
    _check_nodes(model, version, path)
    _check_interface(model, path)
    net = from_model(opset.converted(model, path), path.stem)
    if not net.nodes:
        raise ModelError(f"{path}: no operation leads to an output; expected an ONNX model")
    widened = float_types.widened(net)
    if widened is not None:
        return OnnxFile(widened.to_model().SerializeToString(), widened, True, plugin, its_options)
    return OnnxFile(data, net, False, plugin, its_options)


def _bytes(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_GRAPH)
    except OSError as exc:
        raise ModelError(f"{path}: cannot be read: {exc.strerror}; expected an ONNX file") from exc


def _parsed(data: bytes, path: Path) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as exc:  # protobuf's exceptions differ between its implementations
        raise ModelError(f"{path}: is not an ONNX file, or is truncated; expected a complete ONNX model") from exc
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path}: contains no graph; expected an ONNX model")
    if not model.graph.output:
        raise ModelError(f"{path}: the graph has no outputs; expected at least one")
    weights = {tensor.name for tensor in model.graph.initializer}
    for position in reversed(range(len(model.graph.input))):
        if model.graph.input[position].name in weights:
            del model.graph.input[position]
    model.ir_version = max(model.ir_version, _IR_VERSION)
    return model


def _repair_text(message: Any) -> bool:
    """Replace text that is not UTF-8, which protobuf returns as bytes. Returns whether there was any."""
    repaired = False
    for entry, value in message.ListFields():
        is_single = isinstance(value, (str, bytes)) or hasattr(value, "ListFields")
        values = [value] if is_single else value
        if entry.type == entry.TYPE_MESSAGE:
            for each in values:
                repaired = _repair_text(each) or repaired
        elif entry.type == entry.TYPE_STRING and any(isinstance(each, bytes) for each in values):
            texts = [each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in values]
            if is_single:
                setattr(message, entry.name, texts[0])
            else:
                value[:] = texts
            repaired = True
    return repaired


def _flat(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model without local functions, and without branches whose condition is constant."""
    try:
        if model.functions:
            model = inliner.inline_local_functions(model)
        if any(_branches(model)):
            import onnxslim

            model = onnxslim.slim(model)
    except Exception as exc:  # both libraries raise many types
        raise ModelError(f"{path}: cannot be simplified: {foreign_message(exc)}; expected a valid graph") from exc
    if op := next(_branches(model), None):
        raise ModelError(f"{path}: contains {op}: control flow is not supported; expected a graph without it")
    return model


def _branches(model: onnx.ModelProto) -> Iterator[str]:
    """The operators that contain graphs: If, Loop, Scan."""
    graphs = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
    return (node.op_type for node in model.graph.node if any(a.type in graphs for a in node.attribute))


def _check_nodes(model: onnx.ModelProto, version: int, path: Path) -> None:
    """Every operator belongs to the file's opset."""
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            raise ModelError(
                f"{path}: operator '{foreign_text(node.op_type)}' of the domain '{foreign_text(node.domain)}'; "
                "expected operators of ONNX: custom ones are not supported"
            )
        node.domain = ""
        if not onnx.defs.has(node.op_type, version, ""):
            raise ModelError(
                f"{path}: operator '{foreign_text(node.op_type)}' is not in opset {version}; expected operators of ONNX"
            )


def _check_interface(model: onnx.ModelProto, path: Path) -> None:
    """Every input is a tensor. A head in a model folder may have several, which other graphs compute."""
    if not model.graph.input:
        raise ModelError(f"{path}: found the inputs none; expected one image")
    for info in model.graph.input:
        kind = info.type.tensor_type.elem_type
        if kind not in _ELEMENTS:
            names = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
            found = names.get(kind, f"of the unknown type {kind}") if kind else "not a tensor"
            raise ModelError(
                f"{path}: input '{foreign_text(info.name)}' is {found}; expected an image of float32, float16 or uint8"
            )
