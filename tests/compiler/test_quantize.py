"""INT8 graphs: no layer remains in float, parts share scales, and outputs are close to float."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.compiler import assemble, input_models, quantize, ranges
from edge_app.compiler.input_models import ModelOptions
from edge_app.compiler.ranges import Histogram
from edge_app.compiler.session import HostSession
from edge_app.evaluation import cosine
from tests.compiler.graphs import segmenter

PICTURES = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(6)]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    path = segmenter(tmp_path_factory.mktemp("m") / "a.onnx")
    assembly = assemble.assemble(input_models.read([path], ModelOptions()), None, ())
    plain = assembly.whole_on_pixels(one_pass=False)
    return assembly, plain, ranges.measure(plain, PICTURES)


@pytest.mark.parametrize("method", ranges.METHODS)
def test_every_method_stays_close_to_float(measured, method):
    _, plain, histograms = measured
    int8 = quantize.quantized(plain, ranges.from_histograms(histograms, method))
    assert quantize.float_convolutions(int8) == []
    expected, found = (
        HostSession(data).run(PICTURES[0][None])[0] for data in (plain.serialize(), quantize.serialized(int8))
    )
    assert cosine(expected, found) > 0.97


def test_lists_convolutions_that_run_in_float(measured):
    _, plain, _ = measured
    assert len(quantize.float_convolutions(plain)) == sum(node.op == "Conv" for node in plain.nodes)


def test_backbone_and_head_as_parts_equal_the_whole(measured):
    assembly, plain, histograms = measured
    found = ranges.from_histograms(histograms, "minmax")
    segments, heads = assembly.on_pixels(one_pass=False)
    parts = [*segments, *heads.values()]
    names = [{n: next((k for k in (f"{p.name}/{n}", n) if k in found), n) for n in _tensors(p)} for p in parts]
    int8 = [
        quantize.quantized(p, {n: found[k] for n, k in each.items() if k in found}) for p, each in zip(parts, names)
    ]
    feature = HostSession(quantize.serialized(int8[0])).run(PICTURES[0][None])
    apart = HostSession(quantize.serialized(int8[1])).run(feature[0])[0]
    together = HostSession(quantize.serialized(quantize.quantized(plain, found))).run(PICTURES[0][None])[0]
    np.testing.assert_allclose(apart, together, atol=1e-6)


def _tensors(part):
    return {v.name for v in part.inputs} | {name for node in part.nodes for name in node.outputs}


def test_the_worst_tensor_comes_first(measured):
    _, plain, histograms = measured
    int8 = quantize.quantized(plain, ranges.from_histograms(histograms, "minmax"))
    values = list(quantize.cosines(plain, int8, PICTURES[:2]).values())
    assert values == sorted(values)
    assert len(values) > 5
    assert values[0] > 0.9


def test_the_cosine_of_some_tensors_is_that_among_all(measured):
    _, plain, histograms = measured
    int8 = quantize.quantized(plain, ranges.from_histograms(histograms, "minmax"))
    every = quantize.cosines(plain, int8, PICTURES[:1])
    assert quantize.cosines(plain, int8, PICTURES[:1], plain.outputs) == {n: every[n] for n in plain.outputs}


def test_among_equal_methods_the_closest_to_float_is_chosen(measured):
    _, plain, histograms = measured
    asked = []

    def closeness(int8):
        asked.append(int8)
        return float(len(asked) == 2)

    choice = quantize.choose(plain, histograms, lambda _: 1.0, closeness, lambda _: None)
    assert choice.method == ranges.METHODS[1]
    assert len(asked) == len(ranges.METHODS)
    scores = iter([0.5, 0.9, 0.7, 0.6, 0.1, 0.2])
    choice = quantize.choose(plain, histograms, lambda _: next(scores), closeness, lambda _: None)
    assert choice.method == ranges.METHODS[1]
    assert len(asked) == len(ranges.METHODS), "the score decides"


def test_percentiles_and_divergence_clip_an_outlier():
    counts = np.round(1e5 * np.exp(-0.5 * ((np.arange(2048) - 1023.5) / 12) ** 2)).astype(np.int64)
    counts[-1] = 1
    histogram = Histogram(-100.0, 100.0, counts, None)
    assert histogram.range("minmax") == (-100.0, 100.0)
    for method in ranges.METHODS[1:]:
        low, high = histogram.range(method)
        assert high - low < 150, method
    low, high = histogram.range("percentile 99.99")
    four_sigma = 4 * 12 / 2048 * 200
    assert (-low, high) == pytest.approx((four_sigma, four_sigma), rel=0.1)
