"""Drop channels in the blocks of an NPU: until a share of its cycles is left, or to given widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

from edge_app.errors import ConfigError
from edge_app.options import Range
from edge_app.slim import pruning
from edge_app.slim.graph.network import GraphNetwork
from edge_app.slim.pruning import Goal, Measure, Rank
from edge_app.slim.steps import _step, sparsify, train
from edge_app.slim.steps._step import Control, Steps, Work

_TAYLOR_BATCHES = 8


@dataclass(frozen=True, slots=True)
class Step(_step.Step):
    """share: of the cycles that may be left. widths: of single layers, by the tensor that they return; then no share.

    of: what the share is of. block: channels in which widths are lowered; 0 takes those of the NPU, which others waste.
    rank: which channels do least: `taylor` (of the loss on training data), `l1` (weights), `gain` (BatchNorm, after
    `sparsify`). passes: the share is reached in so many, each with `steps` of training.
    """

    steps: Steps = 300
    share: Annotated[float, Range(0.01, 1)] = 0.7
    widths: dict[str, int] = field(default_factory=dict)
    rank: Rank = "taylor"
    of: Measure = "cycles"
    block: Annotated[int, Range(0, 256)] = 0
    passes: Annotated[int, Range(1, 20)] = 1
    STRUCTURE = True

    def expanded(self) -> list[Step]:
        """A step for each pass; the last one is compared with its controls."""
        one = replace(self, share=self.share ** (1 / self.passes), passes=1)
        return [replace(one, controls=False)] * (self.passes - 1) + [one]

    def change(self, network: GraphNetwork, work: Work) -> GraphNetwork:
        if self.rank == "taylor":
            _backward(network, work)
        goal = Goal(work.target, self.rank, self.of, self.block)
        if self.widths:
            pruning.to_widths(network, network.example(), goal, self._by_layer(network))
        else:
            pruning.prune_to(network, network.example(), goal, self.share)
        network.zero_grad(set_to_none=True)
        return network

    def _by_layer(self, network: GraphNetwork) -> dict[str, int]:
        """The widths by module. Raises ConfigError for a tensor that no convolution returns."""
        found = {}
        raw = {node.outputs[0]: node.inputs[0] for node in network.net.nodes if node.op == "BatchNormalization"}
        for tensor, width in self.widths.items():
            name = raw.get(tensor, tensor)
            if name not in network.keys:
                known = ", ".join(list(raw)[:8] or list(network.keys)[:8])
                raise ConfigError(f"prune: widths: found no layer '{tensor}'; expected one of {known} …")
            found[f"layers.{network.keys[name]}"] = width
        return found

    def comparisons(self, number: int, before: Sequence[_step.Step]) -> tuple[Control, ...]:
        del number
        found = []
        sparse = [i for i, step in enumerate(before) if isinstance(step, sparsify.Step)]
        if sparse:
            first = sparse[-1]
            steps = (train.Step(steps=before[first].steps, rate=before[first].rate), *before[first + 1 :], self)
            found.append(Control("without sparsity", first, steps))
        return tuple(found)


def _backward(network: GraphNetwork, work: Work) -> None:
    """The gradients of the loss over some batches of training data."""
    network.eval()
    network.zero_grad(set_to_none=True)
    for number in range(_TAYLOR_BATCHES):
        for batch in work.task.batches(work.seed, number):
            outputs = network(work.model.planes(batch.images), batch.wanted(work.model))
            work.task.loss(outputs, batch).backward()
