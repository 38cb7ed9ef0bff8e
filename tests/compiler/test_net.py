"""Graphs as Python objects: converted from and to ONNX with equal outputs."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.compiler import net, onnx_file
from edge_app.compiler.net import Net, Node, Value
from edge_app.compiler.session import HostSession
from edge_app.errors import ModelError
from tests.compiler.graphs import classifier


def test_a_graph_is_equal_after_reading_and_writing(tmp_path):
    path = classifier(tmp_path / "a.onnx")
    x = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    before, after = HostSession(path.read_bytes()).run(x), HostSession(onnx_file.read(path).serialize()).run(x)
    np.testing.assert_array_equal(before[0], after[0])


def test_rejects_a_cycle():
    looped = Net(
        "a", 13, [Value("x", "float32", (1,))], ["y"], [Node("Add", ["x", "z"], ["y"]), Node("Relu", ["y"], ["z"])], {}
    )
    with pytest.raises(ModelError, match="has a cycle"):
        looped.prune()


def test_prune_sorts_nodes_and_drops_dead_ones():
    nodes = [Node("Relu", ["m"], ["y"]), Node("Relu", ["x"], ["dead"]), Node("Relu", ["x"], ["m"])]
    graph = Net("a", 13, [Value("x", "float32", (1,))], ["y"], nodes, {"unused": np.zeros(1)})
    graph.prune()
    assert [node.outputs[0] for node in graph.nodes] == ["m", "y"]
    assert graph.weights == {}


def test_subgraph_names_missing_inputs():
    nodes = [Node("Relu", ["x"], ["m"]), Node("Add", ["m", "x"], ["y"])]
    whole = Net("a", 13, [Value("x", "float32", (1,))], ["y"], nodes, {})
    with pytest.raises(ValueError, match="needs x beside m"):
        net.subgraph(whole, "part", [Value("m", "float32", (1,))], ["y"])


def test_join_renames_tensors_with_equal_names():
    first = Net(
        "a",
        13,
        [Value("x", "float32", (1,))],
        ["f"],
        [Node("Mul", ["x", "w"], ["f"])],
        {"w": np.array([2], np.float32)},
    )
    second = Net(
        "b",
        13,
        [Value("f", "float32", (1,))],
        ["y"],
        [Node("Add", ["f", "w"], ["y"])],
        {"w": np.array([5], np.float32)},
    )
    whole = net.join("c", first, second)
    assert HostSession(whole.serialize()).run(np.array([3], np.float32))[0].tolist() == [11.0]


def test_names_an_inconsistent_graph():
    bad = Net(
        "bad",
        13,
        [Value("x", "float32", (1, 3, 8, 8))],
        ["y"],
        [Node("MatMul", ["x", "w"], ["y"])],
        {"w": np.zeros((5, 2), np.float32)},
    )
    with pytest.raises(ModelError, match="bad: "):
        bad.serialize()
