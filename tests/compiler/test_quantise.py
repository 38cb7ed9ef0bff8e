"""INT8: nothing stays in float, parts agree on what passes between them, and it is close to float."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.compiler import assemble, origin, quantise, ranges
from edge_app.compiler.agreement import agreement, cosine, f1
from edge_app.compiler.origin import Given
from edge_app.compiler.ranges import Histogram
from edge_app.compiler.session import Session
from edge_app.frame import Classification, Detections, Embedding, Segmentation
from tests.compiler.graphs import segmenter

PICTURES = [np.random.default_rng(i).integers(0, 256, (64, 64, 3), dtype=np.uint8) for i in range(6)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = segmenter(tmp_path_factory.mktemp("m") / "a.onnx")
    assembly = assemble.assemble(origin.read([path], Given()), None, ())
    plain = assembly.whole_on_pixels(one_pass=False)
    return assembly, plain, ranges.measure(plain, PICTURES)


@pytest.mark.parametrize("method", ranges.METHODS)
def test_every_method_stays_close_to_float(made, method):
    _, plain, histograms = made
    int8 = quantise.quantised(plain, ranges.of(histograms, method))
    assert quantise.float_convolutions(int8) == []
    expected, found = (
        Session(data).run(PICTURES[0][None])[0] for data in (plain.serialize(), quantise.serialized(int8))
    )
    assert cosine(expected, found) > 0.97


def test_a_float_convolution_is_noticed(made):
    _, plain, _ = made
    assert len(quantise.float_convolutions(plain)) == sum(node.op == "Conv" for node in plain.nodes)


def test_backbone_and_head_apart_give_what_they_give_together(made):
    assembly, plain, histograms = made
    found = ranges.of(histograms, "minmax")
    segments, heads = assembly.on_pixels(one_pass=False)
    parts = [*segments, *heads.values()]
    names = [{n: next((k for k in (f"{p.name}/{n}", n) if k in found), n) for n in _tensors(p)} for p in parts]
    int8 = [
        quantise.quantised(p, {n: found[k] for n, k in each.items() if k in found}) for p, each in zip(parts, names)
    ]
    feature = Session(quantise.serialized(int8[0])).run(PICTURES[0][None])
    apart = Session(quantise.serialized(int8[1])).run(feature[0])[0]
    together = Session(quantise.serialized(quantise.quantised(plain, found))).run(PICTURES[0][None])[0]
    np.testing.assert_allclose(apart, together, atol=1e-6)


def _tensors(part):
    return {v.name for v in part.inputs} | {name for node in part.nodes for name in node.outputs}


def test_the_worst_tensor_comes_first(made):
    _, plain, histograms = made
    int8 = quantise.quantised(plain, ranges.of(histograms, "minmax"))
    values = list(quantise.cosines(plain, int8, PICTURES[:2]).values())
    assert values == sorted(values)
    assert len(values) > 5
    assert values[0] > 0.9


def test_percentiles_and_divergence_give_up_an_outlier():
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


def detections(*rows):
    boxes = np.array([row[:4] for row in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([r[4] for r in rows], np.float32), np.array([r[5] for r in rows], np.int32))


BOX, FAR = (0, 0, 10, 10), (50, 50, 60, 60)


@pytest.mark.parametrize(("reference", "found", "expected"), [
    ([(*BOX, 0.9, 0)], [(*BOX, 0.9, 0)], 1.0),
    ([(*BOX, 0.41, 0)], [(*BOX, 0.31, 0)], 1.0),  # hysteresis
    ([(*BOX, 0.41, 0)], [(*BOX, 0.29, 0)], 0.0),
    ([(*BOX, 0.9, 0)], [(*BOX, 0.9, 1)], 0.0),
    ([(*BOX, 0.9, 0)], [(*BOX, 0.9, 0), (*BOX, 0.8, 0)], 2 / 3),  # one box answers one
    ([(*BOX, 0.9, 0), (*FAR, 0.9, 0)], [(*BOX, 0.9, 0)], 2 / 3),
    ([], [], 1.0), ([], [(*BOX, 0.9, 0)], 0.0),
])  # fmt: skip
def test_f1_with_hysteresis(reference, found, expected):
    assert f1([detections(*reference)], [detections(*found)]) == pytest.approx(expected)


def test_other_results_agree_by_class_area_and_angle():
    def ranked(*classes):
        return Classification(np.array(classes, np.int32), np.ones(len(classes), np.float32))

    assert agreement([ranked(1, 2), ranked(3, 1)], [ranked(1, 3), ranked(1, 3)], [(8, 8)] * 2) == 0.5
    square = np.array([[0, 0], [8, 0], [8, 8], [0, 8]], np.float32)
    low = (square * [1, 0.5]).astype(np.float32)
    one, half = (Segmentation(np.zeros(1, np.int32), np.ones(1, np.float32), (s,)) for s in (square, low))
    assert agreement([one], [one], [(8, 8)]) == 1.0
    assert agreement([one], [half], [(8, 8)]) == pytest.approx(0.5, abs=0.01)
    x, y = (Embedding(np.array(v, np.float32)) for v in ([1, 0], [0, 1]))
    assert agreement([x, x], [x, y], [(8, 8)] * 2) == 0.5
