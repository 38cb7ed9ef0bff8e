"""The work of `edge-app slim search`: one worker of a search, and the report of what all of them found."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import torch

from edge_app.errors import ConfigError
from edge_app.slim import checkpoint
from edge_app.slim.search import evaluate, recipe, study
from edge_app.slim.search.recipe import Choice, SearchRecipe
from edge_app.slim.search.study import Found, Search
from edge_app.slim.shrink import pareto
from edge_app.slim.shrink.pareto import Point

_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The arguments. storage: `grpc://HOST:PORT`, or None for a journal in `out`."""

    data: Path
    recipe: Path
    out: Path
    storage: str | None = None


def search(plan: Plan) -> dict[str, Any]:
    """Work until every trial is finished, then train the survivors. Returns the report. Raises ConfigError."""
    loaded = recipe.load(plan.recipe)
    torch.set_num_threads(loaded.threads)
    data = evaluate.open_parts(plan.data, loaded)
    store = study.storage(plan.storage or str(plan.out / "journal.log"))
    first = Search(loaded, store, "search")
    _work(first, loaded, data, plan.out / "trials")
    found = first.found()
    survivors = study.front(found)[: loaded.survivors]
    last: list[Found] = []
    if survivors:
        more = replace(loaded, trials=len(survivors), steps=loaded.final_steps)
        final = Search(more, store, "final")
        final.enqueue([each.choice for each in survivors])
        _work(final, more, data, plan.out / "trials")
        last = final.found()
    report = _report(loaded, found, last)
    checkpoint.replace(plan.out / "search.json", json.dumps(report, indent=1).encode())
    checkpoint.replace(plan.out / "search.html", _page(report).encode())
    return report


def _work(trials: Search, loaded: SearchRecipe, data: evaluate.Data, folder: Path) -> None:
    """Take trials until none is left, of this worker or another one."""
    while True:
        taken = trials.next()
        if taken is None:
            if not trials.unfinished():
                return
            time.sleep(_WAIT_S)
            continue
        trial, choice = taken
        cost = evaluate.cost(choice, loaded, data)
        if loaded.most_cycles and cost > loaded.most_cycles:
            trials.reject(trial, cost)
            continue
        _train(trials, trial, choice, cost, partial(evaluate.loss, choice, loaded, data, folder))


def _train(trials: Search, trial: Any, choice: Choice, cost: int, run: Callable[[Callable[[], None]], float]) -> None:
    """Train the network of one trial. An interrupted one is given back."""
    text = f"{choice.backbone} {choice.width:g}, {choice.side} pixels, {choice.channels} channels"
    print(f"search: trial {trial.number}: {text}: {cost:,} cycles", file=sys.stderr, flush=True)
    try:
        loss = run(lambda: trials.report(trial))
    except KeyboardInterrupt:
        trials.release(trial)
        print("stopped; the same command resumes", file=sys.stderr)
        raise
    except ConfigError:
        trials.release(trial)
        raise
    trials.finish(trial, cost, loss)
    print(f"search: trial {trial.number}: loss {loss:.4f}", file=sys.stderr, flush=True)


def _report(loaded: SearchRecipe, found: Sequence[Found], last: Sequence[Found]) -> dict[str, Any]:
    most = max((f.cycles for f in found), default=1), max((f.loss for f in found), default=1.0)
    return {
        "target": loaded.target,
        "sampler": loaded.sampler,
        "hypervolume": study.hypervolume(found, most),
        "reference": list(most),
        "trials": [asdict(each) for each in found],
        "front": [each.number for each in study.front(found)],
        "survivors": [asdict(each) for each in last],
    }


def as_table(report: dict[str, Any], out: Path) -> str:
    """The survivors, or the front without any."""
    rows = report["survivors"] or [each for each in report["trials"] if each["number"] in report["front"]]
    lines = [f"{report['target'] + ' cycles':>16} {'loss':>8}  backbone, width, side, channels"]
    for each in sorted(rows, key=lambda row: row["cycles"]):
        choice = each["choice"]
        text = f"{choice['backbone']}, {choice['width']:g}, {choice['side']}, {choice['channels']}"
        lines.append(f"{each['cycles']:>16,} {each['loss']:>8.4f}  {text}")
    lines.append(f"{len(report['trials'])} trials; {out / 'search.html'}: the plot")
    return "\n".join(lines)


def _page(report: dict[str, Any]) -> str:
    def name(each: dict[str, Any]) -> str:
        choice = each["choice"]
        return f"{each['number']}: {choice['backbone']} {choice['width']:g}"

    shown = [Point(name(t), t["cycles"], -t["loss"], t["number"] not in report["front"]) for t in report["trials"]]
    style = (
        "body{font:15px system-ui,sans-serif;margin:2rem;background:#fff;color:#222}svg{width:100%}"
        ".axis{fill:none;stroke:#888}.front{fill:none;stroke:#06c}.stage{fill:#06c}.control{fill:#ccc}"
        ".label{font-size:10px}pre{overflow:auto}"
    )
    plot = pareto.svg(shown, f"{report['target']} cycles", "negative loss on validation data")
    table = escape(as_table(report, Path()))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>slim search</title><style>{style}</style>'
        f"</head><body><h1>slim search</h1>{plot}<pre>{table}</pre></body></html>"
    )
