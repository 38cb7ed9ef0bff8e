"""Recognize face detectors with landmarks: SCRFD, RetinaFace, BlazeFace, YOLOv5-face.

Sources: InsightFace, Pytorch_Retinaface, MediaPipe, yolov5-face. Not here: the other families (structure.py).
"""

from __future__ import annotations

import numpy as np

from edge_app.compiler.evidence import Evidence
from edge_app.compiler.session import Array
from edge_app.heads._yolo_tables import runs

_FACE_ROW = 16  # x, y, w, h, objectness, ten values of landmarks, one class
_LIKELY = 100  # rows of the highest objectness, on which landmarks are checked
_ORDERED = 0.9  # share of them whose landmarks are arranged as in a face


def widths(e: Evidence) -> list[tuple[int, ...]]:
    """For each number of rows, the columns of all tables with it; [] if there are other outputs than tables."""
    by_rows: dict[int, list[int]] = {}
    for rows, columns in e.tables:
        by_rows.setdefault(rows, []).append(columns)
    complete = len(e.tables) == len(e.outputs)
    return [tuple(sorted(columns)) for columns in by_rows.values()] if complete else []


def is_scrfd(e: Evidence) -> bool:
    """Scores, boxes and perhaps landmarks at three or five strides."""
    found = set(widths(e))
    return len(e.outputs) in (6, 9, 10, 15) and len(found) == 1 and found <= {(1, 4, 10), (1, 4)}


def is_retinaface(e: Evidence) -> bool:
    """Scores with a background, boxes and landmarks of all priors."""
    return widths(e) == [(2, 4, 10)]


def is_blazeface(e: Evidence) -> bool:
    """Scores, and boxes with six landmarks relative to anchors."""
    found = widths(e)
    return found != [] and set(found) == {(1, 16)}


def is_face_grid(e: Evidence, columns: tuple[int, ...] = (_FACE_ROW,)) -> bool:
    """Rows of x, y, w, h, objectness, landmarks and one class: maps of three anchors, or one table."""
    per_anchor = {s[0] // 3 if len(s) == 3 else s[-1] for s in e.shapes if len(s) in (3, 4)}
    grids = len(e.outputs) in (3, 4) and all(len(s) == 3 or (len(s) == 4 and s[0] == 3) for s in e.shapes)
    if grids and all(s[0] % 3 == 0 for s in e.shapes if len(s) == 3) and per_anchor in [{n} for n in columns]:
        return True
    counts = {sum(grid.cells for grid in grids) for grids in runs(e.size)}
    return e.tables in [[(3 * count, width)] for count in counts for width in columns] and len(e.outputs) == 1


def is_yoloface(e: Evidence) -> bool:
    """Rows of YOLOv5-face, whose landmarks are arranged as in a face: a YOLOv5 of 11 classes has the same shapes."""
    if not is_face_grid(e) or e.metadata.task or len(e.labels) > 1:
        return False
    return all(_has_landmarks([outputs[name] for name in e.net.outputs]) for outputs in _values(e))


def _values(e: Evidence) -> list[dict[str, Array]]:
    return e.values("rgb", (0.0, 0.0, 0.0), (255.0, 255.0, 255.0))


def _has_landmarks(outputs: list[Array]) -> bool:
    """Whether, where a face is likely, eyes are above the nose, and it above the mouth; left is left of right."""
    rows = np.concatenate([_rows(array) for array in outputs]).astype(np.float64)  # (N, 16)
    likely = rows[np.argsort(-rows[:, 4], kind="stable")[:_LIKELY]]
    x, y = likely[:, 5:15:2], likely[:, 6:15:2]  # (n, 5): left and right eye, nose, left and right corner of the mouth
    across = np.maximum(x[:, 0], x[:, 3]) < np.minimum(x[:, 1], x[:, 4])
    down = (np.maximum(y[:, 0], y[:, 1]) < y[:, 2]) & (y[:, 2] < np.minimum(y[:, 3], y[:, 4]))
    return bool((across & down).mean() >= _ORDERED)


def _rows(array: Array) -> Array:
    """Rows (N, 16) of a table (1, N, 16) or a map (1, 3, H, W, 16) or (1, 48, H, W)."""
    if array.ndim == 4:
        array = array.reshape(3, _FACE_ROW, *array.shape[2:]).transpose(0, 2, 3, 1)
    return array.reshape(-1, _FACE_ROW)
