"""bench pipeline: frame rate, CPU time and memory of the runtime and of a plain loop, interleaved in one run.

Each pass runs in its own process, so that its memory can be measured. Variants (plain_loop.py): `runtime` is edge-app,
`plain` is a straightforward loop, `bare` only decodes and runs the model, which no runtime can avoid.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from edge_app.bench import tables
from edge_app.errors import BackendError, ModelError

VARIANTS = ("plain", "runtime", "bare")
# Time of interpreted, memory-bound code on one 1.2 GHz Cortex-A7 core, relative to one x86-64 server core. An estimate:
# no board was available. CoreMark, which favors small cores, gives 6 to 9.
A7_FACTOR = 15.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The clip and the model. threads: of onnxruntime; max_frames: the first frames of the clip, None: all."""

    clip: Path
    model: Path
    threads: int = 1
    max_frames: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One pass of one variant. wall_s, cpu_s: from the first to the last frame; peak_rss_mb: 10^6 bytes."""

    frames: int
    wall_s: float
    cpu_s: float
    peak_rss_mb: float


@dataclass(frozen=True, slots=True)
class Report:
    """Medians over the rounds; baseline: the plain loop.

    overhead_ms: CPU time per frame of all threads, less that of the `bare` variant. Peak memory is the maximum.
    """

    clip: str
    model: str
    threads: int
    cores: int
    frames: int
    fps: float
    baseline_fps: float
    ratio: float
    overhead_ms: float
    baseline_overhead_ms: float
    overhead_a7_ms: float
    a7_factor: float
    peak_rss_mb: float
    baseline_peak_rss_mb: float


def bench(plan: Plan, rounds: int) -> Report:
    """Measure. Raises EdgeError if the clip or the model cannot be used."""
    from tqdm import tqdm

    samples: dict[str, list[Sample]] = {variant: [] for variant in VARIANTS}
    passes = [variant for _ in range(rounds) for variant in VARIANTS]
    for variant in tqdm(passes, unit=" passes", desc="bench pipeline", disable=None):  # None: only on a terminal
        samples[variant].append(_measure(variant, plan))
    runtime, plain, bare = samples["runtime"], samples["plain"], samples["bare"]
    overhead_ms = _overhead_ms(runtime, bare)
    return Report(
        clip=str(plan.clip),
        model=str(plan.model),
        threads=plan.threads,
        cores=len(os.sched_getaffinity(0)),
        frames=runtime[0].frames,
        fps=round(_fps(runtime), 1),
        baseline_fps=round(_fps(plain), 1),
        ratio=round(median(_fps([r]) / _fps([p]) for r, p in zip(runtime, plain)), 3),
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
        ("CPU overhead, ms per frame", f"{report.overhead_ms:.2f}", f"{report.baseline_overhead_ms:.2f}", ""),
        ("peak memory, MB", f"{report.peak_rss_mb:.1f}", f"{report.baseline_peak_rss_mb:.1f}", ""),
    ]
    return "\n".join(
        (
            f"{report.clip}, {report.model}: {report.frames} frames, {report.threads} onnxruntime thread(s), "
            f"{report.cores} core(s)",
            *tables.align(rows),
            "CPU overhead: CPU time excluding decoding and running the model.",
            f"Estimate for one 1.2 GHz Cortex-A7: {report.overhead_a7_ms:.0f} ms per frame "
            f"(factor {report.a7_factor:.0f}, not measured).",
        )
    )


def _fps(samples: list[Sample]) -> float:
    return median(sample.frames / sample.wall_s for sample in samples)


def _overhead_ms(samples: list[Sample], bare: list[Sample]) -> float:
    """CPU time per frame less that of the bare pass of the same round: the machine's load varies between rounds."""
    return median(s.cpu_s / s.frames - b.cpu_s / b.frames for s, b in zip(samples, bare)) * 1e3


def _measure(variant: str, plan: Plan) -> Sample:
    command = [sys.executable, "-m", "edge_app.bench.plain_loop", variant, str(plan.clip), str(plan.model)]
    command += [str(plan.threads), str(plan.max_frames or 0)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode in (ModelError.exit_code, BackendError.exit_code):
        raise ModelError(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(f"{variant}: {done.stderr}")
    return Sample(**json.loads(done.stdout))
