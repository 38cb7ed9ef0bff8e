"""Whether a frame's results differ from the last published ones: `publish.results: on_change`.

any             a head appears or disappears
detections      the count, a label or a track id differs, or an edge of a box moved by more than 5 % of the box's
                side and more than 2 pixels
segments        the same, for the regions' bounding boxes
classification  the label with the highest score differs
embedding       the cosine similarity is below 0.9

Scores, the age of a reused result and the order of detections do not count. Because the comparison is with the last
published results, not with the previous frame, slow drift is published too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Classification, Crops, Detections, Embedding, Float32, HeadOutput, Result, Segmentation, Text

_SHIFT_OF_SIDE = 0.05
_MIN_SHIFT_PX = 2.0
_SAME_COSINE = 0.9


def differ(published: Mapping[str, HeadOutput], now: Mapping[str, HeadOutput]) -> bool:
    """Whether results differ. Both: a result for each head."""
    if published.keys() != now.keys():
        return True
    return any(_result_differs(published[name].result, output.result) for name, output in now.items())


def _result_differs(old: Result | Crops, new: Result | Crops) -> bool:
    if new is old:  # reused as a whole
        return False
    if isinstance(new, Detections) and isinstance(old, Detections):
        return _detections_differ(old, new)
    if isinstance(new, Classification) and isinstance(old, Classification):
        return not np.array_equal(old.class_id[:1], new.class_id[:1])
    if isinstance(new, Segmentation) and isinstance(old, Segmentation):
        return _boxes_differ(old.class_id, _bounding_boxes(old), new.class_id, _bounding_boxes(new))
    if isinstance(new, Embedding) and isinstance(old, Embedding):
        return old.vector.shape != new.vector.shape or float(np.dot(old.vector, new.vector)) < _SAME_COSINE
    if isinstance(new, Text) and isinstance(old, Text):
        return new.text != old.text
    if isinstance(new, Crops) and isinstance(old, Crops):
        same = old.row == new.row
        return not same or any(_result_differs(a, b) for a, b in zip(old.results, new.results))
    return True


def _detections_differ(old: Detections, new: Detections) -> bool:
    if len(old) != len(new) or sorted(old.texts or ()) != sorted(new.texts or ()):
        return True
    if old.track_id is None or new.track_id is None:
        return (old.track_id is None) != (new.track_id is None) or _boxes_differ(
            old.class_id, old.xyxy, new.class_id, new.xyxy
        )
    by_track, now_by_track = old.track_id.argsort(), new.track_id.argsort()
    return (
        not np.array_equal(old.track_id[by_track], new.track_id[now_by_track])
        or not np.array_equal(old.class_id[by_track], new.class_id[now_by_track])
        or bool(_moved(old.xyxy[by_track], new.xyxy[now_by_track]).any())
    )


def _boxes_differ(
    old_class: NDArray[np.int32], old_xyxy: Float32, new_class: NDArray[np.int32], new_xyxy: Float32
) -> bool:
    """Compare boxes without track ids: first in the listed order, the common case, then each with any similar box."""
    if len(old_class) != len(new_class):
        return True
    if np.array_equal(old_class, new_class) and not _moved(old_xyxy, new_xyxy).any():
        return False
    same = ~_moved(old_xyxy[:, None], new_xyxy[None]) & (old_class[:, None] == new_class[None])  # (N, N)
    for row in same:  # greedy matching is enough: only nearly equal boxes have several candidates
        match = int(row.argmax()) if row.any() else -1
        if match < 0:
            return True
        same[:, match] = False
    return False


def _moved(old: Float32, new: Float32) -> NDArray[np.bool_]:
    """Whether any edge moved by more than the tolerance. old, new: (..., 4) xyxy, pixels, broadcast. Returns (...)."""
    side = np.maximum(_MIN_SHIFT_PX, (old[..., 2:] - old[..., :2]) * _SHIFT_OF_SIDE)  # (..., 2): x, y
    shift = np.abs(new - old)
    return np.asarray((np.maximum(shift[..., :2], shift[..., 2:]) > side).any(axis=-1))


def _bounding_boxes(found: Segmentation) -> Float32:
    """The bounding box of each region: (N, 4) float32 xyxy, pixels."""
    if not found.polygons:
        return np.empty((0, 4), np.float32)
    corners = [np.concatenate([polygon.min(axis=0), polygon.max(axis=0)]) for polygon in found.polygons]
    return np.stack(corners).astype(np.float32)
