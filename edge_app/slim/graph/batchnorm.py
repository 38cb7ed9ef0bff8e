"""Put BatchNorm back behind convolutions that it was folded into, with an equal result. Needs torch.

Each layer's mean and variance are measured on images. The weights are scaled so that a channel has a variance of 1, and
gain and shift restore what the convolution returned: training then sees the scales that it is used to. Such gains are
deviations on these images; they do not compare across layers until `sparsify` has trained them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edge_app.compiler.net import Net, Node
from edge_app.slim.graph.network import GraphNetwork

_EPSILON = float(np.float32(1e-5))  # as a file stores it
_LEAST = 1e-3  # standard deviation of a channel whose weights are scaled


def restored(net: Net, images: Tensor) -> Net:
    """The graph with a BatchNorm after every convolution but the last ones. images: (N, 3, H, W), two or more."""
    network = GraphNetwork(net).eval()
    last = {id(layer) for layer in network.published()}
    has_norm = {node.inputs[0] for node in net.nodes if node.op == "BatchNormalization"}
    names = [
        node.outputs[0]
        for node in net.nodes
        if node.op == "Conv" and id(network.layer(node.outputs[0])) not in last and node.outputs[0] not in has_norm
    ]
    moments = _moments(network, names, images)
    result = net.copy()
    for node in list(result.nodes):
        if node.outputs[0] in moments:
            _insert(result, node, *moments[node.outputs[0]])
    result.prune()
    return result


@torch.no_grad()
def _moments(network: GraphNetwork, names: list[str], images: Tensor) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of each channel of some tensors, without the bias."""
    sums = dict.fromkeys(names, (0.0, 0.0))
    for image in images:
        found = network(image[None], names)
        for name, value in found.items():
            x = value.double()
            bias = network.layer(name).bias
            x = x if bias is None else x - bias.double().reshape(1, -1, 1, 1)
            first, second = sums[name]
            sums[name] = (first + x.mean((0, 2, 3)), second + (x * x).mean((0, 2, 3)))
    count = len(images)
    moments = {}
    for name, (first, second) in sums.items():
        mean = np.asarray(first) / count
        moments[name] = mean, np.maximum(np.asarray(second) / count - mean**2, 0.0)
    return moments


def _insert(net: Net, node: Node, mean: np.ndarray, variance: np.ndarray) -> None:
    """Let BatchNorm follow a convolution. The tensor keeps its name after BatchNorm."""
    output = node.outputs[0]
    raw = net.fresh(f"{output}_raw")
    deviation = np.sqrt(variance)
    scale = np.where(deviation > _LEAST, deviation, 1.0)
    weights = np.asarray(net.weights[node.inputs[1]], np.float64)
    bias = np.asarray(net.weights[node.inputs[2]], np.float64) if len(node.inputs) > 2 else np.zeros(len(weights))
    arrays = {
        f"{output}_unit": weights / scale[:, None, None, None],
        f"{output}_gain": np.sqrt(variance / scale**2 + _EPSILON) * scale,
        f"{output}_shift": mean + bias,
        f"{output}_mean": mean / scale,
        f"{output}_variance": variance / scale**2,
    }
    net.weights.update({name: array.astype(np.float32) for name, array in arrays.items()})
    unit, *parameters = arrays
    node.inputs, node.outputs = [node.inputs[0], unit], [raw]
    position = net.nodes.index(node) + 1
    net.nodes.insert(position, Node("BatchNormalization", [raw, *parameters], [output], {"epsilon": _EPSILON}))
