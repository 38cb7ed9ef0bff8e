"""The work of `edge-app slim shrink`: model, task, stages, the report, and a model folder. Needs torch."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edge_app.slim import checkpoint, objectives
from edge_app.slim.graph import batchnorm, model_folder
from edge_app.slim.graph.network import GraphNetwork
from edge_app.slim.objectives import DataOptions
from edge_app.slim.shrink import page, recipe
from edge_app.slim.shrink.stages import StageRunner
from edge_app.slim.steps import Work
from edge_app.slim.steps.qat import with_moved

_IMAGES = 64  # on which BatchNorm is measured


@dataclass(frozen=True, slots=True)
class Plan:
    """The arguments. task: labeled data, or a file of Python. restart: drop stages of another recipe."""

    model: Path
    recipe: Path
    task: Path
    out: Path
    restart: bool = False


def shrink(plan: Plan) -> dict[str, Any]:
    """Run the recipe, or resume; write `out`/model, report.json and report.html. Returns the report.

    Raises ConfigError, ModelError; finished stages are kept.
    """
    loaded = recipe.load(plan.recipe)
    schedule = loaded.schedule
    torch.set_num_threads(schedule.threads)
    model = model_folder.read(plan.model)
    options = DataOptions(schedule.held_out, schedule.batch, schedule.augment, schedule.mirror)
    task = objectives.open_task(plan.task, model, options, plan.out / "task")
    base = batchnorm.restored(model.net, model.planes(task.images(_IMAGES)))
    work = Work(model, task, schedule.target, schedule.seed, lambda: GraphNetwork(base))
    runner = StageRunner(loaded, work, base, plan.out, restart=plan.restart)
    try:
        rows = runner.run()
    except KeyboardInterrupt:
        print("stopped; the same command resumes", file=sys.stderr)
        raise
    network = runner.last.network
    folded = network.to_net(fold=True)
    model_folder.write(model, folded, plan.out / "model", "edge-app slim shrink")
    images = {value.name for value in folded.inputs}  # pixels: 0..255 in every int8 graph
    learned = with_moved(folded, network.learned_ranges())
    ranges = {name: limits for name, limits in learned.items() if name not in images}
    if ranges:
        checkpoint.replace(plan.out / "ranges.json", json.dumps(ranges, indent=1).encode())
    report = {
        "model": model.name,
        "target": schedule.target,
        "note": "cycles are estimates of the converter's formula; nothing was measured on an NPU",
        "stages": [row.as_json() for row in rows],
        "ranges": bool(ranges),
    }
    checkpoint.replace(plan.out / "report.json", json.dumps(report, indent=1).encode())
    checkpoint.replace(plan.out / "report.html", page.html(report).encode())
    return report


def as_table(report: dict[str, Any], out: Path) -> str:
    """The stages, one row each, and what to do next."""
    target = report["target"]
    lines = [f"{'stage':<16} {'float':>7} {'int8':>7} {target + ' cycles':>16} {'M MACs':>8} {'k param':>8} {'ms':>6}"]
    for row in report["stages"]:
        lines.append(
            f"{row['name']:<16} {_mean(row, 'float'):>7} {_mean(row, 'int8'):>7} {row['cycles'][target]:>16,}"
            f" {row['macs'] / 1e6:>8.2f} {row['parameters'] / 1e3:>8.1f} {row['ms']['float']:>6.2f}"
        )
        lines += [f"  {text}" for text in (row["verdict"], *row["notes"]) if text]
    ranges = f" --ranges {out / 'ranges.json'}" if report["ranges"] else ""
    lines.append(f"{out / 'report.html'}: the report")
    lines.append(f"{out / 'model'}: next, edge-app compile {out / 'model'} --out models/NAME --calibrate CLIP{ranges}")
    return "\n".join(lines)


def _mean(row: dict[str, Any], kind: str) -> str:
    value = row["repeated"][0].get(kind)
    return "-" if value is None else f"{value:.4f}"
