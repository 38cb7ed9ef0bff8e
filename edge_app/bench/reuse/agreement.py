"""How well the results of a method agree with the reference: all objects, moving ones, new ones, and by age.

Matching and F1 with hysteresis are those of edge_app/evaluation. Not here: making the reference (runs.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_app.bench.reuse.objects import Objects
from edge_app.bench.reuse.trajectories import Trajectory
from edge_app.evaluation import (
    LEAST_IOU,
    Counts,
    Matches,
    class_iou,
    f1,
    frame_f1,
    match_optimal,
    mean_matched_iou,
    paired_counts,
    worst_frame,
)
from edge_app.frame import Float32
from edge_app.geometry.boxes import iou

Bools = NDArray[np.bool_]
_NEAR_IOU = 0.1  # least IoU of an unmatched box with an object that it may belong to
_NEAR_FRAMES = 30  # before and after: an unmatched box may be a stale box of an object that moves there
_AGES_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Reference:
    """The results to compare with, one element per frame. moving: a mask (N,) over the objects of each frame.

    new: the objects that appear after the first frame.
    """

    objects: Sequence[Objects]
    moving: Sequence[Bools]
    new: Sequence[Trajectory]


@dataclass(frozen=True, slots=True)
class Agreement:
    """overall: F1 at IoU 0.5 over the clip; moving: of moving objects alone; mean_iou: of matched boxes.

    frames: (N,), F1 of each frame. delays: frames until each new object is detected. by_age: F1 by the results' age in
    seconds; `0.5` means from 0.5 s to the next key.
    """

    overall: float
    moving: float
    mean_iou: float
    frames: Float32
    delays: NDArray[np.int64]
    by_age: Mapping[str, float]

    @property
    def worst_frame(self) -> float:
        return worst_frame(self.frames)

    @property
    def first_percentile(self) -> float:
        """The F1 that 99 of 100 frames reach."""
        return float(np.percentile(self.frames, 1)) if len(self.frames) else 1.0


def score(reference: Reference, detected: Sequence[Objects], ages_ns: Sequence[int] | None = None) -> Agreement:
    """Compare the objects of every frame with the reference. ages_ns: of the results, by frame; None: all 0."""
    matches = [_match(true, objects) for true, objects in zip(reference.objects, detected)]
    frames = list(zip(reference.objects, detected, matches))
    counts = np.array(
        [paired_counts(matched, true.confident, objects.confident) for true, objects, matched in frames]
    ).reshape(-1, 2)
    moving = [
        _moving_counts(reference, i, objects, matched) for i, (objects, matched) in enumerate(zip(detected, matches))
    ]
    ages_s = np.zeros(len(frames)) if ages_ns is None else np.array(ages_ns) / 1e9
    bins = np.searchsorted(_AGES_S, ages_s + 1e-6, side="right") - 1
    return Agreement(
        overall=f1(counts),
        moving=f1(moving),
        mean_iou=mean_matched_iou(matches),
        frames=frame_f1(counts),
        delays=np.array([_delay(path, reference.objects, detected) for path in reference.new], np.int64),
        by_age={f"{_AGES_S[b]:g}": f1(counts[bins == b]) for b in sorted(set(bins.tolist()))},
    )


def dwell_p99(method: Agreement, without: Agreement) -> float:
    """By how many frames later than `without` reuse a new object is detected, 99th percentile over the objects."""
    later = np.maximum(method.delays - without.delays, 0)
    return float(np.percentile(later, 99, method="higher")) if len(later) else 0.0


def _match(true: Objects, detected: Objects) -> Matches:
    return match_optimal(class_iou(true.xyxy, true.class_id, detected.xyxy, detected.class_id), LEAST_IOU)


def _moving_counts(reference: Reference, frame: int, detected: Objects, matched: Matches) -> Counts:
    """Like `paired_counts`, of moving objects alone.

    An unmatched box counts too if it is close to the path of a moving object, and closer than to an object that does
    not move: it is a stale box that the object has left.
    """
    true, moving = reference.objects[frame], reference.moving[frame]
    confident_moving = true.confident & moving
    matched_moving = int((detected.confident[matched.columns] & moving[matched.rows]).sum())
    agreeing = int(confident_moving[matched.rows].sum()) + matched_moving
    unmatched = detected.confident.copy()
    unmatched[matched.columns] = False
    stale = 0
    if unmatched.any():
        near = range(max(0, frame - _NEAR_FRAMES), min(len(reference.objects), frame + _NEAR_FRAMES + 1))
        path = np.concatenate([reference.objects[i].xyxy[reference.moving[i]] for i in near])
        on_path = iou(path, detected.xyxy[unmatched]).max(axis=0, initial=0)
        on_static = iou(true.xyxy[~moving], detected.xyxy[unmatched]).max(axis=0, initial=0)
        stale = int(((on_path >= _NEAR_IOU) & (on_path > on_static)).sum())
    return Counts(agreeing, int(confident_moving.sum()) + matched_moving + stale)


def _delay(path: Trajectory, reference: Sequence[Objects], detections: Sequence[Objects]) -> int:
    """Frames from the object's first until it is detected; the length of its trajectory if it never is."""
    for frame, row in zip(path.frames, path.rows):
        true, detected = reference[frame], detections[frame]
        same_class = detected.class_id == true.class_id[row]
        if same_class.any() and iou(true.xyxy[row : row + 1], detected.xyxy[same_class]).max() >= LEAST_IOU:
            return frame - path.frames[0]
    return path.frames[-1] - path.frames[0] + 1
