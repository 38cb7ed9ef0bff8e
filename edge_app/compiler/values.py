"""Check on synthetic images that a model's outputs have the values that its family decodes: shapes are not enough.

Not here: the same check of scores at run time (edge_app/inference/score_check.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edge_app.compiler.evidence import Evidence
from edge_app.compiler.preprocessing import Preprocessing
from edge_app.compiler.session import Array
from edge_app.compiler.unsupported import cells
from edge_app.errors import ModelError, foreign_exception
from edge_app.frame import Detections
from edge_app.geometry.boxes import fit
from edge_app.heads import Head
from edge_app.inference.score_check import out_of_range

_NORMALIZED = 2.0  # pixels; boxes of a whole image that are all below it are relative to the image
_ORDERED = 0.9  # share of boxes whose corners are in order
_RELATIVE = "boxes in 0..1 instead of pixels"
_Options = Mapping[str, object]


def problem(evidence: Evidence, family: str, options: _Options, head: Head, usual: Preprocessing) -> str:
    """Describe unusual output values for an error message; empty if there are none. head: with the lowest threshold."""
    check = _CHECKS.get(family)
    for outputs in evidence.values(usual.color, usual.mean, usual.std):
        if check is not None and (found := check(evidence, options, [outputs[name] for name in evidence.net.outputs])):
            return found
        try:
            result = head.decode(outputs, fit(evidence.size, evidence.size, "stretch"))
        except (TypeError, ValueError) as exc:  # of an installed head's own code
            raise ModelError(f"{evidence.net.name}: family '{family}': decode: {foreign_exception(exc)}") from exc
        if not isinstance(result, Detections):
            continue
        if wrong := out_of_range(result.score):
            return f"{wrong}: its outputs are keypoints, mask coefficients, an angle or logits instead of class scores"
        if 0 < float(result.xyxy.max(initial=0)) <= _NORMALIZED:
            return _RELATIVE
    return ""


def _unusual_table(evidence: Evidence, _: _Options, arrays: list[Array]) -> str:
    """YOLO: rows of final detections are corners in pixels, a score and a class number."""
    per_cell = {n * count for count in cells(evidence) for n in (1, 3)}  # 3: v5 and v7 with one class
    is_final = len(arrays) == 1 and arrays[0].shape[2:] == (6,) and arrays[0].shape[1] not in per_cell
    if not is_final:
        return ""
    if float(np.abs(arrays[0][..., :4]).max(initial=0)) <= _NORMALIZED:
        return _RELATIVE
    classes = arrays[0][..., 5]
    return "a last column that is not a class number" if np.any(classes != np.round(classes)) else ""


def _unusual_background(_: Evidence, __: _Options, arrays: list[Array]) -> str:
    """UltraFace: the scores of a box, with those of the background, add up to 1, and boxes are corners."""
    (boxes,) = [a for a in arrays if a.shape[-1] == 4][-1:] or [arrays[0]]
    scores = next((a for a in arrays if a is not boxes), boxes)
    if not np.allclose(scores.sum(axis=-1), 1, atol=0.02):
        return "scores without a background"
    is_ordered = (boxes[..., 2:] >= boxes[..., :2]).all(axis=-1)
    return "boxes that are not corners" if is_ordered.mean() < _ORDERED else ""


def _unusual_corners(evidence: Evidence, options: _Options, arrays: list[Array]) -> str:
    """SSD: the same, if there are two tables and boxes are not deltas."""
    if len(arrays) != 2 or len(evidence.tables) != 2 or options.get("boxes") == "deltas":
        return ""
    return _unusual_background(evidence, options, arrays)


def _unusual_logits(_: Evidence, __: _Options, arrays: list[Array]) -> str:
    """`digits`: class scores are logits."""
    scores = next((a for a in arrays if a.shape[1] != 4), arrays[0])
    return "class scores that are not logits" if scores.min() >= 0 and scores.max() <= 1 else ""


_CHECKS: Mapping[str, Callable[[Evidence, _Options, list[Array]], str]] = {
    "yolo": _unusual_table,
    "ssd": _unusual_corners,
    "ultraface": _unusual_background,
    "digits": _unusual_logits,
}
