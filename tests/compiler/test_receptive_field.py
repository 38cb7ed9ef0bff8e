"""Receptive fields: no pixel outside the stated field changes a cell."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.compiler import canonical, net
from edge_app.compiler.net import Net
from edge_app.compiler.receptive_field import receptive_fields
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


def canonical_graph(build) -> Net:
    g = Graph()
    return canonical.canonicalize(net.from_model(g.model({"y": build(g)}, shape=(1, 3, SIZE, SIZE)), "test"))


@pytest.mark.parametrize("build", [trunk, stride_2_and_back, pooled, branches, halved, nearest])
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


def test_a_tensor_that_depends_on_the_whole_image_has_no_field():
    g = Graph()
    x = g.conv("image", 3, 4)
    y = g.node("Mul", x, g.node("Sigmoid", g.node("GlobalAveragePool", x)))
    graph = canonical.canonicalize(net.from_model(g.model({"y": y}), "test"))
    assert "y" not in receptive_fields(graph, graph.shapes())
