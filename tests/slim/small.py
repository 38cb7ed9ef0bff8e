"""A tiny model and its task, for the tests of `slim shrink`. Needs torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch

from edge_app.slim import export
from edge_app.slim.graph import batchnorm, model_folder
from edge_app.slim.graph.network import GraphNetwork
from edge_app.slim.network import Network
from edge_app.slim.objectives import DataOptions, DataTask
from edge_app.slim.recipe import HeadRecipe, InputSize, Recipe
from edge_app.slim.steps import Work
from tests.slim import pictures

SIDE = 64
LABELS = ("blue", "green", "red")


@cache
def folder() -> Path:
    """A model folder of an untrained network, and data for it."""
    where = Path(mkdtemp(prefix="edge-app-slim-"))
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recipe = Recipe({"color": HeadRecipe("classify", channels=32)}, width=0.5, input=InputSize(SIDE, SIDE))
    network = Network(recipe, {"color": LABELS})
    for each in network.modules():
        if isinstance(each, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(each.weight, 0.5, 1.5)
            torch.nn.init.uniform_(each.bias, -0.2, 0.4)
    network.train()(torch.rand(8, 3, SIDE, SIDE))
    export.write(network.eval(), recipe, where / "model", "small")
    pictures.classes(where / "classes", 12)
    return where


@cache
def work() -> Work:
    """The model with its task."""
    model = model_folder.read(folder() / "model")
    task = DataTask(folder() / "classes", model, DataOptions(0.25, 4))
    return Work(model, task, "rv1106", 0, network)


@cache
def _restored() -> bytes:
    model = model_folder.read(folder() / "model")
    return model_folder.save_net(batchnorm.restored(model.net, images()))


def network() -> GraphNetwork:
    """The model as a torch module, BatchNorm restored."""
    return GraphNetwork(model_folder.load_net(_restored(), "test")).eval()


def images() -> torch.Tensor:
    """(4, 3, 64, 64), as the graph takes them."""
    return torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def difference(a: GraphNetwork, b: GraphNetwork) -> float:
    """The greatest difference of the outputs, of the greatest output."""
    with torch.no_grad():
        first, second = (next(iter(each(images()).values())) for each in (a, b))
    return float((first - second).abs().max() / first.abs().max())
