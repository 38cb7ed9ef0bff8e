"""The work of `edge-app slim train`: data, steps with progress, figures, and a model folder. Needs torch."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_app.errors import ConfigError
from edge_app.slim import checkpoint, export, recipe
from edge_app.slim.data import open_data
from edge_app.slim.training import Run, Trainer

_LINE_EVERY_S = 10.0
_SMOOTHING = 0.95  # of the loss that is printed


@dataclass(frozen=True, slots=True)
class Plan:
    """The arguments. data: of heads whose recipe names none; restart: drop the checkpoint of an earlier run."""

    data: Path
    recipe: Path
    out: Path
    restart: bool = False


def train(plan: Plan) -> dict[str, Any]:
    """Train, or resume; write `out`/model and `out`/report.json. Returns the report. Raises ConfigError."""
    loaded = recipe.load(plan.recipe)
    data = {name: open_data(head.data or plan.data, head, loaded.held_out) for name, head in loaded.heads.items()}
    path = plan.out / checkpoint.FILE
    if plan.restart:
        path.unlink(missing_ok=True)
    trainer = Trainer(Run(loaded, data, path))
    progress = _StepProgress(trainer.step, loaded.steps)
    try:
        trainer.train(progress.update)
    except KeyboardInterrupt:
        print(f"stopped after step {trainer.step} of {loaded.steps}; the same command resumes", file=sys.stderr)
        raise
    finally:
        progress.close()
    export.write(trainer.average, loaded, plan.out / "model", plan.out.name)
    report = {
        "steps": trainer.step,
        "backbone": loaded.backbone,
        "width": loaded.width,
        "cycles": trainer.cycles(),
        "heads": trainer.evaluate(),
    }
    try:
        (plan.out / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"{plan.out / 'report.json'}: cannot be written: {exc.strerror}") from exc
    return report


def as_table(report: dict[str, Any], out: Path) -> str:
    """The figures of each head, and what to do next."""
    lines = [", ".join(f"{target} {cycles:,} cycles" for target, cycles in report["cycles"].items())]
    for name, head in report["heads"].items():
        value = "nothing held out" if head["value"] is None else f"{head['metric']} {head['value']:.3f}"
        lines.append(f"{name}: {value} ({head['held_out']} held out, {head['trained_on']} trained on)")
    lines.append(f"{out / 'model'}: next, edge-app compile {out / 'model'} --out models/NAME --calibrate CLIP")
    return "\n".join(lines)


class _StepProgress:
    """Steps, the loss and the time that is left: a bar on a terminal, else a line from time to time."""

    def __init__(self, first: int, steps: int) -> None:
        from tqdm import tqdm

        self._first, self._steps, self._loss = first, steps, 0.0
        self._bar = tqdm(total=steps, initial=first, desc="train", unit=" steps", file=sys.stderr, disable=None)
        self._start_s = self._printed_s = time.monotonic()
        if first:
            print(f"train: resumes after step {first} of {steps}", file=sys.stderr, flush=True)

    def update(self, step: int, loss: float) -> None:
        self._loss = loss if step <= self._first + 1 else _SMOOTHING * self._loss + (1 - _SMOOTHING) * loss
        now_s = time.monotonic()
        if not self._bar.disable:
            self._bar.set_postfix_str(f"loss {self._loss:.3f}", refresh=False)
            self._bar.update()
        elif now_s - self._printed_s >= _LINE_EVERY_S or step in (self._first + 1, self._steps):
            self._printed_s = now_s
            left_s = (now_s - self._start_s) / (step - self._first) * (self._steps - step)
            state = f"step {step} of {self._steps}, loss {self._loss:.3f}, {left_s:.0f} s left"
            print(f"train: {state}", file=sys.stderr, flush=True)

    def close(self) -> None:
        self._bar.close()
