"""bench cameras: several cameras in one process: memory and frame rate of each further one, fairness, faults of one.

Each pass runs in a separate process (camera_pass.py). Frame rates: every camera replays the clip without pauses,
so that they compete. Faults: three cameras in real time beside one that hangs, floods or dies.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from edge_app.bench import tables
from edge_app.errors import BackendError
from edge_app.terminal import over

COUNTS = (1, 2, 4, 8)
FAULTS = ("hangs", "floods", "dies")
_WITH_FAULT = 4  # cameras


@dataclass(frozen=True, slots=True)
class Plan:
    """The clip and the model. threads: of onnxruntime. seconds: of each pass."""

    clip: Path
    model: Path
    threads: int = 1
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One pass. wall_s, cpu_s: of the measured time; pss_mb: at its end, 10^6 bytes; frames: of each camera in it."""

    wall_s: float
    cpu_s: float
    pss_mb: float
    frames: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A number of cameras, medians over the rounds. fps: of all cameras. ratio: to one camera. fairness: frames of the
    camera with the fewest, to those of the one with the most. cpu_ms: CPU time per frame.

    further_mb: memory of a further camera: PSS beyond one camera's, per further camera.
    """

    cameras: int
    fps: float
    ratio: float
    fairness: float
    cpu_ms: float
    pss_mb: float
    further_mb: float | None


@dataclass(frozen=True, slots=True)
class FaultRow:
    """ratio: frames of the other cameras, to those beside a camera that works; of the one that lost the most."""

    fault: str
    ratio: float


@dataclass(frozen=True, slots=True)
class Report:
    """decoder_mb: PSS of one more decoder of the clip alone."""

    clip: str
    model: str
    threads: int
    cores: int
    seconds: float
    rounds: int
    decoder_mb: float
    rows: tuple[Row, ...]
    faults: tuple[FaultRow, ...]


def bench(plan: Plan, rounds: int, counts: Sequence[int] = COUNTS) -> Report:
    """Measure. Raises EdgeError if the clip or the model cannot be used."""
    passes = [(count, "none") for count in counts] + [(_WITH_FAULT, fault) for fault in ("well", *FAULTS)]
    samples: dict[tuple[int, str], list[Sample]] = {}
    for each in over([*passes * rounds, (1, "decoders"), (9, "decoders")], "bench cameras", "passes"):
        samples.setdefault(each, []).append(_measure(plan, *each))
    decoder_mb = (samples[9, "decoders"][0].pss_mb - samples[1, "decoders"][0].pss_mb) / 8
    return Report(
        clip=str(plan.clip),
        model=str(plan.model),
        threads=plan.threads,
        cores=len(os.sched_getaffinity(0)),
        seconds=plan.seconds,
        rounds=rounds,
        decoder_mb=round(decoder_mb, 1),
        rows=tuple(_row(samples[count, "none"], samples[counts[0], "none"]) for count in counts),
        faults=tuple(_fault(fault, samples[_WITH_FAULT, fault], samples[_WITH_FAULT, "well"]) for fault in FAULTS),
    )


def _row(samples: Sequence[Sample], first: Sequence[Sample]) -> Row:
    count, before = len(samples[0].frames), len(first[0].frames)
    ratios = [_fps(sample) / _fps(one) for sample, one in zip(samples, first)]
    pss_mb = median(sample.pss_mb for sample in samples)
    further = (pss_mb - median(sample.pss_mb for sample in first)) / (count - before) if count > before else None
    return Row(
        cameras=count,
        fps=round(median(map(_fps, samples)), 1),
        ratio=round(median(ratios), 3),
        fairness=round(median(min(sample.frames) / max(1, *sample.frames) for sample in samples), 3),
        cpu_ms=round(median(sample.cpu_s / max(1, sum(sample.frames)) for sample in samples) * 1e3, 2),
        pss_mb=round(pss_mb, 1),
        further_mb=None if further is None else round(further, 1),
    )


def _fault(fault: str, samples: Sequence[Sample], well: Sequence[Sample]) -> FaultRow:
    """The last camera of each sample has the fault."""
    ratios = [
        min(a / s.wall_s / max(b / w.wall_s, 1e-9) for a, b in zip(s.frames[:-1], w.frames[:-1]))
        for s, w in zip(samples, well)
    ]
    return FaultRow(fault, round(median(ratios), 3))


def _fps(sample: Sample) -> float:
    return sum(sample.frames) / sample.wall_s


def _measure(plan: Plan, count: int, fault: str) -> Sample:
    arguments = (plan.clip, plan.model, count, plan.seconds, plan.threads, fault)
    command = [sys.executable, "-m", "edge_app.bench.camera_pass", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise BackendError(f"bench cameras: {count} cameras, {fault}: {lines[-1]}")
    fields = json.loads(done.stdout.splitlines()[-1])
    return Sample(fields["wall_s"], fields["cpu_s"], fields["pss_mb"], tuple(fields["frames"]))


def as_json(report: Report) -> str:
    return tables.field_json(report)


def as_table(report: Report) -> str:
    """The figures, for people."""
    rows = [("cameras", "frames/s", "of one", "fairness", "CPU ms/frame", "PSS MB", "further MB")]
    for row in report.rows:
        further = "-" if row.further_mb is None else f"{row.further_mb:.1f}"
        figures = (f"{row.fps:.1f}", f"{row.ratio:.2f}", f"{row.fairness:.2f}", f"{row.cpu_ms:.2f}")
        rows.append((str(row.cameras), *figures, f"{row.pss_mb:.1f}", further))
    faults = [("one of four", "the others"), *((row.fault, f"{row.ratio:.2f}") for row in report.faults)]
    return "\n".join(
        (
            f"{report.clip}, {report.model}: {report.threads} onnxruntime thread(s), {report.cores} core(s), "
            f"{report.rounds} round(s) of {report.seconds:g} s",
            *tables.align(rows),
            f"One more decoder of the clip alone: {report.decoder_mb:.1f} MB.",
            *tables.align(faults),
        )
    )
