"""The form of a graph that pnnx converts: equal to the graph before, without a Gather of several channels."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.compiler.net import Net, Node, Value
from edge_app.compiler.pnnx_graph import for_pnnx, shuffle_groups, with_free_rows
from edge_app.compiler.session import HostSession

SHAPE = (1, 12, 4, 6)


def gathers(*selections) -> Net:
    """x -> one output for each selection of channels."""
    outputs = [f"y{i}" for i in range(len(selections))]
    nodes = [Node("Gather", ["x", f"i{i}"], [f"y{i}"], {"axis": 1}) for i in range(len(selections))]
    weights = {f"i{i}": np.array(each, np.int64) for i, each in enumerate(selections)}
    return Net("g", 13, [Value("x", "float32", SHAPE)], outputs, nodes, weights)


def ops(net: Net) -> list[str]:
    return [node.op for node in net.nodes]


@pytest.mark.parametrize(
    ("selections", "expected"),
    [
        ([range(0, 12, 2), range(1, 12, 2)], ["Reshape", "Transpose", "Reshape", "Split"]),
        ([range(1, 12, 2), range(0, 12, 2)], ["Reshape", "Transpose", "Reshape", "Split"]),
        ([range(0, 12, 3), range(1, 12, 3), range(2, 12, 3)], ["Reshape", "Transpose", "Reshape", "Split"]),
        ([np.arange(12).reshape(3, 4).T.ravel()], ["Reshape", "Transpose", "Reshape"]),
        ([range(3, 7)], ["Slice"]),
        ([range(6), range(6, 12)], ["Slice", "Slice"]),
        ([[2, 1, 0]], ["Conv"]),
        ([range(11, -1, -1)], ["Conv"]),
        ([range(0, 12, 2)], ["Conv"]),
        ([[0, 0, 5]], ["Conv"]),
    ],
)
def test_a_selection_of_channels_becomes_an_operation_that_pnnx_knows(selections, expected):
    net = gathers(*selections)
    made = for_pnnx(net)
    assert ops(made) == expected
    assert ops(net) == ["Gather"] * len(selections)  # unchanged
    x = np.random.default_rng(0).random(SHAPE, np.float32)
    for found, channels in zip(HostSession(made.serialize()).run(x), selections):
        np.testing.assert_array_equal(found, x[:, list(channels)])


def test_other_gathers_stay():
    net = gathers([1, 2])
    net.nodes[0].attrs["axis"] = 2
    assert ops(for_pnnx(net)) == ["Gather"]


@pytest.mark.parametrize(
    ("selections", "groups"),
    [([[0, 2, 4], [1, 3, 5]], 3), ([[0, 3, 1, 4, 2, 5]], 2), ([[0, 1, 2], [3, 4, 5]], 0), ([[0, 2, 4]], 0)],
)
def test_groups_of_a_shuffle(selections, groups):
    assert shuffle_groups([np.array(each, np.int64) for each in selections], 6) == groups


def test_rows_of_cells_get_a_free_size():
    net = Net("h", 13, [Value("x", "float32", (1, 7, 4, 6))], ["y"], [Node("Relu", ["x"], ["y"])], {})
    lines = [
        "7767517",
        "Reshape a 1 1 in0 1 0=24 1=7",
        "Reshape b 1 1 1 2 0=7 1=24",
        "Reshape c 1 1 2 3 0=72 1=7",
        "Reshape d 1 1 3 4 0=5 1=7",
        "Reshape e 1 1 4 out0 0=24 1=7 2=2",
    ]
    found = with_free_rows("\n".join(lines), net).splitlines()
    assert [line.split()[6:] for line in found[1:]] == [
        ["0=-1", "1=7"],
        ["0=7", "1=-1"],
        ["0=-1", "1=7"],
        ["0=5", "1=7"],
        ["0=24", "1=7", "2=2"],
    ]
