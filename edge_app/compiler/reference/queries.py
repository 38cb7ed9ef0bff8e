"""The rules of detection transformers, and of detectors that give corners and scores of all cells."""

from __future__ import annotations

import numpy as np

from edge_app.compiler.reference.candidates import Candidates, Float64, Outputs, Published, centered, sigmoid

_MOST = 300  # pairs of query and class that the published code keeps


def detr(published: Published, outputs: Outputs) -> Candidates | None:
    """Center and size in 0..1, and class scores: logits, probabilities, or a score and a class number.

    Or class numbers, corners in pixels and scores apart, as RT-DETR and D-FINE publish them.
    """
    tables = list(outputs.values())
    if len(tables) == 3:
        boxes = next(table for table in tables if table.shape[-1] == 4)
        labels = next(table for name, table in outputs.items() if name.lower().startswith(("label", "class")))
        best = next(table for name, table in outputs.items() if name.lower().startswith("score"))
        return _one_hot(boxes.reshape(-1, 4), best.reshape(-1), np.maximum(labels.reshape(-1), 0).astype(int))
    if len(tables) == 1:
        boxes, scores = tables[0][:, :4], tables[0][:, 4:]
        if scores.shape[1] == 2 and (scores[:, 1] == np.round(scores[:, 1])).all():
            return _one_hot(_pixels(published, boxes), scores[:, 0], np.maximum(scores[:, 1], 0).astype(int))
        return Candidates(_pixels(published, boxes), scores, final=True)
    names = list(outputs)
    last = outputs[names[1]].shape[1] != 4 or "box" in names[0].lower() or "det" in names[0].lower()
    boxes, scores = (outputs[name] for name in (names if last else names[::-1]))
    xyxy, activation = _pixels(published, boxes), published.options.get("activation", "auto")
    if activation == "softmax":
        weight = np.exp(scores - scores.max(axis=1, keepdims=True))
        return Candidates(xyxy, (weight / weight.sum(axis=1, keepdims=True))[:, :-1], final=True)
    if activation == "sigmoid" or (activation == "auto" and scores.min(initial=0) < 0):
        scores = sigmoid(scores)
    highest = np.argsort(-scores, axis=None, kind="stable")[:_MOST]
    query, label = np.divmod(highest, scores.shape[1])
    return _one_hot(xyxy[query], scores[query, label], label)


def corners(_: Published, outputs: Outputs) -> Candidates | None:
    """Corners (N, 4) in pixels, and scores (N, C) or (C, N)."""
    tables = sorted(outputs.items(), key=lambda item: item[1].shape[1] != 4 or "score" in item[0].lower())
    (_name, boxes), (_other, scores) = tables
    return Candidates(boxes, scores if len(scores) == len(boxes) else scores.T)


def _pixels(published: Published, boxes: Float64) -> Float64:
    width, height = published.size
    return centered(boxes[:, 0] * width, boxes[:, 1] * height, boxes[:, 2] * width, boxes[:, 3] * height)


def _one_hot(xyxy: Float64, score: Float64, class_id: np.ndarray) -> Candidates:
    scores = np.zeros((len(xyxy), int(class_id.max(initial=0)) + 1))
    scores[np.arange(len(xyxy)), class_id] = score
    return Candidates(xyxy, scores, final=True)
