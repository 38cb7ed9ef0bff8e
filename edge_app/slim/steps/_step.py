"""The contract of a step: what it changes, what its training adds to the loss, and what it is compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from torch import Tensor

from edge_app.options import Range
from edge_app.slim.graph.model_folder import SlimModel
from edge_app.slim.graph.network import GraphNetwork
from edge_app.slim.objectives import Task

Steps = Annotated[int, Range(0)]
Outputs = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Work:
    """What a step can use. target: the NPU. base: makes the network that the recipe started from, for distillation."""

    model: SlimModel
    task: Task
    target: str
    seed: int
    base: Callable[[], GraphNetwork]


def _nothing(network: GraphNetwork) -> None:
    del network


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a step adds to training. features: tensors that `loss` needs beside the outputs of the heads.

    loss: from the images and the tensors of the network by name; None adds nothing. penalty: of the weights.
    after: called after every step of the optimizer.
    """

    loss: Callable[[Tensor, Outputs], Tensor] | None = None
    features: tuple[str, ...] = ()
    penalty: Callable[[GraphNetwork], Tensor] | None = None
    after: Callable[[GraphNetwork], None] = field(default=_nothing)


@dataclass(frozen=True, slots=True)
class Control:
    """What a stage is compared with: steps that are run after the stage of number `start`; 0 is the base."""

    name: str
    start: int
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a recipe. steps: of training after the change. rate: of learning; None takes the recipe's.

    controls: whether it is compared with its controls.
    """

    steps: Steps = 0
    rate: Annotated[float, Range(1e-7, 1)] | None = None
    controls: bool = True

    STRUCTURE: ClassVar[bool] = False  # whether it changes widths or layers
    INT8: ClassVar[bool] = False  # whether int8 figures decide
    NOTE: ClassVar[str] = ""  # for the report

    def change(self, network: GraphNetwork, work: Work) -> GraphNetwork:
        """The changed network, before training. Raises EdgeError if the goal cannot be met."""
        del work
        return network

    def hooks(self, network: GraphNetwork, work: Work) -> Hooks:
        """What training adds."""
        del network, work
        return Hooks()

    def finish(self, network: GraphNetwork) -> None:
        """Change the trained network for the last time."""

    def comparisons(self, number: int, before: Sequence[Step]) -> tuple[Control, ...]:
        """What stage `number` is compared with, in addition to training from scratch. before: the steps before it."""
        del number, before
        return ()
