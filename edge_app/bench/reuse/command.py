"""bench reuse: the gain in speed and the loss in agreement of reuse, compared with other methods of equal cost.

Not here: generated clips (stress.py), running clips (runs.py), comparing (agreement.py) and reporting (report.py).
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
from edge_app.bench.reuse.runs import ClipResults, InferenceRun, MethodResults, build_reference, run_clip
from edge_app.config import ModelConfig
from edge_app.config.reuse import OFF, ReuseConfig
from edge_app.errors import ConfigError
from edge_app.model import manifest as manifests
from edge_app.model.manifest import Manifest
from edge_app.options.document import nearest
from edge_app.terminal import Progress, over


@dataclass(frozen=True, slots=True)
class Plan:
    """only: names of clips, for generated ones the part after the colon; empty: all of them.

    max_frames: of each clip. state_dir: where `edge-app tune` saved its result; None: untuned. controls: whether other
    methods are measured too.
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
    """Measure; one report for each clip. Raises EdgeError if a clip or the model cannot be used."""
    if plan.reuse == OFF:
        raise ConfigError("bench reuse: found mode off; expected gate or auto")
    cv2.setNumThreads(1)  # as in the pipeline
    manifest = manifests.load(plan.model.path)
    clips = [clip.first(plan.max_frames) for clip in _clips(plan)]
    paths = {Path(path).name: Path(path) for path in plan.clips}
    passes = 2 if plan.controls else 1
    reports = []
    for clip in over(clips, "bench reuse", "clips"):
        length = None if clip.length is None else passes * clip.length
        with Progress(clip.name, "frames", length) as bar:
            truth_file = truth.find_truth_file(paths[clip.name]) if clip.name in paths else None
            reports.append(_measure(plan, manifest, clip, truth_file, bar.update))
    return reports


def _measure(
    plan: Plan, manifest: Manifest, clip: Clip, truth_file: Path | None, progress: Callable[[], object]
) -> ClipReport:
    reader = ObjectReader(manifest)
    with (
        tempfile.TemporaryDirectory(prefix="edge_app_bench_") as folder,
        InferenceRun(manifest, reader, plan.model) as independent,
        InferenceRun(manifest, reader, plan.model) as off,
        InferenceRun(manifest, reader, plan.model, plan.reuse, plan.state_dir) as reusing,
    ):
        reusing.inference.measure()  # costs of this machine; a stored profile has none
        measured = run_clip(clip, independent, off, {"reuse": reusing}, progress)
        setup = controls.ControlSetup(manifest, reader, off, Path(folder), progress, plan.model)
        others = _run_controls(setup, clip, measured) if plan.controls else {}
        full, reuse, reference = measured.results["off"], measured.results["reuse"], measured.reference
        readings = measured.readings
        return ClipReport(
            clip=clip.name,
            model=manifest.name,
            mode=plan.reuse.mode,
            frames=len(measured.stamps_ns),
            new_objects=len(reference.new),
            full=score_method(reference, full, full),
            reuse=score_method(reference, reuse, full),
            controls={name: score_method(reference, results, full) for name, results in others.items()},
            reuse_stats=reusing.inference.reuse_stats(),
            truth=_score_against_truth(truth_file, manifest, measured),
            readings=compare_readings(readings["off"], readings["reuse"]) if reusing.readings else None,
        )


def _run_controls(setup: controls.ControlSetup, clip: Clip, measured: ClipResults) -> dict[str, MethodResults]:
    """Run the other methods at the cost that reuse had."""
    full, reuse = measured.results["off"], measured.results["reuse"]
    share = float(reuse.costs_ms.mean() / full.costs_ms.mean())
    return {
        "skip_frames": controls.skip_frames(measured, share),
        "skip_and_track": controls.skip_and_track(measured, share, setup.off.stopwatch),
        **controls.run_model_controls(setup, clip, measured, share),
    }


def _score_against_truth(path: Path | None, manifest: Manifest, measured: ClipResults) -> dict[str, float]:
    """F1 of full inference and of reuse against the ground truth, over the heads that it covers."""
    if path is None:
        return {}
    frames, heads = truth.read_truth(path, manifest, measured.size)
    reference = build_reference(frames[: len(measured.stamps_ns)], measured.stamps_ns)
    scores = {}
    for name, results in measured.results.items():
        selected = [frame_objects[np.isin(head_of(frame_objects), list(heads))] for frame_objects in results.objects]
        scores["full inference" if name == "off" else name] = score(reference, selected).overall
    return scores


def _clips(plan: Plan) -> list[Clip]:
    """The given clips, and with `stress` those generated from each. Raises ConfigError for unknown names in `only`."""
    clips = []
    for path in plan.clips:
        clip = open_clip(path)
        clips.append(clip)
        if plan.stress:
            parts = scene.extract_scene(clip)
            frames = min(plan.max_frames or stress.FRAMES, stress.FRAMES)
            stem = Path(path).stem
            clips += stress.static_scenes(parts, stem, frames) + stress.hard_cases(parts, clip, stem, frames)
    names = {clip.name.rpartition(":")[2] for clip in clips}
    for name in plan.only:
        if name not in names:
            raise ConfigError(f"--only: there is no clip '{name}'{nearest(name, names)}")
    return [clip for clip in clips if not plan.only or clip.name.rpartition(":")[2] in plan.only]
