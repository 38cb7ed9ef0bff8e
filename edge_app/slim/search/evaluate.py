"""Train one network of a search and measure it: cycles, and the loss on validation data. Needs torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edge_app.model import cycles
from edge_app.slim import pruning
from edge_app.slim.checkpoint import FILE
from edge_app.slim.data import DataSet, open_data
from edge_app.slim.data.examples import split
from edge_app.slim.data.pictures import load
from edge_app.slim.network import Network
from edge_app.slim.recipe import Recipe
from edge_app.slim.search.recipe import Choice, SearchRecipe
from edge_app.slim.training import Run, Trainer

Data = Mapping[str, DataSet]


def open_parts(where: Path, recipe: SearchRecipe) -> Data:
    """The data of each head: to train on, and to choose by. What the data holds out is in neither.

    Raises ConfigError as `slim train` does.
    """
    found = {}
    for name, head in recipe.heads.items():
        data = open_data(head.data or where, head, recipe.held_out)
        train, validation = split(data.train, recipe.validation)
        found[name] = replace(data, train=train, held_out=validation)
    return found


def recipe_of(choice: Choice, recipe: SearchRecipe, steps: int) -> Recipe:
    return recipe.network(choice.backbone, choice.width, choice.side, choice.channels, steps)


def cost(choice: Choice, recipe: SearchRecipe, data: Data) -> int:
    """The cycles of a network on the target, before training."""
    network = Network(recipe_of(choice, recipe, 1), {name: each.labels for name, each in data.items()})
    layers = pruning.measured(network, torch.zeros(1, 3, choice.side, choice.side)).values()
    return cycles.total(layers, recipe.target)


def loss(choice: Choice, recipe: SearchRecipe, data: Data, folder: Path, alive: Callable[[], None]) -> float:
    """Train a network and return its loss on validation data. alive: called now and then.

    A network that was started before goes on from its checkpoint in `folder`.
    """
    name = hashlib.sha256(repr((asdict(choice), recipe.steps)).encode()).hexdigest()[:12]
    trainer = Trainer(Run(recipe_of(choice, recipe, recipe.steps), data, folder / name / FILE))

    def report(step: int, value: float) -> None:
        del value
        if step % 10 == 0:
            alive()

    trainer.train(report)
    return validation_loss(trainer, data, choice.side, alive)


@torch.no_grad()
def validation_loss(trainer: Trainer, data: Data, side: int, alive: Callable[[], None]) -> float:
    """The mean loss of the averaged network over the validation examples, summed over the heads."""
    total = 0.0
    network = trainer.average.eval()
    for name, each in data.items():
        head, own = network.head(name), 0.0
        for example in each.held_out:
            sample = load(example, (side, side), len(each.labels), None)
            image = torch.from_numpy(np.ascontiguousarray(sample.image)).permute(2, 0, 1)[None].float().div(255)
            targets: dict[str, Any] = {k: torch.from_numpy(v[None]) for k, v in head.targets(sample).items()}
            own += float(head.loss(network.run(name, image), targets))
        alive()
        total += own / max(len(each.held_out), 1) * head.recipe.weight
    return total
