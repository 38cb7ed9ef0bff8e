"""ONNX operators without weights as torch functions. Needs torch.

Constants are numpy arrays; other inputs are tensors. Not here: layers with weights (network.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edge_app.compiler.net import Node
from edge_app.errors import ModelError, foreign_text

Values = Sequence[Any]  # of the node's inputs: tensors, arrays of constants, None where one is omitted


def run(node: Node, values: Values) -> list[Tensor]:
    """The outputs of one node. Raises ModelError for an operator that is not known."""
    if node.op not in _FUNCTIONS:
        known = ", ".join(sorted(_FUNCTIONS))
        raise ModelError(f"layer '{foreign_text(node.outputs[0])}' is {foreign_text(node.op)}; expected one of {known}")
    found = _FUNCTIONS[node.op](node, values)
    return list(found) if isinstance(found, (list, tuple)) else [found]


def supported(op: str) -> bool:
    return op in _FUNCTIONS


def _tensor(value: Any) -> Any:
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value


def _binary(function: Callable[[Any, Any], Tensor]) -> Callable[[Node, Values], Tensor]:
    return lambda _, values: function(_tensor(values[0]), _tensor(values[1]))


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[Node, Values], Tensor]:
    return lambda _, values: function(values[0])


def _bound(values: Values, position: int) -> float | None:
    value = values[position] if len(values) > position else None
    return None if value is None else float(np.asarray(value).reshape(-1)[0])


def _clip(_: Node, values: Values) -> Tensor:
    low, high = _bound(values, 1), _bound(values, 2)
    return torch.clamp(values[0], low, high)


def _pool(node: Node, values: Values) -> Tensor:
    kernel = list(node.attrs["kernel_shape"])
    strides, pads = list(node.attrs.get("strides", [1, 1])), list(node.attrs.get("pads", [0, 0, 0, 0]))
    ceil = bool(node.attrs.get("ceil_mode", 0))
    image, largest = values[0], node.op == "MaxPool"
    counted = bool(node.attrs.get("count_include_pad", 0))
    if pads[:2] != pads[2:]:
        image = F.pad(image, (pads[1], pads[3], pads[0], pads[2]), value=-torch.inf if largest else 0.0)
        pads = [0, 0, 0, 0]
    if largest:
        return F.max_pool2d(image, kernel, strides, pads[:2], ceil_mode=ceil)
    return F.avg_pool2d(image, kernel, strides, pads[:2], ceil_mode=ceil, count_include_pad=counted)


def _reduce_mean(node: Node, values: Values) -> Tensor:
    axes = node.attrs.get("axes") or [int(n) for n in np.asarray(values[1]).reshape(-1)]
    return values[0].mean(dim=tuple(axes), keepdim=bool(node.attrs.get("keepdims", 1)))


def _resize(node: Node, values: Values) -> Tensor:
    scales = [float(n) for n in np.asarray(values[2]).reshape(-1)[2:]]
    if node.attrs.get("mode", "nearest") == "nearest":
        return F.interpolate(values[0], scale_factor=tuple(scales), mode="nearest")
    aligned = node.attrs.get("coordinate_transformation_mode") == "align_corners"
    return F.interpolate(values[0], scale_factor=tuple(scales), mode="bilinear", align_corners=aligned)


def _reshape(_: Node, values: Values) -> Tensor:
    wanted = [int(n) for n in np.asarray(values[1]).reshape(-1)]
    shape = [values[0].shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    if shape and shape[0] == 1:
        shape[0] = values[0].shape[0]  # the batch
    return values[0].reshape(shape)


def _flatten(node: Node, values: Values) -> Tensor:
    return values[0].flatten(node.attrs.get("axis", 1))


def _gather(node: Node, values: Values) -> Tensor:
    index = np.asarray(values[1])
    axis = node.attrs.get("axis", 0)
    if index.ndim == 0:
        return values[0].select(axis, int(index))
    return torch.index_select(values[0], axis, torch.from_numpy(index.reshape(-1).astype(np.int64)))


def _split(node: Node, values: Values) -> tuple[Tensor, ...]:
    axis = node.attrs.get("axis", 0)
    if len(values) > 1 and values[1] is not None:
        sizes = [int(n) for n in np.asarray(values[1]).reshape(-1)]
    else:
        sizes = [values[0].shape[axis] // len(node.outputs)] * len(node.outputs)
    return torch.split(values[0], sizes, axis)


def _slice(_: Node, values: Values) -> Tensor:
    starts, ends = (np.asarray(values[i]).reshape(-1) for i in (1, 2))
    axes = np.asarray(values[3]).reshape(-1) if len(values) > 3 and values[3] is not None else range(len(starts))
    steps = np.asarray(values[4]).reshape(-1) if len(values) > 4 and values[4] is not None else [1] * len(starts)
    index = [slice(None)] * values[0].ndim
    for axis, start, end, step in zip(axes, starts, ends, steps):
        index[int(axis)] = slice(int(start), min(int(end), 2**31), int(step))
    return values[0][tuple(index)]


def _axes(node: Node, values: Values) -> list[int]:
    given = node.attrs.get("axes")
    return [int(n) for n in (given if given is not None else np.asarray(values[1]).reshape(-1))]


def _squeeze(node: Node, values: Values) -> Tensor:
    return values[0].squeeze(tuple(_axes(node, values)))


def _unsqueeze(node: Node, values: Values) -> Tensor:
    result = values[0]
    for axis in sorted(_axes(node, values)):
        result = result.unsqueeze(axis)
    return result


def _space_to_depth(node: Node, values: Values) -> Tensor:
    n, channels, height, width = values[0].shape
    block = int(node.attrs["blocksize"])
    x = values[0].reshape(n, channels, height // block, block, width // block, block)
    return x.permute(0, 3, 5, 1, 2, 4).reshape(n, channels * block * block, height // block, width // block)


def _prelu(_: Node, values: Values) -> Tensor:
    slope = _tensor(values[1])
    return torch.clamp(values[0], min=0) + slope * torch.clamp(values[0], max=0)


_FUNCTIONS: dict[str, Callable[[Node, Values], Any]] = {
    "Add": _binary(torch.add),
    "AveragePool": _pool,
    "Clip": _clip,
    "Concat": lambda node, values: torch.cat([_tensor(value) for value in values], node.attrs["axis"]),
    "Div": _binary(torch.div),
    "Dropout": _unary(lambda x: x),
    "Elu": lambda node, values: F.elu(values[0], node.attrs.get("alpha", 1.0)),
    "Flatten": _flatten,
    "Gather": _gather,
    "GlobalAveragePool": _unary(lambda x: x.mean((2, 3), keepdim=True)),
    "GlobalMaxPool": _unary(lambda x: x.amax((2, 3), keepdim=True)),
    "HardSigmoid": lambda node, values: torch.clamp(
        values[0] * node.attrs.get("alpha", 0.2) + node.attrs.get("beta", 0.5), 0, 1
    ),
    "HardSwish": _unary(F.hardswish),
    "Identity": _unary(lambda x: x),
    "LeakyRelu": lambda node, values: F.leaky_relu(values[0], node.attrs.get("alpha", 0.01)),
    "MaxPool": _pool,
    "Mul": _binary(torch.mul),
    "PRelu": _prelu,
    "ReduceMean": _reduce_mean,
    "Relu": _unary(F.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _unary(torch.sigmoid),
    "Slice": _slice,
    "Softmax": lambda node, values: torch.softmax(values[0], node.attrs.get("axis", -1)),
    "Softplus": _unary(F.softplus),
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Sub": _binary(torch.sub),
    "Tanh": _unary(torch.tanh),
    "Transpose": lambda node, values: values[0].permute(tuple(node.attrs["perm"])),
    "Unsqueeze": _unsqueeze,
}
