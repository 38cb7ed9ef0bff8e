"""edge-app tune: find reuse settings for a model on a camera, and store them with their evidence.

It measures the costs of this machine and the noise of the camera, and runs every candidate on a clip, alternating with
full inference. It chooses the fastest candidate that agrees closely enough with full inference. If there is none, the
verdict is `gate`, or `off`: reuse does not pay off for this model on this camera.
Not here: running and scoring clips (bench/reuse).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2

from edge_app.bench import figures
from edge_app.bench.reuse.clips import Clip, open_clip
from edge_app.bench.reuse.objects import ObjectReader
from edge_app.bench.reuse.report import MethodScore, score_method
from edge_app.bench.reuse.runs import ClipResults, InferenceRun, run_clip
from edge_app.config import Config
from edge_app.config.reuse import Mode, ReuseConfig
from edge_app.errors import ClipError, ConfigError
from edge_app.options.extras import install
from edge_app.reuse import cost_file, profile
from edge_app.reuse.costs import Costs
from edge_app.reuse.profile import ReuseProfile
from edge_app.terminal import Progress

# The allowed loss is half of the limit for any clip, since settings tuned on one clip are used on others.
_MAX_LOSS, _MAX_MOVING_LOSS, _MAX_DWELL = 0.0025, 0.005, 2
_MIN_SPEEDUP = 1.03  # below, the gain does not justify a difference in results
_MIN_GATE_SPEEDUP = 0.95  # of the gate, on a clip in which something always moves
_MIN_FRAMES = 30
_PLOT_LOSS = 2.2  # upper end of the plot's axis
_CHOSEN_COLOR = "#d62728"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings to try. tolerance: gray levels, None: learned. share, feature_tolerance: as in Propagation."""

    name: str
    mode: Mode = "auto"
    tolerance: float | None = None
    share: float | None = None
    feature_tolerance: float | None = None

    def profile(self) -> ReuseProfile:
        """The profile with these settings."""
        return ReuseProfile(
            verdict=self.mode, tolerance=self.tolerance, share=self.share, feature_tolerance=self.feature_tolerance
        )


CANDIDATES = (
    Candidate("gate", mode="gate"),
    *(
        Candidate(f"{tolerance} gray, {share:g}", tolerance=tolerance, share=share, feature_tolerance=end)
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
    """The results of one candidate on the clip. speedup: mean compute time of full inference divided by its own."""

    candidate: Candidate
    speedup: float
    agreement: float
    moving_agreement: float
    dwell_p99: float

    def lost(self, ceiling: float, moving_ceiling: float) -> float:
        """The loss of agreement as a share of the allowed loss: of all objects or of moving ones, whichever is more."""
        moving_loss = (moving_ceiling - self.moving_agreement) / _MAX_MOVING_LOSS
        return max(0.0, (ceiling - self.agreement) / _MAX_LOSS, moving_loss)

    def acceptable(self, ceiling: float, moving_ceiling: float) -> bool:
        """Whether the candidate agrees well enough with full inference and reports new objects soon enough."""
        return self.lost(ceiling, moving_ceiling) <= 1 + 1e-9 and self.dwell_p99 <= _MAX_DWELL


@dataclass(frozen=True, slots=True)
class Report:
    """The results. chosen: the name of a candidate, or `off`.

    file, picture: where the profile and the plot are stored; picture is None without matplotlib. kept_frames: of the
    stored profile, if it is kept because it was measured on more frames; then nothing was written. Else None.
    """

    clip: str
    model: str
    frames: int
    noise: float | None
    ceiling: float
    moving_ceiling: float
    trials: tuple[Trial, ...]
    chosen: str
    file: str
    picture: str | None
    kept_frames: int | None = None


def tune(config: Config, path: str, max_frames: int, *, force: bool = False) -> Report:
    """Measure, and store the chosen profile and the costs of this machine in the configuration's state_dir.

    A stored profile that was measured on more frames is kept, unless `force` is set.
    Raises ConfigError if reuse is off in the configuration, EdgeError if the clip or the model cannot be used.
    """
    if config.reuse.mode == "off":
        expected = "expected the block 'reuse: {mode: auto}', without which a camera ignores the result"
        raise ConfigError(f"{config.path}: found reuse off; {expected}")
    cv2.setNumThreads(1)  # as the pipeline does
    clip = open_clip(path).first(max_frames)
    file = profile.path(config.device.state_dir, config.manifest)
    stored = profile.load(file)
    reader = ObjectReader(config.manifest, config.heads)
    machine, costs = _measure_costs(config, reader)
    with tempfile.TemporaryDirectory(prefix="edge_app_tune_") as folder:
        watched, noise = _run_candidates(config, reader, clip, costs, Path(folder))
    full = score_method(watched.reference, watched.results["off"], watched.results["off"])
    trials = tuple(_trial(candidate, watched, full) for candidate in CANDIDATES)
    ceiling, moving_ceiling = full.agreement.overall, full.agreement.moving
    best = choose(trials, ceiling, moving_ceiling)
    keeps_stored = not force and stored.frames > len(watched.stamps_ns)
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
        picture=str(file.with_suffix(".png")) if figures.available() else None,
        kept_frames=stored.frames if keeps_stored else None,
    )
    if costs is not None:
        cost_file.save(cost_file.path(config.device.state_dir, machine, config.manifest), costs)
    if not keeps_stored:
        chosen = ReuseProfile(verdict="off") if best is None else best.candidate.profile()
        evidence = _evidence(watched, ceiling, moving_ceiling, best)
        profile.save(file, replace(chosen, noise=noise, evidence=evidence))
        if report.picture is not None:
            draw(report, Path(report.picture))
    return report


def choose(trials: Sequence[Trial], ceiling: float, moving_ceiling: float) -> Trial | None:
    """The fastest acceptable trial, or None.

    If none is faster than full inference, the gate is chosen if it costs little on this clip, since it will gain when
    there is less motion.
    """
    good = [trial for trial in trials if trial.acceptable(ceiling, moving_ceiling)]
    fast = [trial for trial in good if trial.speedup >= _MIN_SPEEDUP]
    gates = [trial for trial in good if trial.candidate.mode == "gate" and trial.speedup >= _MIN_GATE_SPEEDUP]
    return max(fast or gates, key=lambda trial: trial.speedup, default=None)


def as_json(report: Report) -> str:
    return json.dumps(asdict(report))


def as_table(report: Report) -> str:
    """The results as text, for people."""
    noise = "unknown" if report.noise is None else f"{report.noise:.2f} gray levels"
    lines = [
        f"{report.clip}, {report.model}: {report.frames} frames; noise {noise}",
        f"{'':16}{'faster':>8}{'F1':>9}{'moving':>9}{'dwell':>7}",
        f"{'full inference':16}{1:7.2f}x{report.ceiling:9.4f}{report.moving_ceiling:9.4f}{0:7.0f}",
    ]
    for trial in report.trials:
        verdict = "" if trial.acceptable(report.ceiling, report.moving_ceiling) else "   loses too much"
        if trial.candidate.name == report.chosen:
            verdict = "   chosen"
        lines.append(
            f"{trial.candidate.name:16}{trial.speedup:7.2f}x{trial.agreement:9.4f}{trial.moving_agreement:9.4f}"
            f"{trial.dwell_p99:7.0f}{verdict}"
        )
    if report.chosen == "off":
        lines.append("off: reuse does not pay for this model on this camera")
    return "\n".join([*lines, outcome(report)])


def outcome(report: Report) -> str:
    """One line: which files were written, or why none was."""
    if report.kept_frames is None:
        if report.picture is None:
            return f"written to {report.file}; no plot without matplotlib: {install('bench')}"
        return f"written to {report.file} and {report.picture}"
    found = f"found a profile measured on {report.kept_frames} frames, this run has {report.frames}"
    return f"{report.file}: {found}; it is kept, --force replaces it"


def draw(report: Report, path: Path) -> None:
    """Draw the trade-off as a PNG: speed-up and loss of agreement of each candidate. Needs matplotlib."""
    figure = figures.new_figure(640, 400)
    axes = figure.subplots()
    axes.axhline(1, color=_CHOSEN_COLOR, linewidth=1, label="allowed loss")
    for number, trial in enumerate(report.trials):
        chosen = trial.candidate.name == report.chosen
        marker = "o" if trial.acceptable(report.ceiling, report.moving_ceiling) else "x"
        color = _CHOSEN_COLOR if chosen else "#7f7f7f"
        point = trial.speedup, min(trial.lost(report.ceiling, report.moving_ceiling), _PLOT_LOSS)
        axes.plot(*point, marker, color=color)
        offset = (0, -13 if number % 2 else 7)
        axes.annotate(trial.candidate.name, point, offset, textcoords="offset points", ha="center", fontsize=7)
    axes.set_xlim(0, max(1.5, *(trial.speedup for trial in report.trials)) * 1.1)
    axes.set_ylim(-0.3, _PLOT_LOSS + 0.2)
    axes.legend(loc="upper left", fontsize=8)
    title = f"{report.model} on {report.clip}: {report.chosen}"
    figures.style(axes, title, "speed-up over full inference", "lost agreement, as a share of the allowed loss")
    figures.save(figure, path)


def _measure_costs(config: Config, reader: ObjectReader) -> tuple[str, Costs | None]:
    """Return the key and the costs of this machine. Measured before anything else runs."""
    with InferenceRun(config.manifest, reader, config.model, ReuseConfig(mode="auto")) as run:
        return run.inference.machine, run.inference.measure()


def _run_candidates(
    config: Config, reader: ObjectReader, clip: Clip, costs: Costs | None, folder: Path
) -> tuple[ClipResults, float | None]:
    """Run the clip with every candidate, which reads its profile as the runtime would. Returns the noise as well."""
    manifest, engine = config.manifest, config.model
    runs: dict[str, InferenceRun] = {}
    with ExitStack() as stack:
        independent, off = (stack.enter_context(InferenceRun(manifest, reader, engine)) for _ in range(2))
        for number, candidate in enumerate(CANDIDATES):
            state = folder / str(number)
            profile.save(profile.path(state, manifest), candidate.profile())
            run = InferenceRun(manifest, reader, engine, ReuseConfig(mode="auto"), state)
            runs[candidate.name] = stack.enter_context(run)
            if costs is not None:
                run.inference.use_costs(costs)
        with Progress("tune", "frames", clip.length) as bar:
            watched = run_clip(clip, independent, off, runs, bar.update)
        noise = runs[CANDIDATES[0].name].inference.reuse_stats()["noise"]
    if len(watched.stamps_ns) < _MIN_FRAMES:
        found = f"found {len(watched.stamps_ns)} frame(s)"
        raise ClipError(f"{clip.name}: {found}; expected a clip of at least {_MIN_FRAMES} to tune on")
    return watched, noise if isinstance(noise, float) else None


def _trial(candidate: Candidate, watched: ClipResults, full: MethodScore) -> Trial:
    score = score_method(watched.reference, watched.results[candidate.name], watched.results["off"])
    return Trial(
        candidate,
        round(full.cost_ms / score.cost_ms, 3),
        round(score.agreement.overall, 4),
        round(score.agreement.moving, 4),
        score.dwell_p99,
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
