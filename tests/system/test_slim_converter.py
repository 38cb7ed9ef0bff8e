"""The formula of model/cycles.py against the layer table of the real RKNN converter: every convolution, both NPUs.

The converter splits a large convolution into tiles of input channels; their cycles are added up.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edge_app.compiler import assemble, frontend, input_models, onnx_file, rknn
from edge_app.compiler.input_models import ModelOptions
from edge_app.compiler.net import Net
from edge_app.model import cycles
from edge_app.slim import layers
from tests.compiler.graphs import Graph
from tests.system.test_rknn_converter import converter  # noqa: F401  (a fixture)

pytestmark = pytest.mark.system
PROJECT = Path(__file__).parent.parent.parent


def digits(_: Path) -> Net:
    models = input_models.read([PROJECT / "models" / "digits"], ModelOptions())
    return assemble.assemble(models, None, ()).whole


def random_shapes(folder: Path) -> Net:
    """Convolutions of many sizes, from a fixed seed, side by side on one map whose sides are odd."""
    g = Graph()
    rng = np.random.default_rng(1)
    x = g.relu(g.conv("image", 3, 40, stride=2))
    outputs = {}
    for i in range(12):
        channels, kernel, stride = int(rng.integers(9, 160)), int(rng.choice([1, 3, 5])), int(rng.integers(1, 3))
        y = g.relu(g.conv(x, 40, channels, kernel, stride))
        groups = channels if i % 2 else 1
        outputs[f"y{i}"] = g.relu(g.conv(y, channels, channels, int(rng.choice([1, 3, 5, 7])), groups=groups))
    return onnx_file.read(g.save(folder / "random.onnx", outputs, shape=(1, 3, 74, 54)))


@pytest.mark.parametrize("target", sorted(cycles.NPUS))
@pytest.mark.parametrize("build", [digits, random_shapes])
def test_the_formula_equals_the_converters_estimate(converter, tmp_path, build, target):  # noqa: F811
    net = build(tmp_path)
    value = net.inputs[0]
    shape = [2, *(n or 0 for n in value.shape[1:])]
    images = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    job = rknn.ConversionJob("a", net.serialize(), target, None, None, {frontend.IMAGE: images}, {})
    table = rknn.convert(job, converter / "bin" / "python", tmp_path).layers
    estimates = {
        cost.layer.name: cost
        for cost in cycles.costs(layers.of_net(net, "a").layers, target)
        if cost.layer.op == "Conv"
    }
    unknown, found = 0, Counter[str]()
    for row in table:
        name = re.sub(r"(#\d+|_tile\d+|_ConvAdd\w*)+$", "", row.name.removeprefix("Conv_"))
        if row.op.startswith("Conv") and row.npu >= row.ddr and "_2conv" not in name:  # not a part of an average
            unknown += name not in estimates
            found[name] += row.npu if name in estimates else 0
    found = +found
    assert {name: estimates[name].compute for name in found} == pytest.approx(found, rel=0.05)
    assert len(found) >= 15
    assert unknown <= 2  # layers that the converter adds
    total = sum(max(row.npu, row.ddr) for row in table)
    assert cycles.total(layers.of_net(net, "a").layers, target) == pytest.approx(total, rel=0.05)
