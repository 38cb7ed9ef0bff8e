"""embed: the vector is normalized; without a direction it becomes zeros."""

import math

import numpy as np
import pytest

from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from tests.heads import plain

TRANSFORM = fit((640, 480), (112, 112), "letterbox")


def decode(values, shape=(1, -1), dtype=np.float32):
    outputs = {"feature": np.asarray(values, dtype).reshape(shape)}
    return plain.build("embed", outputs, (112, 112)).decode(outputs, TRANSFORM).vector


@pytest.mark.parametrize("shape", [(1, 512), (1, 512, 1, 1)])
def test_normalizes_to_unit_length(shape):
    values = np.random.default_rng(0).normal(0, 3, 512).astype(np.float32)
    length = math.sqrt(math.fsum(float(v) ** 2 for v in values))
    np.testing.assert_allclose(decode(values, shape), [float(v) / length for v in values], rtol=1e-5)


def test_squares_do_not_overflow():
    np.testing.assert_allclose(decode([3e30, 4e30]), [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(decode([3e4, 4e4], dtype=np.float16), [0.6, 0.8], rtol=1e-3)


@pytest.mark.parametrize("values", [[0, 0, 0], [1, math.nan, 0], [1, math.inf, 0]])
def test_a_vector_without_direction_becomes_zeros(values):
    assert decode(values).tolist() == [0, 0, 0]


def test_rejects_labels():
    with pytest.raises(ModelError, match="no labels"):
        plain.build("embed", {"feature": np.zeros((1, 8), np.float32)}, (112, 112), classes=8)
