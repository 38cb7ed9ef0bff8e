"""digits: decoding of class logits and edge distances against plain loops."""

import numpy as np
import pytest

from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from tests.heads import exports, plain


def reference(outputs):
    scores, boxes = outputs["scores"][0], outputs["boxes"][0]
    found = []
    for y in range(32):
        for x in range(40):
            value, label = plain.highest(scores[:, y, x])
            left, top, right, bottom = (8 * float(v) for v in boxes[:, y, x])
            cx, cy = (x + 0.5) * 8, (y + 0.5) * 8
            found.append(((cx - left, cy - top, cx + right, cy + bottom), plain.sigmoid(value), label))
    return found


@pytest.mark.parametrize("class_aware", [False, True])
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_decoding_matches_plain_loops(resize, class_aware):
    for seed in range(3):
        case, transform = exports.digits(np.random.default_rng(seed)), fit((1280, 720), exports.INPUT, resize)
        expected = plain.expected_detections(reference(case.outputs), transform, 0.4, 0.45, class_aware)
        assert len(expected) > 5
        plain.assert_matches(case.head(class_aware=class_aware).decode(case.outputs, transform), expected, 0.1)


def test_a_glyph_is_reported_as_one_digit():
    """Two classes at one position: only the better one is reported, unless the head is class-aware."""
    outputs = {"scores": np.full((1, 10, 32, 40), -9, np.float32), "boxes": np.full((1, 4, 32, 40), 2, np.float32)}
    outputs["scores"][0, 1, 10, 10], outputs["scores"][0, 7, 10, 11] = 2, 3
    transform = fit(exports.INPUT, exports.INPUT, "stretch")
    assert plain.build("digits", outputs, exports.INPUT).decode(outputs, transform).class_id.tolist() == [7]
    both = plain.build("digits", outputs, exports.INPUT, class_aware=True).decode(outputs, transform)
    assert both.class_id.tolist() == [7, 1]


def test_outputs_are_identified_by_their_channels_not_their_names():
    case, transform = exports.digits(np.random.default_rng(0)), fit(exports.INPUT, exports.INPUT, "stretch")
    named = case.head().decode(case.outputs, transform)
    case.outputs = {"/head/Conv_9": case.outputs["boxes"], "/head/Conv_8": case.outputs["scores"]}
    np.testing.assert_array_equal(case.head().decode(case.outputs, transform).xyxy, named.xyxy)


def test_with_four_classes_the_boxes_need_box_in_their_name():
    maps = np.zeros((1, 4, 32, 40), np.float32)
    plain.build("digits", {"digits/boxes": maps, "digits/scores": maps}, exports.INPUT, classes=4)
    with pytest.raises(ModelError, match="'box' in the name"):
        plain.build("digits", {"a": maps, "b": maps}, exports.INPUT, classes=4)
