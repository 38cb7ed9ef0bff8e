"""Split a convolution into two of low rank by singular values: k x k to r channels, then 1 x 1 (Zhang et al. 2015).

A layer is split only where that saves cycles: ranks are multiples of the NPU's block.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np

from edge_app.compiler.net import Net, Node
from edge_app.errors import ConfigError
from edge_app.model import cycles
from edge_app.model.cycles import Layer
from edge_app.options import Range
from edge_app.slim import layers
from edge_app.slim.graph.network import GraphNetwork
from edge_app.slim.steps import _step
from edge_app.slim.steps._step import Steps, Work


@dataclass(frozen=True, slots=True)
class Step(_step.Step):
    """energy: of the squared singular values, the share that the rank keeps at least. layers: by tensor; () means all.

    saves: of a layer's cycles, the least share for which it is split.
    """

    steps: Steps = 300
    energy: Annotated[float, Range(0.05, 1)] = 0.9
    saves: Annotated[float, Range(0.01, 0.99)] = 0.1
    layers: tuple[str, ...] = ()
    STRUCTURE = True

    def change(self, network: GraphNetwork, work: Work) -> GraphNetwork:
        net = network.to_net(fold=False)
        known = {node.outputs[0]: node for node in net.nodes if node.op == "Conv" and node.attrs.get("group", 1) == 1}
        raw = {node.outputs[0]: node.inputs[0] for node in net.nodes if node.op == "BatchNormalization"}
        chosen = [raw.get(name, name) for name in self.layers]
        for name in chosen:
            if name not in known:
                raise ConfigError(f"decompose: layers: found '{name}'; expected one of {', '.join(list(raw)[:10])} …")
        found = {layer.name: layer for layer in layers.of_net(net, "network").layers}
        split, best = 0, 0.0
        for name in chosen or list(known):
            rank, saved = self._rank(net, known[name], found[name], work.target)
            best = max(best, saved)
            if rank and saved >= self.saves:
                _split(net, known[name], rank)
                split += 1
        if not split:
            nearest = f"the best saves {best:.0%} of its layer's cycles at energy {self.energy:g}"
            raise ConfigError(
                f"decompose: found no layer that saves {self.saves:.0%}: {nearest}; expected a lower goal"
            )
        net.prune()
        return GraphNetwork(net)

    def _rank(self, net: Net, node: Node, layer: Layer, target: str) -> tuple[int, float]:
        """The rank of a layer, and the share of its cycles that it saves; rank 0 if none is possible."""
        weights = net.weights[node.inputs[1]].astype(np.float64)
        values = np.linalg.svd(weights.reshape(len(weights), -1), compute_uv=False) ** 2
        block = cycles.npu(target).dense
        needed = int(np.searchsorted(np.cumsum(values) / max(values.sum(), 1e-30), self.energy - 1e-9)) + 1
        rank = -(-needed // block) * block
        if rank >= min(len(weights), weights.shape[1] * weights.shape[2] * weights.shape[3]):
            return 0, 0.0
        first = replace(layer, outputs=(rank, *layer.outputs[1:]), addend=False)
        second = replace(layer, inputs=(rank, *layer.outputs[1:]), kernel=(1, 1), image=False, addend=layer.addend)
        before = cycles.total([layer], target)
        return rank, 1 - cycles.total([first, second], target) / max(before, 1)


def _split(net: Net, node: Node, rank: int) -> None:
    """Replace a convolution by two."""
    output, weights = node.outputs[0], net.weights[node.inputs[1]]
    u, s, v = np.linalg.svd(weights.reshape(len(weights), -1).astype(np.float64), full_matrices=False)
    root = np.sqrt(s[:rank])
    middle = net.fresh(f"{output}_rank")
    names = [net.fresh(f"{middle}_in"), net.fresh(f"{middle}_out")]
    net.weights[names[0]] = (root[:, None] * v[:rank]).reshape(rank, *weights.shape[1:]).astype(np.float32)
    net.weights[names[1]] = (u[:, :rank] * root).reshape(len(weights), rank, 1, 1).astype(np.float32)
    first = Node("Conv", [node.inputs[0], names[0]], [middle], dict(node.attrs))
    second = Node("Conv", [middle, names[1], *node.inputs[2:]], [output], {"kernel_shape": [1, 1]})
    position = net.nodes.index(node)
    net.nodes[position : position + 1] = [first, second]
