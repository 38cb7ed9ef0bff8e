"""What every head promises, whatever its family: hostile numbers, floods, free shapes, float16, clear refusals."""

import time
from dataclasses import replace

import numpy as np
import pytest

from edge_app import registry
from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from edge_app.heads import HeadSpec
from tests.heads import made, plain

detector = pytest.mark.parametrize("make", made.DETECTORS, ids=lambda make: make.__name__)
LETTERBOX, STRETCH = "letterbox", "stretch"


def assert_valid(result, transform):
    assert np.isfinite(result.xyxy).all()
    assert (result.xyxy[:, 2:] > result.xyxy[:, :2]).all()
    assert (result.xyxy >= 0).all()
    assert (result.xyxy <= [transform.image_width, transform.image_height] * 2).all()
    assert ((result.score >= 0) & (result.score <= 1)).all()
    assert (np.diff(result.score) <= 0).all()
    if result.keypoints is not None:
        assert np.isfinite(result.keypoints).all()


@detector
def test_nothing_seen_is_no_detection(make):
    case = make(np.random.default_rng(0), "none")
    result = case.head().decode(case.outputs, fit((500, 375), case.input_size, LETTERBOX))
    assert len(result) == 0
    assert result.xyxy.shape == (0, 4)


@detector
@pytest.mark.parametrize("resize", [LETTERBOX, STRETCH])
@pytest.mark.parametrize("image", [(1920, 1080), (123, 457)])
def test_boxes_lie_in_the_image_best_first(make, resize, image):
    case = make(np.random.default_rng(1))
    transform = fit(image, case.input_size, resize)
    result = case.head().decode(case.outputs, transform)
    assert len(result) > 0
    assert_valid(result, transform)
    assert set(result.class_id.tolist()) <= set(range(case.classes))


@detector
def test_a_flood_takes_a_bounded_time_and_gives_at_most_so_many(make):
    case = make(np.random.default_rng(2), "all")
    head = case.head(max_detections=50, nms_iou=0.9)
    transform = fit((500, 375), case.input_size, LETTERBOX)
    started = time.perf_counter()
    result = head.decode(case.outputs, transform)
    assert time.perf_counter() - started < 0.5  # all pairs of the flood would take seconds
    assert 0 < len(result) <= 50
    assert_valid(result, transform)


@detector
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_broken_numbers_give_no_broken_boxes(make, bad):
    """One value in ten is no number; then all are."""
    case = make(np.random.default_rng(3))
    head, transform = case.head(), fit((500, 375), case.input_size, LETTERBOX)
    for share in (0.1, 1.0):
        rng = np.random.default_rng(4)
        outputs = {
            name: np.where(rng.random(a.shape) < share, np.float32(bad), a).astype(np.float32)
            for name, a in case.outputs.items()
        }
        assert_valid(head.decode(outputs, transform), transform)


@detector
def test_float16_decodes_as_the_same_numbers_in_float32(make):
    case = make(np.random.default_rng(5))
    half = {name: a.astype(np.float16) for name, a in case.outputs.items()}
    head, transform = case.head(), fit((500, 375), case.input_size, LETTERBOX)
    one = head.decode(half, transform)
    other = head.decode({name: a.astype(np.float32) for name, a in half.items()}, transform)
    assert len(one) > 0
    np.testing.assert_allclose(one.xyxy, other.xyxy, rtol=1e-5)
    np.testing.assert_allclose(one.score, other.score, rtol=1e-5)
    assert one.class_id.tolist() == other.class_id.tolist()


@pytest.mark.parametrize(("whole", "cut"), made.CUT, ids=lambda make: make.__name__)
def test_boxes_and_scores_cut_apart_for_int8_decode_as_the_whole(whole, cut):
    one, other = whole(np.random.default_rng(4)), cut(np.random.default_rng(4))
    transform = fit((500, 375), one.input_size, LETTERBOX)
    expected, got = one.head().decode(one.outputs, transform), other.head().decode(other.outputs, transform)
    assert len(expected) > 5
    np.testing.assert_array_equal(got.xyxy, expected.xyxy)
    np.testing.assert_array_equal(got.score, expected.score)
    assert got.class_id.tolist() == expected.class_id.tolist()


@detector
def test_outputs_are_not_written_to_and_decode_the_same_again(make):
    case = make(np.random.default_rng(6))
    for array in case.outputs.values():
        array.flags.writeable = False
    head, transform = case.head(), fit((500, 375), case.input_size, LETTERBOX)
    first, second = head.decode(case.outputs, transform), head.decode(case.outputs, transform)
    np.testing.assert_array_equal(first.xyxy, second.xyxy)


@detector
def test_free_shapes_are_read_from_the_first_outputs(make):
    """A graph may leave its shapes open; then the head is checked when the first arrays arrive."""
    case = make(np.random.default_rng(7))
    transform = fit((500, 375), case.input_size, LETTERBOX)
    expected = case.head().decode(case.outputs, transform)
    spec = plain.spec_of(case.family, case.outputs, case.input_size, case.classes)
    free = tuple(type(o)(o.name, tuple(None for _ in o.shape), o.dtype) for o in spec.outputs)
    head = registry.build("heads", case.family, replace(spec, outputs=free))
    np.testing.assert_array_equal(head.decode(case.outputs, transform).xyxy, expected.xyxy)


@detector
def test_labels_of_another_number_are_refused_with_both_numbers(make):
    case = make(np.random.default_rng(8))
    if "v10" in make.__name__:
        return  # a finished list does not show its classes
    with pytest.raises(ModelError) as caught:
        plain.build(case.family, case.outputs, case.input_size, case.classes + 4)
    assert f"{case.classes + 4}" in str(caught.value)
    assert f"{case.classes} classes" in str(caught.value)
    assert "\n" not in str(caught.value)


@detector
def test_without_labels_the_numbers_of_classes_stand_for_themselves(make):
    case = make(np.random.default_rng(9))
    transform = fit((500, 375), case.input_size, LETTERBOX)
    version = {"version": make.__name__.split("_")[1].replace("v6", "v8")} if case.family == "yolo" else {}
    labelled = case.head().decode(case.outputs, transform)
    assert case.head(labelled=False, **version).decode(case.outputs, transform).class_id.tolist() == (
        labelled.class_id.tolist()
    )


@detector
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_the_ends_of_the_score_option_work(make, score):
    case = make(np.random.default_rng(10))
    transform = fit((500, 375), case.input_size, LETTERBOX)
    assert_valid(case.head(score=score).decode(case.outputs, transform), transform)


@pytest.mark.parametrize("family", registry.names("heads"))
def test_outputs_that_no_export_has_are_refused_with_their_shapes(family):
    for outputs in ({"odd": np.zeros((1, 3, 5, 7, 11), np.float32)}, {"two": np.zeros((2, 84, 1680), np.float32)}):
        with pytest.raises(ModelError) as caught:
            plain.build(family, outputs, made.INPUT)
        (name, array), message = outputs.popitem(), str(caught.value)
        assert f"heads.objects: family '{family}' cannot decode the outputs {name} " in message
        assert "x".join(str(n) for n in array.shape) in message
        assert "of a 320x256 input; expected " in message


@pytest.mark.parametrize("family", registry.names("heads"))
def test_options_can_be_checked_before_there_is_a_graph(family):
    registry.build("heads", family, HeadSpec("objects", family, (), (320, 256)))
