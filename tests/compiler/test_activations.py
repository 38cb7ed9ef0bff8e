"""The last Softmax or Sigmoid of a graph is found behind moves of values, and removed without changing shapes."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.compiler import activations
from edge_app.compiler.session import HostSession
from tests.compiler.graphs import Graph


def logits(g: Graph) -> str:
    return g.conv("image", 3, 6)


def softmax_in_parts(g: Graph, x: str, *, shifted: bool) -> str:
    z = g.node("Sub", x, g.node("ReduceMax", x, axes=[1])) if shifted else x
    power = g.node("Exp", z)
    return g.node("Div", power, g.node("ReduceSum", power, g.weight(np.array([1]))))


def run(model, image) -> list[np.ndarray]:
    return HostSession(model.SerializeToString()).run(image)


@pytest.mark.parametrize(
    "end",
    [
        lambda g, x: g.node("Softmax", x, axis=1),
        lambda g, x: g.node("Sigmoid", x),
        lambda g, x: softmax_in_parts(g, x, shifted=True),
        lambda g, x: softmax_in_parts(g, x, shifted=False),
    ],
)
def test_outputs_are_the_values_before_the_activation(end):
    g = Graph()
    x = logits(g)
    y = g.reshape(g.node("Transpose", end(g, x), perm=[0, 2, 3, 1]), 1, -1, 6)
    model = g.model({"scores": y, "logits": g.reshape(g.node("Transpose", x, perm=[0, 2, 3, 1]), 1, -1, 6)})
    changed, count = activations.removed(model)
    scores, expected = run(changed, g.rng.normal(size=(1, 3, 64, 64)).astype(np.float32))
    assert count == 1
    np.testing.assert_array_equal(scores, expected)
    assert [o.name for o in changed.graph.output] == ["scores", "logits"]


def test_parts_of_a_joined_output_are_found_in_order():
    g = Graph()
    x = logits(g)
    boxes, scores = g.node("Split", x, g.weight(np.array([4, 2])), outputs=2, axis=1)
    table = g.node("Concat", g.node("Exp", boxes), g.node("Sigmoid", scores), axis=1)
    model = g.model({"table": g.reshape(table, 1, 6, -1)})
    assert list(activations.last(model).values()) == [scores]
    changed, count = activations.removed(model)
    image = g.rng.normal(size=(1, 3, 64, 64)).astype(np.float32)
    before, after = run(model, image)[0], run(changed, image)[0]
    assert count == 1
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    np.testing.assert_allclose(before[:, 4:], 1 / (1 + np.exp(-after[:, 4:])), rtol=1e-5)


@pytest.mark.parametrize("after", ["Conv", "Mul"])
def test_an_activation_that_is_not_the_last_one_stays(after):
    g = Graph()
    gate = g.node("Sigmoid", logits(g))
    y = g.conv(gate, 6, 4) if after == "Conv" else g.node("Mul", gate, gate)
    assert activations.last(g.model({"y": y})) == {}


def test_a_division_that_is_no_softmax_stays():
    g = Graph()
    power = g.node("Exp", logits(g))
    other = g.node("ReduceSum", g.node("Exp", "image"), g.weight(np.array([1])))
    assert activations.last(g.model({"y": g.node("Div", power, other)})) == {}
