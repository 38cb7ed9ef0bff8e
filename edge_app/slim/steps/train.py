"""Train on without a change, or from scratch: the control of other steps, and the first stage of a new network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from edge_app.slim.graph.network import GraphNetwork
from edge_app.slim.steps import _step
from edge_app.slim.steps._step import Control, Work


@dataclass(frozen=True, slots=True)
class Step(_step.Step):
    """scratch: draw new weights first."""

    scratch: bool = False

    def change(self, network: GraphNetwork, work: Work) -> GraphNetwork:
        if not self.scratch:
            return network
        torch.manual_seed(work.seed)
        last = {id(layer) for layer in network.published()}
        for layer in network.layers.values():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                bias = None if layer.bias is None else layer.bias.detach().clone()
                layer.reset_parameters()
                if bias is not None and id(layer) in last:
                    with torch.no_grad():
                        layer.bias.copy_(bias)  # the prior of scores, without which detectors do not start
            elif isinstance(layer, nn.BatchNorm2d):
                layer.reset_running_stats()
                nn.init.ones_(layer.weight)
                nn.init.zeros_(layer.bias)
        return network


def from_scratch(number: int, steps: Sequence[_step.Step]) -> tuple[Control, ...]:
    """The control of a stage that changes the structure: new weights, and as many steps as all stages so far.

    steps: of the stages up to `number`.
    """
    total = sum(step.steps for step in steps)
    if not (steps[-1].STRUCTURE and total):
        return ()
    return (Control("from scratch", number, (Step(steps=total, scratch=True),)),)
