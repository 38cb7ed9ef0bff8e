"""Train one stage: seeded, and resumable after a kill. The average of the weights is the result. Needs torch.

Not here: what a stage changes before (steps/), the order of stages (stages.py).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edge_app.errors import ConfigError
from edge_app.slim import checkpoint
from edge_app.slim.graph import model_folder
from edge_app.slim.graph.fake_quant import TensorRange
from edge_app.slim.graph.network import GraphNetwork, range_key
from edge_app.slim.steps import Hooks, Step, Work
from edge_app.slim.training import schedule

_DECAY = 0.995  # of the average of the weights
_WEIGHT_DECAY = 0.01
_LARGEST_GRADIENT = 10.0
_KEYS = {"fingerprint", "step", "graph", "ranges", "network", "average", "optimizer", "module"}
Report = Callable[[int, float], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """steps: to take in all. path: of the checkpoint, every `every` steps."""

    steps: int
    rate: float
    seed: int
    every: int
    path: Path
    fingerprint: str


class Tuner:
    """The training of a changed network; it resumes from the checkpoint if there is one."""

    def __init__(self, make: Callable[[], GraphNetwork], step: Step, work: Work, settings: Settings) -> None:
        """make: the changed network; not called if there is a checkpoint. Raises ConfigError."""
        self._work, self._settings, self.step = work, settings, 0
        torch.manual_seed(settings.seed)
        state = checkpoint.load(settings.path, settings.fingerprint, _KEYS)
        self.network = make() if state is None else _restored(state, str(settings.path))
        self.average = copy.deepcopy(self.network).eval()
        self._module = copy.deepcopy(work.task.module)
        self._hooks: Hooks = step.hooks(self.network, work)
        self._optimizer = torch.optim.AdamW(self._groups(settings.rate))
        if state is not None:
            self.step = state["step"]
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            work.task.module.load_state_dict(state["module"])
            self._optimizer.load_state_dict(state["optimizer"])

    def _groups(self, rate: float) -> list[dict[str, Any]]:
        ranges = [p for layer in self.network.ranges.values() for p in layer.parameters()]
        mine = {id(p) for p in ranges}
        others = [p for p in (*self.network.parameters(), *self._work.task.module.parameters()) if id(p) not in mine]
        matrices, vectors = [p for p in others if p.ndim > 1], [p for p in others if p.ndim <= 1]
        return [
            {"params": matrices, "weight_decay": _WEIGHT_DECAY, "lr": rate, "rate": rate},
            {"params": vectors, "weight_decay": 0.0, "lr": rate, "rate": rate},
            {"params": ranges, "weight_decay": 0.0, "lr": rate, "rate": rate},
        ]

    def train(self, report: Report) -> GraphNetwork:
        """Take the steps that are left. Returns the averaged network. Raises ConfigError if the loss is not finite."""
        checkpoint.take_steps(self, self._settings.steps, self._settings.every, report)
        return self.average

    def close(self) -> None:
        """Give the task its parameters of before back: each stage starts from the same ones."""
        self._work.task.module.load_state_dict(self._module.state_dict())

    def save(self) -> None:
        """Write the checkpoint. Raises ConfigError if it cannot be written."""
        net = model_folder.save_net(self.network.to_net(fold=False))
        state = {
            "fingerprint": self._settings.fingerprint, "step": self.step,
            "graph": torch.frombuffer(bytearray(net), dtype=torch.uint8),
            "ranges": list(self.network.learned_ranges()), "network": self.network.state_dict(),
            "average": self.average.state_dict(), "optimizer": self._optimizer.state_dict(),
            "module": self._work.task.module.state_dict(),
        }  # fmt: skip
        checkpoint.save(self._settings.path, state)

    def take_step(self) -> float:
        settings, work = self._settings, self._work
        self.step += 1
        for group in self._optimizer.param_groups:
            group["lr"] = group["rate"] * schedule(self.step, settings.steps)
        self.network.train()
        self._optimizer.zero_grad()
        total = 0.0
        for batch in work.task.batches(settings.seed, self.step):
            planes = work.model.planes(batch.images)
            outputs = self.network(planes, (*batch.wanted(work.model), *self._hooks.features))
            loss = work.task.loss(outputs, batch)
            if self._hooks.loss is not None:
                loss = loss + self._hooks.loss(planes, outputs)
            loss.backward()
            total += float(loss.detach())
        if self._hooks.penalty is not None:
            self._hooks.penalty(self.network).backward()
        if not math.isfinite(total):
            found = f"step {self.step}: the loss is {total}"
            raise ConfigError(f"{found}; expected a finite one: lower `rate` (found {settings.rate:g})")
        nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self._optimizer.step()
        self._hooks.after(self.network)
        self._update_average()
        return total

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(_DECAY, self.step / (self.step + 10))
        for mine, new in zip(self.average.state_dict().values(), self.network.state_dict().values()):
            if mine.dtype.is_floating_point:
                mine.lerp_(new, 1 - decay)
            else:
                mine.copy_(new)


def _restored(state: dict[str, Any], where: str) -> GraphNetwork:
    """The network of a checkpoint, with ranges if it had some."""
    data = np.asarray(state["graph"].numpy(), np.uint8).tobytes()
    network = GraphNetwork(model_folder.load_net(data, where))
    for name in state["ranges"]:
        network.ranges[range_key(name)] = TensorRange(0.0, 1.0)
        network.int8_weights = True
    return network
