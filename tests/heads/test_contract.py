"""The contract of all heads: invalid values, many candidates, dynamic shapes, float16, and error messages."""

import time
from dataclasses import replace

import numpy as np
import pytest

from edge_app import registry
from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from edge_app.heads import HeadSpec, image_input
from tests.heads import exports, plain, task_exports

MAKERS = [*exports.DETECTORS, *task_exports.DETECTORS]
detector = pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
LETTERBOX, STRETCH = "letterbox", "stretch"


def assert_valid(result, transform, impossible_scores=False):
    assert np.isfinite(result.xyxy).all()
    assert (result.xyxy[:, 2:] > result.xyxy[:, :2]).all()
    assert (result.xyxy >= 0).all()
    assert (result.xyxy <= [transform.image_width, transform.image_height] * 2).all()
    assert ((result.score >= 0) & (result.score <= (np.inf if impossible_scores else 1))).all()
    assert (result.score[:-1] >= result.score[1:]).all()
    if result.keypoints is not None:
        assert np.isfinite(result.keypoints[..., :2]).all()


@detector
def test_no_object_gives_no_detection(make):
    case = make(np.random.default_rng(0), "none")
    result = case.head().decode(case.outputs, fit((500, 375), case.input_size, LETTERBOX))
    assert len(result) == 0
    assert result.xyxy.shape == (0, 4)


@detector
@pytest.mark.parametrize("resize", [LETTERBOX, STRETCH])
@pytest.mark.parametrize("image", [(1920, 1080), (123, 457)])
def test_boxes_are_inside_the_image_best_first(make, resize, image):
    case = make(np.random.default_rng(1))
    transform = fit(image, case.input_size, resize)
    result = case.head().decode(case.outputs, transform)
    assert len(result) > 0
    assert_valid(result, transform)
    assert set(result.class_id.tolist()) <= set(range(case.classes))


@detector
def test_many_candidates_take_a_bounded_time_and_respect_max_detections(make):
    case = make(np.random.default_rng(2), "all")
    head = case.head(max_detections=50, **({} if case.family == "detr" else {"nms_iou": 0.9}))  # that has no NMS
    transform = fit((500, 375), case.input_size, LETTERBOX)
    started = time.perf_counter()
    result = head.decode(case.outputs, transform)
    assert time.perf_counter() - started < 0.5  # comparing all pairs would take seconds
    assert 0 < len(result) <= 50
    assert_valid(result, transform, impossible_scores=True)  # only the number matters here


@detector
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_invalid_values_do_not_produce_invalid_boxes(make, bad):
    """First with one invalid value in ten, then with only invalid values.

    A head does not hide a score above 1: inference reports it.
    """
    case = make(np.random.default_rng(3))
    head, transform = case.head(), fit((500, 375), case.input_size, LETTERBOX)
    for share in (0.1, 1.0):
        rng = np.random.default_rng(4)
        outputs = {
            name: np.where(rng.random(a.shape) < share, np.float32(bad), a).astype(np.float32)
            for name, a in case.outputs.items()
        }
        assert_valid(head.decode(outputs, transform), transform, impossible_scores=True)


@detector
def test_float16_decodes_like_float32(make):
    case = make(np.random.default_rng(5))
    half = {name: a.astype(np.float16) for name, a in case.outputs.items()}
    head, transform = case.head(), fit((500, 375), case.input_size, LETTERBOX)
    one = head.decode(half, transform)
    other = head.decode({name: a.astype(np.float32) for name, a in half.items()}, transform)
    assert len(one) > 0
    np.testing.assert_allclose(one.xyxy, other.xyxy, rtol=1e-5)
    np.testing.assert_allclose(one.score, other.score, rtol=1e-5)
    assert one.class_id.tolist() == other.class_id.tolist()


@pytest.mark.parametrize(("single", "split"), exports.SPLIT, ids=lambda make: make.__name__)
def test_outputs_split_for_int8_decode_like_a_single_output(single, split):
    one, other = single(np.random.default_rng(4)), split(np.random.default_rng(4))
    transform = fit((500, 375), one.input_size, LETTERBOX)
    expected, got = one.head().decode(one.outputs, transform), other.head().decode(other.outputs, transform)
    assert len(expected) > 5
    np.testing.assert_array_equal(got.xyxy, expected.xyxy)
    np.testing.assert_array_equal(got.score, expected.score)
    assert got.class_id.tolist() == expected.class_id.tolist()


@detector
def test_decoding_is_repeatable_and_does_not_write_to_outputs(make):
    case = make(np.random.default_rng(6))
    for array in case.outputs.values():
        array.flags.writeable = False
    head, transform = case.head(), fit((500, 375), case.input_size, LETTERBOX)
    first, second = head.decode(case.outputs, transform), head.decode(case.outputs, transform)
    np.testing.assert_array_equal(first.xyxy, second.xyxy)


@detector
def test_dynamic_shapes_are_read_from_the_first_outputs(make):
    """A graph may have dynamic shapes; then the head checks them when it gets the first arrays."""
    case = make(np.random.default_rng(7))
    transform = fit((500, 375), case.input_size, LETTERBOX)
    expected = case.head().decode(case.outputs, transform)
    spec = plain.spec_of(case.family, case.outputs, case.input_size, case.classes)
    free = tuple(type(o)(o.name, tuple(None for _ in o.shape), o.dtype) for o in spec.outputs)
    head = registry.build("heads", case.family, replace(spec, outputs=free), **case.options)
    np.testing.assert_array_equal(head.decode(case.outputs, transform).xyxy, expected.xyxy)


@detector
def test_rejects_a_wrong_number_of_labels(make):
    case = make(np.random.default_rng(8))
    if "v10" in make.__name__:
        return  # its shape does not contain the number of classes
    with pytest.raises(ModelError) as caught:
        plain.build(case.family, case.outputs, case.input_size, case.classes + 4, **case.options)
    assert f"{case.classes + 4}" in str(caught.value)
    assert f"{case.classes} classes" in str(caught.value)
    assert "\n" not in str(caught.value)


@detector
def test_labels_are_optional(make):
    case = make(np.random.default_rng(9))
    transform = fit((500, 375), case.input_size, LETTERBOX)
    version = {"version": make.__name__.split("_")[1].replace("v6", "v8")} if case.family == "yolo" else {}
    labeled = case.head().decode(case.outputs, transform)
    assert case.head(labeled=False, **version).decode(case.outputs, transform).class_id.tolist() == (
        labeled.class_id.tolist()
    )


@detector
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_accepts_scores_of_0_and_1(make, score):
    case = make(np.random.default_rng(10))
    transform = fit((500, 375), case.input_size, LETTERBOX)
    assert_valid(case.head(score=score).decode(case.outputs, transform), transform)


NETWORKS = [name for name in registry.names("heads") if image_input(registry.find("heads", name)) is None]


@pytest.mark.parametrize("family", NETWORKS)
def test_rejects_unknown_outputs_and_reports_their_shapes(family):
    for outputs in ({"odd": np.zeros((1, 3, 5, 7, 11), np.float32)}, {"two": np.zeros((2, 84, 1680), np.float32)}):
        with pytest.raises(ModelError) as caught:
            plain.build(family, outputs, exports.INPUT)
        (name, array), message = outputs.popitem(), str(caught.value)
        assert f"heads.objects: family '{family}' cannot decode the outputs {name} " in message
        assert "x".join(str(n) for n in array.shape) in message
        assert "of a 320x256 input; expected " in message


@pytest.mark.parametrize("family", registry.names("heads"))
def test_options_can_be_checked_without_a_graph(family):
    registry.build("heads", family, HeadSpec("objects", family, (), (320, 256)))
