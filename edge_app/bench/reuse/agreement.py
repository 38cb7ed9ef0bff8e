"""How well what one method saw on a clip agrees with a reference: all objects, moving ones, new ones, by age.

An object is there from its head's `score` on, and where the other side sees it surely, a little below that already
suffices (hysteresis): a score that trembles about its threshold is no disagreement. Not here: making the reference
(measure.py).
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
_NEAR = 0.1  # IoU: from there on a box that agrees with nothing belongs to the object under it
_AROUND = 30  # frames before and after, in which a box that agrees with nothing may belong to what moves
_AGES_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Reference:
    """What is compared with, a frame an element. moving: of each frame's objects, which ones are on the move.

    new: objects that appear after the first frame, with where they are from then on.
    """

    seen: Sequence[Objects]
    moving: Sequence[Bools]
    new: Sequence[Trajectory]


@dataclass(frozen=True, slots=True)
class Agreement:
    """F1 at IoU 0.5 over the clip; of moving objects alone; the mean IoU of pairs; frames: F1 of each.

    delays: frames until each new object is seen. by_age: F1 by the results' age in seconds, `0.5`: from 0.5 on.
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


def score(reference: Reference, found: Sequence[Objects], ages_ns: Sequence[int] | None = None) -> Agreement:
    """Compare what was found in every frame with the reference. ages_ns: of the results, by frame; None: all fresh."""
    matches = [_match(true, seen) for true, seen in zip(reference.seen, found)]
    frames = list(zip(reference.seen, found, matches))
    counts = np.array([paired_counts(each, true.sure, seen.sure) for true, seen, each in frames]).reshape(-1, 2)
    moving = [_moving(reference, i, seen, each) for i, (seen, each) in enumerate(zip(found, matches))]
    ages_s = np.zeros(len(frames)) if ages_ns is None else np.array(ages_ns) / 1e9
    bins = np.searchsorted(_AGES_S, ages_s + 1e-6, side="right") - 1
    return Agreement(
        overall=f1(counts),
        moving=f1(moving),
        mean_iou=mean_matched_iou(matches),
        frames=frame_f1(counts),
        delays=np.array([_delay(path, reference.seen, found) for path in reference.new], np.int64),
        by_age={f"{_AGES_S[b]:g}": f1(counts[bins == b]) for b in sorted(set(bins.tolist()))},
    )


def dwell_p99(method: Agreement, without: Agreement) -> float:
    """How many frames later than `without` reuse a new object is seen, the 99th percentile over the objects."""
    later = np.maximum(method.delays - without.delays, 0)
    return float(np.percentile(later, 99, method="higher")) if len(later) else 0.0


def _match(true: Objects, found: Objects) -> Matches:
    return match_optimal(class_iou(true.xyxy, true.class_id, found.xyxy, found.class_id), LEAST_IOU)


def _moving(reference: Reference, frame: int, found: Objects, pair: Matches) -> Counts:
    """As `paired_counts`, of moving objects alone.

    What was found and agrees with nothing counts as well where something moves or has moved, unless it lies over an
    object that stands still: a box left behind by an object that went on is what is looked for.
    """
    true, on_the_move = reference.seen[frame], reference.moving[frame]
    here = true.sure & on_the_move
    moves = on_the_move[pair.rows]
    agreed = int(here[pair.rows].sum() + (found.sure[pair.columns] & moves).sum())
    alone = found.sure.copy()
    alone[pair.columns] = False
    stale = 0
    if alone.any():
        around = range(max(0, frame - _AROUND), min(len(reference.seen), frame + _AROUND + 1))
        ways = np.concatenate([reference.seen[i].xyxy[reference.moving[i]] for i in around])
        on_a_way = iou(ways, found.xyxy[alone]).max(axis=0, initial=0)
        still = iou(true.xyxy[~on_the_move], found.xyxy[alone]).max(axis=0, initial=0)
        stale = int(((on_a_way >= _NEAR) & (on_a_way > still)).sum())
    paired = int((found.sure[pair.columns] & moves).sum())
    return Counts(agreed, int(here.sum()) + paired + stale)


def _delay(path: Trajectory, reference: Sequence[Objects], found: Sequence[Objects]) -> int:
    """Frames from when an object is there until it is found; its whole path where it never is."""
    for frame, row in zip(path.frames, path.rows):
        there, seen = reference[frame], found[frame]
        same = seen.class_id == there.class_id[row]
        if same.any() and iou(there.xyxy[row : row + 1], seen.xyxy[same]).max() >= LEAST_IOU:
            return frame - path.frames[0]
    return path.frames[-1] - path.frames[0] + 1
