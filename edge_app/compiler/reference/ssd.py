"""The rule of SSD: priors by the loops of the published configurations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil, sqrt

import numpy as np

from edge_app.compiler.reference.candidates import Candidates, Float64, Outputs, Published, centered, sigmoid

_Prior = tuple[float, float, float, float]
_CAFFE = ((19, 60, 0), (10, 105, 150), (5, 150, 195), (3, 195, 240), (2, 240, 285), (1, 285, 300))
_PYTORCH = (
    (18.75, 19, 60, 105), (9.375, 10, 105, 150), (4.6875, 5, 150, 195), (3, 3, 195, 240), (2, 2, 240, 285),
    (1, 1, 285, 330),
)  # fmt: skip
_LITE = (0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.0)


def ssd(published: Published, outputs: Outputs) -> Candidates | None:
    """Deltas from priors, or corners in 0..1, and class scores, the background first; or final detections."""
    given = next((array for array in outputs.values() if array.ndim == 2 and len(array) == 2), None)
    if len(outputs) > 2 and given is None:
        return _final(published, outputs)
    outputs = {name: array for name, array in outputs.items() if array is not given}
    first, second = outputs.values()
    swapped = any(word in next(iter(outputs)).lower() for word in ("score", "conf", "class", "cls"))
    is_flat = first.shape[0] == 1 or first.ndim == 1
    if is_flat:  # the boxes are those that fit a published number of priors
        boxes, scores = (second, first) if swapped else (first, second)
        boxes = boxes.reshape(-1, 4)
        scores = scores.reshape(len(boxes), -1)
    else:
        first, second = (array.reshape(len(array), -1) for array in (first, second))
        swapped = swapped or first.shape[1] != 4
        boxes, scores = (second, first) if swapped else (first, second)
    lowest, highest, is_tensorflow = scores.min(initial=0), scores.max(initial=0), False
    if given is not None:
        boxes = _from_given(boxes, *given.reshape(2, -1, 4))
    elif is_flat or published.options.get("boxes") == "deltas":
        is_tensorflow = len(boxes) == 1917 and scores.shape[1] == 91
        priors = np.array(list(_priors(published, len(boxes), is_tensorflow)))
        if len(priors) != len(boxes):
            return None
        x, y, w, h = (boxes[:, i] for i in ((1, 0, 3, 2) if is_tensorflow else (0, 1, 2, 3)))
        across, down = priors[:, 2] * np.exp(w / 5), priors[:, 3] * np.exp(h / 5)
        boxes = centered(priors[:, 0] + x / 10 * priors[:, 2], priors[:, 1] + y / 10 * priors[:, 3], across, down)
    if lowest < -0.1 or highest > 1.1:
        weight = np.exp(scores - scores.max(axis=1, keepdims=True))
        scores = sigmoid(scores) if is_tensorflow else weight / weight.sum(axis=1, keepdims=True)
    return Candidates(boxes * (published.size * 2), scores[:, 1:])


def _from_given(deltas: Float64, corners: Float64, variances: Float64) -> Float64:
    """The boxes (N, 4), by the corners of the priors and the variances of each."""
    x1, y1, x2, y2 = corners.T
    x, y, w, h = (deltas * variances).T
    return centered(
        (x1 + x2) / 2 + x * (x2 - x1), (y1 + y2) / 2 + y * (y2 - y1), (x2 - x1) * np.exp(w), (y2 - y1) * np.exp(h)
    )


def _priors(published: Published, count: int, is_tensorflow: bool) -> Iterator[_Prior]:
    """Center and size, relative to the input. Nothing for a number that no model has."""
    if is_tensorflow:
        yield from _lite(published.size, lowest=True)
    elif count == 1917:
        for cells, least, most in _CAFFE:
            shapes = [(least, least)] + ([(sqrt(least * most),) * 2] if most else [])
            shapes += _pairs(least, (2, 3) if most else (2,))
            yield from _placed(cells, cells, cells, cells, [(w / 300, h / 300) for w, h in shapes])
    elif count == 3000:
        for scale, cells, least, most in _PYTORCH:
            shapes = [(least, least), (sqrt(least * most),) * 2, *_pairs(least, (2, 3))]
            for prior in _placed(scale, scale, cells, cells, [(w / 300, h / 300) for w, h in shapes]):
                x, y, width, height = (min(max(value, 0.0), 1.0) for value in prior)
                yield x, y, width, height
    else:
        yield from _lite(published.size, lowest=False)


def _lite(size: tuple[int, int], *, lowest: bool) -> Iterator[_Prior]:
    columns, rows = ceil(size[0] / 16), ceil(size[1] / 16)
    for level, (side, following) in enumerate(pairwise(_LITE)):
        between = sqrt(side * following)
        shapes = [(side, side), (between, between), *_pairs(side, (2, 3))]
        if lowest:
            shapes = [shapes[0], *shapes[2:], shapes[1]] if level else [(0.1, 0.1), *_pairs(0.2, (2,))]
        else:
            shapes = [(min(w, 1), min(h, 1)) for w, h in shapes]
        yield from _placed(columns, rows, columns, rows, shapes)
        columns, rows = ceil(columns / 2), ceil(rows / 2)


def _pairs(side: float, ratios: Sequence[float]) -> list[tuple[float, float]]:
    return [shape for r in ratios for shape in ((side * sqrt(r), side / sqrt(r)), (side / sqrt(r), side * sqrt(r)))]


def _placed(
    across: float, down: float, columns: int, rows: int, shapes: Sequence[tuple[float, float]]
) -> Iterator[_Prior]:
    for row in range(rows):
        for column in range(columns):
            for width, height in shapes:
                yield (column + 0.5) / across, (row + 0.5) / down, width, height


def _final(published: Published, outputs: Outputs) -> Candidates | None:
    """Boxes (N, 4) as y1, x1, y2, x2 in 0..1, class numbers from 1, and scores: those of TensorFlow's names only."""
    found: list[Float64] = []
    for word in ("detection_boxes", "detection_classes", "detection_scores"):
        found += [array for name, array in outputs.items() if f"/{name}".split(":")[0].endswith(f"/{word}")]
    if len(found) != 3:
        return None
    boxes, classes, score = found[0].reshape(-1, 4), found[1].reshape(-1), found[2].reshape(-1)
    total = next((int(array.reshape(-1)[0]) for name, array in outputs.items() if "num_detections" in name), len(score))
    start = 0 if published.options.get("zero_based") else 1
    scores = np.zeros((total, int(classes.max(initial=start)) + 1 - start))
    valid = np.flatnonzero(classes[:total] >= start)
    scores[valid, classes[valid].astype(int) - start] = score[valid]
    return Candidates(boxes[:total, [1, 0, 3, 2]] * (published.size * 2), scores, final=True)
