"""Values before the last Softmax or Sigmoid: an error that saturated scores hide must not pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_app.compiler import assemble, calibration_images, input_models, proof, score_proof
from edge_app.compiler.assemble import Runner
from edge_app.compiler.input_models import ModelOptions
from edge_app.errors import ModelError
from edge_app.model.schema import Input
from tests.compiler import yolos
from tests.compiler.graphs import Graph, trunk

ROWS = (0, 1)
IMAGES = calibration_images.synthetic(Input(64, 64), 2)


def saturated(path: Path) -> Path:
    """A classifier whose best class always scores 1: its bias is far above the others."""
    g = Graph()
    x = g.node("Flatten", g.node("GlobalAveragePool", trunk(g)), axis=1)
    w = g.weight(g.rng.normal(size=(16, 5)).astype(np.float32))
    y = g.node("Gemm", x, w, g.weight(np.array([60, 0, 0, 0, 0], np.float32)))
    return g.save(path, {"scores": g.node("Softmax", y, axis=1)})


def damaged(assembly):
    """The assembly with one weight matrix of the head multiplied by 1.05."""
    heads = {name: net.copy() for name, net in assembly.heads.items()}
    for net in heads.values():
        name = next(node for node in net.nodes if node.op in ("Gemm", "MatMul", "Conv")).inputs[1]
        net.weights[name] = net.weights[name] * np.float32(1.05)
    return replace(assembly, heads=heads)


def test_an_error_behind_saturated_scores_is_found(tmp_path):
    models = input_models.read([saturated(tmp_path / "a.onnx")], ModelOptions())
    assembly = assemble.assemble(models, None, (4, 8, 16))
    assert score_proof.prove(models, assembly, IMAGES, ROWS)["a"] < 1e-4
    broken = damaged(assembly)
    assert proof.prove(models, Runner.of(broken), IMAGES, ROWS)["a"].error < 1e-6, "scores hide it"
    with pytest.raises(ModelError, match=r"^a: values before the last Softmax or Sigmoid differ .* by \d") as raised:
        score_proof.prove(models, broken, IMAGES, ROWS)
    assert "\n" not in str(raised.value)


def test_a_head_whose_tail_is_cut_off_is_compared_with_its_tail(tmp_path):
    models = input_models.read([yolos.ultralytics(tmp_path / "a.onnx", size=(64, 64))], ModelOptions())
    assert models[0].cut is not None
    assembly = assemble.assemble(models, None, (4, 8, 16))
    assert score_proof.prove(models, assembly, IMAGES, ROWS)["a"] < 1e-3
    with pytest.raises(ModelError, match="before the last Softmax or Sigmoid"):
        score_proof.prove(models, damaged(assembly), IMAGES, ROWS)


def test_rows_without_an_order_are_not_compared(tmp_path):
    models = input_models.read([yolos.ultralytics(tmp_path / "a.onnx", end2end=True)], ModelOptions())
    assert score_proof.prove(models, assemble.assemble(models, None, (4, 8, 16)), IMAGES, ROWS) == {}
