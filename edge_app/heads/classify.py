"""Classification of the whole image: one vector of class logits or probabilities.

Source: the common format of torchvision, timm and PaddleClas exports, (1, C) or (1, C, 1, 1).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Classification, Float32
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._outputs import (
    Arrays,
    check_labels,
    float32,
    shape_of,
    shapes_known,
    sigmoid,
    specs_of,
    unsupported_outputs,
)
from edge_app.options import Fraction, Positive

_EXPECTED = "one output 1xC or 1xCx1x1"
_SUM_TOLERANCE = 0.05  # a quantized softmax does not sum to exactly 1


class Head:
    """Ranks the classes.

    top_k: number of classes to report. score: minimum score to report. activation: the function that the graph does not
    apply itself; `auto` is none if the values are a probability distribution, otherwise softmax. Use `sigmoid` if the
    labels are not mutually exclusive.
    """

    result_type = Classification

    def __init__(
        self,
        spec: HeadSpec,
        *,
        top_k: Positive = 5,
        score: Fraction = 0.0,
        activation: Literal["auto", "softmax", "sigmoid", "none"] = "auto",
    ) -> None:
        self._spec = spec
        self._top_k = top_k
        self._score = score
        self._activation = activation
        self._output = _output(spec, spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Classification:  # noqa: ARG002  (part of the protocol)
        """Rank the classes of one image. NaN values are left out."""
        name = self._output = self._output or _output(self._spec, specs_of(outputs))
        values = float32(outputs[name]).reshape(-1)
        valid = ~np.isnan(values)
        scores = self._scores(values[valid]) if valid.any() else values[valid]
        order = np.argsort(-scores, kind="stable")[: self._top_k]
        order = order[scores[order] >= self._score]
        return Classification(np.flatnonzero(valid)[order].astype(np.int32), scores[order])

    def _scores(self, values: Float32) -> Float32:
        if self._activation == "sigmoid":
            return sigmoid(values)
        if self._activation == "none":
            return values
        if self._activation == "auto" and _is_distribution(values):
            return np.clip(values, 0, 1)
        finite = np.clip(values, -1e30, 1e30)  # avoids inf - inf
        weight = np.exp(np.maximum(finite - finite.max(), np.float32(-100)))
        return np.asarray(weight / weight.sum(), np.float32)


def _is_distribution(values: Float32) -> bool:
    return bool(values.min() >= 0 and abs(float(values.sum()) - 1) <= _SUM_TOLERANCE)


def _output(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> str:
    shape = shape_of(outputs[0])
    if len(outputs) != 1 or not shape or any(n != 1 for n in shape[1:]):
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    check_labels(spec, shape[0])
    return outputs[0].name
