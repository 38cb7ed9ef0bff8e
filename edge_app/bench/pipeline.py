"""bench pipeline: frames a second, CPU and memory of the runtime beside a plain loop, interleaved in one run.

Each variant runs in a process of its own, so that memory is its own: `plain` is the loop everybody writes first
(plain_loop.py), `bare` only decodes and runs the model: what no runtime can save.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from edge_app.errors import BackendError, ModelError

VARIANTS = ("plain", "runtime", "bare")
# One x86-64 server core against one 1.2 GHz Cortex-A7 on interpreted, memory-bound code. Assumed, not measured:
# no board was at hand. CoreMark, which is kinder to small cores, gives 6 to 9.
A7_FACTOR = 15.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured. max_frames: of the clip; None is all."""

    clip: Path
    model: Path
    threads: int = 1
    max_frames: int | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One pass of one variant: frames, seconds of wall and of CPU time from first to last frame, peak memory."""

    frames: int
    wall_s: float
    cpu_s: float
    peak_rss_mb: float


@dataclass(frozen=True, slots=True)
class Report:
    """Medians over the rounds. overhead_ms: CPU a frame beyond bare decoding and running, all threads."""

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
    """Measure. Raises EdgeError where the clip or the model cannot be used."""
    from tqdm import tqdm

    samples: dict[str, list[Sample]] = {variant: [] for variant in VARIANTS}
    passes = [variant for _ in range(rounds) for variant in VARIANTS]
    for variant in tqdm(passes, unit=" passes", desc="bench pipeline", disable=None):  # None: where nobody looks
        samples[variant].append(_measure(variant, plan))
    runtime, plain, bare = samples["runtime"], samples["plain"], samples["bare"]
    overhead_ms = _beyond_ms(runtime, bare)
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
        baseline_overhead_ms=round(_beyond_ms(plain, bare), 3),
        overhead_a7_ms=round(overhead_ms * A7_FACTOR, 1),
        a7_factor=A7_FACTOR,
        peak_rss_mb=round(max(sample.peak_rss_mb for sample in runtime), 1),
        baseline_peak_rss_mb=round(max(sample.peak_rss_mb for sample in plain), 1),
    )


def as_json(report: Report) -> str:
    return json.dumps(asdict(report))


def as_table(report: Report) -> str:
    """What was measured, for people."""
    return "\n".join(
        (
            f"{report.clip}, {report.model}: {report.frames} frames, {report.threads} onnxruntime thread(s), "
            f"{report.cores} core(s)",
            f"{'':34}{'edge_app':>10}{'plain loop':>12}",
            f"{'frames a second':34}{report.fps:10.1f}{report.baseline_fps:12.1f}   ratio {report.ratio:.2f}",
            f"{'CPU ms a frame beyond decode + run':34}{report.overhead_ms:10.2f}{report.baseline_overhead_ms:12.2f}",
            f"{'peak memory, MB':34}{report.peak_rss_mb:10.1f}{report.baseline_peak_rss_mb:12.1f}",
            f"On one 1.2 GHz Cortex-A7 the overhead is about {report.overhead_a7_ms:.0f} ms a frame "
            f"(x{report.a7_factor:.0f}, assumed: no board was at hand).",
        )
    )


def _fps(samples: list[Sample]) -> float:
    return median(sample.frames / sample.wall_s for sample in samples)


def _beyond_ms(samples: list[Sample], bare: list[Sample]) -> float:
    """CPU time a frame beyond that of the bare passes, round by round: other work comes and goes between rounds."""
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
