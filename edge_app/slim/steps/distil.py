"""Train with the outputs of a larger network: its logits, the margins between them, and its feature maps.

Logits (Hinton et al. 2015): Kullback-Leibler divergence of a class head, squared error of others, by their variance.
Margins: how far each class is below the teacher's best one. Features: where a map is active, which does not depend on
the number of channels (Zagoruyko and Komodakis 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from edge_app.errors import ConfigError
from edge_app.options import Range
from edge_app.slim.graph import model_folder
from edge_app.slim.graph.network import GraphNetwork
from edge_app.slim.steps import _step
from edge_app.slim.steps._step import Control, Hooks, Outputs, Steps, Work
from edge_app.slim.steps.train import Step as Train

_Weight = Annotated[float, Range(0, 1000)]


@dataclass(frozen=True, slots=True)
class Step(_step.Step):
    """teacher: a model folder with the same heads; None takes the network that the recipe starts from.

    logits, margin, features: weights of the terms. temperature: of the class logits.
    """

    steps: Steps = 500
    teacher: Path | None = None
    logits: _Weight = 1.0
    margin: _Weight = 0.0
    features: _Weight = 0.0
    temperature: Annotated[float, Range(0.5, 50)] = 4.0

    def hooks(self, network: GraphNetwork, work: Work) -> Hooks:
        teacher = self._teacher(work).eval()
        if teacher.size != network.size or not set(network.net.outputs) <= set(teacher.net.outputs):
            raise ConfigError(f"distil: teacher: {self.teacher} has other heads or another input; expected the same")
        tensors = {name for node in teacher.net.nodes for name in node.outputs}
        maps = tuple(name for name in work.model.features if name in tensors) if self.features else ()
        classes = {f"{h.name}/{o}" for h in work.model.heads if h.family == "classify" for o in h.outputs}

        def loss(images: Tensor, outputs: Outputs) -> Tensor:
            with torch.no_grad():
                wanted = teacher(images, tuple(outputs))
            return torch.stack([self._term(outputs[n], wanted[n], n in classes, n in maps) for n in outputs]).sum()

        return Hooks(loss, maps)

    def _teacher(self, work: Work) -> GraphNetwork:
        return work.base() if self.teacher is None else GraphNetwork(model_folder.read(self.teacher).net)

    def _term(self, found: Tensor, wanted: Tensor, is_class: bool, is_map: bool) -> Tensor:
        if is_map:
            return self.features * F.mse_loss(_activity(found), _activity(wanted)) * wanted[0, 0].numel()
        if not is_class:
            return self.logits * F.mse_loss(found, wanted) / wanted.var().clamp(min=1e-6)
        t = self.temperature
        soft = F.kl_div(F.log_softmax(found / t, 1), F.softmax(wanted / t, 1), reduction="batchmean") * t * t
        best = wanted.argmax(1, keepdim=True)
        margins = (found.gather(1, best) - found, wanted.gather(1, best) - wanted)
        return self.logits * soft + self.margin * F.mse_loss(*margins) / margins[1].var().clamp(min=1e-6)

    def comparisons(self, number: int, before: Sequence[_step.Step]) -> tuple[Control, ...]:
        del before
        return (Control("without distillation", number - 1, (Train(steps=self.steps, rate=self.rate),)),)


def _activity(maps: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H * W) of length 1."""
    return F.normalize(maps.pow(2).mean(1).flatten(1))
