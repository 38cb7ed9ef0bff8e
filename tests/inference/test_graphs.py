"""Graphs as people bring them: outputs without a batch axis, other input types."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest

from edge_app.backends.onnx import Backend
from edge_app.errors import ModelError
from edge_app.inference.graphs import Network
from edge_app.model import manifest
from tests.compiler.graphs import Graph

MANIFEST = """
format: 1
name: t
input: {width: 16, height: 8, layout: nchw, dtype: float32}
heads:
  a: {family: classify, graph: {onnx: a.onnx}}
"""


def network(tmp_path) -> Network:
    (tmp_path / "model.yaml").write_text(MANIFEST)
    return Network(manifest.load(tmp_path), Backend(), ["a"], fused=False)


def test_an_output_without_a_batch_gets_one(tmp_path):
    g = Graph()
    x = g.node("Flatten", g.node("GlobalAveragePool", g.conv("image", 3, 5)))
    outputs = {
        "batch": x,
        "vector": g.node("Squeeze", x, g.weight(np.array([0]))),
        "rows": g.reshape(g.conv("image", 3, 6), 128, 6),
    }
    g.save(tmp_path / "a.onnx", outputs, shape=(1, 3, 8, 16))
    with closing(network(tmp_path)) as graphs:
        expected = {"batch": (1, 5), "vector": (1, 5), "rows": (1, 128, 6)}
        assert {spec.name: spec.shape for spec in graphs.outputs["a"]} == expected
        found = graphs.run(np.ones((1, 3, 8, 16), np.float32))("a")
        assert {name: array.shape for name, array in found.items()} == expected
        np.testing.assert_array_equal(found["vector"], found["batch"])


def test_a_float16_input_names_the_compiler(tmp_path):
    model = Graph().model({"y": "image"}, shape=(1, 3, 8, 16))
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = 10
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"takes 'image' float16\(1, 3, 8, 16\): edge-app compile converts it"):
        network(tmp_path)
