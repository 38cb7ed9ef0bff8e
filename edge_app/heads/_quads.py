"""Detections from the corners of what was read in the image: codes and markers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform

_THINNEST_PX = 1.0  # of a box: a bar code may be read along a single line


def from_quads(
    corners: Float32, class_id: Sequence[int], texts: Sequence[str], transform: Transform, limit: int
) -> Detections:
    """Detections of score 1, from left to right, then from top to bottom, at most `limit`.

    corners: (N, 4, 2), image pixels, in order around the quad. Those that are not finite, or outside the image, are
    dropped. transform: of the image.
    """
    width, height = transform.image_width, transform.image_height
    with np.errstate(invalid="ignore"):
        low, high = corners.min(axis=1), corners.max(axis=1)  # (N, 2)
        center = (low + high) / 2
        low, high = np.minimum(low, center - _THINNEST_PX / 2), np.maximum(high, center + _THINNEST_PX / 2)
        xyxy = np.concatenate([low, high], axis=1).clip(0, [width, height, width, height]).astype(np.float32)
        inside = np.isfinite(corners).reshape(-1, 8).all(axis=1) & (xyxy[:, 2] > xyxy[:, 0]) & (xyxy[:, 3] > xyxy[:, 1])
    order = np.lexsort((xyxy[:, 1], xyxy[:, 0]))
    rows = order[inside[order]][:limit]
    return Detections(
        xyxy[rows],
        np.ones(len(rows), np.float32),
        np.asarray(class_id, np.int32).reshape(-1)[rows],
        corners=corners[rows].astype(np.float32),
        texts=tuple(texts[row] for row in rows.tolist()),
    )
