"""Train with an L1 penalty on BatchNorm's gains (Liu et al. 2017, network slimming): channels that do little vanish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from edge_app.errors import ConfigError
from edge_app.options import Range
from edge_app.slim.graph.network import GraphNetwork
from edge_app.slim.steps import _step
from edge_app.slim.steps._step import Hooks, Steps, Work


@dataclass(frozen=True, slots=True)
class Step(_step.Step):
    """strength: of the penalty, for each gain."""

    steps: Steps = 300
    strength: Annotated[float, Range(1e-7, 1)] = 1e-4

    def hooks(self, network: GraphNetwork, work: Work) -> Hooks:
        """Raises ConfigError for a network without BatchNorm."""
        del work
        if not any(isinstance(layer, nn.BatchNorm2d) for layer in network.layers.values()):
            raise ConfigError("sparsify: found no BatchNorm; expected this step before `share` and `qat`")
        return Hooks(penalty=self._penalty)

    def _penalty(self, network: GraphNetwork) -> Tensor:
        gains = [layer.weight.abs().sum() for layer in network.layers.values() if isinstance(layer, nn.BatchNorm2d)]
        return self.strength * torch.stack(gains).sum()
