"""The rules of FastestDet, NanoDet, UltraFace, YuNet and of the product's own digits."""

from __future__ import annotations

import numpy as np

from edge_app.compiler.reference.candidates import (
    Candidates,
    Float64,
    Outputs,
    Published,
    cells,
    centered,
    expected_bin,
    from_distances,
    positions,
    pyramid,
    sigmoid,
)


def fastestdet(published: Published, outputs: Outputs) -> Candidates | None:
    """One map (5 + C, h, w): objectness, x, y, w, h, classes. Or these three apart, as the compiler writes them."""
    maps = sorted(outputs.values(), key=lambda array: (len(array) > 1) + (len(array) not in (1, 4)))
    if len({array.shape[1:] for array in maps}) != 1 or any(array.ndim != 3 for array in maps):
        return None
    _, rows, columns = maps[0].shape
    values = np.concatenate(maps).reshape(-1, rows * columns)
    row, column = np.divmod(np.arange(rows * columns), columns)
    width, height = published.size
    x, y = (np.tanh(values[1]) + column) / columns, (np.tanh(values[2]) + row) / rows
    xyxy = centered(x * width, y * height, sigmoid(values[3]) * width, sigmoid(values[4]) * height)
    return Candidates(xyxy, (np.maximum(values[0], 0) ** 0.6 * np.maximum(values[5:], 0) ** 0.4).T)


def nanodet(published: Published, outputs: Outputs) -> Candidates | None:
    """Scores (N, C) and distances (N, 4 * bins), for each stride or for all, or both in one table."""
    tables = list(outputs.values())
    width = 4 * int(published.options.get("bins", 8))
    if len(tables) == 1:
        scores, boxes = tables[0][:, :-width], tables[0][:, -width:]
    else:
        counts = sorted({len(table) for table in tables}, reverse=True)
        levels = [[table for table in tables if len(table) == count] for count in counts]
        boxes_first = all(level[0].shape[1] == width != level[1].shape[1] for level in levels)
        scores, boxes = (np.concatenate([level[i ^ boxes_first] for level in levels]) for i in (0, 1))
    strides = pyramid(published.size, len(boxes))
    if not strides:
        return None
    origin = published.options.get("cell_center", "auto")
    if origin == "auto":  # NanoDet-Plus, four strides in one table, measures from the corner of a cell
        origin = "corner" if len(tables) <= 2 and len(strides) == 4 else "middle"
    column, row, stride = positions(published.size, strides)
    offset = 0.0 if origin == "corner" else 0.5
    distance = expected_bin(boxes.reshape(len(boxes), 4, -1)) * stride[:, None]
    return Candidates(from_distances((column + offset) * stride, (row + offset) * stride, distance), scores)


def ultraface(published: Published, outputs: Outputs) -> Candidates | None:
    """Probabilities (N, 1 + C), the background first, and corners (N, 4) relative to the input."""
    if published.options.get("boxes") == "deltas" and not published.cut:
        return None  # a model folder: its outputs are not decoded
    boxes = next((n for n, table in outputs.items() if table.shape[1] == 4 and "score" not in n.lower()), None)
    scores = next((n for n in outputs if n != boxes), None)
    if boxes is None or scores is None:
        return None
    return Candidates(outputs[boxes] * (published.size * 2), outputs[scores][:, 1:])


def yunet(published: Published, outputs: Outputs) -> Candidates | None:
    """For each stride cls and obj (N, 1), bbox (N, 4) and kps (N, 10): five landmarks."""
    found: list[tuple[Float64, Float64, Float64]] = []
    for count in sorted({len(table) for table in outputs.values()}, reverse=True):
        level = sorted((table for table in outputs.values() if len(table) == count), key=lambda table: table.shape[1])
        strides = pyramid(published.size, count)
        if len(strides) != 1 or [table.shape[1] for table in level] != [1, 1, 4, 10]:
            return None
        (stride,) = strides
        column, row = cells(published.size, stride)
        first, second, box, points = level
        width, height = np.exp(box[:, 2]) * stride, np.exp(box[:, 3]) * stride
        xyxy = centered((column + box[:, 0]) * stride, (row + box[:, 1]) * stride, width, height)
        score = np.sqrt(np.clip(first, 0, 1) * np.clip(second, 0, 1))
        found.append((xyxy, score, (np.stack([column, row], 1)[:, None] + points.reshape(-1, 5, 2)) * stride))
    boxes, scores, landmarks = (np.concatenate(part) for part in zip(*found))
    return Candidates(boxes, scores, landmarks)


def digits(published: Published, outputs: Outputs) -> Candidates | None:
    """Class logits (C, h, w), and the distances (4, h, w) of the edges, in cells."""
    boxes = next((n for n, values in outputs.items() if len(values) == 4 and "score" not in n.lower()), None)
    scores = next((n for n in outputs if n != boxes), None)
    if boxes is None or scores is None:
        return None
    _, rows, columns = outputs[boxes].shape
    row, column = np.divmod(np.arange(rows * columns, dtype=np.float64), columns)
    across, down = published.size[0] / columns, published.size[1] / rows
    distance = outputs[boxes].reshape(4, -1).T * (across, down, across, down)
    xyxy = from_distances((column + 0.5) * across, (row + 0.5) * down, distance)
    return Candidates(xyxy, sigmoid(outputs[scores].reshape(-1, rows * columns).T))
