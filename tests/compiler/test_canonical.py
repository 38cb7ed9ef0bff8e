"""Canonical form: folded, rewritten and without image sizes, with unchanged outputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.compiler import canonical, net
from edge_app.compiler.net import Net
from edge_app.compiler.session import HostSession
from edge_app.errors import ModelError
from tests.compiler.graphs import Graph


def compiled(g: Graph, outputs: dict[str, str], shape=(1, 3, 16, 24), **options) -> Net:
    """The canonical graph, after checking that its outputs equal the original's on random input."""
    model = g.model(outputs, shape=shape, **options)
    result = canonical.canonicalize(net.from_model(model, "test"))
    image = np.random.default_rng(7).normal(size=shape).astype(np.float32)
    for expected, found in zip(
        HostSession(model.SerializeToString()).run(image), HostSession(result.serialize()).run(image)
    ):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    return result


def ops(result: Net) -> list[str]:
    return sorted(node.op for node in result.nodes)


def works_at_any_size(result: Net) -> bool:
    wide = canonical.set_input_size(result, 40, 32)
    HostSession(wide.serialize()).run(np.zeros((1, 3, 32, 40), np.float32))
    return True


def test_folds_batch_norm_constants_and_dead_nodes():
    g = Graph()
    x = g.batch_norm(g.conv("image", 3, 8, bias=False), 8)
    shape = g.node("Shape", x)
    g.node("Sigmoid", x)  # dead
    n = g.node("Gather", shape, g.weight(np.array(0)), axis=0)
    target = g.node("Concat", g.node("Unsqueeze", n, g.weight(np.array([0]))), g.weight(np.array([8, -1])), axis=0)
    result = compiled(g, {"y": g.node("Reshape", x, target)})
    assert ops(result) == ["Conv", "Reshape"]


def test_initializers_listed_as_inputs_become_weights():
    g = Graph()
    result = compiled(g, {"y": g.batch_norm(g.conv("image", 3, 8, bias=False), 8)}, listed=True)
    assert ops(result) == ["Conv"]


def five_dimensional(g: Graph, x: str, h: int, w: int) -> tuple[str, str]:
    x = g.node("Transpose", g.reshape(x, 1, 2, 4, h, w), perm=[0, 2, 1, 3, 4])
    return tuple(g.node("Split", g.reshape(x, 1, -1, h, w), g.weight(np.array([4, 4])), outputs=2, axis=1))


def gathered(g: Graph, x: str, h: int, w: int) -> tuple[str, str]:
    x = g.node("Transpose", g.reshape(x, 4, 2, h * w), perm=[1, 0, 2])
    x = g.reshape(x, 2, -1, 4, h, w)
    return tuple(g.node("Gather", x, g.weight(np.array(i)), axis=0) for i in (0, 1))


@pytest.mark.parametrize("shuffle", [five_dimensional, gathered])
def test_channel_shuffles_become_a_gather(shuffle):
    g = Graph()
    a, b = shuffle(g, g.conv("image", 3, 8), 16, 24)
    result = compiled(g, {"a": g.conv(a, 4, 4), "b": g.conv(b, 4, 4)})
    assert ops(result) == ["Conv", "Conv", "Conv", "Gather", "Gather"]
    assert works_at_any_size(result)


@settings(max_examples=25, deadline=None)
@given(groups=st.sampled_from([2, 3, 4, 6]), taken=st.integers(1, 12), seed=st.integers(0, 99))
def test_replaces_any_shuffle_and_slice_of_whole_channels(groups, taken, seed):
    g = Graph(seed)
    x = g.node("Transpose", g.reshape(g.conv("image", 3, 12), 1, groups, 12 // groups, 16 * 24), perm=[0, 2, 1, 3])
    x = g.reshape(x, 1, 12, 16, 24)
    x = g.node("Slice", x, *(g.weight(np.array([n])) for n in (0, taken, 1)))
    result = compiled(g, {"y": g.relu(x)})
    assert "Reshape" not in ops(result)
    assert works_at_any_size(result)


def test_does_not_rewrite_a_chain_that_moves_pixels():
    g = Graph()
    x = g.reshape(g.conv("image", 3, 8), 1, 8, 24, 16)
    result = compiled(g, {"y": g.reshape(x, 1, 8, 16, 24), "z": x})
    assert "Reshape" in ops(result)
    with pytest.raises(ModelError, match="cannot take 40x32 images"):
        works_at_any_size(result)


def test_splits_a_convolution_followed_by_split():
    g = Graph()
    a, b = g.node("Split", g.conv("image", 3, 8), g.weight(np.array([5, 3])), outputs=2, axis=1)
    result = compiled(g, {"a": a, "b": g.node("Sigmoid", b)})
    assert ops(result) == ["Conv", "Conv", "Sigmoid"]


def test_replaces_resize_to_a_size_by_a_factor():
    g = Graph()
    x = g.conv("image", 3, 4, stride=2)
    x = g.node(
        "Resize",
        x,
        "",
        "",
        g.weight(np.array([1, 4, 16, 24])),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    assert works_at_any_size(compiled(g, {"y": x}))


def test_folds_zero_padding_into_the_next_operation():
    g = Graph()
    pad = g.weight(np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    a = g.node("AveragePool", g.node("Pad", g.conv("image", 3, 4), pad), kernel_shape=[3, 3], strides=[2, 2])
    b = g.node("Conv", g.node("Pad", "image", pad), g.weight(g.rng.normal(size=(4, 3, 3, 3)).astype(np.float32)))
    assert "Pad" not in ops(compiled(g, {"a": a, "b": b}))


def test_keeps_padding_before_max_pooling():
    g = Graph()
    pad = g.weight(np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    x = g.node("MaxPool", g.node("Pad", g.conv("image", 3, 4), pad), kernel_shape=[3, 3])
    compiled(g, {"y": x})  # `compiled` checks equality: padding zeros would win over negative values


def test_removes_transposes_around_softmax():
    g = Graph()
    x = g.node("Transpose", g.conv("image", 3, 4), perm=[0, 3, 2, 1])
    x = g.node("Transpose", g.node("Softmax", x, axis=3), perm=[0, 3, 2, 1])
    result = compiled(g, {"y": x})
    assert ops(result) == ["Conv", "Softmax"]


def test_reshapes_of_maps_get_a_free_size():
    g = Graph()
    x = g.conv("image", 3, 6)
    a = g.node("Transpose", g.reshape(x, 1, 6, 16 * 24), perm=[0, 2, 1])
    b = g.reshape(g.node("Transpose", x, perm=[0, 2, 3, 1]), 1, 16 * 24 * 3, 2)
    assert works_at_any_size(compiled(g, {"a": a, "b": b}))


def test_pads_that_pytorch_computes_from_shapes_stay_at_their_edges():
    """A row below and a column on the right, in PyTorch's order of pads, which the graph turns around."""
    g = Graph(opset=17)

    def ints(*values: int) -> str:
        return g.weight(np.array(values, np.int64))

    def scalar(value: int) -> str:
        return g.weight(np.array(value, np.int64))

    height = g.node("Gather", g.node("Shape", "image"), scalar(2))
    both = g.node("Add", g.node("Sub", height, height), scalar(1))
    before = g.node("Cast", g.node("Cast", g.node("Div", both, scalar(2)), to=7), to=7)
    sides = [g.node("Unsqueeze", side, ints(0)) for side in (before, g.node("Sub", both, before))]
    pads = g.node("Concat", g.node("Concat", *sides, *sides, axis=0), ints(0, 0, 0, 0), axis=0)
    pairs = g.node("Reshape", pads, ints(-1, 2))
    turned = g.node("Slice", pairs, ints(-1), ints(-(2**63) + 1), ints(0), ints(-1))
    ends = g.node("Cast", g.node("Reshape", g.node("Transpose", turned, perm=[1, 0]), ints(-1)), to=7)
    result = compiled(g, {"map": g.node("Pad", "image", ends, mode="edge")})
    (pad,) = (node for node in result.nodes if node.op == "Pad")
    assert result.weights[pad.inputs[1]].tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    result.weights[pad.inputs[1]] = np.array([0, 0, 1, 1, 0, 0, 0, 0])  # as onnxslim folds those of a longer graph
    canonical._recompute_integers(
        net.from_model(g.model({"map": g.nodes[-1].output[0]}, shape=(1, 3, 16, 24)), "test"), result
    )
    assert result.weights[pad.inputs[1]].tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
