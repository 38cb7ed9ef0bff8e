"""edge-app tune: how much may be reused for this model on this camera, found by measuring, and kept with its evidence.

Noise, costs, and on one clip the speed and the agreement of every candidate, in turns with full inference. What is
chosen is the fastest that loses next to nothing; where none is faster, or all lose too much, the verdict is `gate`,
or `off`: not for this model on this camera. Not here: how a clip is looked at and scored (bench/reuse).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2

from edge_app.bench.chart import Axis, Canvas, Color, Mark, Panel
from edge_app.bench.reuse.clips import Clip, open_clip
from edge_app.bench.reuse.objects import ObjectReader
from edge_app.bench.reuse.report import MethodScore, score_method
from edge_app.bench.reuse.runs import ClipResults, InferenceRun, run_clip
from edge_app.config import Config
from edge_app.config.reuse import Mode, ReuseConfig
from edge_app.errors import ClipError
from edge_app.reuse import profile as tuned
from edge_app.reuse.profile import ReuseProfile

# What may be lost: half of what reuse may lose on any clip, since what is tuned on one clip is used on others.
_LOSS, _MOVING_LOSS, _DWELL = 0.0025, 0.005, 2
_WORTH = 1.03  # times as fast: less is not worth a difference
_BEARABLE = 0.95  # times as fast, of the gate on a clip that never rests
_LEAST_FRAMES = 30
_MOST_LOST = 2.2  # that the picture shows
_GREY: Color = (150, 150, 150)
_RED: Color = (40, 90, 220)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings to try. tolerance: grey levels, None: learned; share, feature_tolerance: as in reuse/features.py."""

    name: str
    mode: Mode = "auto"
    tolerance: float | None = None
    share: float | None = None
    feature_tolerance: float | None = None

    def tuned(self, known: ReuseProfile) -> ReuseProfile:
        """What the runtime would read, were this chosen."""
        return replace(
            known,
            verdict=self.mode,
            tolerance=self.tolerance,
            share=self.share,
            feature_tolerance=self.feature_tolerance,
        )


CANDIDATES = (
    Candidate("gate", mode="gate"),
    *(
        Candidate(f"{tolerance} grey, {share:g}", tolerance=tolerance, share=share, feature_tolerance=end)
        for tolerance, share, end in (
            (6, 1.0, 0.0),
            (8, 1.0, 0.25),
            (8, 0.5, 0.5),
            (12, 1.0, 0.25),
            (12, 0.5, 0.5),
            (12, 0.35, 1.0),
            (20, 0.5, 0.5),
            (20, 0.35, 1.0),
        )
    ),
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate on the clip. speedup: mean compute time of full inference by its own."""

    candidate: Candidate
    speedup: float
    agreement: float
    moving_agreement: float
    dwell_p99: float

    def lost(self, ceiling: float, moving_ceiling: float) -> float:
        """Agreement that is lost, in shares of what may be lost: of all objects or of moving ones, what is more."""
        return max(0.0, (ceiling - self.agreement) / _LOSS, (moving_ceiling - self.moving_agreement) / _MOVING_LOSS)

    def loses_little(self, ceiling: float, moving_ceiling: float) -> bool:
        return self.lost(ceiling, moving_ceiling) <= 1 + 1e-9 and self.dwell_p99 <= _DWELL


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. chosen: the name of a candidate, or `off`. file, picture: where it is kept."""

    clip: str
    model: str
    frames: int
    noise: float | None
    ceiling: float
    moving_ceiling: float
    trials: tuple[Trial, ...]
    chosen: str
    file: str
    picture: str


def tune(config: Config, path: str, max_frames: int) -> Report:
    """Measure, and write the choice to the configuration's state_dir. Raises EdgeError where that is not possible."""
    cv2.setNumThreads(1)  # as the pipeline does
    clip = open_clip(path).first(max_frames)
    reader = ObjectReader(config.manifest, config.heads)
    known = _costs(config, reader)
    with tempfile.TemporaryDirectory(prefix="edge_app_tune_") as folder:
        watched, noise = _watch(config, reader, clip, known, Path(folder))
    full = score_method(watched.reference, watched.results["off"], watched.results["off"])
    trials = tuple(_trial(each, watched, full) for each in CANDIDATES)
    ceiling, moving_ceiling = full.agreement.overall, full.agreement.moving
    best = choose(trials, ceiling, moving_ceiling)
    file = tuned.path(config.device.state_dir, config.manifest)
    chosen = known if best is None else best.candidate.tuned(known)
    evidence = _evidence(watched, ceiling, moving_ceiling, best)
    tuned.save(file, replace(chosen, verdict="off" if best is None else chosen.verdict, noise=noise, evidence=evidence))
    report = Report(
        clip=clip.name,
        model=config.manifest.name,
        frames=len(watched.stamps_ns),
        noise=noise,
        ceiling=ceiling,
        moving_ceiling=moving_ceiling,
        trials=trials,
        chosen="off" if best is None else best.candidate.name,
        file=str(file),
        picture=str(file.with_suffix(".png")),
    )
    draw(report, file.with_suffix(".png"))
    return report


def choose(trials: Sequence[Trial], ceiling: float, moving_ceiling: float) -> Trial | None:
    """The fastest trial that loses next to nothing; None where none of these may be used.

    Where none is faster than full inference, it is the gate, if that costs next to nothing on this clip: there will be
    quieter hours.
    """
    good = [each for each in trials if each.loses_little(ceiling, moving_ceiling)]
    fast = [each for each in good if each.speedup >= _WORTH]
    gates = [each for each in good if each.candidate.mode == "gate" and each.speedup >= _BEARABLE]
    return max(fast or gates, key=lambda each: each.speedup, default=None)


def as_json(report: Report) -> str:
    return json.dumps(asdict(report))


def as_table(report: Report) -> str:
    """What was measured, for people."""
    noise = "not known" if report.noise is None else f"{report.noise:.2f} grey levels"
    lines = [
        f"{report.clip}, {report.model}: {report.frames} frames; noise {noise}",
        f"{'':16}{'faster':>8}{'F1':>9}{'moving':>9}{'dwell':>7}",
        f"{'full inference':16}{1:7.2f}x{report.ceiling:9.4f}{report.moving_ceiling:9.4f}{0:7.0f}",
    ]
    for each in report.trials:
        verdict = "" if each.loses_little(report.ceiling, report.moving_ceiling) else "   loses too much"
        if each.candidate.name == report.chosen:
            verdict = "   chosen"
        lines.append(
            f"{each.candidate.name:16}{each.speedup:7.2f}x{each.agreement:9.4f}{each.moving_agreement:9.4f}"
            f"{each.dwell_p99:7.0f}{verdict}"
        )
    if report.chosen == "off":
        lines.append("off: reuse is not for this model on this camera")
    return "\n".join([*lines, f"written to {report.file} and {report.picture}"])


def draw(report: Report, path: Path) -> None:
    """The trade-off as a PNG: how much faster each candidate is, and what it loses."""
    canvas = Canvas(640, 400)
    fastest = max(1.5, *(each.speedup for each in report.trials)) * 1.1
    step = next(step for step in (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100) if fastest / step < 10)
    panel = Panel(
        canvas,
        (0, 0, 640, 400),
        Axis(0, fastest, [i * step for i in range(int(fastest / step) + 1)], "times as fast as full inference"),
        Axis(-0.15, _MOST_LOST, (0, 0.5, 1, 1.5, 2), "agreement lost, in shares of what may be lost"),
        f"{report.model} on {report.clip}: {report.chosen}",
    )
    panel.level(1, _RED, "no more may be lost")
    for number, each in enumerate(report.trials):
        chosen = each.candidate.name == report.chosen
        good = each.loses_little(report.ceiling, report.moving_ceiling)
        mark: Mark = "disc" if chosen else "ring" if good else "cross"
        lost = min(each.lost(report.ceiling, report.moving_ceiling), _MOST_LOST)
        color = _RED if chosen else _GREY
        panel.point((each.speedup, lost), mark, color, each.candidate.name, below=number % 2 == 1)
    canvas.save(path)


def _costs(config: Config, reader: ObjectReader) -> ReuseProfile:
    """What every step costs on this machine, measured alone, before anything else runs."""
    with InferenceRun(config.manifest, reader, config.model, ReuseConfig(mode="auto")) as eye:
        costs = eye.inference.measure()
    return ReuseProfile(costs=None if costs is None else tuned.measured(costs))


def _watch(
    config: Config, reader: ObjectReader, clip: Clip, known: ReuseProfile, folder: Path
) -> tuple[ClipResults, float | None]:
    """Look at the clip with every candidate, each reading its settings as the runtime would read them."""
    from tqdm import tqdm

    manifest, engine = config.manifest, config.model
    eyes: dict[str, InferenceRun] = {}
    with ExitStack() as stack:
        independent, off = (stack.enter_context(InferenceRun(manifest, reader, engine)) for _ in range(2))
        for number, candidate in enumerate(CANDIDATES):
            state = folder / str(number)
            tuned.save(tuned.path(state, manifest), candidate.tuned(known))
            eye = InferenceRun(manifest, reader, engine, ReuseConfig(mode="auto"), state)
            eyes[candidate.name] = stack.enter_context(eye)
        with tqdm(total=clip.length, unit=" frames", desc="tune", disable=None) as bar:
            watched = run_clip(clip, independent, off, eyes, bar.update)
        noise = eyes[CANDIDATES[0].name].inference.reuse_stats()["noise"]
    if len(watched.stamps_ns) < _LEAST_FRAMES:
        found = f"found {len(watched.stamps_ns)} frame(s)"
        raise ClipError(f"{clip.name}: {found}; expected a clip of at least {_LEAST_FRAMES} to tune on")
    return watched, noise if isinstance(noise, float) else None


def _trial(candidate: Candidate, watched: ClipResults, full: MethodScore) -> Trial:
    found = score_method(watched.reference, watched.results[candidate.name], watched.results["off"])
    return Trial(
        candidate,
        round(full.cost_ms / found.cost_ms, 3),
        round(found.agreement.overall, 4),
        round(found.agreement.moving, 4),
        found.dwell_p99,
    )


def _evidence(watched: ClipResults, ceiling: float, moving_ceiling: float, best: Trial | None) -> dict[str, float]:
    frames = len(watched.stamps_ns)
    evidence = {"frames": frames, "ceiling": round(ceiling, 4), "moving_ceiling": round(moving_ceiling, 4)}
    if best is not None:
        evidence |= {
            "speedup": best.speedup,
            "agreement": best.agreement,
            "moving_agreement": best.moving_agreement,
            "dwell_p99": best.dwell_p99,
        }
    return {name: float(value) for name, value in evidence.items()}
