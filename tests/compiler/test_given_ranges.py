from __future__ import annotations

import json

import pytest

from edge_app.compiler import given_ranges
from edge_app.compiler.net import Net, Node, Value
from edge_app.compiler.ranges import TensorRange
from edge_app.errors import ConfigError


def test_reads_the_limits_of_tensors(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps({"a": [0, 6], "b": [-1.5, 2]}))
    assert given_ranges.read(tmp_path / "r.json") == {"a": (0.0, 6.0), "b": (-1.5, 2.0)}


DEEP = "[" * 9999


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"a": 1}', '{"a": [0]}', '{"a": [1, 2]}', '{"a": [0, NaN]}', '{"a": [0, true]}', DEEP]
)
def test_rejects_what_has_no_ranges(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(ConfigError, match=r"--ranges .*r.json: .*expected \{tensor: \[least, greatest\]\}"):
        given_ranges.read(tmp_path / "r.json")


def test_replaces_measured_ranges_and_their_means(tmp_path):
    measured = {"a": TensorRange(-1, 1), "b": TensorRange(0, 3)}
    found = given_ranges.applied(measured, {"a": (0.0, 6.0)}, tmp_path)
    assert found == {"a": TensorRange(0, 6), "b": TensorRange(0, 3)}
    with pytest.raises(ConfigError, match="found the tensor 'c' and 1 more, which the model does not have"):
        given_ranges.applied(measured, {"c": (0.0, 1.0), "d": (0.0, 1.0)}, tmp_path)


def test_the_converter_gets_those_of_its_graph():
    net = Net("part", 13, [Value("x", "float32", (1, 3))], ["y"], [Node("Relu", ["x"], ["y"])], {})
    assert given_ranges.for_converter(net, {"y": (0.0, 6.0), "z": (0.0, 1.0)}) == {"y": ([0.0], [6.0])}
