"""onnx: the contract of backends, dynamic shapes and threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_app.backends import Graph
from edge_app.backends.onnx import Backend
from edge_app.errors import BackendError
from tests.backends.contract import Case, Contract, case_of_means

IMAGE = (1, 8, 12, 3)
FLOAT = TensorProto.FLOAT


def save(path: Path, nodes: list, inputs: list, outputs: list) -> Graph:
    graph = helper.make_graph(nodes, path.stem, inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return Graph(path, None)


def first(path: Path) -> Graph:
    """uint8 image -> c8 (1, 3, 8, 12), the image in 0..1; c16 (1, 3, 4, 6), its 2x2 means."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Constant", [], ["white"], value=helper.make_tensor("white", FLOAT, [1], [255.0])),
        helper.make_node("Div", ["planes", "white"], ["c8"]),
        helper.make_node("AveragePool", ["c8"], ["c16"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, IMAGE)
    c8 = helper.make_tensor_value_info("c8", FLOAT, (1, 3, 8, 12))
    c16 = helper.make_tensor_value_info("c16", FLOAT, (1, 3, 4, 6))
    return save(path, nodes, [image], [c8, c16])


def second(path: Path) -> Graph:
    """c8 and c16 -> y (1, 3, 1, 1), the sum of their means."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["c8"], ["a"]),
        helper.make_node("GlobalAveragePool", ["c16"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    c8 = helper.make_tensor_value_info("c8", FLOAT, (1, 3, 8, 12))
    c16 = helper.make_tensor_value_info("c16", FLOAT, (1, 3, 4, 6))
    return save(path, nodes, [c8, c16], [helper.make_tensor_value_info("y", FLOAT, (1, 3, 1, 1))])


class TestContract(Contract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> Case:
        return case_of_means(Backend(), first(tmp_path / "first.onnx"), second(tmp_path / "second.onnx"))


def test_only_dynamic_dimensions_accept_any_size(tmp_path: Path):
    free = helper.make_tensor_value_info("x", FLOAT, (1, 3, "height", None))
    graph = save(
        tmp_path / "free.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        [free],
        [helper.make_tensor_value_info("y", FLOAT, (1, 3, "height", None))],
    )
    session = Backend().load(graph)
    assert session.inputs[0].shape == (1, 3, None, None)
    for size in ((4, 5), (7, 2)):
        assert session.run({"x": np.ones((1, 3, *size), np.float32)})["y"].shape == (1, 3, *size)
    with pytest.raises(BackendError, match=r"found float32\(1, 4, 4, 4\), expected float32\(1, 3, None, None\)"):
        session.run({"x": np.ones((1, 4, 4, 4), np.float32)})


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_does_not_change_the_result(tmp_path: Path, threads: int):
    image = np.random.default_rng(1).integers(0, 256, IMAGE, np.uint8)
    session = Backend(threads=threads).load(first(tmp_path / "first.onnx"))
    np.testing.assert_allclose(session.run({"image": image})["c16"].mean(), image.mean() / 255, atol=1e-6)
