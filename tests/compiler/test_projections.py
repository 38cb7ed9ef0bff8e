"""The query, key and value of an attention block become separate convolutions."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.compiler import onnx_file, projections
from edge_app.compiler.net import Net
from edge_app.compiler.session import HostSession
from tests.compiler.graphs import Graph


def attention(path, *, heads: int = 2, key: int = 3, value: int = 4, bias: bool = True, axis: int = 2) -> Net:
    """As in v11: (1, heads, key + key + value, cells) of one convolution."""
    g = Graph()
    width = 2 * key + value
    joined = g.reshape(g.conv("image", 3, heads * width, 1, bias=bias), 1, heads, width, -1)
    sizes = g.weight(np.array([key, key, value]))
    if axis != 2:
        joined = g.node("Transpose", joined, perm=[0, 1, 3, 2])
    query, keys, values = g.node("Split", joined, sizes, outputs=3, axis=axis)
    if axis != 2:
        query, keys, values = (g.node("Transpose", x, perm=[0, 1, 3, 2]) for x in (query, keys, values))
    scores = g.node("Softmax", g.node("MatMul", g.node("Transpose", query, perm=[0, 1, 3, 2]), keys), axis=3)
    mixed = g.node("MatMul", values, g.node("Transpose", scores, perm=[0, 1, 3, 2]))
    g.save(path, {"y": g.reshape(mixed, 1, heads * value, 8, 8)}, shape=(1, 3, 8, 8))
    return onnx_file.read(path)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_three_convolutions_compute_what_one_did(tmp_path, heads, bias):
    net = attention(tmp_path / "a.onnx", heads=heads, bias=bias)
    image = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    expected = HostSession(net.serialize()).run(image)[0]
    projections.separate(net, net.shapes())
    net.prune()
    operations = [node.op for node in net.nodes]
    assert (operations.count("Conv"), operations.count("Split")) == (3, 0)
    np.testing.assert_allclose(HostSession(net.serialize()).run(image)[0], expected, atol=1e-5)


def test_keeps_a_split_along_the_cells(tmp_path):
    net = attention(tmp_path / "a.onnx", axis=3)
    before = [node.op for node in net.nodes]
    projections.separate(net, net.shapes())
    assert [node.op for node in net.nodes] == before


def test_keeps_a_convolution_that_is_used_elsewhere(tmp_path):
    net = attention(tmp_path / "a.onnx")
    net.outputs.append(next(node for node in net.nodes if node.op == "Conv").outputs[0])
    projections.separate(net, net.shapes())
    assert [node.op for node in net.nodes].count("Split") == 1
