"""bench compare: run one benchmark with two builds of edge-app alternately, and report how the figures changed.

Each pair is one run of the old and one of the new build; the order changes from pair to pair, so that a drift of the
machine's speed cancels. The change is the median of the paired ratios. The spread is that of old against old: half of
the consecutive runs of the old build differ by no more than this factor, in either direction.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from edge_app.bench import tables
from edge_app.errors import ConfigError
from edge_app.terminal import over

FIGURES = {  # benchmark: the figures that are compared, by their keys in its JSON report
    "pipeline": ("fps", "overhead_ms", "peak_rss_mb"),
    "reuse": ("speedup", "full_cost_ms", "cost_ms", "agreement", "moving_agreement"),
    "outbox": ("messages_per_s", "handover_us", "encode_us", "bytes_per_message"),
}
_MIN_PAIRS = 3  # fewer have no spread
_PROBE = """
import importlib.util as util, json, edge_app
module = "edge_app" if util.find_spec("edge_app.__main__") else "edge_app.cli"
print(json.dumps({"module": module, "version": edge_app.__version__, "folder": edge_app.__path__[0]}))
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """old, new: Python interpreters that have a build installed. arguments: of `edge-app bench`, without --json."""

    old: Path
    new: Path
    arguments: Sequence[str]
    pairs: int = 10


@dataclass(frozen=True, slots=True)
class Build:
    """A build of edge-app. module: what `python -m` runs; folder: of its package."""

    python: Path
    module: str
    version: str
    folder: str


@dataclass(frozen=True, slots=True)
class FigureChange:
    """One figure. old, new: medians; ratio: median of new / old; spread: 1 / factor and factor of old / old."""

    old: float
    new: float
    ratio: float
    spread: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Report:
    """changes: by the figure's key in the report of the benchmark. omitted: keys without a ratio."""

    old: str
    new: str
    arguments: list[str]
    pairs: int
    changes: dict[str, FigureChange]
    omitted: list[str]


def bench(plan: Plan) -> Report:
    """Measure. Raises ConfigError if a build cannot be used, its benchmark fails, or both are the same build."""
    _check(plan)
    old, new = _find_build(plan.old), _find_build(plan.new)
    if old.folder == new.folder and old.python.absolute() != new.python.absolute():
        raise ConfigError(
            f"bench compare: {plan.old} and {plan.new} both load edge_app from {old.folder}; expected two builds"
        )
    figures: list[list[dict[str, float]]] = [[], []]  # of the old runs, of the new runs
    order = [which for pair in range(plan.pairs) for which in ((0, 1) if pair % 2 == 0 else (1, 0))]
    for which in over(order, "bench compare", "runs"):
        figures[which].append(_run((old, new)[which], plan.arguments))
    changes = summarize(*figures)
    return Report(
        old=f"{old.version}, {old.folder}",
        new=f"{new.version}, {new.folder}",
        arguments=list(plan.arguments),
        pairs=plan.pairs,
        changes=changes,
        omitted=[key for key in figures[0][0] if key not in changes],
    )


def summarize(old: Sequence[dict[str, float]], new: Sequence[dict[str, float]]) -> dict[str, FigureChange]:
    """Compare the figures that are above 0 in every run. old, new: the figures of each run, in order."""
    keys = [key for key in old[0] if all(run.get(key, 0) > 0 for run in (*old, *new))]
    return {key: _change([run[key] for run in old], [run[key] for run in new]) for key in keys}


def as_json(report: Report) -> str:
    return tables.field_json(report)


def as_table(report: Report) -> str:
    """One line per figure, for people."""
    rows = [("", "old", "new", "new / old", "old / old")]
    for name, change in report.changes.items():
        spread = f"{change.spread[0]:.3f} to {change.spread[1]:.3f}"
        rows.append((name, f"{change.old:.4g}", f"{change.new:.4g}", f"{change.ratio:.3f}", spread))
    omitted = f"Omitted, since not above 0 in every run: {', '.join(report.omitted)}."
    return "\n".join(
        (
            f"old: {report.old}",
            f"new: {report.new}",
            f"bench {' '.join(report.arguments)}: {report.pairs} pairs",
            *tables.align(rows),
            "new / old: median of the paired ratios. old / old: half of the consecutive old runs differ by no more.",
            *([omitted] if report.omitted else []),
        )
    )


def _check(plan: Plan) -> None:
    benchmark = plan.arguments[0] if plan.arguments else ""
    if benchmark not in FIGURES:
        raise ConfigError(f"bench compare: found '{benchmark}' after --; expected one of {', '.join(FIGURES)}")
    if plan.pairs < _MIN_PAIRS:
        raise ConfigError(f"bench compare: --pairs: found {plan.pairs}; expected at least {_MIN_PAIRS}")


def _find_build(python: Path) -> Build:
    try:
        done = subprocess.run([python, "-c", _PROBE], env=_environment(), capture_output=True, text=True, check=False)
    except OSError as exc:
        raise ConfigError(f"{python}: {exc.strerror}; expected a Python interpreter that has edge-app") from exc
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigError(f"{python}: {reason}; expected a Python interpreter that has edge-app")
    return Build(python, **json.loads(done.stdout))


def _run(build: Build, arguments: Sequence[str]) -> dict[str, float]:
    command = [str(build.python), "-m", build.module, "bench", *arguments, "--json"]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"{build.python}: bench {' '.join(arguments)}: {done.stderr.strip()}")
    return dict(_figures(FIGURES[arguments[0]], json.loads(done.stdout)))


def _environment() -> dict[str, str]:
    """Python then does not import edge_app from the current folder, which may hold another build. From 3.11 on."""
    return {**os.environ, "PYTHONSAFEPATH": "1"}


def _figures(keys: Sequence[str], report: Any) -> Iterator[tuple[str, float]]:
    """The figures of a JSON report: one object, or a list with an object for each clip."""
    for entry in report if isinstance(report, list) else [report]:
        prefix = f"{entry['clip']}: " if isinstance(report, list) else ""
        for key in keys:
            if isinstance(entry.get(key), (int, float)):
                yield prefix + key, float(entry[key])


def _change(old: Sequence[float], new: Sequence[float]) -> FigureChange:
    ratio = median(n / o for o, n in zip(old, new))
    factor = median(max(earlier / later, later / earlier) for earlier, later in pairwise(old))
    spread = round(1 / factor, 4), round(factor, 4)
    return FigureChange(round(median(old), 4), round(median(new), 4), round(ratio, 4), spread)
