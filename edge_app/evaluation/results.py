"""How well decoded results of one head agree, as one number from 0 to 1, for every type of result.

Boxes: F1 with hysteresis. Classifications: the share of images with the same best class. Regions: mean IoU over the
classes. Embeddings: mean cosine. Texts: the share of images with the same text.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.evaluation.agreement import f1_with_hysteresis
from edge_app.frame import Classification, Detections, Embedding, Float32, Result, Segmentation, Text

_RASTER = 256  # width and height of the masks that regions are compared on


def result_agreement(
    reference: Sequence[Result], predicted: Sequence[Result], sizes: Sequence[tuple[int, int]]
) -> float:
    """Agreement over images, all results of one type and in the same order. sizes: width, height of each image."""
    if isinstance(reference[0], Detections):
        return f1_with_hysteresis(
            [r for r in reference if isinstance(r, Detections)], [f for f in predicted if isinstance(f, Detections)]
        )
    return float(np.mean([_image_agreement(r, f, size) for r, f, size in zip(reference, predicted, sizes)]))


def _image_agreement(reference: Result, predicted: Result, size: tuple[int, int]) -> float:
    if isinstance(reference, Classification) and isinstance(predicted, Classification):
        return float(reference.class_id[:1].tolist() == predicted.class_id[:1].tolist())
    if isinstance(reference, Embedding) and isinstance(predicted, Embedding):
        return float(reference.vector @ predicted.vector)
    if isinstance(reference, Text) and isinstance(predicted, Text):
        return float(reference.text == predicted.text)
    assert isinstance(reference, Segmentation)
    assert isinstance(predicted, Segmentation)
    return _region_iou(reference, predicted, size)


def _region_iou(reference: Segmentation, predicted: Segmentation, size: tuple[int, int]) -> float:
    """Mean IoU over the classes that either side has; 1 without regions."""
    classes = set(reference.class_id.tolist()) | set(predicted.class_id.tolist())
    shares = []
    for class_id in classes:
        a, b = (_mask(result, class_id, size) for result in (reference, predicted))
        shares.append(float((a & b).sum() / max(1, (a | b).sum())))
    return float(np.mean(shares)) if shares else 1.0


def _mask(result: Segmentation, class_id: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    scale: Float32 = np.array([_RASTER / size[0], _RASTER / size[1]], np.float32)
    mask = np.zeros((_RASTER, _RASTER), np.uint8)
    for polygon, polygon_class in zip(result.polygons, result.class_id):
        if polygon_class == class_id:
            cv2.fillPoly(mask, [np.round(polygon * scale).astype(np.int32)], 1)
    return mask.astype(bool)
