from __future__ import annotations

from edge_app.model import cycles
from edge_app.slim import layers, widths
from tests.compiler.graphs import Graph


def test_a_width_just_over_a_block_is_worth_changing(tmp_path):
    """72 channels cost three blocks of input channels and five of output channels; 64 cost two and four."""
    g = Graph()
    x = g.relu(g.conv("image", 3, 72, stride=2))
    x = g.conv(g.relu(g.conv(x, 72, 72)), 72, 4, 1)
    network = layers.read(g.save(tmp_path / "a.onnx", {"y": x}))
    first, second = widths.advise(network, "rv1106")
    assert first.better == second.better == 64
    assert first.same_up_to == 80
    resized = first.group.resized(network.layers, 64)
    assert first.saved == cycles.total(network.layers, "rv1106") - cycles.total(resized, "rv1106")


def test_a_width_of_whole_blocks_is_not(tmp_path):
    g = Graph()
    x = g.relu(g.conv("image", 3, 64, stride=2))
    x = g.conv(g.relu(g.conv(x, 64, 64)), 64, 4, 1)
    network = layers.read(g.save(tmp_path / "a.onnx", {"y": x}))
    assert [each.better for each in widths.advise(network, "rk3588")] == [None, None]
