"""Convert a float16 or bfloat16 graph to float32: CPUs compute in it, and the NPU converter expects it.

float16 weights are exact in float32. Values between layers are rounded less than in the published file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto, numpy_helper

from edge_app.compiler.net import Net, Node

_NARROW = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
_DOUBLE = {"float64": TensorProto.DOUBLE}  # only if the image is float64: other graphs may use it for scalars


def widened(net: Net) -> Net | None:
    """The graph with all float16 and bfloat16 tensors in float32; None if it has none.

    A graph whose image is float64 is converted too.
    """
    kinds = _NARROW | (_DOUBLE if any(value.dtype in _DOUBLE for value in net.inputs) else {})
    numbers = {int(number) for number in kinds.values()}
    found = {value.dtype for value in net.inputs} | {array.dtype.name for array in net.weights.values()}
    if not found & set(kinds) and not any(_casts(node, numbers) for node in net.nodes):
        return None
    net = net.copy()
    net.inputs = [replace(value, dtype="float32") if value.dtype in kinds else value for value in net.inputs]
    net.declared = {
        name: replace(value, dtype="float32") if value.dtype in kinds else value for name, value in net.declared.items()
    }
    net.weights = {
        name: array.astype(np.float32) if array.dtype.name in kinds else array for name, array in net.weights.items()
    }
    for node in net.nodes:
        node.attrs = {name: _widened(value, name, numbers) for name, value in node.attrs.items()}
    _drop_casts(net)
    return net


def _casts(node: Node, numbers: set[int]) -> bool:
    return any(_widened(value, name, numbers) is not value for name, value in node.attrs.items())


def _widened(value: Any, name: str, numbers: set[int]) -> Any:
    """An attribute in float32, if it is the type of a Cast or of random numbers, or a tensor."""
    if name in ("to", "dtype") and value in numbers:
        return int(TensorProto.FLOAT)
    if isinstance(value, TensorProto) and value.data_type in numbers:
        return numpy_helper.from_array(numpy_helper.to_array(value).astype(np.float32), value.name)
    return value


def _drop_casts(net: Net) -> None:
    """Remove the Casts from float32 to float32 that are left."""
    values = net.values()
    for node in list(net.nodes):
        source = values.get(node.inputs[0]) if node.op == "Cast" else None
        if source is not None and source.dtype == "float32" and node.attrs["to"] == TensorProto.FLOAT:
            if node.outputs[0] in net.outputs:
                node.op, node.attrs = "Identity", {}
                continue
            net.nodes.remove(node)
            net.redirect(node.outputs[0], node.inputs[0])
