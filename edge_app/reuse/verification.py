"""Compares a model computed in parts with the same model computed as a whole, for `edge-app check`.

The compiler describes which parts can be computed. An older compiler, a handwritten model folder or an engine that does
not take every size may be wrong, which would show only when something moves in front of the camera.
Not here: the golden vectors (inference/golden.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from edge_app.backends import Array
from edge_app.reuse.change_detection import UInt8
from edge_app.reuse.costs import Cost, Costs
from edge_app.reuse.dirty_rects import Box
from edge_app.reuse.feature_cache import FeatureCache
from edge_app.reuse.propagation import EXACT, FAR, NEAR

_SPOTS = ((0.0, 0.0), (0.45, 0.4), (1.0, 1.0))  # of the changed boxes, as a share of the room for them
_SIDE = 0.12  # of a changed box, as a share of the image's


def largest_error(features: FeatureCache, images: tuple[UInt8, UInt8], tensor_of: Callable[[UInt8], Array]) -> float:
    """Change the image in a few boxes, and compare the outputs of all heads with those of a full run.

    images: two (H, W, 3) uint8 that differ everywhere. tensor_of: the input tensor of an image. Returns the largest
    |a - b| / max(1, |b|), infinite if shapes differ. Limited propagation is not exact; it only has to run.
    """
    costs, propagation = features.costs, features.propagation
    # by area alone, so that every segment is computed in parts
    features.costs = Costs(1.0, {segment.name: Cost(0.0, 1.0) for segment in features.segments})
    try:
        features.set_propagation(EXACT)
        features.fill(tensor_of(images[0]))
        _outputs(features)
        worst = 0.0
        for image, box in _changes(*images):
            features.update(tensor_of(image), [box])
            found = _outputs(features)
            features.fill(tensor_of(image))
            worst = max(worst, *(_error(a, b) for a, b in zip(found, _outputs(features))))
        for limited in dict.fromkeys((propagation, NEAR, FAR)):
            features.set_propagation(limited)
            for image, box in _changes(*images):
                features.update(tensor_of(image), [box])
                _outputs(features)
        return worst
    finally:
        features.costs = costs
        features.set_propagation(propagation)


def _changes(image: UInt8, other: UInt8) -> Iterator[tuple[UInt8, Box]]:
    """The first image with one box after another taken from the second one, and that box."""
    height, width = image.shape[:2]
    wide, high = max(1, round(_SIDE * width)), max(1, round(_SIDE * height))
    for x_share, y_share in _SPOTS:
        x, y = round(x_share * (width - wide)), round(y_share * (height - high))
        image = image.copy()
        image[y : y + high, x : x + wide] = other[y : y + high, x : x + wide]
        yield image, (x, y, x + wide, y + high)


def _outputs(features: FeatureCache) -> list[Array]:
    """The outputs of every head, copied."""
    return [np.array(value) for head in features.heads for value in features.outputs_of(head).values()]


def _error(found: Array, expected: Array) -> float:
    if found.shape != expected.shape:
        return float("inf")
    with np.errstate(all="ignore"):
        a, b = found.astype(np.float64), expected.astype(np.float64)
        error = np.where(a == b, 0.0, np.abs(a - b) / np.maximum(1, np.abs(b)))
    return float(np.nan_to_num(error, nan=np.inf, posinf=np.inf).max(initial=0.0))
