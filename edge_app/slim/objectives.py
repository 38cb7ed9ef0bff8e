"""What a model learns when it is made smaller: batches, loss and figures, from labeled data or from a file of Python.

A file has a function `open_task(model: SlimModel, folder: Path) -> Task`; it may keep files in `folder`. Needs torch.
"""

from __future__ import annotations

import copy
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_app.errors import ConfigError, foreign_exception
from edge_app.frame import UInt8
from edge_app.slim.data import DataSet, Example, open_data
from edge_app.slim.data.pictures import Changes, Sample, load
from edge_app.slim.graph.model_folder import HeadModel, SlimModel
from edge_app.slim.recipe import HeadRecipe
from edge_app.slim.tasks import OBJECTIVES, TASKS
from edge_app.slim.tasks._common import Objective
from edge_app.slim.tasks.embed import Likeness

_BATCH = 32  # of an evaluation
_CENTERS = 512  # pictures from which the centers of an embedding are computed
Run = Callable[[UInt8], Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Images (N, H, W, 3) uint8 RGB, and what some heads must find in them; targets: by head."""

    images: UInt8
    targets: Mapping[str, Any]

    def wanted(self, model: SlimModel) -> tuple[str, ...]:
        """The outputs of these heads, as the graph names them."""
        return tuple(f"{h.name}/{output}" for h in model.heads if h.name in self.targets for output in h.outputs)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure on what was held out; greater is better."""

    metric: str
    value: float
    held_out: int


class Task(Protocol):
    """What a model learns. module: parameters that are trained and are no part of the model."""

    module: nn.Module

    def batches(self, seed: int, step: int) -> list[Batch]:
        """The batches of one step; they depend on nothing else."""
        ...

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The loss of a batch. outputs: by head/output."""
        ...

    def evaluate(self, run: Run) -> dict[str, Figure]:
        """Figures by head, on data that chooses nothing. run: images (N, H, W, 3) uint8 RGB -> outputs."""
        ...

    def images(self, count: int) -> UInt8:
        """Images of the training part, unchanged, to measure ranges on; the same ones each time."""
        ...

    def fingerprint(self) -> str:
        """Changes with the data."""
        ...


@dataclass(frozen=True, slots=True)
class DataOptions:
    """How labeled data is used. held_out: of examples, if the data has no such part. batch: per head and step."""

    held_out: float = 0.1
    batch: int = 16
    augment: bool = True
    mirror: bool = False


def open_task(where: Path, model: SlimModel, options: DataOptions, folder: Path) -> Task:
    """The task of a folder of data, or of a file of Python. Raises ConfigError."""
    return _from_file(where, model, folder) if where.suffix == ".py" else DataTask(where, model, options)


def _from_file(path: Path, model: SlimModel, folder: Path) -> Task:
    if not path.is_file():
        raise ConfigError(f"{path}: found nothing; expected a file with a function `open_task`")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.absolute()))  # for modules beside it
    try:
        spec.loader.exec_module(module)
        task: Task = module.open_task(model, folder)
    except ConfigError:
        raise
    except Exception as exc:  # the user's own code
        raise ConfigError(f"{path}: raised {foreign_exception(exc)}; expected `open_task(model, folder)`") from exc
    return task


class DataTask:
    """Labeled pictures; every head of the model learns from them."""

    def __init__(self, where: Path, model: SlimModel, options: DataOptions) -> None:
        """Raises ConfigError: no such data, other classes than the model's, a family that cannot be trained."""
        self._model, self._options = model, options
        width, height = model.net.inputs[0].shape[3], model.net.inputs[0].shape[2]
        self._size = int(width or 0), int(height or 0)
        self._data = {head.name: _data(where, head, options.held_out) for head in model.heads}
        self._objectives = {head.name: _objective(head, self._data[head.name], model) for head in model.heads}
        self.module = nn.ModuleDict({f"objective_{name}": each for name, each in self._objectives.items()})

    def batches(self, seed: int, step: int) -> list[Batch]:
        return [self._batch(name, np.random.default_rng([seed, step, i])) for i, name in enumerate(self._data)]

    def _batch(self, name: str, rng: np.random.Generator) -> Batch:
        data, options = self._data[name], self._options
        chosen = rng.integers(0, len(data.train), options.batch)
        changes = Changes(rng, options.mirror) if options.augment else None
        samples = [load(data.train[i], self._size, len(data.labels), changes) for i in chosen]
        targets = [self._objectives[name].targets(sample) for sample in samples]
        stacked = {key: torch.from_numpy(np.stack([each[key] for each in targets])) for key in targets[0]}
        return Batch(_stack(samples), {name: stacked})

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        total = [
            self._objectives[head.name].loss(self._of(head, outputs), batch.targets[head.name])
            for head in self._model.heads
            if head.name in batch.targets
        ]
        return torch.stack(total).sum()

    def _of(self, head: HeadModel, outputs: Mapping[str, Any]) -> list[Any]:
        """A head's outputs, in the order of its objective."""
        names = self._objectives[head.name].OUTPUTS
        order = names if set(names) <= set(head.outputs) else head.outputs
        return [outputs[f"{head.name}/{name}"] for name in order]

    def evaluate(self, run: Run) -> dict[str, Figure]:
        found = {}
        for head in self._model.heads:
            data, objective = self._data[head.name], self._objectives[head.name]
            if isinstance(objective, Likeness):
                objective = self._with_centers(head, copy.deepcopy(objective), run)
            counts: Any = 0.0
            for samples in self._samples(data, data.held_out):
                outputs = self._of(head, run(_stack(samples)))
                for i, sample in enumerate(samples):
                    counts = counts + objective.count([output[i : i + 1] for output in outputs], sample)
            if data.held_out:
                found[head.name] = Figure(objective.METRIC, objective.score(counts), len(data.held_out))
        return found

    def _with_centers(self, head: HeadModel, objective: Likeness, run: Run) -> Likeness:
        """With each class's center among the training pictures: those of training are not part of the model."""
        data = self._data[head.name]
        chosen = data.train[:: max(1, len(data.train) // _CENTERS)]
        centers = np.zeros((len(data.labels), objective.dimensions), np.float64)
        for samples in self._samples(data, chosen):
            (vectors,) = self._of(head, run(_stack(samples)))
            for vector, sample in zip(vectors, samples):
                centers[sample.label] += vector / max(float(np.linalg.norm(vector)), 1e-9)
        with torch.no_grad():
            objective.centers.copy_(torch.from_numpy(centers).float())
        return objective

    def _samples(self, data: DataSet, examples: Sequence[Example]) -> Any:
        for first in range(0, len(examples), _BATCH):
            yield [load(each, self._size, len(data.labels), None) for each in examples[first : first + _BATCH]]

    def images(self, count: int) -> UInt8:
        data = next(iter(self._data.values()))
        chosen = [data.train[int(i)] for i in np.linspace(0, len(data.train) - 1, min(count, len(data.train)))]
        return _stack([load(each, self._size, len(data.labels), None) for each in chosen])

    def fingerprint(self) -> str:
        return "".join(data.fingerprint() for data in self._data.values()) + repr(self._options)


def _stack(samples: Sequence[Sample]) -> UInt8:
    return np.stack([sample.image for sample in samples])


def _data(where: Path, head: HeadModel, held_out: float) -> DataSet:
    if head.family not in TASKS:
        known = ", ".join(TASKS)
        found = f"heads.{head.name}: the family {head.family} has no loss"
        raise ConfigError(f"{found}; expected one of {known}, or a task in Python")
    labels = tuple(label for label in head.labels if label != "background")
    return open_data(where, HeadRecipe(TASKS[head.family], classes=labels), held_out)


def _objective(head: HeadModel, data: DataSet, model: SlimModel) -> Objective:
    shapes = model.net.shapes()
    dimensions = int(shapes[f"{head.name}/{head.outputs[0]}"][-1] or 1)
    return OBJECTIVES[head.family](data.labels, dimensions)
