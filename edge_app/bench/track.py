"""bench track: identities and time, compared with ByteTrack of the public `trackers` package on the same boxes.

Both get the same thresholds. The peer runs twice: with the true frame rate, and with time stamps as well (`timed`).
`trackers.eval`, the code of TrackEval, scores both. Not here: the crowd (crowd.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.bench import tables
from edge_app.bench.crowd import Crowd, CrowdFrame, overlaps, subsampled, with_lost_frames
from edge_app.config.rules import TrackConfig
from edge_app.errors import ConfigError
from edge_app.frame import Detections, Float32
from edge_app.options.extras import install
from edge_app.tracking.tracker import UNTRACKED, Tracker

SETTINGS = TrackConfig(head="objects", high=0.6, start=0.7, mix_classes=True)  # like the peer, which ignores classes
PEER_LOST_BUFFER = 30  # the peer's unit: one second
NAMES = ("edge_app", "trackers", "trackers timed")


@dataclass(frozen=True, slots=True)
class Plan:
    """seeds: scenes per table row, each of `seconds`. boxes: results of `replay` to track too; head: whose boxes."""

    people: tuple[int, ...] = (10, 20, 40)
    seeds: int = 6
    seconds: float = 24.0
    boxes: Path | None = None
    head: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one tracker on scenes with known identities: means over the seeds."""

    idf1: float
    mota: float
    switches: float


@dataclass(frozen=True, slots=True)
class Count:
    """The output of one tracker for boxes without ground truth.

    tracked: boxes with an identity. tracks: identities. fragments: identities that begin after the first second and
    away from the border, where no object enters.
    """

    tracked: int
    tracks: int
    fragments: int


@dataclass(frozen=True, slots=True)
class Report:
    """Figures by tracker name. scores, boxes: by scene, such as `20 people, a third of the frames`.

    times_ms: by number of people, the median milliseconds per frame.
    """

    scores: dict[str, dict[str, Score]]
    times_ms: dict[str, dict[str, float]]
    boxes: dict[str, dict[str, Count]]


def bench(plan: Plan) -> Report:
    """Measure. Raises ConfigError if the peer is not installed or the boxes cannot be read."""
    check_peer_installed()
    scores = {}
    for people in plan.people:
        crowds = [Crowd(people=people, seconds=plan.seconds).simulate(seed) for seed in range(plan.seeds)]
        for label, select in _SELECTIONS.items():
            scenes = [select(frames, seed) for seed, frames in enumerate(crowds)]
            scores[f"{people} people, {label}"] = {
                name: _mean(_score(name, scene) for scene in scenes) for name in NAMES
            }
    times_ms = {str(people): _times_ms(people) for people in (20, 100)}
    boxes = {}
    if plan.boxes is not None:
        frames = read_boxes(plan.boxes, plan.head)
        for label, select in _SELECTIONS.items():
            boxes[f"{plan.boxes.name}, {label}"] = {name: _count(name, select(frames, 0)) for name in NAMES}
    return Report(scores, times_ms, boxes)


_SELECTIONS: dict[str, Callable[[Sequence[CrowdFrame], int], Sequence[CrowdFrame]]] = {
    "every frame": lambda frames, _: frames,
    "a third of the frames": lambda frames, _: subsampled(frames, 3),
    "20 % of the frames lost": lambda frames, seed: with_lost_frames(frames, 0.2, seed),
}


def as_json(report: Report) -> str:
    return tables.field_json(report)


def as_table(report: Report) -> str:
    """One table for scores, one for times and one for recorded boxes, for people."""
    scores = {
        label: [f"{s.idf1:.3f} / {s.mota:.3f} / {s.switches:.1f}" for s in row.values()]
        for label, row in report.scores.items()
    }
    times = {f"{people} tracks": [f"{ms:.3f}" for ms in row.values()] for people, row in report.times_ms.items()}
    boxes = {
        label: [f"{c.tracked} / {c.tracks} / {c.fragments}" for c in row.values()]
        for label, row in report.boxes.items()
    }
    parts = {
        "IDF1 / MOTA / identity switches": scores,
        "milliseconds per frame, median": times,
        "boxes with an identity / identities / of these, begun away from the border": boxes,
    }
    lines = []
    for title, rows in parts.items():
        if rows:
            lines += [title, *tables.align([("", *NAMES), *((label, *cells) for label, cells in rows.items())])]
    return "\n".join(lines)


def check_peer_installed() -> None:
    """Raise ConfigError if the package to compare with is not installed."""
    try:
        import trackers  # noqa: F401
    except ImportError as exc:
        raise ConfigError(
            f"bench track: the library {exc.name} is not installed; expected: {install('peers')}"
        ) from exc


def read_boxes(path: Path, head: str | None) -> list[CrowdFrame]:
    """The detections of a head (default: the first one) in results of `replay`; frames without ground truth.

    Raises ConfigError if the file cannot be read or a result has no detections of the head.
    """
    frames = []
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
            detections = message["heads"][head or next(iter(message["heads"]))]["detections"]
            frames.append(_frame(message, detections, labels))
        except (ValueError, KeyError, StopIteration) as exc:
            raise ConfigError(f"{path}:{number}: expected a result with detections of head '{head or 'any'}'") from exc
    return frames


def _frame(message: dict[str, Any], boxes: list[dict[str, Any]], labels: dict[str, int]) -> CrowdFrame:
    size = np.array(message["resolution"] * 2, np.float32)
    xyxy = np.array([d["box"] for d in boxes], np.float32).reshape(-1, 4) * size
    class_id = np.array([labels.setdefault(d["label"], len(labels)) for d in boxes], np.int32)
    detections = Detections(xyxy, np.array([d["score"] for d in boxes], np.float32), class_id)
    return CrowdFrame(message["monotonic_ns"], np.empty(0, np.int64), np.empty((0, 4), np.float32), detections)


def _track(name: str, frames: Sequence[CrowdFrame]) -> tuple[list[Detections], list[float]]:
    """Run one tracker. Returns the boxes with an identity and the seconds, both by frame."""
    step = _edge_app() if name == "edge_app" else _peer(frames, timed=name.endswith("timed"))
    tracked, times_s = [], []
    for frame in frames:
        detections, spent_s = step(frame)
        assert detections.track_id is not None
        tracked.append(detections[detections.track_id != UNTRACKED])
        times_s.append(spent_s)
    return tracked, times_s


def _edge_app() -> Callable[[CrowdFrame], tuple[Detections, float]]:
    tracker = Tracker(SETTINGS)

    def step(frame: CrowdFrame) -> tuple[Detections, float]:
        begin = time.perf_counter()
        tracked = tracker.update(frame.detections, frame.captured_ns)
        return tracked, time.perf_counter() - begin

    return step


def _peer(frames: Sequence[CrowdFrame], *, timed: bool) -> Callable[[CrowdFrame], tuple[Detections, float]]:
    import supervision
    from trackers import ByteTrackTracker

    interval_s = (frames[-1].captured_ns - frames[0].captured_ns) / 1e9 / max(len(frames) - 1, 1)
    tracker = ByteTrackTracker(
        lost_track_buffer=PEER_LOST_BUFFER,
        frame_rate=1 / interval_s,
        track_activation_threshold=SETTINGS.start,
        high_conf_det_threshold=SETTINGS.high,
        minimum_consecutive_frames=SETTINGS.confirm,
        minimum_iou_threshold=SETTINGS.overlap,
    )

    def step(frame: CrowdFrame) -> tuple[Detections, float]:
        detections = frame.detections
        boxes = supervision.Detections(xyxy=detections.xyxy, confidence=detections.score, class_id=detections.class_id)
        begin = time.perf_counter()
        out = tracker.update(boxes, timestamp=frame.captured_ns / 1e9 if timed else None)
        spent_s = time.perf_counter() - begin
        ids = np.asarray(out.tracker_id, np.int64) + 1  # the peer counts from 0; its -1 is untracked
        score = np.zeros(len(ids), np.float32)
        xyxy: Float32 = np.asarray(out.xyxy, np.float32).reshape(-1, 4)
        return Detections(xyxy, score, np.zeros(len(ids), np.int32), ids), spent_s

    return step


def _score(name: str, frames: Sequence[CrowdFrame]) -> Score:
    from trackers.eval.clear import compute_clear_metrics
    from trackers.eval.identity import compute_identity_metrics

    tracked, _ = _track(name, frames)
    sequence = (
        [frame.true_id for frame in frames],
        [_ids(detections) for detections in tracked],
        [overlaps(frame.true_xyxy, detections.xyxy) for frame, detections in zip(frames, tracked)],
    )
    clear, identity = compute_clear_metrics(*sequence), compute_identity_metrics(*sequence)
    return Score(float(identity["IDF1"]), float(clear["MOTA"]), float(clear["IDSW"]))


def _mean(scores: Iterable[Score]) -> Score:
    columns = zip(*((score.idf1, score.mota, score.switches) for score in scores))
    return Score(*(round(mean(column), 4) for column in columns))


def _times_ms(people: int) -> dict[str, float]:
    """Median milliseconds per frame of each tracker with `people` in view. The trackers alternate."""
    side = 1 if people <= 20 else 2
    frames = Crowd(people=people, width=1280 * side, height=720 * side, seconds=8).simulate(1)
    times_s: dict[str, list[float]] = {name: [] for name in NAMES}
    for name in NAMES * 3:
        times_s[name] += _track(name, frames)[1]
    return {name: round(median(seconds) * 1e3, 4) for name, seconds in times_s.items()}


def _count(name: str, frames: Sequence[CrowdFrame]) -> Count:
    tracked, _ = _track(name, frames)
    limit = np.max([frame.detections.xyxy[:, 2:].max(axis=0, initial=1) for frame in frames], axis=0)
    ids: set[int] = set()
    fragments = 0
    for frame, detections in zip(frames, tracked):
        low, high = detections.xyxy[:, :2], detections.xyxy[:, 2:]
        margin = high - low
        inside = ((low > margin) & (high < limit - margin)).all(axis=1)
        late = frame.captured_ns - frames[0].captured_ns > 1_000_000_000
        for id_, is_inside in zip(_ids(detections).tolist(), inside.tolist()):
            fragments += late and is_inside and id_ not in ids
            ids.add(id_)
    return Count(sum(len(detections) for detections in tracked), len(ids), fragments)


def _ids(detections: Detections) -> NDArray[np.int64]:
    assert detections.track_id is not None
    return detections.track_id
