"""The outline of a region of a map, more precise than its pixels. Not here: finding regions."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Float32


def refined(pixels: NDArray[np.intp], margin: Float32) -> Float32:
    """Move the border pixels (K, 2) of a region to the zero line of the margin, by one Newton step along the gradient.

    A region that touches the edge of the map is extended to that edge.
    """
    size = np.array(margin.shape[::-1])  # width, height
    framed = np.asarray(cv2.copyMakeBorder(margin, 1, 1, 1, 1, cv2.BORDER_REPLICATE), np.float32)
    row = framed.shape[1]
    values, at = framed.reshape(-1), (pixels + 1) @ np.array([1, row])
    slope = np.empty((len(pixels), 2), np.float32)
    np.subtract(values.take(at + 1), values.take(at - 1), out=slope[:, 0])
    np.subtract(values.take(at + row), values.take(at - row), out=slope[:, 1])
    slope *= np.float32(0.5)
    steepness = (slope * slope).sum(axis=1)
    step = slope * (-values.take(at) / (steepness + np.float32(1e-6)))[:, None]  # no step if the gradient is 0
    step /= np.maximum(np.sqrt((step * step).sum(axis=1)), 1)[:, None]  # at most one pixel: more is unreliable
    points = pixels + np.float32(0.5) + step
    points = np.where(pixels == 0, 0, np.where(pixels == size - 1, size, points))
    return np.ascontiguousarray(points, np.float32)
