"""What `bench reuse` found, as a table and as JSON.

Not here: how it was measured (command.py), nor the picture (plot.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edge_app.bench.reuse.agreement import Agreement, Reference, dwell_p99, score
from edge_app.bench.reuse.reading_log import ReadingComparison
from edge_app.bench.reuse.runs import MethodResults

ANSWERS = ("gate", "heads", "partial", "dense")


@dataclass(frozen=True, slots=True)
class MethodScore:
    """One way to look at a clip. cost_ms: mean compute time a frame; dwell_p99: frames later than full inference."""

    cost_ms: float
    median_ms: float
    agreement: Agreement
    dwell_p99: float


@dataclass(frozen=True, slots=True)
class ClipReport:
    """One clip. reuse_stats: the counters of reuse. truth: F1 against a truth file, of full inference and of reuse.

    readings: of a model that reads numbers.
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
        """Mean compute time without reuse by that with it."""
        return _times(self.full.cost_ms, self.reuse.cost_ms)

    @property
    def median_speedup(self) -> float:
        return _times(self.full.median_ms, self.reuse.median_ms)

    @property
    def share(self) -> dict[str, float]:
        """Of the frames, by answer; all dense where tuning found that reuse is not for this model on this camera."""
        counts = {name: int(self.reuse_stats.get(name, 0)) for name in ANSWERS}
        if not any(counts.values()):
            return {**dict.fromkeys(ANSWERS, 0.0), "dense": 1.0}
        return {name: count / sum(counts.values()) for name, count in counts.items()}


def score_method(reference: Reference, looks: MethodResults, full: MethodResults) -> MethodScore:
    """Score one way to look at a clip beside full inference."""
    agreement = score(reference, looks.objects, looks.age_ns)
    without = score(reference, full.objects)
    costs = looks.costs_ms
    return MethodScore(float(costs.mean()), float(np.median(costs)), agreement, dwell_p99(agreement, without))


def as_json(reports: Sequence[ClipReport]) -> str:
    return json.dumps([_object(report) for report in reports])


def as_table(reports: Sequence[ClipReport]) -> str:
    """What was measured, for people."""
    lines = []
    for report in reports:
        answers = ", ".join(f"{name} {share:.0%}" for name, share in report.share.items())
        lines += [
            "",
            f"{report.clip}, {report.model}: {report.frames} frames, {report.new_objects} new objects, "
            f"mode {report.mode}: {answers}",
            f"{'':18}{'ms':>8}{'median':>8}{'cost':>7}{'faster':>8}{'F1':>8}{'moving':>8}{'IoU':>7}{'worst':>7}"
            f"{'1 %':>7}{'dwell':>7}",
        ]
        rows = {"full inference": report.full, "reuse": report.reuse, **report.controls}
        lines += [_row(name, each, report.full) for name, each in rows.items()]
        ages = ", ".join(f"from {age} s {f1:.3f}" for age, f1 in report.reuse.agreement.by_age.items())
        lines.append(f"F1 by age of the results: {ages}")
        if report.truth:
            lines.append("F1 against the truth: " + ", ".join(f"{k} {v:.4f}" for k, v in report.truth.items()))
        if report.readings is not None:
            read = report.readings
            lines.append(f"numbers read: {read.readings}; {read.lost} lost, at most {read.late_frames} frame(s) late")
    return "\n".join([*lines, "", _LEGEND])


_LEGEND = (
    "ms: mean compute time a frame, after decoding and resizing. cost: of full inference. F1: against full inference\n"
    "on an independently noised copy; what full inference itself reaches is the ceiling. dwell: frames until a new\n"
    "object is seen, later than by full inference, 99th percentile. Each control spends about what reuse spends."
)


def _row(name: str, each: MethodScore, full: MethodScore) -> str:
    found = each.agreement
    return (
        f"{name.replace('_', ' '):18}{each.cost_ms:8.2f}{each.median_ms:8.2f}{each.cost_ms / full.cost_ms:7.3f}"
        f"{_times(full.cost_ms, each.cost_ms):7.2f}x{found.overall:8.4f}{found.moving:8.4f}{found.mean_iou:7.3f}"
        f"{found.worst_frame:7.3f}{found.first_percentile:7.3f}{each.dwell_p99:7.0f}"
    )


def _object(report: ClipReport) -> dict[str, Any]:
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
                "cost": _rounded(each.cost_ms / full.cost_ms),
                "agreement": _rounded(each.agreement.overall),
                **_figures(each),
            }
            for name, each in report.controls.items()
        },
        "reuse_stats": dict(report.reuse_stats),
        "truth": {name: _rounded(f1) for name, f1 in report.truth.items()},
        "readings": None if report.readings is None else asdict(report.readings),
    }


def _figures(each: MethodScore) -> dict[str, float]:
    return {
        "cost_ms": _rounded(each.cost_ms),
        "cost_median_ms": _rounded(each.median_ms),
        "moving_agreement": _rounded(each.agreement.moving),
        "mean_iou": _rounded(each.agreement.mean_iou),
        "worst_frame": _rounded(each.agreement.worst_frame),
        "first_percentile": _rounded(each.agreement.first_percentile),
        "dwell_p99": _rounded(each.dwell_p99),
    }


def _times(full_ms: float, ms: float) -> float:
    return full_ms / ms if ms else math.inf


def _rounded(value: float) -> float:
    return round(value, 4)
