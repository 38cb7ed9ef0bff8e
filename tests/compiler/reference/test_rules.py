"""The published rules: on outputs of every family, they give the boxes that the heads give."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.compiler import box_proof
from edge_app.compiler.reference import Published, candidates, overlaps
from edge_app.errors import ModelError
from tests.heads import exports, plain, task_exports


@pytest.mark.parametrize("make", exports.DETECTORS)
def test_a_rule_and_its_head_find_the_same_boxes(make):
    case = make(np.random.default_rng(3))
    spec = plain.spec_of(case.family, case.outputs, case.input_size, case.classes)
    published = Published(case.family, case.options, case.input_size, case.classes)
    found = candidates(published, case.outputs)
    assert found is not None
    proof = box_proof.prove(spec, case.options, [case.outputs], [(found, found)])
    assert proof.matched == proof.compared >= 20
    assert proof.lowest_iou > 0.99


def test_a_pose_has_keypoints_and_their_visibility():
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.uniform(0, 200, (4, 1680)), rng.uniform(0, 1, (1, 1680)), rng.normal(size=(51, 1680))])
    found = candidates(Published("pose", {}, (320, 256), 1), {"output0": rows[None]})
    assert found is not None
    assert found.points is not None
    assert (found.scores.shape, found.points.shape) == ((1680, 1), (1680, 17, 2))
    np.testing.assert_array_equal(found.points[7, 3], rows[5 + 9 : 5 + 11, 7])
    assert found.visibility is not None
    np.testing.assert_array_equal(found.visibility[7], rows[5 + 2 :: 3, 7])


@pytest.mark.parametrize("make", [make for make in task_exports.DETECTORS if not make.__name__.endswith("maps")])
def test_a_rule_and_its_head_find_the_same_further_values(make):
    """Maps for each grid are what the compiler writes, or have the same values as these."""
    case = make(np.random.default_rng(3))
    spec = plain.spec_of(case.family, case.outputs, case.input_size, case.classes)
    found = candidates(Published(case.family, case.options, case.input_size, case.classes), case.outputs)
    assert found is not None
    proof = box_proof.prove(spec, case.options, [case.outputs], [(found, found)])
    assert proof.matched == proof.compared >= 20
    assert proof.lowest_iou > 0.99
    assert (proof.landmark_error is None) == (case.family not in ("pose", "obb"))
    assert (proof.masks, proof.lowest_mask_iou) == ((20, 1.0) if case.family == "instances" else (0, None))


def test_another_mask_angle_or_keypoint_is_an_error():
    for make, message in (
        (task_exports.instances, "the mask of the box"), (task_exports.obb, "boxes differ"),
        (task_exports.pose, "boxes differ"),
    ):  # fmt: skip
        case = make(np.random.default_rng(3))
        spec = plain.spec_of(case.family, case.outputs, case.input_size, case.classes)
        found = candidates(Published(case.family, case.options, case.input_size, case.classes), case.outputs)
        table = case.outputs["output0"].copy()
        table[:, -1] += 0.5
        with pytest.raises(ModelError, match=message):
            box_proof.prove(spec, case.options, [{**case.outputs, "output0": table}], [(found, found)])


def test_a_final_table_has_one_class_a_row():
    table = np.array([[0, 0, 10, 10, 0.9, 2], [5, 5, 20, 20, 0.5, 0]])
    metadata = {"task": "detect", "names": "{0: 'a', 1: 'b', 2: 'c'}"}
    found = candidates(Published("yolo", {}, (64, 64), metadata=metadata), {"output0": table[None]})
    assert found is not None
    assert found.final
    np.testing.assert_array_equal(found.scores, [[0, 0, 0.9], [0.5, 0, 0]])


@pytest.mark.parametrize("classes", [1, 3])
def test_maps_with_the_sum_of_the_scores_give_the_boxes_of_those_without(classes):
    """As rknn_model_zoo exports YOLOv8: boxes, scores and their sum, for each stride."""
    rng, size = np.random.default_rng(0), (96, 64)
    maps, plain_maps = {}, {}
    for stride in (8, 16, 32):
        cells = (size[1] // stride, size[0] // stride)
        scores = rng.uniform(0, 1, (1, classes, *cells)).astype(np.float32)
        pair = {f"boxes{stride}": rng.normal(size=(1, 64, *cells)).astype(np.float32), f"scores{stride}": scores}
        plain_maps |= pair
        maps |= {**pair, f"sum{stride}": np.clip(scores.sum(axis=1, keepdims=True), 0, 1)}
    published = Published("yolo", {}, size, classes)
    found, expected = candidates(published, maps), candidates(published, plain_maps)
    assert found is not None
    np.testing.assert_array_equal(found.xyxy, expected.xyxy)
    np.testing.assert_array_equal(found.scores, expected.scores)
    proof = box_proof.prove(plain.spec_of("yolo", maps, size, classes), {}, [maps], [(found, found)])
    assert proof.matched == proof.compared >= 20


@pytest.mark.parametrize("family", ["classify", "yolo", "fastestdet", "nanodet", "ultraface", "yunet", "digits"])
@pytest.mark.parametrize("shape", [(1, 10), (1, 7, 13), (1, 4, 5, 6), (1, 1, 1, 1), (3,), ()])
def test_outputs_without_a_rule_have_no_boxes(family, shape):
    assert candidates(Published(family, {}, (64, 64)), {"a": np.zeros(shape)}) is None


def test_overlaps_of_boxes_beside_and_inside_each_other():
    boxes = np.array([[0.0, 0, 10, 10], [10, 0, 20, 10], [0, 0, 5, 10]])
    np.testing.assert_allclose(overlaps(boxes[:1], boxes), [[1, 0, 0.5]])
