"""A feature vector of the whole image, to be compared with others by dot product.

Source: the common format of re-identification and face recognition exports, (1, D) or (1, D, 1, 1).
"""

from __future__ import annotations

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Embedding
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.heads._outputs import Arrays, shape_of, shapes_known, specs_of, unsupported_outputs

_EXPECTED = "one output 1xD or 1xDx1x1, and no labels"


class Head:
    """Normalizes the vector to unit length. Has no options."""

    result_type = Embedding

    def __init__(self, spec: HeadSpec) -> None:
        self._spec = spec
        self._output = _output(spec, spec.outputs) if shapes_known(spec.outputs) else None

    def decode(self, outputs: Arrays, transform: Transform) -> Embedding:  # noqa: ARG002  (part of the protocol)
        """Normalize the vector (D,). A zero vector, or one that is not finite, becomes zeros: similar to nothing."""
        name = self._output = self._output or _output(self._spec, specs_of(outputs))
        vector = outputs[name].reshape(-1).astype(np.float64)  # float32 squares could overflow
        length = float(np.linalg.norm(vector))
        if not 0 < length < np.inf:  # false for NaN
            return Embedding(np.zeros(len(vector), np.float32))
        return Embedding((vector / length).astype(np.float32))


def _output(spec: HeadSpec, outputs: tuple[TensorSpec, ...]) -> str:
    shape = shape_of(outputs[0])
    if len(outputs) != 1 or not shape or any(n != 1 for n in shape[1:]) or spec.labels:
        raise unsupported_outputs(spec, outputs, _EXPECTED)
    return outputs[0].name
