"""Trajectories of the reference's objects through a clip: which objects move, and which are new.

Not here: comparing other methods with them (agreement.py).
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

_WINDOW = 5  # frames before and after the current one, over which motion is measured
_MIN_MOTION = 0.3  # of the object's longer side: the box of a still object varies by less
_SAME_IOU = 0.5
_MIN_CONFIDENT = 3  # confident detections that make a trajectory an object
_TRACKING = TrackConfig(head="", high=0.01, low=0.0, start=0.01, mix_classes=False)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One object. frames: the indices of the frames that show it, ascending; rows: its row in the objects of each."""

    frames: Sequence[int]
    rows: Sequence[int]


def find_trajectories(objects: Sequence[Objects], stamps_ns: Sequence[int]) -> list[Trajectory]:
    """Track all objects; return those that are detected with confidence in three frames or more."""
    tracker = Tracker(_TRACKING)
    paths: dict[int, list[tuple[int, int]]] = {}
    for frame, (current, now_ns) in enumerate(zip(objects, stamps_ns)):
        boxes = Detections(current.xyxy, current.score, current.class_id.astype(np.int32))
        ids = tracker.update(boxes, now_ns).track_id
        assert ids is not None
        for row in np.flatnonzero(ids != UNTRACKED).tolist():
            id_ = int(ids[row])
            if id_ not in paths:
                paths[id_] = _previous_detection(objects, frame, row)
            paths[id_].append((frame, row))
    confident = [path for path in paths.values() if _confident_count(objects, path) >= _MIN_CONFIDENT]
    return [Trajectory(*zip(*path)) for path in confident]


def moving_masks(objects: Sequence[Objects], paths: Sequence[Trajectory]) -> list[NDArray[np.bool_]]:
    """The moving objects: a mask (N,) for each frame."""
    masks = [np.zeros(len(current), bool) for current in objects]
    for path in paths:
        xyxy = np.array([objects[frame].xyxy[row] for frame, row in zip(path.frames, path.rows)], np.float64)
        center, side = (xyxy[:, :2] + xyxy[:, 2:]) / 2, (xyxy[:, 2:] - xyxy[:, :2]).max(axis=1)
        frames = np.array(path.frames)
        first = np.searchsorted(frames, frames - _WINDOW)
        last = np.searchsorted(frames, frames + _WINDOW, side="right") - 1
        moves = np.linalg.norm(center[last] - center[first], axis=1) > _MIN_MOTION * side
        for frame, row, is_moving in zip(path.frames, path.rows, moves):
            masks[frame][row] = is_moving
    return masks


def new_objects(
    objects: Sequence[Objects], paths: Sequence[Trajectory], masks: Sequence[NDArray[np.bool_]]
) -> list[Trajectory]:
    """The trajectories of objects that appear after the first frame. masks: from `moving_masks`.

    An object that is detected intermittently, or again in its old place, is not new.
    """
    return [
        path
        for path in paths
        if path.frames[0] > 0
        and sum(bool(objects[frame].confident[row]) for frame, row in _start(path)) >= _MIN_CONFIDENT
        and (any(masks[frame][row] for frame, row in _start(path)) or not _existed_before(objects, path))
    ]


def _start(path: Trajectory) -> list[tuple[int, int]]:
    """Frames and rows of the first _WINDOW frames of a trajectory."""
    return [(frame, row) for frame, row in zip(path.frames, path.rows) if frame < path.frames[0] + _WINDOW]


def _existed_before(objects: Sequence[Objects], path: Trajectory) -> bool:
    now = objects[path.frames[0]][np.array(path.rows[:1])]
    return any(
        (iou(now.xyxy, before.xyxy)[0] * (before.class_id == now.class_id)).max(initial=0) >= _SAME_IOU
        for before in objects[: path.frames[0]]
    )


def _previous_detection(objects: Sequence[Objects], frame: int, row: int) -> list[tuple[int, int]]:
    """The detection before a track's first: the tracker assigns an id only when it sees an object for the second time.

    Empty if no object of the class was near.
    """
    now = objects[frame]
    if frame == 0 or not len(objects[frame - 1]):
        return []
    before = objects[frame - 1]
    box = now.xyxy[row]
    distance = np.linalg.norm((before.xyxy[:, :2] + before.xyxy[:, 2:] - box[:2] - box[2:]) / 2, axis=1)
    distance[before.class_id != now.class_id[row]] = np.inf
    nearest = int(distance.argmin())
    return [(frame - 1, nearest)] if distance[nearest] < (box[2:] - box[:2]).max() else []


def _confident_count(objects: Sequence[Objects], path: Sequence[tuple[int, int]]) -> int:
    return sum(bool(objects[frame].confident[row]) for frame, row in path)
