"""Train a network by a recipe: seeded, and resumable after a kill. Needs torch.

Every step draws its examples from its own number, so a resumed run takes the same steps as one that was not stopped.
Not here: what a head learns (tasks/), files (checkpoint.py, export.py).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edge_app.errors import ConfigError
from edge_app.model import cycles
from edge_app.slim import checkpoint, pruning
from edge_app.slim.data import DataSet
from edge_app.slim.data.pictures import Changes, Sample, load
from edge_app.slim.network import Network
from edge_app.slim.recipe import Recipe, Start

_DECAY = 0.998  # of the average of the weights, which is published
_WEIGHT_DECAY = 0.02
_WARM_UP = 0.05  # of the steps
_LARGEST_GRADIENT = 10.0


@dataclass(frozen=True, slots=True)
class Run:
    """A run: what to train on what, and where its checkpoint is. data: by head."""

    recipe: Recipe
    data: Mapping[str, DataSet]
    path: Path

    @property
    def fingerprint(self) -> str:
        return self.recipe.fingerprint("".join(f"{name}{data.fingerprint()}" for name, data in self.data.items()))


class Trainer:
    """The state of a run. Raises ConfigError if the checkpoint at its path is of another run."""

    def __init__(self, run: Run) -> None:
        self.run, self.step = run, 0
        recipe = run.recipe
        torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.network = Network(recipe, {name: data.labels for name, data in run.data.items()})
        state = checkpoint.load(run.path, run.fingerprint)
        if state is not None:
            pruning.shrink(self.network, self._example(), state["widths"])
        elif recipe.start is not None:
            self._start(recipe.start)
        self.average = copy.deepcopy(self.network).eval()
        matrices = [p for p in self.network.parameters() if p.ndim > 1]
        vectors = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": _WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=recipe.rate)
        if state is not None:
            self._restore(state)

    def train(self, report: Callable[[int, float], None]) -> None:
        """Take the steps that are left. report: called with the number of steps taken and the loss.

        Saves a checkpoint from time to time, at the end, and when it is interrupted. Raises ConfigError if that fails,
        or if the loss is not finite.
        """
        checkpoint.take_steps(self, self.run.recipe.steps, self.run.recipe.checkpoint_every, report)

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "fingerprint": self.run.fingerprint, "step": self.step, "network": self.network.state_dict(),
            "average": self.average.state_dict(), "optimizer": self._optimizer.state_dict(),
            "widths": pruning.widths(self.network),
        }  # fmt: skip
        checkpoint.save(self.run.path, state)

    def evaluate(self) -> dict[str, dict[str, Any]]:
        """The metric of each head on the examples that were held out, by head."""
        return {name: self._evaluate(name, data) for name, data in self.run.data.items()}

    def cycles(self) -> dict[str, int]:
        """The estimated cycles of all convolutions and linear layers, by NPU."""
        layers = pruning.measured(self.average, self._example()).values()
        return {target: cycles.total(layers, target) for target in cycles.NPUS}

    def _example(self) -> Tensor:
        return torch.zeros(1, 3, self.run.recipe.input.height, self.run.recipe.input.width)

    def _start(self, start: Start) -> None:
        """Take the widths and the averaged weights of another run, and prune. Raises ConfigError if they do not fit."""
        path = start.run / checkpoint.FILE
        state = checkpoint.read(path)
        pruning.shrink(self.network, self._example(), state["widths"])
        try:
            self.network.load_state_dict(state["average"])
        except RuntimeError as exc:
            raise ConfigError(f"{path}: is of another network; expected the same backbone, heads and labels") from exc
        if start.share < 1:
            pruning.prune(self.network, self._example(), start.target, start.share, start.rank)

    def _restore(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])

    def take_step(self) -> float:
        recipe, self.step = self.run.recipe, self.step + 1
        for group in self._optimizer.param_groups:
            group["lr"] = recipe.rate * schedule(self.step, recipe.steps)
        self.network.train()
        self._optimizer.zero_grad()
        total = 0.0
        for number, (name, data) in enumerate(self.run.data.items()):
            rng = np.random.default_rng([recipe.seed, self.step, number])
            samples = self._batch(data, rng)
            head = self.network.head(name)
            outputs = self.network.run(name, _images(samples))
            loss = head.loss(outputs, _stacked([head.targets(sample) for sample in samples])) * head.recipe.weight
            loss.backward()
            total += float(loss.detach())
        if not math.isfinite(total):
            found = f"step {self.step}: the loss is {total}"
            raise ConfigError(f"{found}; expected a finite one: lower `rate` (found {recipe.rate:g})")
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self._optimizer.step()
        self._update_average()
        return total

    def _batch(self, data: DataSet, rng: np.random.Generator) -> list[Sample]:
        recipe = self.run.recipe
        size = recipe.input.width, recipe.input.height
        chosen = rng.integers(0, len(data.train), recipe.batch)
        changes = Changes(rng, recipe.mirror) if recipe.augment else None
        return [load(data.train[i], size, len(data.labels), changes) for i in chosen]

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(_DECAY, self.step / (self.step + 10))
        for mine, new in zip(self.average.state_dict().values(), self.network.state_dict().values()):
            if mine.dtype.is_floating_point:
                mine.lerp_(new, 1 - decay)
            else:
                mine.copy_(new)

    @torch.no_grad()
    def _evaluate(self, name: str, data: DataSet) -> dict[str, Any]:
        recipe, head = self.run.recipe, self.average.head(name)
        size = recipe.input.width, recipe.input.height
        counts: Any = 0.0
        for example in data.held_out:
            sample = load(example, size, len(data.labels), None)
            outputs = self.average.run(name, _images([sample]))
            counts = counts + head.count([output.numpy() for output in outputs], sample)
        value = head.score(counts) if data.held_out else None
        return {"metric": head.METRIC, "value": value, "held_out": len(data.held_out), "trained_on": len(data.train)}


def schedule(step: int, steps: int) -> float:
    """The learning rate's factor: rises, then falls along a cosine."""
    return min(step / max(_WARM_UP * steps, 1), 0.5 + 0.5 * math.cos(math.pi * (step - 1) / steps))


def _images(samples: list[Sample]) -> Tensor:
    return torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2).float().div(255)


def _stacked(targets: list[dict[str, Any]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.stack([each[name] for each in targets])) for name in targets[0]}
