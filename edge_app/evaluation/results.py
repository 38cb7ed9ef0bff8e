"""How well decoded results of one head agree, as one number from 0 to 1, for every type of result.

Boxes: F1 with hysteresis. Classifications: the share of pictures with the same best class. Regions: mean IoU over the
classes. Embeddings: mean cosine.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.evaluation.agreement import f1_with_hysteresis
from edge_app.frame import Classification, Detections, Embedding, Float32, Result, Segmentation

_RASTER = 256  # width and height of the masks that regions are compared on


def result_agreement(reference: Sequence[Result], found: Sequence[Result], sizes: Sequence[tuple[int, int]]) -> float:
    """Agreement over pictures, all results of one type and in the same order. sizes: width, height of each picture."""
    if isinstance(reference[0], Detections):
        return f1_with_hysteresis(
            [r for r in reference if isinstance(r, Detections)], [f for f in found if isinstance(f, Detections)]
        )
    return float(np.mean([_picture_agreement(r, f, size) for r, f, size in zip(reference, found, sizes)]))


def _picture_agreement(reference: Result, found: Result, size: tuple[int, int]) -> float:
    if isinstance(reference, Classification) and isinstance(found, Classification):
        return float(reference.class_id[:1].tolist() == found.class_id[:1].tolist())
    if isinstance(reference, Embedding) and isinstance(found, Embedding):
        return float(reference.vector @ found.vector)
    assert isinstance(reference, Segmentation)
    assert isinstance(found, Segmentation)
    return _region_iou(reference, found, size)


def _region_iou(reference: Segmentation, found: Segmentation, size: tuple[int, int]) -> float:
    """Mean IoU over the classes that either side has; 1 without regions."""
    classes = set(reference.class_id.tolist()) | set(found.class_id.tolist())
    shares = []
    for class_id in classes:
        a, b = (_mask(each, class_id, size) for each in (reference, found))
        shares.append(float((a & b).sum() / max(1, (a | b).sum())))
    return float(np.mean(shares)) if shares else 1.0


def _mask(result: Segmentation, class_id: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    scale: Float32 = np.array([_RASTER / size[0], _RASTER / size[1]], np.float32)
    mask = np.zeros((_RASTER, _RASTER), np.uint8)
    for polygon, each in zip(result.polygons, result.class_id):
        if each == class_id:
            cv2.fillPoly(mask, [np.round(polygon * scale).astype(np.int32)], 1)
    return mask.astype(bool)
