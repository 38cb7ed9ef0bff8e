"""Read search.yaml: the choices of a network, and how much a trial may train. Every mistake is reported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from edge_app.errors import ConfigError
from edge_app.model import cycles
from edge_app.options import WRONG, Positive, Range, read_dataclass
from edge_app.options.document import Problems, load_yaml
from edge_app.slim.recipe import HeadRecipe, InputSize, Recipe, backbones, check

Width = Annotated[float, Range(0.1, 4)]


@dataclass(frozen=True, slots=True)
class SearchRecipe:
    """What varies: backbones, widths (least and greatest), sides of the input, channels of every head.

    trials: in all, of all workers. steps: of training of a trial; survivors: of the best trials, which train
    `final_steps`. most_cycles: on `target`; a network over it is not trained. validation: of the training examples,
    the part that chooses; the data's held-out part does not. timeout_s: of a worker that does not report.
    sampler: `random` is the control.
    """

    heads: dict[str, HeadRecipe]
    backbones: tuple[str, ...] = ("edge",)
    widths: tuple[Width, Width] = (0.25, 1.0)
    sides: tuple[Annotated[int, Range(32, 1024)], ...] = (320,)
    channels: tuple[Annotated[int, Range(8, 512)], ...] = (32, 64, 96)
    target: str = "rv1106"
    most_cycles: Annotated[int, Range(0)] = 0
    trials: Positive = 40
    population: Annotated[int, Range(2, 1000)] = 12
    steps: Positive = 200
    survivors: Annotated[int, Range(0, 1000)] = 4
    final_steps: Positive = 1000
    batch: Annotated[int, Range(2, 1024)] = 16
    rate: Annotated[float, Range(1e-7, 1)] = 0.002
    mirror: bool = True
    held_out: Annotated[float, Range(0, 0.9)] = 0.1
    validation: Annotated[float, Range(0.01, 0.9)] = 0.2
    seed: Annotated[int, Range(0)] = 0
    threads: Positive = 1
    timeout_s: Annotated[float, Range(1)] = 120.0
    sampler: Literal["nsga2", "random"] = "nsga2"

    def network(self, backbone: str, width: float, side: int, channels: int, steps: int) -> Recipe:
        """The recipe of one network."""
        heads = {
            name: HeadRecipe(h.task, h.data, h.classes, h.weight, channels, h.dimensions)
            for name, h in self.heads.items()
        }
        return Recipe(
            heads, backbone=backbone, width=width, input=InputSize(side, side), steps=steps, batch=self.batch,
            rate=self.rate, seed=self.seed, mirror=self.mirror, held_out=self.held_out, threads=self.threads,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """A network of the search."""

    backbone: str
    width: float
    side: int
    channels: int


def load(path: Path) -> SearchRecipe:
    """Read a recipe. Raises ConfigError with one line for each mistake."""
    problems = Problems(path)
    root = load_yaml(path, problems)
    recipe = WRONG if root is None else read_dataclass(root, SearchRecipe, "", problems)
    problems.raise_if_any()
    assert isinstance(recipe, SearchRecipe)
    if recipe.target not in cycles.NPUS:
        raise ConfigError(f"{path}: target: found '{recipe.target}'; expected {' or '.join(cycles.NPUS)}")
    for name, values in (("backbones", recipe.backbones), ("sides", recipe.sides), ("channels", recipe.channels)):
        if not values:
            raise ConfigError(f"{path}: {name}: found none; expected at least one")
    unknown = [name for name in recipe.backbones if name not in backbones()]
    if unknown:
        raise ConfigError(f"{path}: backbones: found '{unknown[0]}'; expected some of {', '.join(backbones())}")
    if recipe.widths[0] > recipe.widths[1]:
        raise ConfigError(f"{path}: widths: found {list(recipe.widths)}; expected the least first")
    for side in recipe.sides:
        check(recipe.network(recipe.backbones[0], 1.0, side, 64, 1), path)
    return recipe
