"""The rules of face detectors with landmarks: SCRFD, RetinaFace, BlazeFace, YOLOv5-face."""

from __future__ import annotations

import numpy as np

from edge_app.compiler.reference.candidates import (
    Candidates,
    Float64,
    Outputs,
    Published,
    cells,
    centered,
    from_distances,
    sigmoid,
)

_MOBILE = ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))  # priors of RetinaFace: stride, sides
_LIGHT = ((8, (10, 16, 24)), (16, (32, 48)), (32, (64, 96)), (64, (128, 192, 256)))
_BLAZE = (((8, 2), (16, 6)), ((16, 2), (32, 6)), ((4, 1),))  # stride, anchors per cell
_YOLO = ((4, 5, 8, 10, 13, 16), (23, 29, 43, 55, 73, 105), (146, 217, 231, 300, 335, 433))
_YOLO_P6 = (
    (6, 7, 9, 11, 13, 16), (18, 23, 26, 33, 37, 47), (54, 67, 77, 104, 112, 154), (174, 238, 258, 355, 445, 568),
)  # fmt: skip


def scrfd(published: Published, outputs: Outputs) -> Candidates | None:
    """For each stride scores (N, 1), distances (N, 4) and perhaps landmarks (N, 10), from the corner of the cell."""
    counts = sorted({len(table) for table in outputs.values()}, reverse=True)
    found: list[tuple[Float64, Float64, Float64]] = []
    for level, count in enumerate(counts):
        tables = {table.shape[1]: table for table in outputs.values() if len(table) == count}
        stride = 8 << level
        column, row = cells(published.size, stride)
        anchors = count // max(1, len(column))
        if not {1, 4} <= set(tables) <= {1, 4, 10} or anchors * len(column) != count:
            return None
        x, y = np.repeat(column * stride, anchors), np.repeat(row * stride, anchors)
        points = tables.get(10, np.zeros((count, 0))).reshape(count, -1, 2) * stride + np.stack([x, y], 1)[:, None]
        found.append((from_distances(x, y, tables[4] * stride), tables[1], points))
    boxes, scores, landmarks = (np.concatenate(part) for part in zip(*found))
    return Candidates(boxes, scores, landmarks if landmarks.size else None)


def retinaface(published: Published, outputs: Outputs) -> Candidates | None:
    """Scores (N, 2), the background first, deltas of boxes (N, 4) and of landmarks (N, 10)."""
    tables = {table.shape[1]: table for table in outputs.values()}
    if set(tables) != {2, 4, 10} or len(outputs) != 3:
        return None
    scores, deltas, points = tables[2], tables[4], tables[10].reshape(-1, 5, 2)
    for priors in (_MOBILE, _LIGHT):
        parts = []
        for stride, sides in priors:
            column, row = cells(published.size, stride)
            x, y = np.repeat((column + 0.5) * stride, len(sides)), np.repeat((row + 0.5) * stride, len(sides))
            parts.append(np.stack([x, y, np.tile(np.array(sides, np.float64), len(column))], axis=1))
        prior = np.concatenate(parts)
        if len(prior) == len(scores):
            break
    else:
        return None
    if scores.min(initial=0) < -0.1 or scores.max(initial=0) > 1.1:  # logits
        scores = sigmoid(scores - scores[:, ::-1])
    x, y, side = prior.T
    width, height = side * np.exp(0.2 * deltas[:, 2]), side * np.exp(0.2 * deltas[:, 3])
    xyxy = centered(x + 0.1 * deltas[:, 0] * side, y + 0.1 * deltas[:, 1] * side, width, height)
    return Candidates(xyxy, scores[:, 1:], prior[:, None, :2] + 0.1 * points * side[:, None, None])


def blazeface(published: Published, outputs: Outputs) -> Candidates | None:
    """Logits (N, 1) and boxes with six landmarks (N, 16), in pixels from the center of the cell."""
    by_rows = sorted(outputs.values(), key=len, reverse=True)
    logits = [table for table in by_rows if table.shape[1] == 1]
    values = [table for table in by_rows if table.shape[1] == 16]
    if len(logits) != len(values) or len(logits) + len(values) != len(outputs) or not logits:
        return None
    score, rows = sigmoid(np.clip(np.concatenate(logits), -100, 100)), np.concatenate(values)
    for layout in _BLAZE:
        grids = [(cells(published.size, stride), stride, count) for stride, count in layout]
        x = np.concatenate([np.repeat((column + 0.5) * stride, n) for (column, _), stride, n in grids])
        y = np.concatenate([np.repeat((row + 0.5) * stride, n) for (_, row), stride, n in grids])
        if len(x) == len(rows):
            points = rows[:, 4:].reshape(-1, 6, 2) + np.stack([x, y], 1)[:, None]
            return Candidates(centered(x + rows[:, 0], y + rows[:, 1], rows[:, 2], rows[:, 3]), score, points)
    return None


def yoloface(published: Published, outputs: Outputs) -> Candidates | None:
    """Maps (3, h, w, 16) or (48, h, w) of each stride; or one table (N, 16), decoded."""
    maps = list(outputs.values())
    if len(maps) == 1 and maps[0].ndim == 2 and maps[0].shape[1] == 16:
        (rows,) = maps
        return Candidates(centered(*rows[:, :4].T), rows[:, 4:5] * rows[:, 15:], rows[:, 5:15].reshape(-1, 5, 2))
    usual = {3: _YOLO, 4: _YOLO_P6}.get(len(maps))
    anchors = published.options.get("anchors") or usual
    if anchors is None or len(anchors) != len(maps):
        return None
    boxes, scores, landmarks = [], [], []
    for level, values in enumerate(sorted(maps, key=lambda array: -array.size)):
        stride = 8 << level
        column, row = cells(published.size, stride)
        by_anchor = values.reshape(3, 16, -1).transpose(0, 2, 1) if values.ndim == 3 else values.reshape(3, -1, 16)
        for rows, (width, height) in zip(by_anchor, np.reshape(anchors[level], (3, 2))):
            near = sigmoid(rows[:, :4])
            x, y = (2 * near[:, 0] - 0.5 + column) * stride, (2 * near[:, 1] - 0.5 + row) * stride
            boxes.append(centered(x, y, (2 * near[:, 2]) ** 2 * width, (2 * near[:, 3]) ** 2 * height))
            scores.append(sigmoid(rows[:, 4:5]) * sigmoid(rows[:, 15:]))
            corner = np.stack([column, row], 1)[:, None] * stride
            landmarks.append(rows[:, 5:15].reshape(-1, 5, 2) * (width, height) + corner)
    return Candidates(np.concatenate(boxes), np.concatenate(scores), np.concatenate(landmarks))
