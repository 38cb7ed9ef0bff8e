"""Compare the masks of a head's boxes with those of the published file, at the size of the input.

Masks are compared before they are outlined. Not here: matching the boxes (box_proof.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge_app.compiler.reference import Candidates, masks
from edge_app.errors import ModelError
from edge_app.heads._masks import Mask

LEAST_IOU = 0.95
MOST = 20  # masks of an image
_PIXELS = 4  # may differ in any mask: a value may be 0 but for rounding


def compare(
    name: str, boxes: Candidates, pairs: Sequence[tuple[int, int]], found: Sequence[Mask], size: tuple[int, int]
) -> float:
    """The lowest IoU. pairs: row of `boxes` and number of its mask in `found`; size: width and height of the input.

    Raises ModelError if a mask is another one.
    """
    lowest = 1.0
    expected = masks(boxes, [row for row, _ in pairs], size)
    for (row, number), inside in zip(pairs, expected):
        mask = found[number]
        height, width = mask.margin.shape
        drawn = np.zeros(inside.shape, np.bool_)
        drawn[mask.top : mask.top + height, mask.left : mask.left + width] = mask.margin > 0
        differ, union = int((drawn != (inside > 0)).sum()), int((drawn | (inside > 0)).sum())
        iou = 1 - differ / union if union else 1.0
        if iou < LEAST_IOU and differ > _PIXELS:
            box = ", ".join(f"{edge:.0f}" for edge in boxes.xyxy[row])
            raise ModelError(
                f"{name}: the mask of the box [{box}] has an IoU of {iou:.2f} with that of the published file, "
                f"computed by its own rule; expected {LEAST_IOU}"
            )
        lowest = min(lowest, iou if differ > _PIXELS else 1.0)
    return lowest
