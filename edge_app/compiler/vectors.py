"""Distinguish outputs that are single vectors: class scores, embeddings, landmarks, attributes, or other values.

Not here: other outputs that resemble those of a family, and the error (unsupported.py).
"""

from __future__ import annotations

from edge_app.compiler.evidence import Evidence

PROBABILITIES = ("Softmax", "LogSoftmax", "Sigmoid", "HardSigmoid")
_LANDMARKS = {2 * n for n in (17, 21, 29, 33, 39, 66, 68, 98, 106, 468, 478)} | {
    3 * n for n in (17, 21, 33, 39, 68, 468, 478)
}  # values of x and y, or x, y and z, for published numbers of points
_IMAGENET = (1000, 1001, 11221, 21841, 21843)
_EMBEDDING_STEP = 64  # the lengths of published embeddings are multiples of it
_BOX = 4  # values of a box
_CLASS_NAMES = ("class", "cls", "logit", "prob", "score", "softmax")  # parts of names of outputs


def is_landmarks(e: Evidence) -> bool:
    return any(n in _LANDMARKS for n in e.vectors) and len(e.vectors) == len(e.outputs) and (
        len(e.vectors) > 1 or not (e.ends_with(*PROBABILITIES) or e.labels)
    )  # fmt: skip


def is_attributes(e: Evidence) -> bool:
    return len(e.vectors) == len(e.outputs) > 1


def is_vector_of_unknown_use(e: Evidence) -> bool:
    """As long as an embedding, and without the last layer of a classifier or an embedding."""
    if len(e.outputs) != 1 or len(e.vectors) != 1 or e.labels or e.vectors[0] in _IMAGENET:
        return False
    normalized = e.ends_with("Div", "LpNormalization", "BatchNormalization")
    return e.vectors[0] % _EMBEDDING_STEP == 0 and not e.ends_with(*PROBABILITIES) and not normalized


def is_vector_without_softmax(e: Evidence) -> bool:
    """Class scores, or values such as a box, angles or points: not known from the file."""
    if len(e.outputs) != 1 or len(e.vectors) != 1 or e.labels or e.vectors[0] in _IMAGENET:
        return False
    if e.ends_with("Sigmoid", "HardSigmoid"):
        return e.vectors[0] == _BOX or e.vectors[0] in _LANDMARKS
    if e.ends_with("Softmax", "LogSoftmax", "Div", "LpNormalization", "BatchNormalization"):
        return False
    return not any(part in e.outputs[0].name.lower() for part in _CLASS_NAMES)


def is_number(e: Evidence) -> bool:
    return len(e.outputs) == 1 and e.vectors == [1] and not e.labels
