"""Weights that an ONNX file keeps in other files ("external data"): found inside its folder, checked, embedded.

The format: "External Data" in the documentation of ONNX. Not here: writing such files; compiled models have none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import AttributeProto, TensorProto, helper

from edge_app.errors import ModelError, foreign_text
from edge_app.options.files import read_regular


def embed(model: onnx.ModelProto, path: Path, max_bytes: int) -> bool:
    """Move weights from other files into the model. Returns whether there were any.

    path: of the model. max_bytes: for all other files together; each is read once. Raises ModelError for a file that is
    missing, outside the model's folder, no regular file, too large or too short.
    """
    stored = [tensor for tensor in _tensors(model) if tensor.data_location == TensorProto.EXTERNAL]
    where = {id(tensor): {entry.key: entry.value for entry in tensor.external_data} for tensor in stored}
    for location in dict.fromkeys(where[id(tensor)].get("location", "") for tensor in stored):
        data = _read(path, location, max_bytes)
        max_bytes -= len(data)
        for tensor in stored:
            if where[id(tensor)].get("location", "") == location:
                _embed(tensor, where[id(tensor)], data, f"{path}: external data '{foreign_text(location)}'")
        del data  # before the next file is read
    return bool(stored)


def _read(path: Path, location: str, max_bytes: int) -> bytes:
    shown = f"{path}: external data '{foreign_text(location)}'"
    parts = Path(location).parts
    if not location or "\0" in location or Path(location).is_absolute() or ".." in parts:
        raise ModelError(f"{shown}: is not inside the model's folder; expected a file beside the model")
    try:
        return read_regular(path.parent / location, max_bytes, inside=path.parent)
    except OSError as exc:
        raise ModelError(f"{shown}: cannot be read: {exc.strerror}; expected a file beside the model") from exc


def _embed(tensor: TensorProto, entries: dict[str, str], data: bytes, where: str) -> None:
    offset, length = (_number(entries.get(key), where, key) for key in ("offset", "length"))
    expected = _size(tensor, where)
    start = offset or 0
    if length is not None and length != expected:
        raise ModelError(f"{where}: '{foreign_text(tensor.name)}' has {length} bytes; expected {expected} by its shape")
    if start + expected > len(data):
        raise ModelError(f"{where}: is truncated: found {len(data)} bytes; expected at least {start + expected}")
    tensor.raw_data = data[start : start + expected]
    tensor.data_location = TensorProto.DEFAULT
    del tensor.external_data[:]


def _size(tensor: TensorProto, where: str) -> int:
    """Bytes of a tensor, by its shape and type."""
    try:
        bits = _BITS.get(int(tensor.data_type)) or helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
    except (KeyError, TypeError, ValueError) as exc:
        raise ModelError(f"{where}: '{foreign_text(tensor.name)}' has an unknown type; expected numbers") from exc
    count = 1
    for n in tensor.dims:
        count *= n
    if count < 0 or tensor.data_type == TensorProto.STRING:
        raise ModelError(f"{where}: '{foreign_text(tensor.name)}' has an invalid shape or type; expected numbers")
    return -(-count * bits // 8)


_BITS = {int(TensorProto.INT4): 4, int(TensorProto.UINT4): 4}  # two in one byte


def _number(text: str | None, where: str, key: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ModelError(f"{where}: {key}: found '{foreign_text(text)}'; expected a number of bytes")
    return int(text)


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor of the model: initializers and attributes, those of functions and inner graphs included."""
    graphs = [model.graph]
    nodes = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            nodes.extend(graph.node)
        while nodes:
            for attribute in nodes.pop().attribute:
                if attribute.type == AttributeProto.TENSOR:
                    yield attribute.t
                elif attribute.type == AttributeProto.TENSORS:
                    yield from attribute.tensors
                elif attribute.type == AttributeProto.GRAPH:
                    graphs.append(attribute.g)
                elif attribute.type == AttributeProto.GRAPHS:
                    graphs.extend(attribute.graphs)
