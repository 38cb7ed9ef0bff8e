"""bench reuse: what reuse gains and what it costs in agreement, beside what else the same time could buy.

Not here: how clips are made (stress.py), looked at (run_clip.py), compare_readings (agreement.py) or reported (report.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_app.bench.reuse import controls, scene, stress, truth
from edge_app.bench.reuse.agreement import score
from edge_app.bench.reuse.clips import Clip, open_clip
from edge_app.bench.reuse.objects import ObjectReader, head_of
from edge_app.bench.reuse.reading_log import compare_readings
from edge_app.bench.reuse.report import ClipReport, score_method
from edge_app.bench.reuse.runs import ClipResults, InferenceRun, build_reference, run_clip
from edge_app.config import ModelConfig
from edge_app.config.reuse import OFF, ReuseConfig
from edge_app.errors import ConfigError
from edge_app.model import manifest as manifests
from edge_app.model.manifest import Manifest
from edge_app.options.document import nearest


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured. only: of the clips' names, behind the colon for those that are made; empty: all of them.

    max_frames: of each clip. state_dir: where `tune` kept what it found; None: nothing was tuned.
    """

    clips: Sequence[str]
    model: ModelConfig
    reuse: ReuseConfig
    stress: bool = False
    only: Sequence[str] = ()
    max_frames: int | None = None
    state_dir: Path | None = None
    controls: bool = True


def bench(plan: Plan) -> list[ClipReport]:
    """Measure, a report a clip. Raises EdgeError where a clip or the model cannot be used."""
    from tqdm import tqdm

    if plan.reuse == OFF:
        raise ConfigError("bench reuse: found mode off; expected gate or auto")
    cv2.setNumThreads(1)  # as the pipeline does: the engine's core is measured, not the machine
    manifest = manifests.load(plan.model.path)
    clips = [clip.first(plan.max_frames) for clip in _clips(plan)]
    passes = 2 if plan.controls else 1
    reports = []
    for clip in tqdm(clips, unit=" clips", desc="bench reuse", disable=None):
        length = None if clip.length is None else passes * clip.length
        with tqdm(total=length, unit=" frames", desc=clip.name, disable=None, leave=False) as bar:
            true = next(
                (truth.find_truth_file(Path(path)) for path in plan.clips if Path(path).name == clip.name), None
            )
            reports.append(_report(plan, manifest, clip, true, bar.update))
    return reports


def _report(
    plan: Plan, manifest: Manifest, clip: Clip, true: Path | None, progress: Callable[[], object]
) -> ClipReport:
    reader = ObjectReader(manifest)
    with (
        tempfile.TemporaryDirectory(prefix="edge_app_bench_") as folder,
        InferenceRun(manifest, reader, plan.model) as independent,
        InferenceRun(manifest, reader, plan.model) as off,
        InferenceRun(manifest, reader, plan.model, plan.reuse, plan.state_dir) as reusing,
    ):
        if plan.state_dir is None:
            reusing.inference.measure()  # what `tune` has kept otherwise
        watched = run_clip(clip, independent, off, {"reuse": reusing}, progress)
        full, reuse = watched.results["off"], watched.results["reuse"]
        others = {}
        if plan.controls:
            share = float(reuse.costs_ms.mean() / full.costs_ms.mean())
            others = {
                "skip_frames": controls.skip_frames(watched, share),
                "skip_and_track": controls.skip_and_track(watched, share, off.stopwatch),
            }
            beside = controls.ControlSetup(manifest, reader, off, Path(folder), progress, plan.model)
            others |= controls.with_models(beside, clip, watched, share)
        reference = watched.reference
        return ClipReport(
            clip=clip.name,
            model=manifest.name,
            mode=plan.reuse.mode,
            frames=len(watched.stamps_ns),
            new_objects=len(reference.new),
            full=score_method(reference, full, full),
            reuse=score_method(reference, reuse, full),
            controls={name: score_method(reference, looks, full) for name, looks in others.items()},
            reuse_stats=reusing.inference.reuse_stats(),
            truth=_against_truth(true, manifest, watched),
            readings=compare_readings(watched.readings["off"], watched.readings["reuse"]) if reusing.readings else None,
        )


def _against_truth(path: Path | None, manifest: Manifest, watched: ClipResults) -> dict[str, float]:
    """F1 of full inference and of reuse against a truth file, over the heads that it tells of."""
    if path is None:
        return {}
    frames, told = truth.read_truth(path, manifest, watched.size)
    reference = build_reference(frames[: len(watched.stamps_ns)], watched.stamps_ns)
    found = {}
    for name, looks in watched.results.items():
        seen = [each[np.isin(head_of(each), list(told))] for each in looks.objects]
        found["full inference" if name == "off" else name] = score(reference, seen).overall
    return found


def _clips(plan: Plan) -> list[Clip]:
    """The clips themselves, and with `stress` those that are made of each. Raises ConfigError for unknown names."""
    clips = []
    for path in plan.clips:
        clip = open_clip(path)
        clips.append(clip)
        if plan.stress:
            found = scene.find(clip)
            frames = min(plan.max_frames or stress.FRAMES, stress.FRAMES)
            stem = Path(path).stem
            clips += stress.still_scenes(found, stem, frames) + stress.stress(found, clip, stem, frames)
    known = {clip.name.rpartition(":")[2] for clip in clips}
    for name in plan.only:
        if name not in known:
            raise ConfigError(f"--only: there is no clip '{name}'{nearest(name, known)}")
    return [clip for clip in clips if not plan.only or clip.name.rpartition(":")[2] in plan.only]
