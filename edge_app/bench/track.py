"""bench track: identities and time beside the public `trackers` package's ByteTrack, on the same boxes, in one run.

Both get the same thresholds. The peer runs twice: told the true frame rate, and given time stamps as well (`timed`).
Scored by `trackers.eval`, which is TrackEval's code. Not here: the crowd (crowd.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.bench.crowd import Crowd, CrowdFrame, overlaps, subsampled, with_lost_frames
from edge_app.config.rules import TrackConfig
from edge_app.errors import ConfigError
from edge_app.frame import Detections, Float32
from edge_app.tracking.tracker import UNTRACKED, Tracker

SETTINGS = TrackConfig(head="objects", high=0.6, start=0.7, mix_classes=True)  # as the peer: it knows no classes
SECONDS_LOST_FRAMES = 30  # the peer's lost buffer of one second, in its own unit
NAMES = ("edge_app", "trackers", "trackers timed")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured. seeds: scenes a row; boxes: results of `replay` whose boxes are tracked too."""

    people: tuple[int, ...] = (10, 20, 40)
    seeds: int = 6
    seconds: float = 24.0
    boxes: Path | None = None
    head: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How well one tracker did on scenes with true identities, means over the seeds."""

    idf1: float
    mota: float
    switches: float


@dataclass(frozen=True, slots=True)
class Count:
    """What one tracker made of boxes without truth.

    tracked: boxes with an identity. tracks: identities given. fragments: of these, those that begin inside the picture
    after the first second, where nobody comes from nowhere.
    """

    tracked: int
    tracks: int
    fragments: int


@dataclass(frozen=True, slots=True)
class Report:
    """By tracker's name. scores: by scene, `20 people, a third of the frames`; times: median ms a frame, by people."""

    scores: dict[str, dict[str, Score]]
    times_ms: dict[str, dict[str, float]]
    boxes: dict[str, dict[str, Count]]


def bench(plan: Plan) -> Report:
    """Measure. Raises ConfigError where the peer is not installed or the boxes cannot be read."""
    peer_is_installed()
    scores = {}
    for people in plan.people:
        films = [Crowd(people=people, seconds=plan.seconds).simulate(seed) for seed in range(plan.seeds)]
        for label, cut in _CUTS.items():
            views = [cut(film, seed) for seed, film in enumerate(films)]
            scores[f"{people} people, {label}"] = {name: _mean(_score(name, view) for view in views) for name in NAMES}
    times = {str(people): _times(people) for people in (20, 100)}
    boxes = {}
    if plan.boxes is not None:
        film = read_boxes(plan.boxes, plan.head)
        for label, cut in _CUTS.items():
            boxes[f"{plan.boxes.name}, {label}"] = {name: _count(name, cut(film, 0)) for name in NAMES}
    return Report(scores, times, boxes)


_CUTS: dict[str, Callable[[Sequence[CrowdFrame], int], Sequence[CrowdFrame]]] = {
    "every frame": lambda film, _: film,
    "a third of the frames": lambda film, _: subsampled(film, 3),
    "20 % of the frames lost": lambda film, seed: with_lost_frames(film, 0.2, seed),
}


def as_json(report: Report) -> str:
    return json.dumps(asdict(report))


def as_table(report: Report) -> str:
    """What was measured, for people."""
    lines = [f"{'IDF1 / MOTA / identity switches':42}" + "".join(f"{name:>24}" for name in NAMES)]
    for label, scores in report.scores.items():
        cells = (f"{s.idf1:.3f} / {s.mota:.3f} / {s.switches:.1f}" for s in scores.values())
        lines.append(f"{label:42}" + "".join(f"{cell:>24}" for cell in cells))
    lines.append("milliseconds a frame, median")
    for people, times in report.times_ms.items():
        lines.append(f"{people + ' tracks':42}" + "".join(f"{ms:24.3f}" for ms in times.values()))
    if report.boxes:
        lines.append("boxes with an identity / identities / begun inside the picture")
    for label, counts in report.boxes.items():
        cells = (f"{c.tracked} / {c.tracks} / {c.fragments}" for c in counts.values())
        lines.append(f"{label:42}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


def peer_is_installed() -> None:
    """Raises ConfigError where the package that is measured beside is missing."""
    try:
        import trackers  # noqa: F401
    except ImportError as exc:
        raise ConfigError(
            f"bench track: the package to measure beside is not installed ({exc.name}); expected: "
            "pip install 'edge-app[peers]'"
        ) from exc


def read_boxes(path: Path, head: str | None) -> list[CrowdFrame]:
    """The detections of a head (the first one by default) from results of `replay`, without any truth.

    Raises ConfigError where the file holds none.
    """
    film = []
    labels: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}; expected results written by `edge-app replay --out`") from exc
    for number, line in enumerate(lines, 1):
        try:
            message = json.loads(line)
            if message["kind"] != "result":
                continue
            found = message["heads"][head or next(iter(message["heads"]))]["detections"]
            film.append(_seen(message, found, labels))
        except (ValueError, KeyError, StopIteration) as exc:
            raise ConfigError(f"{path}:{number}: expected a result with detections of head '{head or 'any'}'") from exc
    return film


def _seen(message: dict[str, Any], found: list[dict[str, Any]], labels: dict[str, int]) -> CrowdFrame:
    size = np.array(message["resolution"] * 2, np.float32)
    xyxy = np.array([d["box"] for d in found], np.float32).reshape(-1, 4) * size
    class_id = np.array([labels.setdefault(d["label"], len(labels)) for d in found], np.int32)
    detections = Detections(xyxy, np.array([d["score"] for d in found], np.float32), class_id)
    return CrowdFrame(message["monotonic_ns"], np.empty(0, np.int64), np.empty((0, 4), np.float32), detections)


def _follow(name: str, film: Sequence[CrowdFrame]) -> tuple[list[Detections], list[float]]:
    """Track a film. Returns the boxes with identities of every frame, and the seconds each frame took."""
    step = _edge_app() if name == "edge_app" else _peer(film, timed=name.endswith("timed"))
    tracked, times = [], []
    for seen in film:
        detections, spent_s = step(seen)
        assert detections.track_id is not None
        tracked.append(detections[detections.track_id != UNTRACKED])
        times.append(spent_s)
    return tracked, times


def _edge_app() -> Callable[[CrowdFrame], tuple[Detections, float]]:
    tracker = Tracker(SETTINGS)

    def step(seen: CrowdFrame) -> tuple[Detections, float]:
        begin = time.perf_counter()
        tracked = tracker.update(seen.detections, seen.captured_ns)
        return tracked, time.perf_counter() - begin

    return step


def _peer(film: Sequence[CrowdFrame], *, timed: bool) -> Callable[[CrowdFrame], tuple[Detections, float]]:
    import supervision
    from trackers import ByteTrackTracker

    interval_s = (film[-1].captured_ns - film[0].captured_ns) / 1e9 / max(len(film) - 1, 1)
    tracker = ByteTrackTracker(
        lost_track_buffer=SECONDS_LOST_FRAMES,
        frame_rate=1 / interval_s,
        track_activation_threshold=SETTINGS.start,
        high_conf_det_threshold=SETTINGS.high,
        minimum_consecutive_frames=SETTINGS.confirm,
        minimum_iou_threshold=SETTINGS.overlap,
    )

    def step(seen: CrowdFrame) -> tuple[Detections, float]:
        found = seen.detections
        given = supervision.Detections(xyxy=found.xyxy, confidence=found.score, class_id=found.class_id)
        begin = time.perf_counter()
        out = tracker.update(given, timestamp=seen.captured_ns / 1e9 if timed else None)
        spent_s = time.perf_counter() - begin
        ids = np.asarray(out.tracker_id, np.int64) + 1  # its first is 0, and -1 is none
        score = np.zeros(len(ids), np.float32)
        xyxy: Float32 = np.asarray(out.xyxy, np.float32).reshape(-1, 4)
        return Detections(xyxy, score, np.zeros(len(ids), np.int32), ids), spent_s

    return step


def _score(name: str, film: Sequence[CrowdFrame]) -> Score:
    from trackers.eval.clear import compute_clear_metrics
    from trackers.eval.identity import compute_identity_metrics

    tracked, _ = _follow(name, film)
    given = (
        [seen.true_id for seen in film],
        [_ids(detections) for detections in tracked],
        [overlaps(seen.true_xyxy, detections.xyxy) for seen, detections in zip(film, tracked)],
    )
    clear, identity = compute_clear_metrics(*given), compute_identity_metrics(*given)
    return Score(float(identity["IDF1"]), float(clear["MOTA"]), float(clear["IDSW"]))


def _mean(scores: Iterable[Score]) -> Score:
    columns = zip(*((score.idf1, score.mota, score.switches) for score in scores))
    return Score(*(round(mean(column), 4) for column in columns))


def _times(people: int) -> dict[str, float]:
    """Median milliseconds a frame of each tracker, with `people` in view, in turns."""
    side = 1 if people <= 20 else 2
    film = Crowd(people=people, width=1280 * side, height=720 * side, seconds=8).simulate(1)
    times: dict[str, list[float]] = {name: [] for name in NAMES}
    for name in NAMES * 3:
        times[name] += _follow(name, film)[1]
    return {name: round(median(spent) * 1e3, 4) for name, spent in times.items()}


def _count(name: str, film: Sequence[CrowdFrame]) -> Count:
    tracked, _ = _follow(name, film)
    limit = np.max([seen.detections.xyxy[:, 2:].max(axis=0, initial=1) for seen in film], axis=0)
    known: set[int] = set()
    fragments = 0
    for seen, detections in zip(film, tracked):
        low, high = detections.xyxy[:, :2], detections.xyxy[:, 2:]
        margin = high - low
        inside = ((low > margin) & (high < limit - margin)).all(axis=1)
        late = seen.captured_ns - film[0].captured_ns > 1_000_000_000
        for id_, is_inside in zip(_ids(detections).tolist(), inside.tolist()):
            fragments += late and is_inside and id_ not in known
            known.add(id_)
    return Count(sum(len(detections) for detections in tracked), len(known), fragments)


def _ids(detections: Detections) -> NDArray[np.int64]:
    assert detections.track_id is not None
    return detections.track_id
