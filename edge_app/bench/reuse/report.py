"""The report of `bench reuse`, as a table and as JSON.

Not here: measuring (command.py), the plot (plot.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edge_app.bench import tables
from edge_app.bench.reuse.agreement import Agreement, Reference, dwell_p99, score
from edge_app.bench.reuse.reading_log import ReadingComparison
from edge_app.bench.reuse.runs import MethodResults

DECISIONS = ("gate", "heads", "partial", "dense")  # how a frame was computed


@dataclass(frozen=True, slots=True)
class MethodScore:
    """Cost and agreement of one method on a clip. cost_ms, median_ms: compute time per frame.

    dwell_p99: by how many frames later than full inference a new object is detected, 99th percentile.
    """

    cost_ms: float
    median_ms: float
    agreement: Agreement
    dwell_p99: float


@dataclass(frozen=True, slots=True)
class ClipReport:
    """One clip. reuse_stats: the counters of reuse. truth: F1 of full inference and of reuse against the ground truth.

    readings: only for a model with a `digits` head.
    """

    clip: str
    model: str
    mode: str
    frames: int
    new_objects: int
    full: MethodScore
    reuse: MethodScore
    controls: Mapping[str, MethodScore]
    reuse_stats: Mapping[str, Any]
    truth: Mapping[str, float] = field(default_factory=dict)
    readings: ReadingComparison | None = None

    @property
    def speedup(self) -> float:
        """Mean compute time of full inference divided by that of reuse."""
        return _times(self.full.cost_ms, self.reuse.cost_ms)

    @property
    def median_speedup(self) -> float:
        return _times(self.full.median_ms, self.reuse.median_ms)

    @property
    def share(self) -> dict[str, float]:
        """The share of frames by decision. All are dense if `edge-app tune` has switched reuse off."""
        counts = {name: int(self.reuse_stats.get(name, 0)) for name in DECISIONS}
        if not any(counts.values()):
            return {**dict.fromkeys(DECISIONS, 0.0), "dense": 1.0}
        return {name: count / sum(counts.values()) for name, count in counts.items()}


def score_method(reference: Reference, results: MethodResults, full: MethodResults) -> MethodScore:
    """Score the results of one method. full: those of full inference, which delays are compared with."""
    agreement = score(reference, results.objects, results.age_ns)
    costs = results.costs_ms
    delay = dwell_p99(agreement, score(reference, full.objects))
    return MethodScore(float(costs.mean()), float(np.median(costs)), agreement, delay)


def as_json(reports: Sequence[ClipReport]) -> str:
    return json.dumps([_json_object(report) for report in reports])


def as_table(reports: Sequence[ClipReport]) -> str:
    """One table per clip with a row for each method, for people."""
    lines = [line for report in reports for line in ("", *_clip_lines(report))]
    return "\n".join([*lines, "", _LEGEND])


_HEADER = ("", "ms", "median", "cost", "faster", "F1", "moving", "IoU", "worst", "1 %", "dwell")
_LEGEND = (
    "ms, median: compute time per frame, after decoding and resizing. cost: as a share of full inference. F1: against\n"
    "full inference on an independently noised copy; the F1 of full inference itself is the ceiling. moving: F1 of\n"
    "moving objects. worst, 1 %: F1 of the worst frame, and of the first percentile. dwell: by how many frames later\n"
    "than full inference a new object is detected, 99th percentile. Each other method spends about as much as reuse."
)


def _clip_lines(report: ClipReport) -> list[str]:
    shares = ", ".join(f"{name} {share:.0%}" for name, share in report.share.items())
    rows = {"full inference": report.full, "reuse": report.reuse, **report.controls}
    ages = ", ".join(f"from {age} s {f1:.3f}" for age, f1 in report.reuse.agreement.by_age.items())
    lines = [
        f"{report.clip}, {report.model}: {report.frames} frames, {report.new_objects} new objects, "
        f"mode {report.mode}: {shares}",
        *tables.align([_HEADER, *(_row(name, score, report.full) for name, score in rows.items())]),
        f"F1 by age of the results: {ages}",
    ]
    if report.truth:
        lines.append("F1 against the ground truth: " + ", ".join(f"{k} {v:.4f}" for k, v in report.truth.items()))
    if report.readings is not None:
        readings = report.readings
        counts = f"{readings.readings}, {readings.lost} lost, at most {readings.late_frames} frame(s) late"
        lines.append(f"numbers read by full inference: {counts}")
    return lines


def _row(name: str, score: MethodScore, full: MethodScore) -> tuple[str, ...]:
    agreement = score.agreement
    return (
        name.replace("_", " "),
        f"{score.cost_ms:.2f}",
        f"{score.median_ms:.2f}",
        f"{score.cost_ms / full.cost_ms:.3f}",
        f"{_times(full.cost_ms, score.cost_ms):.2f}x",
        f"{agreement.overall:.4f}",
        f"{agreement.moving:.4f}",
        f"{agreement.mean_iou:.3f}",
        f"{agreement.worst_frame:.3f}",
        f"{agreement.first_percentile:.3f}",
        f"{score.dwell_p99:.0f}",
    )


def _json_object(report: ClipReport) -> dict[str, Any]:
    full, reuse = report.full, report.reuse
    return {
        "clip": report.clip,
        "model": report.model,
        "mode": report.mode,
        "frames": report.frames,
        "speedup": _rounded(report.speedup),
        "speedup_median": _rounded(report.median_speedup),
        "agreement": _rounded(reuse.agreement.overall),
        "ceiling": _rounded(full.agreement.overall),
        **_figures(reuse),
        "moving_ceiling": _rounded(full.agreement.moving),
        "worst_frame_ceiling": _rounded(full.agreement.worst_frame),
        "first_percentile_ceiling": _rounded(full.agreement.first_percentile),
        "full_cost_ms": _rounded(full.cost_ms),
        "new_objects": report.new_objects,
        "share": {name: _rounded(share) for name, share in report.share.items()},
        "by_age_s": {age: _rounded(f1) for age, f1 in reuse.agreement.by_age.items()},
        "controls": {
            name: {
                "cost": _rounded(score.cost_ms / full.cost_ms),
                "agreement": _rounded(score.agreement.overall),
                **_figures(score),
            }
            for name, score in report.controls.items()
        },
        "reuse_stats": dict(report.reuse_stats),
        "truth": {name: _rounded(f1) for name, f1 in report.truth.items()},
        "readings": None if report.readings is None else asdict(report.readings),
    }


def _figures(score: MethodScore) -> dict[str, float]:
    return {
        "cost_ms": _rounded(score.cost_ms),
        "cost_median_ms": _rounded(score.median_ms),
        "moving_agreement": _rounded(score.agreement.moving),
        "mean_iou": _rounded(score.agreement.mean_iou),
        "worst_frame": _rounded(score.agreement.worst_frame),
        "first_percentile": _rounded(score.agreement.first_percentile),
        "dwell_p99": _rounded(score.dwell_p99),
    }


def _times(full_ms: float, ms: float) -> float:
    return full_ms / ms if ms else math.inf


def _rounded(value: float) -> float:
    return round(value, 4)
