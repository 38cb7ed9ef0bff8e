"""bench pipeline: frame rate, CPU time and memory of the runtime and of a plain loop, interleaved in one run.

Each pass runs in its own process, so that its memory can be measured. Variants (passes.py): `runtime` is edge-app,
`plain` is a straightforward loop, `bare` only decodes and runs the model, which no runtime can avoid, and `graph` only
runs the model. No runtime that runs the same graphs one after the other exceeds the ceiling: time per frame of the
plain loop / time of the graphs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

from edge_app.bench import tables
from edge_app.errors import BackendError, ModelError
from edge_app.terminal import over

VARIANTS = ("plain", "runtime", "bare", "graph")
_GRAPH_RUNS = 200  # at most, in a pass of `graph`
# Time of interpreted, memory-bound code on one 1.2 GHz Cortex-A7 core, relative to one x86-64 server core. An estimate:
# no board was available. CoreMark, which favors small cores, gives 6 to 9.
A7_FACTOR = 15.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The clip and the model. threads: of onnxruntime; max_frames: the first frames of the clip, None: all.

    precision: which of the model's graphs run, on both sides; not `auto`.
    """

    clip: Path
    model: Path
    threads: int = 1
    max_frames: int | None = None
    precision: Literal["float", "int8", "auto"] = "float"


@dataclass(frozen=True, slots=True)
class Sample:
    """One pass of one variant. wall_s, cpu_s: from the first to the last frame; peak_rss_mb: 10^6 bytes.

    busiest_s: CPU time of the thread with the most.
    """

    frames: int
    wall_s: float
    cpu_s: float
    busiest_s: float
    peak_rss_mb: float


@dataclass(frozen=True, slots=True)
class Report:
    """Medians over the rounds; baseline: the plain loop. Peak memory is the maximum.

    ratio, ceiling: medians of the paired ratios. ratio_range: the lowest and the highest one. graph_ms: wall time of
    the model alone. busiest_ms: CPU time per frame of the busiest thread, which limits the frame rate; the load of
    other programs changes it less. overhead_ms: CPU time per frame of all threads, less that of the `bare` variant.
    """

    clip: str
    model: str
    threads: int
    precision: str
    cores: int
    frames: int
    fps: float
    baseline_fps: float
    ratio: float
    ratio_range: tuple[float, float]
    ceiling: float
    graph_ms: float
    busiest_ms: float
    baseline_busiest_ms: float
    overhead_ms: float
    baseline_overhead_ms: float
    overhead_a7_ms: float
    a7_factor: float
    peak_rss_mb: float
    baseline_peak_rss_mb: float


def bench(plan: Plan, rounds: int) -> Report:
    """Measure. Raises EdgeError if the clip or the model cannot be used."""
    samples: dict[str, list[Sample]] = {variant: [] for variant in VARIANTS}
    passes = [variant for _ in range(rounds) for variant in VARIANTS]
    for variant in over(passes, "bench pipeline", "passes"):
        limit = min(_GRAPH_RUNS, samples["plain"][0].frames) if variant == "graph" else plan.max_frames
        samples[variant].append(_measure(variant, replace(plan, max_frames=limit)))
    return summarize(plan, **samples)


def summarize(
    plan: Plan, *, plain: list[Sample], runtime: list[Sample], bare: list[Sample], graph: list[Sample]
) -> Report:
    """Compare the passes of each variant, one per round."""
    overhead_ms = _overhead_ms(runtime, bare)
    ratios = [_wall_ms(p) / _wall_ms(r) for p, r in zip(plain, runtime)]
    return Report(
        clip=str(plan.clip),
        model=str(plan.model),
        threads=plan.threads,
        precision=plan.precision,
        cores=len(os.sched_getaffinity(0)),
        frames=runtime[0].frames,
        fps=round(_fps(runtime), 1),
        baseline_fps=round(_fps(plain), 1),
        ratio=round(median(ratios), 3),
        ratio_range=(round(min(ratios), 3), round(max(ratios), 3)),
        ceiling=round(median(_wall_ms(p) / _wall_ms(g) for p, g in zip(plain, graph)), 3),
        graph_ms=round(median(map(_wall_ms, graph)), 3),
        busiest_ms=round(median(sample.busiest_s / sample.frames for sample in runtime) * 1e3, 3),
        baseline_busiest_ms=round(median(sample.busiest_s / sample.frames for sample in plain) * 1e3, 3),
        overhead_ms=round(overhead_ms, 3),
        baseline_overhead_ms=round(_overhead_ms(plain, bare), 3),
        overhead_a7_ms=round(overhead_ms * A7_FACTOR, 1),
        a7_factor=A7_FACTOR,
        peak_rss_mb=round(max(sample.peak_rss_mb for sample in runtime), 1),
        baseline_peak_rss_mb=round(max(sample.peak_rss_mb for sample in plain), 1),
    )


def as_json(report: Report) -> str:
    return tables.field_json(report)


def as_table(report: Report) -> str:
    """The figures of both sides, for people."""
    rows = [
        ("", "edge-app", "plain loop", "ratio"),
        ("frames per second", f"{report.fps:.1f}", f"{report.baseline_fps:.1f}", f"{report.ratio:.2f}"),
        (
            "CPU of the busiest thread, ms per frame",
            f"{report.busiest_ms:.2f}",
            f"{report.baseline_busiest_ms:.2f}",
            f"{report.baseline_busiest_ms / report.busiest_ms:.2f}",
        ),
        ("CPU overhead, ms per frame", f"{report.overhead_ms:.2f}", f"{report.baseline_overhead_ms:.2f}", ""),
        ("peak memory, MB", f"{report.peak_rss_mb:.1f}", f"{report.baseline_peak_rss_mb:.1f}", ""),
    ]
    return "\n".join(
        (
            f"{report.clip}, {report.model}: {report.frames} frames, {report.precision}, "
            f"{report.threads} onnxruntime thread(s), "
            f"{report.cores} core(s)",
            *tables.align(rows),
            "The ratio of frames per second: {:.2f} to {:.2f} in the rounds.".format(*report.ratio_range),
            f"Its ceiling, plain loop / graphs alone: {report.ceiling:.2f}; the graphs take {report.graph_ms:.2f} ms.",
            "CPU overhead: CPU time excluding decoding and running the model.",
            f"Estimate for one 1.2 GHz Cortex-A7: {report.overhead_a7_ms:.0f} ms per frame "
            f"(factor {report.a7_factor:.0f}, not measured).",
        )
    )


def _wall_ms(sample: Sample) -> float:
    return sample.wall_s / sample.frames * 1e3


def _fps(samples: list[Sample]) -> float:
    return median(sample.frames / sample.wall_s for sample in samples)


def _overhead_ms(samples: list[Sample], bare: list[Sample]) -> float:
    """CPU time per frame less that of the bare pass of the same round: the machine's load varies between rounds."""
    return median(s.cpu_s / s.frames - b.cpu_s / b.frames for s, b in zip(samples, bare)) * 1e3


def _measure(variant: str, plan: Plan) -> Sample:
    command = [sys.executable, "-m", "edge_app.bench.passes", variant, str(plan.clip), str(plan.model)]
    command += [str(plan.threads), plan.precision, str(plan.max_frames or 0)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode in (ModelError.exit_code, BackendError.exit_code):
        raise (ModelError if done.returncode == ModelError.exit_code else BackendError)(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"{variant}: {done.stderr}")
    return Sample(**json.loads(done.stdout))
