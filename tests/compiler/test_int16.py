"""Graphs for int16: the same results without Split."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.compiler import int16
from edge_app.compiler.net import Net, from_model
from edge_app.compiler.session import HostSession
from tests.compiler.graphs import Graph


def silu(g: Graph, x: str) -> str:
    return g.node("Mul", x, g.node("Sigmoid", x))


def net_with_split(activation, sizes=(3, 5), *, shared: bool = False) -> Net:
    """A convolution, an activation and a Split, whose parts are joined again. shared: something else uses the map."""
    g = Graph()
    x = activation(g, g.conv("image", 3, sum(sizes), stride=2))
    a, b = g.node("Split", x, g.weight(np.array(sizes, np.int64)), outputs=2, axis=1)
    y = g.node("Concat", g.conv(a, sizes[0], 4), b, axis=1)
    outputs = {y: "y", **({g.node("Relu", x): "map"} if shared else {})}
    return from_model(g.model({name: tensor for tensor, name in outputs.items()}, (1, 3, 16, 16)), "test")


@pytest.mark.parametrize("activation", [
    silu, lambda g, x: x, lambda g, x: g.relu(x), lambda g, x: g.node("LeakyRelu", x, alpha=0.1),
])  # fmt: skip
def test_a_graph_without_splits_gives_the_same_results(activation):
    net = net_with_split(activation)
    rewritten = int16.without_splits(net)
    assert "Split" in {node.op for node in net.nodes}
    assert "Split" not in {node.op for node in rewritten.nodes}
    image = np.random.default_rng(0).normal(size=(1, 3, 16, 16)).astype(np.float32)
    for a, b in zip(HostSession(net.serialize()).run(image), HostSession(rewritten.serialize()).run(image)):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_map_with_another_user_stays_whole():
    rewritten = int16.without_splits(net_with_split(silu, shared=True))
    assert [node.op for node in rewritten.nodes].count("Split") == 1


def test_finds_a_product_of_two_activations_only():
    g = Graph()
    x = g.reshape("image", 1, 3, 256)
    weighted = g.node("MatMul", x, g.weight(np.ones((256, 8), np.float32)))
    assert int16.activation_product(from_model(g.model({"y": weighted}, (1, 3, 16, 16)), "a")) is None
    product = g.node("MatMul", weighted, g.node("Transpose", weighted, perm=[0, 2, 1]))
    found = int16.activation_product(from_model(g.model({"y": product}, (1, 3, 16, 16)), "b"))
    assert found is not None
    assert found.op == "MatMul"
