"""Reading and writing ONNX: equal outputs, and one-line errors for invalid files."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edge_app.compiler import net
from edge_app.compiler.net import Net, Node, Value
from edge_app.compiler.session import HostSession
from edge_app.errors import ModelError
from tests.compiler.graphs import Graph, classifier


def test_a_graph_is_equal_after_reading_and_writing(tmp_path):
    path = classifier(tmp_path / "a.onnx")
    x = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)
    before, after = HostSession(path.read_bytes()).run(x), HostSession(net.read(path).serialize()).run(x)
    np.testing.assert_array_equal(before[0], after[0])


@pytest.mark.parametrize("content", [b"", b"no ONNX file at all", b"\x08\x08\x12\x00", b"\xff" * 64])
def test_rejects_a_file_that_is_not_onnx(tmp_path, content):
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.onnx: (is not an ONNX file|contains no graph)"):
        net.read(path)


def test_rejects_a_truncated_file(tmp_path):
    path = classifier(tmp_path / "a.onnx")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ModelError, match=r"a\.onnx: is not an ONNX file, or is truncated"):
        net.read(path)


def test_names_a_missing_file(tmp_path):
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        net.read(tmp_path / "absent.onnx")


def test_rejects_external_data(tmp_path):
    model = onnx.load(classifier(tmp_path / "a.onnx"))
    onnx.save(model, tmp_path / "b.onnx", save_as_external_data=True, size_threshold=0, location="b.bin")
    with pytest.raises(ModelError, match=r"b\.onnx: .* is stored in another file \(external data\)"):
        net.read(tmp_path / "b.onnx")


@pytest.mark.parametrize("opset", [6, 20, 22])
def test_rejects_unsupported_opsets(tmp_path, opset):
    g = Graph(opset=opset)
    path = tmp_path / "a.onnx"
    path.write_bytes(g.model({"y": g.relu("image")}).SerializeToString())
    with pytest.raises(ModelError, match=rf"opset {opset}; expected 7 to 19"):
        net.read(path)


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_converts_old_opsets_to_13(tmp_path, opset):
    g = Graph(opset=opset)
    x = g.node("Softmax", g.conv("image", 3, 4), axis=3)
    a, b = g.node("Split", x, outputs=2, axis=1, split=[1, 3])
    path = g.save(tmp_path / "a.onnx", {"a": a, "b": b}, shape=(1, 3, 8, 8), listed=True)
    read = net.read(path)
    assert read.opset == 13
    assert [value.name for value in read.inputs] == ["image"]
    image = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    feeds = {"image": image} | ({} if opset > 8 else g.weights)
    for expected, found in zip(HostSession(path.read_bytes()).feed(feeds), HostSession(read.serialize()).run(image)):
        np.testing.assert_allclose(found, expected, atol=1e-6)


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
