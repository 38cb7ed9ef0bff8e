"""ssd: decoding against plain loops, and priors against those of the published generators."""

import itertools
import math

import numpy as np
import pytest

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from edge_app.heads import HeadSpec
from edge_app.heads import _ssd_priors as product
from edge_app.heads.ssd import Head
from tests.heads import exports, plain

INPUT = (300, 300)
MORE = [2, 3]
VGG_RATIOS = [[2], MORE, MORE, MORE, [2], [2]]
VGG = [
    (38, 8, 30, 60),
    (19, 16, 60, 111),
    (10, 32, 111, 162),
    (5, 64, 162, 213),
    (3, 100, 213, 264),
    (1, 300, 264, 315),
]


def caffe_priors(levels):
    """The loops of Caffe's prior_box_layer.cpp, flip: true. levels: cells, step, least and most side, ratios."""
    for cells, step, least, most, ratios in levels:
        for h, w in itertools.product(range(cells), repeat=2):
            x, y = (w + 0.5) * step, (h + 0.5) * step
            yield x / 300, y / 300, least / 300, least / 300
            if most:
                yield x / 300, y / 300, math.sqrt(least * most) / 300, math.sqrt(least * most) / 300
            for ratio in [r for each in ratios for r in (each, 1 / each)]:
                yield x / 300, y / 300, least * math.sqrt(ratio) / 300, least / math.sqrt(ratio) / 300


def mobilenet():
    """The prototxt of MobileNet-SSD."""
    sides = [(60, 0), (105, 150), (150, 195), (195, 240), (240, 285), (285, 300)]
    levels = zip([19, 10, 5, 3, 2, 1], sides, [[2], *[MORE] * 5])
    return caffe_priors((n, 300 / n, least, most, ratios) for n, (least, most), ratios in levels)


def pytorch_priors(specs):
    """generate_ssd_priors of pytorch-ssd, clamped. specs: cells, shrinkage, least and most side, ratios."""
    for cells, shrinkage, least, most, ratios in specs:
        scale = 300 / shrinkage
        for j, i in itertools.product(range(cells), repeat=2):
            shapes = [(least / 300, least / 300), (math.sqrt(most * least) / 300,) * 2]
            for ratio in ratios:
                w = h = least / 300
                root = math.sqrt(ratio)
                shapes += [(w * root, h / root), (w / root, h * root)]
            for w, h in shapes:
                yield tuple(min(max(v, 0), 1) for v in ((i + 0.5) / scale, (j + 0.5) / scale, w, h))


def mobilenet_of_pytorch():
    sides = [60, 105, 150, 195, 240, 285, 330]
    cells, shrinkage = [19, 10, 5, 3, 2, 1], [16, 32, 64, 100, 150, 300]
    return pytorch_priors((n, s, sides[k], sides[k + 1], MORE) for k, (n, s) in enumerate(zip(cells, shrinkage)))


def torchvision_priors(grids, scales, steps=None):
    """torchvision's DefaultBoxGenerator, clip=True. grids: columns and rows."""
    for k, (columns, rows) in enumerate(grids):
        shapes = [[scales[k]] * 2, [math.sqrt(scales[k] * scales[k + 1])] * 2]
        for ratio in VGG_RATIOS[k] if steps else MORE:
            w, h = scales[k] * math.sqrt(ratio), scales[k] / math.sqrt(ratio)
            shapes += [[w, h], [h, w]]
        across, down = (300 / steps[k],) * 2 if steps else (columns, rows)
        for row, column in itertools.product(range(rows), range(columns)):
            for w, h in shapes:
                yield (column + 0.5) / across, (row + 0.5) / down, min(max(w, 0), 1), min(max(h, 0), 1)


def lite(width_cells, height_cells):
    """ssdlite320: min_ratio 0.2, max_ratio 0.95."""
    grids = [(math.ceil(width_cells / 2**k), math.ceil(height_cells / 2**k)) for k in range(6)]
    return torchvision_priors(grids, [*(0.2 + 0.75 * k / 5 for k in range(6)), 1.0])


def large():
    """ssd300_vgg16."""
    grids = [(n, n) for n in (38, 19, 10, 5, 3, 1)]
    return torchvision_priors(grids, [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05], [8, 16, 32, 64, 100, 300])


def tensorflow_priors():
    """create_ssd_anchors with reduce_boxes_in_lowest_layer."""
    scales = [*(0.2 + 0.75 * k / 5 for k in range(6)), 1.0]
    for k, cells in enumerate([19, 10, 5, 3, 2, 1]):
        pairs = [(scales[k], r) for r in (1, 2, 0.5, 3, 1 / 3)] + [(math.sqrt(scales[k] * scales[k + 1]), 1)]
        for row, column in itertools.product(range(cells), repeat=2):
            for scale, ratio in pairs if k else [(0.1, 1), (0.2, 2), (0.2, 0.5)]:
                root = math.sqrt(ratio)
                yield (column + 0.5) / cells, (row + 0.5) / cells, scale * root, scale / root


with_ratios = [(*level, ratios) for level, ratios in zip(VGG, VGG_RATIOS)]
PUBLISHED = {
    "MobileNet-SSD": ("caffe", INPUT, 1917, mobilenet),
    "SSD300 of Caffe": ("caffe", INPUT, 8732, lambda: caffe_priors(with_ratios)),
    "pytorch-ssd": ("pytorch", INPUT, 3000, mobilenet_of_pytorch),
    "SSD300 of pytorch-ssd": ("pytorch", INPUT, 8732, lambda: pytorch_priors(with_ratios)),
    "SSDLite320": ("torchvision", (320, 320), 3234, lambda: lite(20, 20)),
    "SSDLite of another size": ("torchvision", (256, 192), 1548, lambda: lite(16, 12)),
    "SSD300 of torchvision": ("torchvision", INPUT, 8732, large),
    "TensorFlow": ("tensorflow", INPUT, 1917, tensorflow_priors),
}


@pytest.mark.parametrize("model", PUBLISHED)
def test_priors_are_those_of_the_published_generators(model):
    source, size, count, generate = PUBLISHED[model]
    expected = list(generate())
    assert len(expected) == count
    np.testing.assert_allclose(product.priors(source, size, count), expected, atol=1e-6)


def softmax(values):
    weights = [math.exp(v - max(values)) for v in values]
    return [w / sum(weights) for w in weights]


def from_deltas(prior, delta, size, yx=False):
    (cx, cy, w, h), (dx, dy, dw, dh) = prior, delta
    if yx:
        dx, dy, dw, dh = delta[1], delta[0], delta[3], delta[2]
    x, y = (cx + dx * 0.1 * w) * size[0], (cy + dy * 0.1 * h) * size[1]
    return plain.centered_box(x, y, w * math.exp(dw * 0.2) * size[0], h * math.exp(dh * 0.2) * size[1])


def candidates(boxes, probabilities):
    """probabilities: of each box, the background first. Returns boxes whose best class matters."""
    found = []
    for box, of_box in zip(boxes, probabilities):
        score, label = plain.highest(of_box[1:])
        if score >= 0.3:
            found.append((box, score, label))
    return found


def tables(seed, count, classes):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (count, 1 + classes))
    logits[:, 0] += 6  # most priors show the background
    logits[rng.integers(0, count, 40), rng.integers(1, 1 + classes, 40)] += 9
    return rng.normal(0, 1, (count, 4)).astype(np.float32), logits.astype(np.float32)


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("flat", [True, False])
def test_deltas_of_mobilenet_ssd_match_loops(flat, resize):
    deltas, logits = tables(0, 1917, 20)
    outputs = {"loc": deltas.reshape(1, -1), "conf": logits.reshape(1, -1)}
    if not flat:
        outputs = {"conf": logits[None], "loc": deltas[None]}
    expected = candidates(
        [from_deltas(prior, delta, INPUT) for prior, delta in zip(mobilenet(), deltas.tolist())],
        [softmax(row) for row in logits.tolist()],
    )
    transform = fit((500, 375), INPUT, resize)
    result = plain.build("ssd", outputs, INPUT, 20, boxes="deltas").decode(outputs, transform)
    expected = plain.expected_detections(expected, transform, 0.4, 0.45)
    assert len(expected) > 10
    plain.assert_matches(result, expected)


def test_deltas_of_ssdlite_match_loops():
    deltas, logits = tables(1, 3234, 5)
    outputs, size = {"regression": deltas[None], "cls_logits": logits[None]}, (320, 320)
    expected = candidates(
        [from_deltas(prior, delta, size) for prior, delta in zip(lite(20, 20), deltas.tolist())],
        [softmax(row) for row in logits.tolist()],
    )
    transform = fit((500, 375), size, "stretch")
    result = plain.build("ssd", outputs, size, 5, boxes="deltas").decode(outputs, transform)
    plain.assert_matches(result, plain.expected_detections(expected, transform, 0.4, 0.45))
    assert len(result) > 10


def test_deltas_of_tensorflow_have_y_first_and_a_sigmoid():
    deltas, logits = tables(2, 1917, 90)
    logits -= 6
    outputs = {"boxes": deltas.reshape(1, 1917, 1, 4), "scores": logits[None]}
    expected = candidates(
        [from_deltas(prior, delta, INPUT, yx=True) for prior, delta in zip(tensorflow_priors(), deltas.tolist())],
        [[plain.sigmoid(v) for v in row] for row in logits.tolist()],
    )
    transform = fit((500, 375), INPUT, "stretch")
    result = plain.build("ssd", outputs, INPUT, 90, boxes="deltas").decode(outputs, transform)
    plain.assert_matches(result, plain.expected_detections(expected, transform, 0.4, 0.45))
    assert len(result) > 10


def test_priors_and_variances_of_the_file_are_used():
    rng = np.random.default_rng(3)
    deltas, logits = tables(3, 50, 4)
    corner = rng.uniform(0, 0.6, (50, 2))
    corners = np.concatenate([corner, corner + rng.uniform(0.05, 0.4, (50, 2))], 1)
    variances = rng.uniform(0.1, 0.3, (50, 4))
    prior = np.stack([corners.ravel(), variances.ravel()])[None].astype(np.float32)
    outputs = {"loc": deltas.reshape(1, -1), "conf": logits.reshape(1, -1), "prior": prior}
    boxes = []
    for (x1, y1, x2, y2), v, d in zip(corners.tolist(), variances.tolist(), deltas.tolist()):
        x, y = (x1 + x2) / 2 + v[0] * d[0] * (x2 - x1), (y1 + y2) / 2 + v[1] * d[1] * (y2 - y1)
        w, h = (x2 - x1) * math.exp(v[2] * d[2]), (y2 - y1) * math.exp(v[3] * d[3])
        boxes.append(plain.centered_box(x * 300, y * 300, w * 300, h * 300))
    transform = fit((500, 375), INPUT, "stretch")
    expected = candidates(boxes, [softmax(row) for row in logits.tolist()])
    result = plain.build("ssd", outputs, INPUT, 4).decode(outputs, transform)
    plain.assert_matches(result, plain.expected_detections(expected, transform, 0.4, 0.45))
    assert len(result) > 5


def test_corners_match_loops():
    case, transform = exports.ssd(np.random.default_rng(4)), fit((500, 375), exports.INPUT, "letterbox")
    width, height = exports.INPUT
    boxes = [(x1 * width, y1 * height, x2 * width, y2 * height) for x1, y1, x2, y2 in case.outputs["boxes"][0].tolist()]
    expected = candidates(boxes, case.outputs["scores"][0].tolist())
    result = case.head().decode(case.outputs, transform)
    plain.assert_matches(result, plain.expected_detections(expected, transform, 0.4, 0.45))
    assert len(result) > 10


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("zero_based", [False, True])
def test_final_detections_are_taken_as_they_are(named, zero_based):
    boxes = np.array([[[0.1, 0.2, 0.5, 0.9], [0.1, 0.2, 0.5, 0.8], [0, 0, 1, 1], [0, 0, 0.5, 0.5]]], np.float32)
    classes, scores = np.array([[2, 2, 1, 1]], np.float32), np.array([[0.9, 0.8, 0.7, 0.99]], np.float32)
    arrays = [boxes, classes - zero_based, scores, np.array([3], np.float32)]  # the last row does not count
    names = [f"detection_{word}" for word in ("boxes", "classes", "scores")] if named else ["a", "b", "c"]
    outputs = dict(zip([*names, "num_detections" if named else "d"], arrays))
    result = plain.build("ssd", outputs, INPUT, 2, zero_based=zero_based).decode(outputs, fit(INPUT, INPUT, "stretch"))
    expected = [((60, 30, 270, 150), 0.9, 1), ((60, 30, 240, 150), 0.8, 1), ((0, 0, 300, 300), 0.7, 0)]
    plain.assert_matches(result, expected)


def test_final_detections_are_taken_before_raw_ones():
    boxes = np.array([[[0.1, 0.2, 0.5, 0.9]]], np.float32)
    outputs = {
        "raw_detection_boxes": np.zeros((1, 1917, 4), np.float32),
        "raw_detection_scores": np.zeros((1, 1917, 3), np.float32),
        "detection_boxes:0": boxes, "detection_classes:0": np.array([[2]], np.float32),
        "detection_scores:0": np.array([[0.9]], np.float32), "num_detections:0": np.array([1], np.float32),
    }  # fmt: skip
    result = plain.build("ssd", outputs, INPUT, 2).decode(outputs, fit(INPUT, INPUT, "stretch"))
    plain.assert_matches(result, [((60, 30, 270, 150), 0.9, 1)])


def spec(labels=(), **shapes):
    return HeadSpec("cars", "ssd", labels, INPUT, tuple(TensorSpec(n, s, "float32") for n, s in shapes.items()))


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ({"loc": (1, 400), "conf": (1, 2100)}, {}, "cannot decode the outputs loc 1x400, conf 1x2100"),
        ({"loc": (1, 1916, 4), "conf": (1, 1917, 21)}, {}, "cannot decode"),
        ({"boxes": (1, 10, 4)}, {}, "cannot decode the outputs boxes 1x10x4"),
        ({"loc": (1, 1917, 4), "conf": (1, 1917, 21), "prior": (1, 2, 8)}, {}, "cannot decode"),
        ({"loc": (1, 1917, 4), "conf": (1, 1917, 21)}, {"boxes": "deltas", "priors": "torchvision"}, "cannot decode"),
        (
            {"loc": (1, 8732, 4), "conf": (1, 8732, 21)}, {"boxes": "deltas"},
            "several models have 8732 priors; expected the option 'priors': one of caffe, pytorch, torchvision",
        ),
    ],
)  # fmt: skip
def test_rejects_other_outputs(shapes, options, message):
    with pytest.raises(ModelError, match=message):
        Head(spec(**shapes), **options)


def test_rejects_another_number_of_labels():
    with pytest.raises(ModelError, match="found 1 labels, the graph has 20 classes"):
        Head(spec(("car",), loc=(1, 7668), conf=(1, 1917 * 21)))
