"""Divide the input, since an NPU pads its three channels to 32: space-to-depth, or one convolution on patches.

`space_to_depth`: the first convolution runs on the 12 channels of cells of 2 x 2 pixels. Its result is the same.
`patchify`: the first two convolutions of stride 2, with the layers between them, become one of 4 x 4 with stride 4. It
starts as the best linear map from patches to their result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch.nn import functional as F

from edge_app.compiler.net import Net, Node
from edge_app.errors import ConfigError
from edge_app.slim.graph.network import GraphNetwork
from edge_app.slim.steps import _step
from edge_app.slim.steps._step import Steps, Work

_IMAGES = 16  # to fit patches on
_RIDGE = 1e-3
_PATCH = 4


@dataclass(frozen=True, slots=True)
class Step(_step.Step):
    """kind: of division. steps: `space_to_depth` needs no training."""

    steps: Steps = 0
    kind: Literal["space_to_depth", "patchify"] = "space_to_depth"
    STRUCTURE = True

    def change(self, network: GraphNetwork, work: Work) -> GraphNetwork:
        net = network.to_net(fold=False)
        if self.kind == "space_to_depth":
            _space_to_depth(net)
        else:
            _patchify(net, network.eval(), work)
        net.prune()
        return GraphNetwork(net)


def _first(net: Net) -> Node:
    """The convolution of stride 2 that reads the image. Raises ConfigError if there is another one, or none."""
    readers = net.consumers().get(net.inputs[0].name, [])
    strides = [list(node.attrs.get("strides", [1, 1])) for node in readers if node.op == "Conv"]
    if len(readers) != 1 or strides != [[2, 2]] or readers[0].attrs.get("group", 1) != 1:
        found = f"{', '.join(node.op for node in readers)} with strides {strides}"
        raise ConfigError(f"stem: the image is read by {found}; expected one convolution of stride 2")
    return readers[0]


def _space_to_depth(net: Net) -> None:
    image, node = net.inputs[0], _first(net)
    height, width = image.shape[2:]
    if (height or 0) % 2 or (width or 0) % 2:
        raise ConfigError(f"stem: found an input of {width}x{height}; expected even sides")
    weights = net.weights[node.inputs[1]]
    top, left, bottom, right = node.attrs.get("pads", [0, 0, 0, 0])
    rows, columns = (_cells(kernel, pad) for kernel, pad in zip(weights.shape[2:], (top, left)))
    taller, wider = (max(q for q, _ in side) - min(q for q, _ in side) + 1 for side in (rows, columns))
    moved = np.zeros((len(weights), 2, 2, weights.shape[1], taller, wider), np.float32)
    for y, (q, r) in enumerate(rows):
        for x, (p, s) in enumerate(columns):
            moved[:, r, s, :, q - rows[0][0], p - columns[0][0]] = weights[:, :, y, x]
    name, cells = net.fresh(f"{node.inputs[1]}_cells"), net.fresh("cells")
    net.weights[name] = moved.reshape(len(weights), -1, taller, wider)
    before = -rows[0][0], -columns[0][0]
    out = [
        ((n or 0) + a + b - k) // 2 + 1
        for n, a, b, k in zip((height, width), (top, left), (bottom, right), weights.shape[2:])
    ]
    after = [n + k - 1 - (size or 0) // 2 - b for n, k, size, b in zip(out, (taller, wider), (height, width), before)]
    node.inputs = [cells, name, *node.inputs[2:]]
    node.attrs = {"kernel_shape": [taller, wider], "strides": [1, 1], "pads": [*before, *(max(n, 0) for n in after)]}
    net.nodes.insert(net.nodes.index(node), Node("SpaceToDepth", [image.name], [cells], {"blocksize": 2}))


def _cells(kernel: int, pad: int) -> list[tuple[int, int]]:
    """The cell of each row of a kernel of stride 2, and the row in that cell."""
    return [divmod(i - pad, 2) for i in range(kernel)]


def _patchify(net: Net, network: GraphNetwork, work: Work) -> None:
    """Replace the layers up to the second convolution of stride 2."""
    node = _first(net)
    consumers = net.consumers()
    inside, last = [node], node
    while True:
        after = consumers.get(last.outputs[0], [])
        if len(after) != 1 or after[0].op not in (
            "BatchNormalization",
            "Clip",
            "Relu",
            "LeakyRelu",
            "HardSwish",
            "Conv",
        ):
            raise ConfigError(
                f"stem: '{last.outputs[0]}' is followed by other layers; expected a convolution of stride 2"
            )
        last = after[0]
        inside.append(last)
        if last.op == "Conv":
            break
    if list(last.attrs.get("strides", [1, 1])) != [2, 2] or last.attrs.get("group", 1) != 1:
        raise ConfigError(f"stem: '{last.outputs[0]}' is the second convolution; expected stride 2, not depthwise")
    image = net.inputs[0]
    weights, bias = _fitted(network, last.outputs[0], work)
    names = [net.fresh("patches_weights"), net.fresh("patches_bias")]
    net.weights[names[0]], net.weights[names[1]] = weights, bias
    attrs = {"kernel_shape": [_PATCH] * 2, "strides": [_PATCH] * 2, "pads": [0, 0, 0, 0]}
    kept = [each for each in net.nodes if all(each is not other for other in inside)]
    net.nodes = [Node("Conv", [image.name, *names], list(last.outputs), attrs), *kept]


@torch.no_grad()
def _fitted(network: GraphNetwork, tensor: str, work: Work) -> tuple[np.ndarray, np.ndarray]:
    """Weights (out, 3, 4, 4) and biases of the best linear map from patches of the image to a tensor."""
    images = work.model.planes(work.task.images(_IMAGES))
    gram: torch.Tensor | None = None
    for image in images:
        wanted = network(image[None], (tensor,))[tensor][0].flatten(1).double()  # (out, cells)
        patches = F.unfold(image[None], _PATCH, stride=_PATCH)[0].double()  # (48, cells)
        given = torch.cat([patches, torch.ones(1, patches.shape[1], dtype=torch.double)])
        if wanted.shape[1] != given.shape[1]:
            raise ConfigError("stem: found sides that are no multiples of 4; expected an input of such sides")
        part = torch.cat([given @ given.T, given @ wanted.T], 1)
        gram = part if gram is None else gram + part
    assert gram is not None
    size = gram.shape[0]
    ridge = _RIDGE * gram[:, :size].diagonal().mean() * torch.eye(size, dtype=torch.double)
    solved = torch.linalg.solve(gram[:, :size] + ridge, gram[:, size:]).T  # (out, 49)
    weights = solved[:, :-1].reshape(-1, 3, _PATCH, _PATCH)
    return weights.float().numpy(), solved[:, -1].float().numpy()
