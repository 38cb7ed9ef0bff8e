"""Let the weights of a layer take few values (Han et al. 2016): files compress better, and nothing else changes.

BatchNorm is folded first: its gains would multiply the values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from edge_app.options import Range
from edge_app.slim.graph.network import GraphNetwork
from edge_app.slim.steps import _step
from edge_app.slim.steps._step import Hooks, Steps, Work

_ROUNDS = 12  # of Lloyd's algorithm


@dataclass(frozen=True, slots=True)
class Step(_step.Step):
    """clusters: values of a layer. Which weights share one is chosen once; training changes the values."""

    steps: Steps = 100
    clusters: Annotated[int, Range(2, 256)] = 64
    NOTE = "saves download only: a device multiplies every weight"

    def change(self, network: GraphNetwork, work: Work) -> GraphNetwork:
        del work
        folded = GraphNetwork(network.to_net(fold=True))
        for layer in _layers(folded):
            with torch.no_grad():
                layer.weight.copy_(_nearest(layer.weight, _centers(layer.weight, self.clusters))[1])
        return folded

    def hooks(self, network: GraphNetwork, work: Work) -> Hooks:
        del work
        members = [torch.unique(layer.weight.detach(), return_inverse=True)[1] for layer in _layers(network)]

        @torch.no_grad()
        def average(changed: GraphNetwork) -> None:
            for layer, member in zip(_layers(changed), members):
                count = int(member.max()) + 1
                sums = torch.zeros(count).index_add_(0, member.reshape(-1), layer.weight.reshape(-1))
                layer.weight.copy_((sums / torch.bincount(member.reshape(-1), minlength=count))[member])

        return Hooks(after=average)


def _layers(network: GraphNetwork) -> list[Any]:
    return [layer for layer in network.layers.values() if isinstance(layer, (nn.Conv2d, nn.Linear))]


def _centers(weight: Tensor, clusters: int) -> Tensor:
    """k-means in one dimension, from evenly spread values."""
    values = weight.detach().reshape(-1)
    centers = torch.linspace(float(values.min()), float(values.max()), min(clusters, values.numel()))
    for _ in range(_ROUNDS):
        member = _nearest(values, centers)[0]
        sums = torch.zeros(len(centers)).index_add_(0, member, values)
        count = torch.bincount(member, minlength=len(centers))
        centers = torch.where(count > 0, sums / count.clamp(min=1), centers).sort().values
    return centers


def _nearest(values: Tensor, centers: Tensor) -> tuple[Tensor, Tensor]:
    """The number and the value of the nearest center."""
    edges = (centers[1:] + centers[:-1]) / 2
    member = torch.bucketize(values.detach().contiguous(), edges)
    return member, centers[member]
