"""How well two sets of results of one head agree, as one number from 0 to 1.

Boxes: F1 at IoU 0.5 of the same class, with hysteresis: what one side scores 0.4 or more counts as found when the other
has it with 0.3 or more, so that a score beside the threshold is no disagreement. Whole pictures: the share whose best
class is the same. Regions: mean IoU of their area, class by class. Vectors: mean cosine.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_app.frame import Classification, Detections, Embedding, Float32, Result, Segmentation
from edge_app.geometry import boxes

SCORE, LOWER_SCORE, IOU = 0.4, 0.3, 0.5
_RASTER = 256


def agreement(reference: Sequence[Result], found: Sequence[Result], sizes: Sequence[tuple[int, int]]) -> float:
    """Results of the same pictures in the same order. sizes: width and height of each picture."""
    first = reference[0]
    if isinstance(first, Detections):
        return f1([r for r in reference if isinstance(r, Detections)], [f for f in found if isinstance(f, Detections)])
    scores = [_one(r, f, size) for r, f, size in zip(reference, found, sizes)]
    return float(np.mean(scores))


def f1(reference: Sequence[Detections], found: Sequence[Detections]) -> float:
    """F1 over all pictures; 1 where neither side has a box."""
    hits_r = hits_f = total_r = total_f = 0
    for r, f in zip(reference, found):
        sure_r, sure_f = r[r.score >= SCORE], f[f.score >= SCORE]
        hits_r += matched(sure_r, f[f.score >= LOWER_SCORE])
        hits_f += matched(sure_f, r[r.score >= LOWER_SCORE])
        total_r += len(sure_r)
        total_f += len(sure_f)
    return (hits_r + hits_f) / (total_r + total_f) if total_r + total_f else 1.0


def matched(wanted: Detections, there: Detections) -> int:
    """How many of `wanted` have a box of their own in `there`: pairs by falling IoU, of the same class."""
    if not len(wanted) or not len(there):
        return 0
    overlap = boxes.iou(wanted.xyxy, there.xyxy) * (wanted.class_id[:, None] == there.class_id[None])
    count = 0
    while overlap.max() >= IOU:
        i, j = np.unravel_index(int(overlap.argmax()), overlap.shape)
        overlap[i], overlap[:, j] = 0, 0
        count += 1
    return count


def _one(reference: Result, found: Result, size: tuple[int, int]) -> float:
    if isinstance(reference, Classification) and isinstance(found, Classification):
        return float(reference.class_id[:1].tolist() == found.class_id[:1].tolist())
    if isinstance(reference, Embedding) and isinstance(found, Embedding):
        return float(reference.vector @ found.vector)
    assert isinstance(reference, Segmentation)
    assert isinstance(found, Segmentation)
    return _regions(reference, found, size)


def _regions(reference: Segmentation, found: Segmentation, size: tuple[int, int]) -> float:
    classes = set(reference.class_id.tolist()) | set(found.class_id.tolist())
    shares = []
    for class_id in classes:
        a, b = (_mask(each, class_id, size) for each in (reference, found))
        shares.append(float((a & b).sum() / max(1, (a | b).sum())))
    return float(np.mean(shares)) if shares else 1.0


def _mask(result: Segmentation, class_id: int, size: tuple[int, int]) -> np.ndarray:
    scale: Float32 = np.array([_RASTER / size[0], _RASTER / size[1]], np.float32)
    mask = np.zeros((_RASTER, _RASTER), np.uint8)
    for polygon, each in zip(result.polygons, result.class_id):
        if each == class_id:
            cv2.fillPoly(mask, [np.round(polygon * scale).astype(np.int32)], 1)
    return mask.astype(bool)


def cosine(a: Float32, b: Float32) -> float:
    """Of two arrays as vectors; 1 where both are zero."""
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y / length) if length else float(not np.any(x) and not np.any(y))
