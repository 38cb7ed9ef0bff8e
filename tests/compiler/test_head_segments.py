"""Heads are cut into a neck and a tower for each stride, and no layer is computed twice."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import onnxruntime
import pytest

from edge_app.compiler import canonical, head_segments, net, split
from tests.compiler.graphs import Graph

SIZE = (128, 128)
STRIDES = {"c8": 8, "c16": 16, "c32": 32}


def pyramid(*, attention=False, joined=False, channels=8):
    """A head with a top-down and a bottom-up path and a tower for each of three strides, as of a detector."""
    g = Graph(3)
    x, levels = g.relu(g.conv("image", 3, 8, stride=2)), []
    for stride in (4, 8, 16, 32):
        x = g.relu(g.conv(x, 8, 8, stride=2))
        levels += [x] if stride >= 8 else []
    c8, c16, c32 = levels
    deep = mixed(g, c32, 8, 4) if attention else g.relu(g.conv(c32, 8, channels, 1))
    p16 = g.relu(g.node("Add", g.conv(c16, 8, channels, 1), upsampled(g, deep)))
    p8 = g.relu(g.node("Add", g.conv(c8, 8, channels, 1), upsampled(g, p16)))
    n16 = g.relu(g.node("Add", p16, g.conv(p8, channels, channels, stride=2)))
    n32 = g.relu(g.node("Add", deep, g.conv(n16, channels, channels, stride=2)))
    ends = [g.conv(g.relu(g.conv(x, channels, channels)), channels, 6) for x in (p8, n16, n32)]
    if joined:
        rows = [g.reshape(g.node("Transpose", y, perm=[0, 2, 3, 1]), 1, -1, 6) for y in ends]
        return whole(g, {"rows": g.node("Concat", *rows, axis=1)})
    return whole(g, {f"y{stride}": end for stride, end in zip((8, 16, 32), ends)})


def upsampled(g, x):
    scales = g.weight(np.array([1, 1, 2, 2], np.float32))
    return g.node("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric")


def mixed(g, x, channels, side):
    """Self-attention over the cells of a map."""
    cells = g.reshape(x, 1, channels, side * side)
    weights = g.node("Softmax", g.node("MatMul", g.node("Transpose", cells, perm=[0, 2, 1]), cells), axis=-1)
    return g.node("Add", x, g.reshape(g.node("MatMul", cells, weights), 1, channels, side, side))


def whole(g, outputs):
    """The head of a model, on features that are named by stride."""
    model = net.from_model(g.model(outputs, shape=(1, 3, *SIZE)), "head")
    parts = split.with_readable_names(split.at_features(canonical.canonicalize(model)))
    (head,) = parts.heads
    assert {value.name for value in head.inputs} <= set(STRIDES)
    return head


def cut(head, smallest=0.0):
    strides = {value.name: Fraction(STRIDES[value.name]) for value in head.inputs}
    return head_segments.cut(head, strides, SIZE, smallest)


def strides_of(segment):
    return {cells.stride for cells in segment.cells.values()}


def test_a_pyramid_is_cut_into_its_neck_and_towers():
    segments = cut(pyramid())
    ends = [name for segment in segments for name in segment.net.outputs if name.startswith("y")]
    assert sorted(ends) == ["y16", "y32", "y8"]
    tower = next(segment for segment in segments if segment.net.outputs == ["y8"])
    assert strides_of(tower) == {8}
    assert len(tower.net.inputs) == 1
    assert not set(STRIDES) & {value.name for value in tower.net.inputs}
    assert all(cells.reach for segment in segments for cells in segment.cells.values())


@pytest.mark.parametrize("options", [{}, {"attention": True}, {"joined": True}])
@pytest.mark.parametrize("smallest", [0.0, 2e4, 1e5])
def test_segments_together_compute_the_head_and_no_layer_twice(options, smallest):
    head = pyramid(**options)
    segments = cut(head, smallest)
    weights = Counter(name for segment in segments for name in segment.net.weights if name in head.weights)
    layers = Counter(name for segment in segments for node in segment.net.nodes for name in node.outputs)
    assert segments
    assert max(layers.values()) == 1
    large = {name for name, count in weights.items() if count > 1 and head.weights[name].size > 16}
    assert not large
    rng = np.random.default_rng(0)
    maps = {v.name: rng.normal(size=v.shape).astype(np.float32) for v in head.inputs}
    expected = run(head, maps)
    for segment in segments:
        maps.update(run(segment.net, maps))
    for name, value in expected.items():
        assert np.abs(maps[name] - value).max() <= 1e-5


def run(graph, maps):
    session = onnxruntime.InferenceSession(graph.serialize(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {each.name: maps[each.name] for each in session.get_inputs()})))


def test_a_small_part_joins_a_neighbor():
    parts = [len(cut(pyramid(), smallest)) for smallest in (0.0, 2e4, 1e5, 1e9)]
    assert parts == sorted(parts, reverse=True)
    assert parts[0] > parts[2]
    assert parts[-1] == 0  # all in one: the head is not cut


def test_what_follows_attention_is_computed_in_parts_again():
    segments = cut(pyramid(attention=True))
    attention = [segment for segment in segments if not any(cells.reach for cells in segment.cells.values())]
    assert len(attention) == 1
    assert strides_of(attention[0]) == {32}  # its map is compared with the last one
    assert any(segment.net.outputs == ["y8"] and strides_of(segment) == {8} for segment in segments)


def test_rows_that_are_joined_do_not_keep_towers_from_being_cut():
    segments = cut(pyramid(joined=True))
    assert segments[-1].net.outputs == ["rows"]
    assert segments[-1].cells == {}
    assert all(len(shape) == 4 for value in segments[-1].net.inputs for shape in [value.shape])
    assert {8, 16, 32} <= set.union(*(strides_of(segment) for segment in segments))


def test_an_output_that_the_head_uses_itself_is_returned_once():
    g = Graph(5)
    x = g.relu(g.conv(g.relu(g.conv("image", 3, 8, stride=2)), 8, 8, stride=2))
    c8 = g.relu(g.conv(x, 8, 8, stride=2))
    c16 = g.relu(g.conv(c8, 8, 8, stride=2))
    c32 = g.relu(g.conv(c16, 8, 8, stride=2))
    p16 = g.node("Add", g.conv(c16, 8, 8, 1), upsampled(g, g.conv(c32, 8, 8, 1)))
    p8 = g.node("Add", g.conv(c8, 8, 8, 1), upsampled(g, p16))
    segments = cut(whole(g, {"y16": p16, "y8": g.conv(p8, 8, 4)}))
    taken = {value.name for segment in segments for value in segment.net.inputs}
    made = Counter(name for segment in segments for name in segment.net.outputs)
    assert made["y16"] == made["y8"] == 1
    assert not {"y8", "y16"} & taken


def test_a_head_with_an_input_of_unknown_stride_is_not_cut():
    assert head_segments.cut(pyramid(), {"c8": Fraction(8)}, SIZE, 0.0) == ()
