"""digits: class logits and edge distances decode as plain loops do."""

import numpy as np
import pytest

from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from tests.heads import made, plain


def reference(outputs):
    scores, boxes = outputs["scores"][0], outputs["boxes"][0]
    found = []
    for y in range(32):
        for x in range(40):
            value, label = plain.best(scores[:, y, x])
            left, top, right, bottom = (8 * float(v) for v in boxes[:, y, x])
            cx, cy = (x + 0.5) * 8, (y + 0.5) * 8
            found.append(((cx - left, cy - top, cx + right, cy + bottom), plain.sigmoid(value), label))
    return found


@pytest.mark.parametrize("class_aware", [False, True])
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_decodes_as_plain_loops_do(resize, class_aware):
    for seed in range(3):
        case, transform = made.digits(np.random.default_rng(seed)), fit((1280, 720), made.INPUT, resize)
        expected = plain.reported(reference(case.outputs), transform, 0.4, 0.45, class_aware)
        assert len(expected) > 5
        plain.assert_same(case.head(class_aware=class_aware).decode(case.outputs, transform), expected, 0.1)


def test_one_glyph_is_one_digit():
    """Two classes on one place: the better one is reported, unless classes are kept apart."""
    outputs = {"scores": np.full((1, 10, 32, 40), -9, np.float32), "boxes": np.full((1, 4, 32, 40), 2, np.float32)}
    outputs["scores"][0, 1, 10, 10], outputs["scores"][0, 7, 10, 11] = 2, 3
    transform = fit(made.INPUT, made.INPUT, "stretch")
    assert plain.build("digits", outputs, made.INPUT).decode(outputs, transform).class_id.tolist() == [7]
    both = plain.build("digits", outputs, made.INPUT, class_aware=True).decode(outputs, transform)
    assert both.class_id.tolist() == [7, 1]


def test_outputs_are_told_apart_by_their_channels_whatever_they_are_called():
    case, transform = made.digits(np.random.default_rng(0)), fit(made.INPUT, made.INPUT, "stretch")
    named = case.head().decode(case.outputs, transform)
    case.outputs = {"/head/Conv_9": case.outputs["boxes"], "/head/Conv_8": case.outputs["scores"]}
    np.testing.assert_array_equal(case.head().decode(case.outputs, transform).xyxy, named.xyxy)


def test_four_classes_are_told_from_the_box_by_name_or_refused():
    maps = np.zeros((1, 4, 32, 40), np.float32)
    plain.build("digits", {"digits/boxes": maps, "digits/scores": maps}, made.INPUT, classes=4)
    with pytest.raises(ModelError, match="'box' in the name"):
        plain.build("digits", {"a": maps, "b": maps}, made.INPUT, classes=4)
