"""Recognize SSD detectors by the number of their priors, and how their boxes are encoded.

Not here: the other families (structure.py), faces (faces.py).
"""

from __future__ import annotations

import numpy as np

from edge_app.compiler.evidence import Evidence
from edge_app.compiler.session import Array
from edge_app.heads._ssd_priors import sources
from edge_app.heads.ultraface import priors

_ORDERED = 0.9  # share of boxes whose corners are in order
_FAR = 3  # corners relative to the input are rarely farther
_FINAL = {"detection_boxes", "detection_classes", "detection_scores"}


def is_final(e: Evidence) -> bool:
    """Final detections of a fixed number, by the names of TensorFlow's Object Detection API."""
    if any(0 in shape for shape in e.shapes):
        return False
    return {output.name.split(":")[0].rpartition("/")[2] for output in e.outputs} >= _FINAL


def is_ssd(e: Evidence) -> bool:
    """Boxes and scores of a published number of priors, or with priors; corners of one class may be ultraface's."""
    if len(e.outputs) == 3:
        given = [shape[1] for shape in e.shapes if len(shape) == 2 and shape[0] == 2 and shape[1] and shape[1] % 4 == 0]
        sizes = [int(np.prod(shape)) for shape in e.shapes]
        return len(given) == 1 and given[0] in sizes and all(size % (given[0] // 4) == 0 for size in sizes)
    if len(e.outputs) != 2:
        return False
    sizes = sorted(int(np.prod(shape)) for shape in e.shapes)
    if len(e.vectors) == 2:
        return any(
            boxes % 4 == 0 and scores % (boxes // 4) == 0 and scores > boxes // 4 and _is_known(e, boxes // 4)
            for boxes, scores in (sizes, sizes[::-1])
            if boxes
        )
    tables = [tuple(n for n in shape if n != 1) for shape in e.shapes]
    if any(len(table) != 2 for table in tables):
        return False
    (rows, first), (others, second) = tables
    if rows != others or 4 not in (first, second) or not _is_known(e, rows):
        return False
    return min(first, second) > 2 or boxes(e) == "deltas"


def has_background(e: Evidence) -> bool:
    """Several classes and a background, and corners: SSD exports that decode their boxes."""
    if len(e.outputs) != 2 or len(e.tables) != 2:
        return False
    (rows, first), (others, second) = e.tables
    known = rows == len(priors(e.size))
    return rows == others and 4 in (first, second) and min(first, second) > 2 and not known


def boxes(e: Evidence) -> str:
    """`corners` or `deltas`: on synthetic images, corners are in order and relative to the input."""
    for outputs in e.values("rgb", (127.0,) * 3, (128.0,) * 3):
        arrays = [outputs[name] for name in e.net.outputs]
        if not any(_has_corners(array) for array in arrays if array.ndim > 2 and array.shape[-1] == 4):
            return "deltas"
    return "corners"


def _has_corners(array: Array) -> bool:
    rows = array.reshape(-1, 4)
    ordered = (rows[:, 2:] > rows[:, :2]).all(axis=1).mean()
    return bool(ordered >= _ORDERED and np.abs(rows).mean() < _FAR)


def _is_known(e: Evidence, rows: int) -> bool:
    return bool(sources(e.size, rows))
