"""The reference's objects followed through a clip: which of them move, and which are new.

Not here: comparing with them (agreement.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_app.bench.reuse.objects import Objects
from edge_app.config.rules import TrackConfig
from edge_app.frame import Detections
from edge_app.geometry.boxes import iou
from edge_app.tracking.tracker import UNTRACKED, Tracker

_AROUND = 5  # frames before and after one between which an object must have moved
_MOVED = 0.3  # of its longer side: boxes of what stands tremble by less
_SAME = 0.5  # IoU
_PROVEN = 3  # sightings that make a thing an object
_FOLLOW = TrackConfig(head="", high=0.01, low=0.0, start=0.01, mix_classes=False)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One object: the frames that show it, ascending, and its row among the objects of each."""

    frames: Sequence[int]
    rows: Sequence[int]


def find_trajectories(seen: Sequence[Objects], stamps_ns: Sequence[int]) -> list[Trajectory]:
    """Every object that was seen surely in three frames or more."""
    tracker = Tracker(_FOLLOW)
    found: dict[int, list[tuple[int, int]]] = {}
    for frame, (objects, now_ns) in enumerate(zip(seen, stamps_ns)):
        boxes = Detections(objects.xyxy, objects.score, objects.class_id.astype(np.int32))
        ids = tracker.update(boxes, now_ns).track_id
        assert ids is not None
        for row in np.flatnonzero(ids != UNTRACKED).tolist():
            id_ = int(ids[row])
            if id_ not in found:
                found[id_] = _first_sighting(seen, frame, row)
            found[id_].append((frame, row))
    surely = {id_: [(f, r) for f, r in path] for id_, path in found.items() if _sure(seen, path) >= _PROVEN}
    return [Trajectory(*zip(*path)) for path in surely.values()]


def moving_masks(seen: Sequence[Objects], paths: Sequence[Trajectory]) -> list[NDArray[np.bool_]]:
    """Of every frame's objects, which ones go somewhere: a mask a frame."""
    masks = [np.zeros(len(objects), bool) for objects in seen]
    for path in paths:
        xyxy = np.array([seen[frame].xyxy[row] for frame, row in zip(path.frames, path.rows)], np.float64)
        centre, side = (xyxy[:, :2] + xyxy[:, 2:]) / 2, (xyxy[:, 2:] - xyxy[:, :2]).max(axis=1)
        frames = np.array(path.frames)
        first = np.searchsorted(frames, frames - _AROUND)
        last = np.searchsorted(frames, frames + _AROUND, side="right") - 1
        went = np.linalg.norm(centre[last] - centre[first], axis=1) > _MOVED * side
        for frame, row, is_moving in zip(path.frames, path.rows, went):
            masks[frame][row] = is_moving
    return masks


def new_objects(
    seen: Sequence[Objects], paths: Sequence[Trajectory], masks: Sequence[NDArray[np.bool_]]
) -> list[Trajectory]:
    """The paths of objects that appear behind the first frame, for good. masks: as of `moving`.

    What a detector sees now and then in a still picture, and what it sees again in its old place, is not new.
    """
    return [
        path
        for path in paths
        if path.frames[0] > 0
        and sum(bool(seen[frame].sure[row]) for frame, row in _start(path)) >= _PROVEN
        and (any(masks[frame][row] for frame, row in _start(path)) or not _was_there(seen, path))
    ]


def _start(path: Trajectory) -> list[tuple[int, int]]:
    """Frames and rows of the first moments of a path."""
    return [(frame, row) for frame, row in zip(path.frames, path.rows) if frame < path.frames[0] + _AROUND]


def _was_there(seen: Sequence[Objects], path: Trajectory) -> bool:
    now = seen[path.frames[0]][np.array(path.rows[:1])]
    return any(
        (iou(now.xyxy, before.xyxy)[0] * (before.class_id == now.class_id)).max(initial=0) >= _SAME
        for before in seen[: path.frames[0]]
    )


def _first_sighting(seen: Sequence[Objects], frame: int, row: int) -> list[tuple[int, int]]:
    """The tracker names an object when it sees it again: where it was in the frame before, if it can be told."""
    now = seen[frame]
    if frame == 0 or not len(seen[frame - 1]):
        return []
    before = seen[frame - 1]
    box = now.xyxy[row]
    distance = np.linalg.norm((before.xyxy[:, :2] + before.xyxy[:, 2:] - box[:2] - box[2:]) / 2, axis=1)
    distance[before.class_id != now.class_id[row]] = np.inf
    nearest = int(distance.argmin())
    return [(frame - 1, nearest)] if distance[nearest] < (box[2:] - box[:2]).max() else []


def _sure(seen: Sequence[Objects], path: Sequence[tuple[int, int]]) -> int:
    return sum(bool(seen[frame].sure[row]) for frame, row in path)
