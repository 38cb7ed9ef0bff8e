from __future__ import annotations

import numpy as np
import pytest

from edge_app.errors import ModelError
from edge_app.slim import layers
from tests.compiler.graphs import Graph, classifier


def test_reads_convolutions_pooling_and_the_last_linear_layer(tmp_path):
    network = layers.read(classifier(tmp_path / "a.onnx", size=64))
    shown = [
        (each.op, each.kind, each.inputs, each.outputs, each.kernel) for each in network.layers if each.kind != "free"
    ]
    assert shown == [
        ("Conv", "conv", (3, 64, 64), (8, 32, 32), (3, 3)),
        ("Conv", "conv", (8, 32, 32), (16, 16, 16), (3, 3)),
        ("Conv", "depthwise", (16, 16, 16), (16, 16, 16), (3, 3)),
        ("Conv", "conv", (16, 16, 16), (16, 8, 8), (3, 3)),
        ("Conv", "conv", (16, 8, 8), (16, 8, 8), (3, 3)),
        ("Conv", "conv", (16, 8, 8), (24, 8, 8), (1, 1)),
        ("GlobalAveragePool", "depthwise", (24, 8, 8), (24, 2, 2), (7, 7)),
        ("GlobalAveragePool", "depthwise", (24, 2, 2), (24, 1, 1), (2, 2)),
        ("Gemm", "conv", (24, 1, 1), (5, 1, 1), (1, 1)),
    ]
    assert [each.image for each in network.layers if each.op == "Conv"] == [True, *[False] * 5]


def test_grouped_convolutions_are_dense_on_the_npu(tmp_path):
    g = Graph()
    x = g.conv(g.conv("image", 3, 24), 24, 24, groups=3)
    network = layers.read(g.save(tmp_path / "a.onnx", {"y": x}))
    assert [each.kind for each in network.layers] == ["conv", "conv"]
    assert network.layers[1].parameters == 24 * 8 * 9 + 24


def test_an_addition_is_joined_with_a_convolution_only_without_an_activation(tmp_path):
    g = Graph()
    x = g.relu(g.conv("image", 3, 16))
    y = g.node("Add", x, g.conv(x, 16, 16))
    y = g.node("Add", y, g.relu(g.conv(y, 16, 16)))
    network = layers.read(g.save(tmp_path / "a.onnx", {"y": y}))
    assert [each.addend for each in network.layers if each.op == "Conv"] == [False, True, False]


def test_a_free_size_needs_input(tmp_path):
    g = Graph()
    path = g.save(tmp_path / "a.onnx", {"y": g.relu(g.conv("image", 3, 8))}, shape=("n", 3, "h", "w"))
    with pytest.raises(ModelError, match="input 'image' has a free size; expected --input WxH"):
        layers.read(path)
    assert layers.read(path, (32, 16)).layers[0].outputs == (8, 16, 32)


def test_a_shape_that_cannot_be_inferred_is_one_line(tmp_path):
    g = Graph()
    x = g.conv("image", 3, 8)
    path = g.save(tmp_path / "a.onnx", {"y": g.node("NonZero", x)})
    with pytest.raises(ModelError, match=r"the shape of '.*' cannot be inferred") as caught:
        layers.read(path)
    assert "\n" not in str(caught.value)


def test_tied_channels_are_one_group(tmp_path):
    g = Graph()
    x = g.relu(g.conv("image", 3, 24))  # tied with the depthwise layer and the addition
    y = g.relu(g.conv(g.relu(g.conv(x, 24, 24, groups=24)), 24, 24, 1))
    z = g.conv(g.node("Add", x, y), 24, 40, 1)  # returned: cannot change
    network = layers.read(g.save(tmp_path / "a.onnx", {"z": z}))
    (group,) = network.groups
    convolutions = [i for i, each in enumerate(network.layers) if each.op == "Conv"]
    assert (group.channels, group.producers, group.depthwise, group.consumers) == (
        24, (convolutions[0], convolutions[2]), (convolutions[1],), (convolutions[2], convolutions[3]),
    )  # fmt: skip
    resized = [layer for layer in group.resized(network.layers, 16) if layer.op == "Conv"]
    assert [(layer.inputs[0], layer.outputs[0]) for layer in resized] == [(3, 16), (16, 16), (16, 16), (16, 40)]


@pytest.mark.parametrize("mixed", ["concat", "gather"])
def test_channels_that_are_mixed_are_not_listed(tmp_path, mixed):
    g = Graph()
    x, y = g.conv("image", 3, 16), g.conv("image", 3, 16)
    if mixed == "concat":
        x = g.node("Concat", x, y, axis=1)
    else:
        x = g.node("Concat", g.node("Gather", x, g.weight(np.arange(15, -1, -1)), axis=1), y, axis=1)
    network = layers.read(g.save(tmp_path / "a.onnx", {"z": g.conv(x, 32, 8)}))
    assert network.groups == ()
