"""nanodet: decoding against plain loops, with synthetic and real outputs, separate and single."""

import numpy as np
import pytest

from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from tests.heads import exports, plain, public_models


def reference(levels, input_size, center):
    """levels: (stride, classes (cells, C), boxes (cells, 4 * bins))."""
    found = []
    for stride, classes, boxes in levels:
        width = -(-input_size[0] // stride)
        for cell, (scores, box) in enumerate(zip(classes, boxes)):
            chance, label = plain.highest(scores)
            left, top, right, bottom = (stride * plain.softmax_mean(side) for side in box.reshape(4, -1))
            cx, cy = (cell % width + center) * stride, (cell // width + center) * stride
            found.append(((cx - left, cy - top, cx + right, cy + bottom), chance, label))
    return found


def split(outputs):
    return [(s, outputs[f"c{s}"][0], outputs[f"b{s}"][0]) for _, _, s in exports.GRIDS]


@pytest.mark.parametrize(("option", "center"), [("auto", 0.5), ("corner", 0.0)])
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_decoding_matches_plain_loops(resize, option, center):
    for seed in range(2):
        case, transform = exports.nanodet(np.random.default_rng(seed)), fit((500, 375), exports.INPUT, resize)
        expected = plain.expected_detections(reference(split(case.outputs), exports.INPUT, center), transform, 0.4, 0.6)
        assert len(expected) > 5
        plain.assert_matches(case.head(cell_center=option).decode(case.outputs, transform), expected)


@pytest.mark.parametrize(("option", "center"), [("auto", 0.0), ("middle", 0.5)])
def test_decoding_plus_matches_plain_loops(option, center):
    case, transform = exports.nanodet_plus(np.random.default_rng(1)), fit((500, 375), exports.INPUT, "letterbox")
    (values,) = case.outputs.values()
    ends = np.cumsum([w * h for w, h, _ in exports.GRIDS])
    levels = [
        (stride, part[:, : exports.CLASSES], part[:, exports.CLASSES :])
        for stride, part in zip((8, 16, 32, 64), np.split(values[0], ends))
    ]
    expected = plain.expected_detections(reference(levels, exports.INPUT, center), transform, 0.4, 0.6)
    assert len(expected) > 5
    plain.assert_matches(case.head(cell_center=option).decode(case.outputs, transform), expected)


def test_three_strides_in_one_output_use_cell_centers():
    case, transform = exports.nanodet(np.random.default_rng(2)), fit((500, 375), exports.INPUT, "letterbox")
    separate = case.head().decode(case.outputs, transform)
    levels = [np.concatenate([case.outputs[f"c{s}"], case.outputs[f"b{s}"]], 2) for _, _, s in exports.GRIDS]
    case.outputs = {"output": np.concatenate(levels, 1)}
    np.testing.assert_allclose(case.head().decode(case.outputs, transform).xyxy, separate.xyxy, atol=1e-3)


def test_grids_round_up_if_the_size_is_not_a_multiple_of_the_stride():
    """416 / 64 is 6.5: the published NanoDet-Plus has 3598 cells."""
    outputs = {"output": np.zeros((1, 3598, 112), np.float32)}
    outputs["output"][0, -1, 5] = 0.9  # the last cell: column 6, row 6 of stride 64
    outputs["output"][0, -1, 80] = 30  # left: all in bin 0
    outputs["output"][0, -1, 88] = 30
    transform = fit((416, 416), (416, 416), "stretch")
    result = plain.build("nanodet", outputs, (416, 416), 80).decode(outputs, transform)
    np.testing.assert_allclose(result.xyxy, [[384, 384, 416, 416]], atol=0.01)


def test_bins_option_applies_to_a_single_output():
    outputs = {"output": np.zeros((1, 3598, 80 + 4 * 12), np.float32)}
    plain.build("nanodet", outputs, (416, 416), 80, bins=12)
    with pytest.raises(ModelError, match="found 80 labels, the graph has 96 classes"):
        plain.build("nanodet", outputs, (416, 416), 80)


def test_decoding_the_public_model_matches_plain_loops(data):
    total = 0
    names = {8: ("792", "795"), 16: ("814", "817"), 32: ("836", "839")}
    for outputs, transform in public_models.NANODET.cases(data, 8):
        levels = [(stride, outputs[scores][0], outputs[boxes][0]) for stride, (scores, boxes) in names.items()]
        expected = plain.expected_detections(reference(levels, (416, 416), 0.5), transform, 0.4, 0.6)
        plain.assert_matches(plain.build("nanodet", outputs, (416, 416), 80).decode(outputs, transform), expected)
        total += len(expected)
    assert total > 20
