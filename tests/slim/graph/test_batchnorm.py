"""BatchNorm behind folded convolutions. Needs torch: pip install 'edge-app[slim]'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra `slim` is not installed")
from edge_app.slim.graph import batchnorm, model_folder  # noqa: E402
from edge_app.slim.graph.network import GraphNetwork  # noqa: E402

pytestmark = pytest.mark.system
DIGITS = Path(__file__).parents[3] / "models" / "digits"


def test_the_shipped_model_gives_its_golden_outputs_after_batchnorm_is_restored():
    model = model_folder.read(DIGITS)
    with np.load(DIGITS / "golden.npz") as golden:
        planes = model.planes(np.ascontiguousarray(golden["image"][..., ::-1]))
        expected = {name: golden[name] for name in model.net.outputs}
    network = GraphNetwork(batchnorm.restored(model.net, planes)).eval()
    assert sum(isinstance(each, torch.nn.BatchNorm2d) for each in network.layers.values()) > 20
    with torch.no_grad():
        found = network(planes)
    assert {
        name: float(np.abs(found[name].numpy() - expected[name]).max()) <= 1e-4 for name in expected
    } == dict.fromkeys(expected, True)
    folded = GraphNetwork(network.to_net(fold=True)).eval()
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in folded.layers.values())
    with torch.no_grad():
        again = folded(planes[:1])
    assert all(float((again[name] - found[name][:1]).abs().max()) <= 1e-4 for name in expected)
