"""Run the stages of a recipe and their controls. What is done stays done: a killed run resumes where it was.

Every stage has a folder with its graph, its row of evidence and, while it trains, a checkpoint. Needs torch.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from edge_app.compiler.net import Net
from edge_app.errors import ConfigError
from edge_app.options.files import MIB, read_regular
from edge_app.slim import checkpoint
from edge_app.slim.graph import model_folder
from edge_app.slim.graph.fake_quant import TensorRange
from edge_app.slim.graph.network import GraphNetwork, range_key
from edge_app.slim.objectives import Figure
from edge_app.slim.progress import StepProgress
from edge_app.slim.shrink import evidence, verdict
from edge_app.slim.shrink.evidence import Row
from edge_app.slim.shrink.recipe import SlimRecipe, digest
from edge_app.slim.shrink.tuning import Settings, Tuner
from edge_app.slim.steps import Control, Step, Work, train

_GRAPH, _RESULT = "network.onnx", "result.json"
_MOST = 2048 * MIB


@dataclass(frozen=True, slots=True)
class Result:
    """A finished stage: its network, row and fingerprint."""

    network: GraphNetwork
    row: Row
    fingerprint: str


class StageRunner:
    """Runs a recipe. work.base is replaced by the network before the first step that changes the structure."""

    def __init__(self, recipe: SlimRecipe, work: Work, base: Net, out: Path, *, restart: bool) -> None:
        """base: with BatchNorm. out: the folder of the run. restart: drop stages of another recipe."""
        self._recipe, self._work, self._base, self._out, self._restart = recipe, work, base, out, restart
        self._folded = GraphNetwork(base).to_net(fold=True)
        self._results: list[Result] = []

    def run(self) -> list[Row]:
        """The rows: of the base, then of every stage. Raises ConfigError; finished stages are kept."""
        schedule = self._recipe.schedule
        shared = replace(schedule, seeds=1, controls=True, scratch_steps=0, checkpoint_every=1, threads=1)
        graph = hashlib.sha256(model_folder.save_net(self._work.model.net)).hexdigest()
        first = digest(self._work.task.fingerprint(), graph, shared)
        self._results = [self._stage("00-base", train.Step(), lambda: GraphNetwork(self._base), first, 0)]
        for number, stage in enumerate(self._recipe.stages, 1):
            before = self._results[-1]
            fingerprint = digest(before.fingerprint, stage.step)
            result = self._stage(stage.name, stage.step, partial(_copy, before.network), fingerprint, number)
            self._results.append(result)
            self._compare(number, result)
        return [result.row for result in self._results]

    @property
    def last(self) -> Result:
        return self._results[-1]

    def _work_for(self, number: int) -> Work:
        """With the network before the first step that changes the structure as the teacher."""
        steps = [stage.step for stage in self._recipe.stages]
        first = next((i for i, step in enumerate(steps) if step.STRUCTURE), len(steps))
        net = self._results[min(first, number - 1)].network if number and self._results else GraphNetwork(self._base)
        return replace(self._work, base=lambda: _copy(net))

    def _stage(self, name: str, step: Step, make: Callable[[], GraphNetwork], fingerprint: str, number: int) -> Result:
        folder = self._out / name
        done = self._done(folder, fingerprint)
        if done is not None:
            return done
        work = self._work_for(number)
        start_s = time.monotonic()
        network = self._trained(folder, step, make, work, fingerprint)
        seconds = time.monotonic() - start_s
        row = evidence.measure(name, network, self._folded, work)
        row.steps, row.seconds = step.steps, seconds
        row.notes += [step.NOTE] if step.NOTE else []
        row.repeated = [_means(row), *self._repeats(folder, step, make, work, fingerprint)]
        _write(folder, network, row, fingerprint)
        return Result(network, row, fingerprint)

    def _trained(
        self, folder: Path, step: Step, make: Callable[[], GraphNetwork], work: Work, fingerprint: str
    ) -> GraphNetwork:
        """The network after a step and its training."""
        schedule = self._recipe.schedule
        path = folder / checkpoint.FILE
        if self._restart and path.exists() and checkpoint.fingerprint(path) != fingerprint:
            path.unlink()
        if not step.steps:
            network = step.change(make(), work).eval()
            step.finish(network)
            return network
        settings = Settings(
            step.steps, step.rate or schedule.rate, work.seed, schedule.checkpoint_every, path, fingerprint
        )
        tuner = Tuner(lambda: _copy(step.change(make(), work)), step, work, settings)  # a copy: as a resumed run has it
        progress = StepProgress(str(folder.relative_to(self._out)), tuner.step, step.steps)
        try:
            network = tuner.train(progress.update)
        finally:
            progress.close()
            tuner.close()
        step.finish(network)
        return network

    def _repeats(
        self, folder: Path, step: Step, make: Callable[[], GraphNetwork], work: Work, fingerprint: str
    ) -> list[dict[str, float]]:
        """The figures with the other seeds."""
        found = []
        for number in range(1, self._recipe.schedule.seeds if step.steps else 1):
            again, part = replace(work, seed=work.seed + number), folder / f"seed-{number}"
            kept = _read(part)
            own = digest(fingerprint, number)
            if kept is None or kept["fingerprint"] != own:
                network = self._trained(part, step, make, again, own)
                row = evidence.measure(folder.name, network, self._folded, again)
                kept = {"fingerprint": own, "means": _means(row)}
                _save(part / _RESULT, json.dumps(kept).encode())
                (part / checkpoint.FILE).unlink(missing_ok=True)
            found.append(dict(kept["means"]))
        return found

    def _compare(self, number: int, result: Result) -> None:
        """Run the controls of a stage, and judge."""
        stage, schedule = self._recipe.stages[number - 1], self._recipe.schedule
        if not (schedule.controls and stage.step.controls) or result.row.verdict:
            return
        before = [each.step for each in self._recipe.stages[: number - 1]]
        key = "int8" if stage.step.INT8 else "float"
        own = [each[key] for each in result.row.repeated if key in each]
        lines = []
        scratch = train.from_scratch(number, [*before, stage.step])
        for control in (*scratch, *stage.step.comparisons(number, before)):
            try:
                row = self._control(stage.name, control)
            except ConfigError as exc:
                lines.append(f"not compared with {control.name}: {exc}")
                continue
            means = [each[key] for each in row.repeated if key in each]
            lines.append(verdict.compare(own, means, control.name))
            listed = {"name": control.name, "steps": row.steps, "cycles": row.cycles, "repeated": row.repeated}
            result.row.controls.append(listed | {"figures": {n: asdict(f) for n, f in row.figures.items()}})
        result.row.verdict = "; ".join(lines)
        _write(self._out / stage.name, result.network, result.row, result.fingerprint)

    def _control(self, stage: str, control: Control) -> Row:
        """The row of a control: its last step's."""
        result = self._results[control.start]
        steps: Sequence[Step] = control.steps
        if self._recipe.schedule.scratch_steps and any(isinstance(s, train.Step) and s.scratch for s in steps):
            steps = tuple(replace(step, steps=self._recipe.schedule.scratch_steps) for step in steps)
        row, network, fingerprint = result.row, result.network, result.fingerprint
        for i, step in enumerate(steps):
            name = f"controls/{stage}-{control.name.replace(' ', '-')}-{i}"
            fingerprint = digest(fingerprint, control.name, step)
            before = network
            done = self._stage(name, step, partial(_copy, before), fingerprint, len(self._results) - 1)
            row, network = done.row, done.network
        return row

    def _done(self, folder: Path, fingerprint: str) -> Result | None:
        """The result of a stage that is finished. Raises ConfigError if it is of another recipe."""
        state = _read(folder)
        if state is None:
            return None
        if state.get("fingerprint") != fingerprint:
            if self._restart:
                shutil.rmtree(folder, ignore_errors=True)
                return None
            found = f"{folder}: is of another recipe, model or data"
            raise ConfigError(f"{found}; expected another --out, or --restart, which keeps the stages before it")
        data = read_regular(folder / _GRAPH, _MOST)
        network = GraphNetwork(model_folder.load_net(data, str(folder / _GRAPH))).eval()
        for name, (low, high) in state["ranges"].items():
            network.ranges[range_key(name)] = TensorRange(low, high)
            network.int8_weights = True
        row = Row(**state["row"])
        row.figures, row.int8 = ({n: Figure(**f) for n, f in state["row"][key].items()} for key in ("figures", "int8"))
        return Result(network, row, fingerprint)


def _copy(network: GraphNetwork) -> GraphNetwork:
    """A network with the same weights and ranges."""
    copy = GraphNetwork(network.to_net(fold=False))
    for name, (low, high) in network.learned_ranges().items():
        copy.ranges[range_key(name)] = TensorRange(low, high)
    copy.int8_weights = network.int8_weights
    return copy


def _means(row: Row) -> dict[str, float]:
    """The means over the heads, in float and int8; nothing without held-out data."""
    found = {"float": row.figures, "int8": row.int8}
    return {name: verdict.mean(figures) for name, figures in found.items() if figures}


def _read(folder: Path) -> dict[str, Any] | None:
    """The state of a finished stage. Raises ConfigError if it is damaged."""
    path = folder / _RESULT
    if not path.exists():
        return None
    try:
        state = json.loads(read_regular(path, MIB))
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path}: is damaged; expected a stage of `slim shrink`, or another --out") from exc
    if not isinstance(state, dict):
        raise ConfigError(f"{path}: is no result of a stage; expected another --out")
    return state


def _write(folder: Path, network: GraphNetwork, row: Row, fingerprint: str) -> None:
    """Write a finished stage: the result last, since it says that the stage is done."""
    _save(folder / _GRAPH, model_folder.save_net(network.to_net(fold=False)))
    state = {"fingerprint": fingerprint, "ranges": network.learned_ranges(), "row": row.as_json()}
    _save(folder / _RESULT, json.dumps(state, indent=1).encode())
    (folder / checkpoint.FILE).unlink(missing_ok=True)


def _save(path: Path, data: bytes) -> None:
    checkpoint.replace(path, data)
