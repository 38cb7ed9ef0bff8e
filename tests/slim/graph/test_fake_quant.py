"""Rounding in training, against numpy. Needs torch: pip install 'edge-app[slim]'."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `slim` is not installed")
from edge_app.slim.graph.fake_quant import TensorRange, rounded_weights  # noqa: E402

pytestmark = pytest.mark.system


def test_tensors_are_rounded_as_uint8():
    x = np.random.default_rng(0).normal(size=1000).astype(np.float32) * 2
    scale = 4.0 / 255
    zero = round(1.0 / scale)
    expected = (np.clip(np.round(x / scale + zero), 0, 255) - zero) * scale
    found = TensorRange(-1.0, 3.0)(torch.from_numpy(x)).detach().numpy()
    assert np.abs(found - expected).max() <= 1e-5
    assert len(np.unique(found)) <= 256


def test_a_range_grows_where_clipping_costs_more_than_rounding():
    x = torch.linspace(0, 4, 1000)
    limit = TensorRange(0.0, 2.0)
    loss = (limit(x) - x).pow(2).mean()
    loss.backward()
    assert float(limit.high.grad) < 0  # descent raises it


def test_a_range_always_contains_zero():
    assert TensorRange(0.5, 3.0).limits() == (0.0, 3.0)


def test_weights_are_rounded_per_output_channel():
    weight = np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32) * np.array([1, 9, 0.1, 3]).reshape(
        -1, 1, 1, 1
    )
    tensor = torch.from_numpy(weight.astype(np.float32)).requires_grad_()
    found = rounded_weights(tensor)
    scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / 127
    assert np.abs(found.detach().numpy() - np.round(weight / scale) * scale).max() <= 1e-5
    found.sum().backward()
    assert torch.equal(tensor.grad, torch.ones_like(tensor))
