"""Model folders that are read for training and written again. Needs torch: pip install 'edge-app[slim]'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_app.errors import ConfigError

pytest.importorskip("torch", reason="the extra `slim` is not installed")
from edge_app.compiler.session import HostSession
from edge_app.slim.graph import model_folder

pytestmark = pytest.mark.system
DIGITS = Path(__file__).parents[3] / "models" / "digits"


def test_a_folder_with_several_heads_is_written_and_read_with_the_same_tensors(tmp_path):
    model = model_folder.read(DIGITS)
    assert {head.name: head.family for head in model.heads} == {
        "digits": "digits", "panel": "segment", "scene": "classify",
    }  # fmt: skip
    model_folder.write(model, model.net, tmp_path / "out", "a test")
    again = model_folder.read(tmp_path / "out")
    assert again.features == model.features
    assert {o for n in again.net.nodes for o in n.outputs} == {o for n in model.net.nodes for o in n.outputs}
    image = np.random.default_rng(0).random((1, 3, 320, 320), np.float32)
    first, second = (HostSession(each.net.serialize()).run(image) for each in (model, again))
    assert all(np.abs(a - b).max() <= 1e-4 for a, b in zip(first, second))


def test_a_missing_model_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="found nothing; expected a model folder, a trained run, or an ONNX file"):
        model_folder.read(tmp_path / "nothing")


def test_a_damaged_graph_of_a_stage_is_one_line():
    with pytest.raises(ConfigError, match="stage: is damaged"):
        model_folder.load_net(b"damaged", "stage")
