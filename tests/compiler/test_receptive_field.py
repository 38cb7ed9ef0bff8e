"""Receptive fields: no pixel outside the stated field changes a cell."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from edge_app.compiler import canonical, net
from edge_app.compiler.net import Net
from edge_app.compiler.receptive_field import crops_align, receptive_fields
from edge_app.compiler.session import HostSession
from tests.compiler.graphs import Graph, trunk

SIZE = 64


def stride_2_and_back(g: Graph) -> str:
    x = g.relu(g.conv("image", 3, 4, kernel=5, stride=2))
    scales = g.weight(np.array([1, 1, 2, 2], np.float32))
    return g.node("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")


def pooled(g: Graph) -> str:
    x = g.node("MaxPool", g.conv("image", 3, 4), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    return g.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])


def branches(g: Graph) -> str:
    a, b = g.conv("image", 3, 4, kernel=1, stride=2), g.conv("image", 3, 4, kernel=7, stride=2)
    return g.conv(g.node("Concat", a, b, axis=1), 8, 4)


def halved(g: Graph) -> str:
    scales = g.weight(np.array([1, 1, 0.5, 0.5], np.float32))
    x = g.conv("image", 3, 4)
    return g.conv(
        g.node("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="pytorch_half_pixel"), 4, 4
    )


def nearest(g: Graph) -> str:
    x = g.conv("image", 3, 4, stride=2)
    scales = g.weight(np.array([1, 1, 2, 2], np.float32))
    return g.conv(
        g.node(
            "Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
        ),
        4,
        4,
    )


def same_padding(g: Graph) -> str:
    w = [g.weight(g.rng.normal(size=(4, c, 5, 5)).astype(np.float32)) for c in (3, 4)]
    x = g.node("Conv", "image", w[0], strides=[2, 2], auto_pad="SAME_UPPER")
    return g.node("Conv", x, w[1], strides=[2, 2], auto_pad="SAME_LOWER")


def asymmetric(g: Graph) -> str:
    w = g.weight(g.rng.normal(size=(4, 3, 3, 5)).astype(np.float32))
    return g.conv(g.node("Conv", "image", w, pads=[0, 3, 2, 1], dilations=[1, 1]), 4, 4, stride=2)


def dilated(g: Graph) -> str:
    w = g.weight(g.rng.normal(size=(4, 3, 3, 3)).astype(np.float32))
    return g.node("Conv", "image", w, pads=[3] * 4, dilations=[3, 3])


def transposed(g: Graph) -> str:
    w = g.weight(g.rng.normal(size=(4, 4, 3, 3)).astype(np.float32))
    x = g.conv("image", 3, 4, kernel=5, stride=4)
    return g.node("ConvTranspose", x, w, strides=[2, 2], pads=[1] * 4, output_padding=[1, 1])


def focus(g: Graph) -> str:
    end, two = g.weight(np.array([2**31 - 1])), g.weight(np.array([2]))
    rows, columns = g.weight(np.array([2])), g.weight(np.array([3]))
    starts = [g.weight(np.array([i])) for i in range(2)]
    halves = [g.node("Slice", "image", start, end, rows, two) for start in starts]
    parts = [g.node("Slice", half, start, end, columns, two) for half in halves for start in starts]
    return g.conv(g.node("Concat", *parts, axis=1), 12, 4)


def blocks(g: Graph) -> str:
    x = g.node("SpaceToDepth", g.node("SpaceToDepth", "image", blocksize=2), blocksize=2)
    return g.node("DepthToSpace", g.conv(x, 48, 16), blocksize=2)


def edges(g: Graph) -> str:
    pads = g.weight(np.array([0, 0, 1, 1, 0, 0, 2, 2]))
    x = g.node("Pad", g.conv("image", 3, 4), pads, mode="edge")
    return g.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)


def cubic(g: Graph) -> str:
    scales = g.weight(np.array([1, 1, 2, 2], np.float32))
    return g.node("Resize", g.conv("image", 3, 4, kernel=5, stride=4), "", scales, mode="cubic")


def channel_norm(g: Graph) -> str:
    x = g.conv("image", 3, 4)
    return g.node("Softmax", g.node("Sub", x, g.node("ReduceMean", x, axes=[1], keepdims=1)), axis=1)


def canonical_graph(build) -> Net:
    g = Graph()
    return canonical.canonicalize(net.from_model(g.model({"y": build(g)}, shape=(1, 3, SIZE, SIZE)), "test"))


@pytest.mark.parametrize("build", [
    trunk, stride_2_and_back, pooled, branches, halved, nearest, same_padding, asymmetric, dilated, transposed, focus,
    blocks, edges, cubic, channel_norm,
])  # fmt: skip
def test_a_cell_depends_only_on_pixels_of_its_field(build):
    graph = canonical_graph(build)
    bounds = receptive_fields(graph, graph.shapes())["y"]
    session = HostSession(graph.serialize())
    rng = np.random.default_rng(3)
    image = rng.normal(size=(1, 3, SIZE, SIZE)).astype(np.float32)
    before = session.run(image)[0]
    for row in range(0, SIZE, 5):
        changed = image.copy()
        changed[:, :, row] += rng.normal(size=(1, 3, SIZE)).astype(np.float32) * 10
        after = session.run(changed)[0]
        cells = np.flatnonzero(np.abs(after - before).max(axis=(0, 1, 3)) > 0)
        assert len(cells), "a changed row changes something"
        for cell in cells:
            first = cell * bounds.stride
            assert first + bounds.low <= row <= first + bounds.high, (cell, row)


def test_the_stated_field_is_not_wider_than_twice_the_true_one():
    graph = canonical_graph(trunk)
    bounds = receptive_fields(graph, graph.shapes())["y"]
    assert bounds.stride == 8
    assert bounds.high - bounds.low <= 2 * (1 + 2 + 2 * 2 * 2 + 2 * 4 + 2 * 8 + 8)


def attention(g: Graph, x: str) -> str:
    cells = g.reshape(x, 1, 4, SIZE * SIZE)
    keys = g.node("Softmax", g.node("MatMul", g.node("Transpose", cells, perm=[0, 2, 1]), cells), axis=-1)
    return g.node("Add", x, g.reshape(g.node("MatMul", cells, keys), 1, 4, SIZE, SIZE))


def resized(g: Graph, x: str, *scales: float, **attributes) -> str:
    return g.node("Resize", x, "", g.weight(np.array([1, 1, *scales], np.float32)), **attributes)


WHOLE = {
    "squeeze and excite": lambda g, x: g.node("Mul", x, g.node("Sigmoid", g.node("GlobalAveragePool", x))),
    "mean of rows": lambda g, x: g.node("Sub", x, g.node("ReduceMean", x, axes=[2], keepdims=1)),
    "instance norm": lambda g, x: g.node(
        "InstanceNormalization", x, *(g.weight(np.ones(4, np.float32)) for _ in range(2))
    ),
    "softmax of columns": lambda g, x: g.node("Softmax", x, axis=-1),
    "attention": attention,
    "constant for each cell": lambda g, x: g.node("Add", x, g.weight(np.ones((1, 1, SIZE, SIZE), np.float32))),
    "constant for each column": lambda g, x: g.node("Mul", x, g.weight(np.arange(SIZE, dtype=np.float32))),
    "constant map": lambda g, x: g.node("Concat", x, g.weight(np.ones((1, 1, SIZE, SIZE), np.float32)), axis=1),
    "aligned corners": lambda g, x: resized(
        g, x, 2, 2, mode="linear", coordinate_transformation_mode="align_corners"
    ),
    "factor that is rounded": lambda g, x: resized(g, x, 1.3, 1.3, mode="nearest"),
    "another factor for rows": lambda g, x: resized(g, x, 2, 1, mode="nearest"),
    "stride of rows only": lambda g, x: g.node(
        "MaxPool", x, kernel_shape=[3, 3], strides=[2, 1], pads=[1] * 4
    ),
    "mirrored border": lambda g, x: g.node(
        "MaxPool", g.node("Pad", x, g.weight(np.array([0, 0, 1, 1, 0, 0, 1, 1])), mode="reflect"), kernel_shape=[3, 3]
    ),
    "rows from the end": lambda g, x: g.node(
        "Slice", x, g.weight(np.array([-32])), g.weight(np.array([SIZE])), g.weight(np.array([2]))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_a_tensor_that_depends_on_the_whole_image_has_no_field(name):
    graph = canonical_graph(lambda g: WHOLE[name](g, g.conv("image", 3, 4)))
    assert "y" not in receptive_fields(graph, graph.shapes())


@pytest.mark.parametrize(("kernel", "stride", "pads", "tiles"), [
    (3, 1, [1] * 4, True), (3, 2, [1] * 4, True), (2, 2, [0] * 4, True), (64, 64, [0] * 4, True),
    (3, 1, [0] * 4, False), (3, 2, [0] * 4, False), (64, 1, [0] * 4, False), (3, 1, [2] * 4, False),
])  # fmt: skip
def test_a_map_with_fewer_or_more_cells_than_the_image_does_not_tile_it(kernel, stride, pads, tiles):
    def build(g: Graph) -> str:
        return g.node("MaxPool", "image", kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)

    graph = canonical_graph(build)
    assert receptive_fields(graph, graph.shapes())["y"].tiles == tiles


def test_a_map_after_an_unpadded_kernel_does_not_tile_the_image_either():
    def build(g: Graph) -> str:
        x = g.node("MaxPool", "image", kernel_shape=[3, 3])
        return g.node("MaxPool", x, kernel_shape=[3, 3], pads=[2] * 4)

    graph = canonical_graph(build)
    assert graph.shapes()["y"] == (1, 3, SIZE, SIZE)
    assert not receptive_fields(graph, graph.shapes())["y"].tiles


def test_crops_start_at_whole_cells_of_all_maps_inside():
    assert crops_align([Fraction(8), Fraction(4)], [Fraction(2), Fraction(16), Fraction(8, 3)])
    assert not crops_align([Fraction(8)], [Fraction(32)])
    assert not crops_align([Fraction(1, 2)], [])
