"""Boxes of a head against those of the published file: what passes, and every kind of error that must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_app.compiler import box_proof
from edge_app.compiler.reference import Candidates, Published, candidates
from edge_app.errors import ModelError
from tests.heads import exports, plain


def case(make, **options):
    """A head's spec, its options, the outputs, and the boxes that the published file gives."""
    export = make(np.random.default_rng(5))
    given = {**export.options, **options}
    spec = plain.spec_of(export.family, export.outputs, export.input_size, export.classes)
    boxes = candidates(Published(export.family, given, export.input_size, export.classes), export.outputs)
    assert boxes is not None
    return spec, given, export.outputs, boxes


def proved(spec, options, outputs, boxes: Candidates, again: Candidates | None = None):
    return box_proof.prove(spec, options, [outputs], [(boxes, again or boxes)])


def refused(spec, options, outputs, boxes: Candidates) -> str:
    with pytest.raises(ModelError) as raised:
        proved(spec, options, outputs, boxes)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_counts_the_boxes_of_both_sides_above_the_threshold():
    spec, options, outputs, boxes = case(exports.yolo_v8, score=0.3)
    proof = proved(spec, options, outputs, boxes)
    above = int((boxes.scores.max(axis=1) >= 0.3).sum())
    assert above >= box_proof.FEW
    assert (proof.compared, proof.matched, proof.threshold, proof.lowered) == (2 * above, 2 * above, 0.3, False)


def test_lowers_the_threshold_until_there_are_boxes():
    spec, options, outputs, boxes = case(exports.yolo_v8, score=0.999)
    proof = proved(spec, options, outputs, boxes)
    assert proof.lowered
    assert proof.compared >= 2 * box_proof.FEW


def test_says_that_no_box_was_compared():
    spec, options, outputs, boxes = case(exports.yolo_v8)
    outputs["output0"][:, 4:] = 1e-6
    assert proved(spec, options, outputs, replace(boxes, scores=np.full_like(boxes.scores, 1e-6))).compared == 0


def test_rejects_swapped_classes():
    spec, options, outputs, boxes = case(exports.yolo_v8)
    swapped = replace(boxes, scores=boxes.scores[:, [1, 0, *range(2, 7)]])
    assert "boxes differ from those of the published file" in refused(spec, options, outputs, swapped)


@pytest.mark.parametrize("shift", [4, -4])
def test_rejects_boxes_shifted_by_half_a_cell(shift):
    spec, options, outputs, boxes = case(exports.yolo_v8)
    refused(spec, options, outputs, replace(boxes, xyxy=boxes.xyxy + shift))


def test_rejects_boxes_of_another_size():
    spec, options, outputs, boxes = case(exports.yolo_v8)
    center = (boxes.xyxy[:, :2] + boxes.xyxy[:, 2:]) / 2
    center = np.tile(center, 2)
    refused(spec, options, outputs, replace(boxes, xyxy=center + 1.1 * (boxes.xyxy - center)))


def test_rejects_scores_that_differ_by_two_percent():
    spec, options, outputs, boxes = case(exports.yolo_v8)
    refused(spec, options, outputs, replace(boxes, scores=boxes.scores - 0.02))


def test_rejects_a_box_that_only_one_side_has():
    spec, options, outputs, boxes = case(exports.yolo_v8)
    best = int(boxes.scores.max(axis=1).argmax())
    scores = boxes.scores.copy()
    scores[best] = 0
    assert "only the head has" in refused(spec, options, outputs, replace(boxes, scores=scores))
    outputs["output0"][:, 4:, best] = 0
    assert "the file has" in refused(spec, options, outputs, boxes)


def test_rejects_dropped_and_moved_landmarks():
    spec, options, outputs, boxes = case(exports.yunet)
    assert boxes.points is not None
    assert proved(spec, options, outputs, boxes).landmark_error < 0.01
    refused(spec, options, outputs, replace(boxes, points=boxes.points[:, ::-1]))
    assert "5 landmarks" in refused(spec, options, outputs, replace(boxes, points=None))
    plain_spec, plain_options, plain_outputs, plain_boxes = case(exports.yolo_v8)
    points = np.zeros((len(plain_boxes.xyxy), 17, 2))
    assert "expected 17" in refused(plain_spec, plain_options, plain_outputs, replace(plain_boxes, points=points))


OWN = ((12, 16, 19, 36, 40, 28), (36, 75, 76, 55, 72, 146), (142, 110, 192, 243, 459, 401))


@pytest.fixture(scope="module")
def anchored():
    return case(exports.yolo_v5_maps, anchors=OWN)


def test_accepts_own_anchors(anchored):
    spec, options, outputs, boxes = anchored
    assert box_proof.prove(spec, options, [outputs], [(boxes, boxes)], few=500).matched > 500


@pytest.mark.parametrize("level", range(3))
@pytest.mark.parametrize("anchor", range(3))
def test_rejects_each_anchor_that_is_wrong(anchored, level, anchor):
    spec, options, outputs, boxes = anchored
    wrong = [list(row) for row in OWN]
    wrong[level][2 * anchor] *= 1.3
    given = {**options, "anchors": tuple(tuple(row) for row in wrong)}
    with pytest.raises(ModelError, match="boxes differ"):
        box_proof.prove(spec, given, [outputs], [(boxes, boxes)], few=500)


def test_an_end_to_end_file_may_order_unlikely_rows_differently():
    spec, options, outputs, boxes = case(exports.yolo_v10, score=0.3)
    rng = np.random.default_rng(0)
    unlikely = boxes.scores.max(axis=1) < 0.2
    assert unlikely.sum() > 40
    order = np.arange(len(boxes.xyxy))
    order[unlikely] = rng.permutation(order[unlikely])
    again = replace(boxes, xyxy=boxes.xyxy[order], scores=np.where(unlikely[:, None], 1e-6, 1) * boxes.scores[order])
    proof = proved(spec, options, outputs, replace(boxes, scores=again.scores), again)
    assert proof.matched == proof.compared > 0


def test_rejects_a_head_that_suppresses_what_the_file_has_selected():
    spec, options, outputs, _ = case(exports.yolo_v8, score=0.3)
    twice = {"output0": np.concatenate([outputs["output0"]] * 2, axis=2)[:, :, : outputs["output0"].shape[2]]}
    twice["output0"][:, :, 1::2] = twice["output0"][:, :, ::2]
    doubled = candidates(Published("yolo", options, spec.input_size, 7), twice)
    assert doubled is not None
    proved(spec, options, twice, doubled)
    ended = replace(doubled, final=True)
    assert "expected none, as the published file has selected them" in refused(spec, options, twice, ended)


def test_boxes_thinner_than_the_rounding_of_edges_need_no_suppression():
    """Far from the origin, where boxes outside of the image are compared too, these two become one in float32."""
    spec, options, outputs, _ = case(exports.yolo_v8, score=0.3)
    table = outputs["output0"]
    table[0, :4, 0], table[0, :4, 1] = (75, 8.000325, 50, 0.00055), (75, 8.000875, 50, 0.00105)
    table[0, 4:, :2], table[0, 4, :2] = 0.01, 0.99
    boxes = candidates(Published("yolo", options, spec.input_size, 7), outputs)
    assert boxes is not None
    assert proved(spec, options, outputs, boxes).matched > 0


def test_allows_the_noise_of_the_file_and_no_more():
    spec, options, outputs, boxes = case(exports.yolo_v8)
    moved = replace(boxes, xyxy=boxes.xyxy + 1.5)
    refused(spec, options, outputs, moved)
    proof = proved(spec, options, outputs, moved, replace(boxes, xyxy=boxes.xyxy + 1.1))
    assert proof.edge_error == pytest.approx(1.5, abs=0.01)
    far = replace(boxes, xyxy=boxes.xyxy + 20)
    with pytest.raises(ModelError):
        proved(spec, options, outputs, far, boxes)
