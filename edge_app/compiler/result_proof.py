"""Compare a head's classifications, embeddings and segmentations with the outputs of the published file.

The published outputs are decoded here by their usual rule, in float64, without the code of the heads. Every difference
is a ModelError with one line. Not here: boxes (box_proof.py), running the graphs (proof.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app import registry
from edge_app.compiler.session import Array
from edge_app.errors import ModelError
from edge_app.frame import Classification, Embedding, Segmentation, Text
from edge_app.geometry.boxes import fit
from edge_app.heads import Head, HeadSpec

Float64 = NDArray[np.float64]
# every region is outlined as it is
_EVERY_REGION: Mapping[str, Any] = {"score": 0.0, "min_area": 0.0, "simplify": 0.0, "shape": "contour"}
_REGIONS = 1000  # of a class, outlined at most; a map of noise has more
_MOST_WRONG = 0.01  # share of cells inside a region whose class may differ: corners of thin regions
_SUBPIXELS = 4  # bits


def check_classes(name: str, result: Classification, raw: Array, options: Mapping[str, Any], tolerance: float) -> int:
    """Compare with the file's probabilities; logits are put through softmax, unless the options say otherwise.

    Returns the number of scores compared.
    """
    expected = raw.astype(np.float64).reshape(-1)
    activation = options.get("activation", "auto")
    if activation == "sigmoid":
        expected = 1 / (1 + np.exp(-expected))
    elif activation == "softmax" or (
        activation == "auto" and not (expected.min() >= 0 and abs(expected.sum() - 1) <= 0.01)
    ):
        weight = np.exp(expected - expected.max())
        expected = weight / weight.sum()
    differences = np.abs(expected[result.class_id] - result.score)
    best = expected.max() - expected[result.class_id[0]] if len(result.class_id) else 0
    if not max(differences.max(initial=0), best) <= tolerance:
        raise ModelError(
            f"{name}: class scores differ from those of the published file by {differences.max(initial=0):.2g}; "
            f"expected at most {tolerance:.2g} and the same best class"
        )
    return len(differences)


def check_vector(name: str, result: Embedding, raw: Array, tolerance: float) -> int:
    """Compare with the file's vector, at length 1. Returns the number of elements."""
    expected = raw.astype(np.float64).reshape(-1)
    expected /= max(float(np.linalg.norm(expected)), 1e-12)
    error = float(np.abs(expected - result.vector).max(initial=0)) if expected.shape == result.vector.shape else np.inf
    if not error <= tolerance:
        raise ModelError(
            f"{name}: the vector differs from that of the published file by {error:.2g}; expected at most "
            f"{tolerance:.2g}"
        )
    return len(expected)


def check_text(name: str, result: Text, raw: Array, labels: tuple[str, ...], options: Mapping[str, Any]) -> int:
    """Compare with the text of the file's best classes, read one position after the other. Returns its length.

    The score of the comparison is 0, so that uncertain texts of calibration images count.
    """
    values = raw.astype(np.float64).reshape([n for n in raw.shape[1:] if n != 1] or [1])
    classes = [n for n in values.shape if n in (len(labels) + 1, len(labels) + 2)] if values.ndim == 2 else []
    if not classes:
        return 0
    by_position = values if values.shape[1] in (len(labels) + 1, len(labels) + 2) else values.T
    blank = options.get("blank", "auto")
    last = blank == "last" or (blank == "auto" and by_position is not values)
    characters = [*labels, *([" "] if by_position.shape[1] == len(labels) + 2 else [])]
    characters = [*characters, ""] if last else ["", *characters]
    expected, before = "", None
    for best in by_position.argmax(axis=1).tolist():
        expected += characters[best] if best != before else ""
        before = best
    shown = "".join(c if c.isprintable() else "?" for c in expected)
    if len(result.text) != len(shown) or any(b not in (a, "?") for a, b in zip(result.text, shown)):
        raise ModelError(f"{name}: reads another text than the published file; expected the same")
    return len(expected)


@dataclass(frozen=True, slots=True)
class ClassMap:
    """The class of every cell of an output (C, H, W), in the size of the output.

    labels: (H, W); -1 is outside of a mask (C = 1). margin: (H, W), of the best value before the second; of a mask, the
    distance from the threshold. scale: (H, W), of the best value, 1 or more: rounding grows with it.
    """

    labels: NDArray[np.intp]
    margin: Float64
    scale: Float64

    @classmethod
    def of(cls, raw: Array, options: Mapping[str, Any]) -> ClassMap:
        values = raw.astype(np.float64).reshape(raw.shape[-3:])
        if len(values) > 1:
            ranked = np.partition(values, (-2, -1), axis=0)
            return cls(values.argmax(axis=0), ranked[-1] - ranked[-2], np.maximum(1, np.abs(ranked[-1])))
        level = float(options.get("threshold", 0.5))
        activation = options.get("activation", "auto")
        if activation == "apply" or (activation == "auto" and not (values.min() >= 0 and values.max() <= 1)):
            level = float(np.log(level) - np.log1p(-level)) if 0 < level < 1 else np.copysign(np.inf, level - 0.5)
        labels = np.where(values[0] > level, 0, -1)
        return cls(labels, np.abs(values[0] - level), np.maximum(1, np.abs(values[0])))

    def inside(self, tolerance: float) -> NDArray[np.bool_]:
        """The cells (H, W) whose class is certain, and that of their eight neighbors."""
        labels = self.labels.astype(np.float32)
        kernel = np.ones((3, 3), np.uint8)
        uniform = cv2.erode(labels, kernel) == cv2.dilate(labels, kernel)
        return np.asarray(uniform & self.certain(tolerance), np.bool_)

    def certain(self, tolerance: float) -> NDArray[np.bool_]:
        """The cells (H, W) whose class does not change if values change by the tolerance."""
        return np.asarray(self.margin > 2 * tolerance * self.scale, np.bool_)


def check_maps(
    spec: HeadSpec, options: Mapping[str, Any], outputs: Mapping[str, Array], raw: Array, tolerance: float
) -> tuple[int, int]:
    """Compare the classes of all cells, and of those inside the regions that the head outlines, at the output's size.

    Cells whose two best values lie within the tolerance are left out. raw: the published output. Returns the numbers of
    cells compared: of the outputs, and of the outlines. Raises ModelError.
    """
    expected, found = ClassMap.of(raw, options), ClassMap.of(next(iter(outputs.values())), options)
    certain = expected.certain(tolerance)
    wrong = int((certain & (expected.labels != found.labels)).sum())
    if wrong:
        raise ModelError(
            f"{spec.name}: {wrong} of {int(certain.sum())} cells have another class than in the published file; "
            "expected the same where the best class is certain"
        )
    outlined = _outlined(spec, options, outputs, expected.labels.shape)
    if outlined is None:
        return int(certain.sum()), 0
    inside = expected.inside(tolerance)
    if raw.shape[-3] == 1:
        inside &= (expected.labels >= 0) | _open(expected.labels < 0)
    differ = int((inside & (outlined != expected.labels)).sum())
    if differ > _MOST_WRONG * int(inside.sum()):
        raise ModelError(
            f"{spec.name}: the head's regions give {differ} of {int(inside.sum())} cells another class than the "
            f"published file; expected at most {_MOST_WRONG:.0%}, away from the edges of regions"
        )
    return int(certain.sum()), int(inside.sum())


def _outlined(
    spec: HeadSpec, options: Mapping[str, Any], outputs: Mapping[str, Array], size: tuple[int, ...]
) -> NDArray[np.intp] | None:
    """The classes (H, W) of the head's regions, -1 outside of them; None if there are too many regions."""
    settings = {**options, **_EVERY_REGION, "max_regions": _REGIONS, "background": False}
    head: Head = registry.build("heads", spec.family, spec, **settings)
    result = head.decode(outputs, fit(spec.input_size, spec.input_size, "stretch"))
    assert isinstance(result, Segmentation)
    if len(result.polygons) >= _REGIONS:
        return None
    height, width = size
    canvas = np.full((height, width), -1, np.float32)
    scale = np.array([width, height]) / np.array(spec.input_size)
    for polygon, class_id in zip(result.polygons, result.class_id):  # the largest first: those in its holes follow
        corners = np.round((polygon * scale - 0.5) * 2**_SUBPIXELS).astype(np.int32)
        cv2.fillPoly(canvas, [corners], float(class_id), shift=_SUBPIXELS)
    return canvas.astype(np.intp)


def _open(outside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The cells outside of a mask that are not in one of its holes, which the head does not report.

    Passages to the edge of the map that are narrower than three cells do not count.
    """
    wide = cv2.erode(outside.astype(np.uint8), np.ones((3, 3), np.uint8))
    _, parts = cv2.connectedComponents(wide, connectivity=4)
    edge = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    return np.asarray(np.isin(parts, edge[edge > 0]), np.bool_)
