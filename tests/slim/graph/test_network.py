"""Graphs as torch modules, against onnxruntime. Needs torch: pip install 'edge-app[slim]'."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.compiler.net import Net, Node, Value
from edge_app.compiler.session import HostSession
from edge_app.errors import ModelError
from edge_app.slim import recipe as recipes
from edge_app.slim.recipe import HeadRecipe, InputSize, Recipe

torch = pytest.importorskip("torch", reason="the extra `slim` is not installed")
from edge_app.slim import export  # noqa: E402
from edge_app.slim.graph import model_folder  # noqa: E402
from edge_app.slim.graph.network import GraphNetwork  # noqa: E402
from edge_app.slim.network import Network  # noqa: E402
from tests.slim import small  # noqa: E402

pytestmark = pytest.mark.system


@pytest.mark.parametrize("backbone", recipes.backbones())
def test_every_backbone_computes_what_onnxruntime_does(tmp_path, backbone):
    torch.manual_seed(0)
    heads = {"boxes": HeadRecipe("detect", channels=16), "kind": HeadRecipe("classify", channels=16)}
    made = Recipe(heads, backbone=backbone, width=0.25, input=InputSize(64, 96))
    export.write(Network(made, {"boxes": ("a",), "kind": ("c", "d")}), made, tmp_path / "model", "a")
    net = model_folder.read(tmp_path / "model").net
    image = torch.rand(1, 3, 96, 64)
    with torch.no_grad():
        found = GraphNetwork(net).eval()(image)
    for name, expected in zip(net.outputs, HostSession(net.serialize()).run(image.numpy())):
        assert np.abs(found[name].numpy() - expected).max() <= 1e-4


def one_node(node: Node, weights: dict[str, np.ndarray], channels: int = 8) -> Net:
    return Net("one", 14, [Value("x", "float32", (1, channels, 6, 6))], ["y"], [node], weights)


INT = np.int64
CASES = {
    "AveragePool": ({"kernel_shape": [2, 2], "strides": [2, 2]}, {}),
    "AveragePool padded": ({"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 0}, {}),
    "Clip": ({}, {"low": np.float32(-0.2), "high": np.float32(0.6)}),
    "Conv": ({"pads": [0, 0, 1, 1], "strides": [2, 2]}, {"w": np.linspace(-1, 1, 5 * 8 * 9).reshape(5, 8, 3, 3)}),
    "Conv grouped": ({"group": 4}, {"w": np.linspace(-1, 1, 8 * 2).reshape(8, 2, 1, 1), "b": np.arange(8) * 0.5}),
    "Elu": ({"alpha": 0.5}, {}),
    "Gather": ({"axis": 1}, {"index": np.array([3, 1, 0], INT)}),
    "GlobalAveragePool": ({}, {}),
    "HardSigmoid": ({"alpha": 0.1}, {}),
    "HardSwish": ({}, {}),
    "LeakyRelu": ({"alpha": 0.1}, {}),
    "MaxPool": ({"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]}, {}),
    "Mul": ({}, {"by": np.float32(3)}),
    "PRelu": ({}, {"slope": np.linspace(0, 1, 8).reshape(8, 1, 1)}),
    "ReduceMean": ({"axes": [2, 3], "keepdims": 0}, {}),
    "Reshape": ({}, {"shape": np.array([1, 4, 2, 36], INT)}),
    "Resize": (
        {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        {"": np.zeros(0), "scales": np.array([1, 1, 2, 2], np.float32)},
    ),
    "Resize linear": ({"mode": "linear"}, {"": np.zeros(0), "scales": np.array([1, 1, 2, 2], np.float32)}),
    "Sigmoid": ({}, {}),
    "Slice": ({}, {"s": np.array([1], INT), "e": np.array([5], INT), "a": np.array([1], INT), "t": np.array([2], INT)}),
    "Softmax": ({"axis": 1}, {}),
    "SpaceToDepth": ({"blocksize": 2}, {}),
    "Tanh": ({}, {}),
    "Transpose": ({"perm": [0, 2, 3, 1]}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_operator_computes_what_onnxruntime_does(case):
    attrs, constants = CASES[case]
    weights = {n: a if a.dtype == INT else a.astype(np.float32) for n, a in constants.items() if n}
    net = one_node(Node(case.split()[0], ["x", *constants], ["y"], dict(attrs)), weights)
    image = np.random.default_rng(0).normal(size=(1, 8, 6, 6)).astype(np.float32)
    network = GraphNetwork(net).eval()
    with torch.no_grad():
        found = network(torch.from_numpy(image))["y"].numpy()
    (expected,) = HostSession(net.serialize()).run(image)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5
    (again,) = HostSession(network.to_net(fold=True).serialize()).run(image)
    assert np.abs(again - expected).max() <= 1e-5


def test_an_operator_that_cannot_be_trained_is_named():
    with pytest.raises(ModelError, match="layer 'y' is Erf; expected one of Add, "):
        GraphNetwork(one_node(Node("Erf", ["x"], ["y"]), {}))


def test_only_what_the_wanted_tensors_need_is_computed():
    network = small.network()
    first = network.net.nodes[0].outputs[0]
    with torch.no_grad():
        assert list(network(small.images(), (first,))) == [first]
    assert network.needed[first,] == {0}
