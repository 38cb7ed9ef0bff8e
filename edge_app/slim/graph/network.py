"""A graph as a torch module: one layer for each convolution and matrix, a function for every other operation.

The module is made from a graph and written back to one, so a graph is also how its structure is saved. Widths follow
from the weights: a layer whose channels were dropped is written as it is now. Not here: reading model folders
(model_folder.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_app.compiler.net import Net, Node
from edge_app.errors import ModelError, foreign_text
from edge_app.slim.graph import operators
from edge_app.slim.graph.fake_quant import rounded_weights

_LAYERS = ("Conv", "Gemm", "MatMul", "BatchNormalization", "PRelu")
_SHUFFLES = ("Gather", "Reshape", "Transpose", "Split", "Slice")


class GraphNetwork(nn.Module):
    """image (N, 3, H, W) float32, as the graph takes it -> its outputs by name.

    layers: the torch layers by key; keys: of each node that has one. ranges: of tensors that are rounded to uint8, by
    key. int8_weights: round weights to int8, per output channel.
    """

    def __init__(self, net: Net) -> None:
        """Raises ModelError for an operator that cannot be trained."""
        super().__init__()
        self.net = net.copy()
        self.keys: dict[str, str] = {}
        self.layers, self.ranges, self.int8_weights = nn.ModuleDict(), nn.ModuleDict(), False
        self.needed: dict[tuple[str, ...], set[int]] = {}
        for node in self.net.nodes:
            layer = _layer(node, net)
            if layer is not None:
                self.keys[node.outputs[0]] = key = _key(node.outputs[0], self.layers)
                self.layers[key] = layer
            elif not operators.supported(node.op):
                operators.run(node, ())  # raises

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the input."""
        height, width = self.net.inputs[0].shape[2:]
        return int(width or 0), int(height or 0)

    def example(self) -> Tensor:
        """An image of zeros, (1, 3, H, W)."""
        return torch.zeros(1, 3, *self.size[::-1])

    def layer(self, tensor: str) -> Any:
        """The layer that computes a tensor. Raises KeyError if none does."""
        return self.layers[self.keys[tensor]]

    def forward(self, image: Tensor, wanted: Sequence[str] = ()) -> dict[str, Tensor]:
        """The outputs by name; wanted: only these tensors, of the whole graph."""
        names = tuple(wanted) or tuple(self.net.outputs)
        values: dict[str, Any] = {self.net.inputs[0].name: self._rounded(self.net.inputs[0].name, image)}
        needed = self._needed(names)
        for position, node in enumerate(self.net.nodes):
            if position in needed:
                for name, value in zip(node.outputs, self._run(node, values)):
                    values[name] = self._rounded(name, value)
        return {name: values[name] for name in names}

    def _needed(self, names: tuple[str, ...]) -> set[int]:
        """The positions of the nodes that some tensors need."""
        if names not in self.needed:
            wanted, found = set(names), set()
            for position in range(len(self.net.nodes) - 1, -1, -1):
                node = self.net.nodes[position]
                if wanted & set(node.outputs):
                    found.add(position)
                    wanted |= set(node.inputs)
            self.needed[names] = found
        return self.needed[names]

    def _run(self, node: Node, values: dict[str, Any]) -> list[Tensor]:
        key = self.keys.get(node.outputs[0])
        if key is None:
            given = [None if not name else values.get(name, self.net.weights.get(name)) for name in node.inputs]
            return operators.run(node, given)
        layer: Any = self.layers[key]
        image = values[node.inputs[0]]
        if isinstance(layer, nn.Conv2d):
            pads = node.attrs.get("pads", [0, 0, 0, 0])
            if pads[:2] != pads[2:]:
                image = F.pad(image, (pads[1], pads[3], pads[0], pads[2]))
            if self.int8_weights:
                weight = rounded_weights(layer.weight)
                padding, groups = layer.padding, layer.groups
                return [F.conv2d(image, weight, layer.bias, layer.stride, padding, layer.dilation, groups)]
        elif isinstance(layer, nn.Linear) and self.int8_weights:
            return [F.linear(image, rounded_weights(layer.weight), layer.bias)]
        return [layer(image)]

    def _rounded(self, name: str, value: Tensor) -> Tensor:
        key = range_key(name)
        return self.ranges[key](value) if key in self.ranges else value

    def learned_ranges(self) -> dict[str, tuple[float, float]]:
        """The least and greatest value of every tensor that is rounded, by its name."""
        names = [self.net.inputs[0].name, *(name for node in self.net.nodes for name in node.outputs)]
        found: dict[str, tuple[float, float]] = {}
        for name in names:
            if range_key(name) in self.ranges:
                tensor_range: Any = self.ranges[range_key(name)]
                found[name] = tensor_range.limits()
        return found

    def published(self) -> list[nn.Module]:
        """The layers whose channels are the outputs': the last ones before each output."""
        producers, found, seen = self.net.producers(), [], set()
        pending = list(self.net.outputs)
        while pending:
            name = pending.pop()
            if name in seen or name not in producers:
                continue
            seen.add(name)
            key = self.keys.get(name)
            if key is not None and isinstance(self.layers[key], (nn.Conv2d, nn.Linear)):
                found.append(self.layers[key])
            else:
                pending += producers[name].inputs
        return found

    def check_prunable(self) -> None:
        """Raise ModelError if channels cannot be followed through the graph."""
        shapes = self.net.shapes()
        for node in self.net.nodes:
            shape = shapes.get(node.outputs[0], ())
            if node.op in _SHUFFLES and len(shape) == 4 and shape[2:] != (1, 1):
                found = f"prune: '{foreign_text(node.outputs[0])}' ({node.op}) moves channels or cells"
                raise ModelError(f"{found}; expected a network without a shuffle of channels")
            constants = [self.net.weights[n] for n in node.inputs if n in self.net.weights]
            if node.op in ("Mul", "Add", "Sub", "Div") and any(array.size > 1 for array in constants):
                found = f"prune: '{foreign_text(node.outputs[0])}' ({node.op}) has a constant for each channel"
                raise ModelError(f"{found}; expected one that is folded into a convolution")

    def to_net(self, *, fold: bool) -> Net:
        """The graph with the weights of now. fold: BatchNorm into the convolution before it."""
        net = self.net.copy()
        net.declared = {}
        for node in net.nodes:
            key = self.keys.get(node.outputs[0])
            if key is not None:
                _write(node, net, self.layers[key])
        if fold:
            _fold(net)
        net.prune()
        return net


def range_key(name: str) -> str:
    """The key of a tensor's range."""
    return "range_" + re.sub(r"\W", "_", name)


def _key(name: str, taken: Iterable[str]) -> str:
    stem = "n_" + re.sub(r"\W", "_", name)
    used = set(taken)
    return stem if stem not in used else next(k for i in range(len(used) + 1) if (k := f"{stem}_{i}") not in used)


def _layer(node: Node, net: Net) -> nn.Module | None:
    """The layer of a node with weights; None for an operation without. Raises ModelError for computed weights."""
    if node.op not in _LAYERS:
        return None
    if node.op == "MatMul" and node.inputs[1] not in net.weights:
        raise ModelError(
            f"layer '{foreign_text(node.outputs[0])}' multiplies two activations; expected constant weights"
        )
    missing = [name for name in node.inputs[1:] if name and name not in net.weights]
    if missing:
        raise ModelError(f"layer '{foreign_text(node.outputs[0])}' has computed weights; expected constant ones")
    arrays = [torch.from_numpy(np.array(net.weights[name], np.float32)) for name in node.inputs[1:] if name]
    with torch.no_grad():
        if node.op == "Conv":
            return _convolution(node, arrays)
        if node.op == "BatchNormalization":
            return _batchnorm(node, arrays)
        if node.op == "PRelu":
            prelu = nn.PReLU(arrays[0].numel())
            prelu.weight.copy_(arrays[0].reshape(-1))
            return prelu
        return _linear(node, arrays)


def _convolution(node: Node, arrays: list[Tensor]) -> nn.Conv2d:
    weight = arrays[0]
    if weight.ndim != 4:
        raise ModelError(f"layer '{foreign_text(node.outputs[0])}' has a kernel of {weight.ndim - 2} axes; expected 2")
    groups = _groups(node, tuple(weight.shape))
    pads = list(node.attrs.get("pads", [0, 0, 0, 0]))
    padding = tuple(pads[:2]) if pads[:2] == pads[2:] else (0, 0)
    stride, dilation = (tuple(node.attrs.get(key, [1, 1])) for key in ("strides", "dilations"))
    shape = weight.shape[1] * groups, weight.shape[0], tuple(weight.shape[2:])
    layer = nn.Conv2d(*shape, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=len(arrays) > 1)
    layer.weight.copy_(weight)
    if len(arrays) > 1:
        layer.bias.copy_(arrays[1])
    return layer


def _groups(node: Node, shape: Sequence[int]) -> int:
    """Of a convolution; a depthwise one that lost channels has as many groups as channels that are left."""
    groups = int(node.attrs.get("group", 1))
    return shape[0] if groups > 1 and shape[1] == 1 and groups != shape[0] else groups


def _batchnorm(node: Node, arrays: list[Tensor]) -> nn.BatchNorm2d:
    gain, shift, mean, variance = arrays
    epsilon = float(np.float32(node.attrs.get("epsilon", 1e-5)))  # as a file stores it, so a resumed run is equal
    layer = nn.BatchNorm2d(len(gain), eps=epsilon)
    layer.weight.copy_(gain)
    layer.bias.copy_(shift)
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)
    return layer


def _linear(node: Node, arrays: list[Tensor]) -> nn.Linear:
    weight = arrays[0] if node.op == "Gemm" and node.attrs.get("transB", 0) else arrays[0].T
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=len(arrays) > 1)
    layer.weight.copy_(weight * float(node.attrs.get("alpha", 1.0)))
    if len(arrays) > 1:
        layer.bias.copy_(arrays[1].reshape(-1) * float(node.attrs.get("beta", 1.0)))
    return layer


def _write(node: Node, net: Net, layer: Any) -> None:
    """Replace the weights of a node by those of its layer."""
    if isinstance(layer, nn.Conv2d):
        node.attrs["group"], node.attrs["kernel_shape"] = layer.groups, list(layer.kernel_size)
        parts = [layer.weight, *([layer.bias] if layer.bias is not None else [])]
    elif isinstance(layer, nn.BatchNorm2d):
        parts = [layer.weight, layer.bias, layer.running_mean, layer.running_var]
    elif isinstance(layer, nn.PReLU):
        parts = [layer.weight.reshape(-1, 1, 1)]
    else:
        bias = layer.bias if layer.bias is not None else torch.zeros(layer.out_features)
        node.op, node.attrs, parts = "Gemm", {"transB": 1}, [layer.weight, bias]
    names = []
    for number, part in enumerate(parts):
        name = f"{node.outputs[0]}_w{number}"
        net.weights[name] = part.detach().numpy().astype(np.float32).copy()
        names.append(name)
    node.inputs = [node.inputs[0], *names]


def _fold(net: Net) -> None:
    """Fold every BatchNorm into the convolution before it, computed in double precision."""
    producers, consumers = net.producers(), net.consumers()
    for node in [node for node in net.nodes if node.op == "BatchNormalization"]:
        before = producers.get(node.inputs[0])
        if before is None or before.op != "Conv" or len(consumers[node.inputs[0]]) != 1:
            continue
        gain, shift, mean, variance = (_double(net.weights[name]) for name in node.inputs[1:])
        factor = gain / np.sqrt(variance + float(node.attrs.get("epsilon", 1e-5)))
        weights = _double(net.weights[before.inputs[1]]) * factor[:, None, None, None]
        bias = _double(net.weights[before.inputs[2]]) if len(before.inputs) > 2 else np.zeros(len(weights))
        names = [before.inputs[1], f"{node.outputs[0]}_bias"]
        net.weights[names[0]] = weights.astype(np.float32)
        net.weights[names[1]] = ((bias - mean) * factor + shift).astype(np.float32)
        before.inputs = [before.inputs[0], *names]
        net.nodes.remove(node)
        before.outputs = list(node.outputs)


def _double(array: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(array, np.float64)
