"""The work of `edge-app slim train`: data, steps with progress, figures, and a model folder. Needs torch."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_app.errors import ConfigError
from edge_app.slim import checkpoint, export, recipe
from edge_app.slim.data import open_data
from edge_app.slim.progress import StepProgress
from edge_app.slim.training import Run, Trainer


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
    progress = StepProgress("train", trainer.step, loaded.steps)
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
