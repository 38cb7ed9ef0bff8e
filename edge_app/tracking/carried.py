"""Move keypoints, corners and polygons of the last detections to where their tracks are predicted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_app.frame import Detections, Float32


def carried(predicted: Detections, last: Detections, size: tuple[int, int]) -> Detections:
    """The predictions with what `last` has for their tracks, moved and scaled with the box. Both have track ids.

    A track that has no detection in `last` gets keypoints of score 0 at its center, the corners of its box, and no
    polygon. predicted: boxes that are not clipped yet. size: width and height of the image, to which keypoints and
    polygons are clipped.
    """
    if last.track_id is None or (last.keypoints is None and last.corners is None and last.polygons is None):
        return predicted
    rows = {track_id: row for row, track_id in enumerate(last.track_id.tolist()) if track_id}
    assert predicted.track_id is not None
    sources = [rows.get(track_id, -1) for track_id in predicted.track_id.tolist()]
    moves = [_Move(last.xyxy[row], box) if row >= 0 else None for row, box in zip(sources, predicted.xyxy)]
    keypoints = corners = polygons = None
    if last.keypoints is not None:
        keypoints = np.zeros((len(predicted), *last.keypoints.shape[1:]), np.float32)
        keypoints[..., :2] = ((predicted.xyxy[:, :2] + predicted.xyxy[:, 2:]) / 2)[:, None]
        for i, (move, row) in enumerate(zip(moves, sources)):
            if move is not None:
                keypoints[i, :, :2], keypoints[i, :, 2] = move.of(last.keypoints[row, :, :2]), last.keypoints[row, :, 2]
        keypoints[..., :2] = np.clip(keypoints[..., :2], 0, size)
    if last.corners is not None:
        corners = predicted.xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
        for i, (move, row) in enumerate(zip(moves, sources)):
            if move is not None:
                corners[i] = move.of(last.corners[row])
    if last.polygons is not None:
        none = np.empty((0, 2), np.float32)
        polygons = tuple(
            none if move is None else np.clip(move.of(last.polygons[row]), np.float32(0), np.array(size, np.float32))
            for move, row in zip(moves, sources)
        )
    return replace(predicted, keypoints=keypoints, corners=corners, polygons=polygons)


class _Move:
    """The mapping of one box (4,) to another."""

    def __init__(self, before: Float32, after: Float32) -> None:
        self._from, self._to = before[:2], after[:2]
        self._scale = (after[2:] - after[:2]) / np.maximum(before[2:] - before[:2], np.float32(1e-3))

    def of(self, points: Float32) -> Float32:
        """Points (K, 2) moved with the box."""
        moved: Float32 = (points - self._from) * self._scale + self._to
        return moved.astype(np.float32, copy=False)
