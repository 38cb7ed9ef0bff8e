"""Annotation: each result is drawn in the right place, and the frame itself is not changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_app.drawing.annotation import annotate
from edge_app.frame import Classification, Detections, Frame, HeadOutput, Segmentation, Text

LABELS = {"objects": ["cat"], "area": ["x"], "kind": ["day", "night"]}


def frame(**heads: object) -> Frame:
    outputs = {name: HeadOutput(result) for name, result in heads.items()}
    return Frame("t", 0, 0, 0, np.zeros((200, 300, 3), np.uint8), heads=outputs)


def test_draws_a_box_at_its_coordinates():
    boxes = np.array([[100, 80, 200, 150]], np.float32)
    drawn = annotate(frame(objects=Detections(boxes, np.ones(1, np.float32), np.zeros(1, np.int32))), LABELS)
    for x, y in ((100, 120), (200, 120), (150, 150)):
        assert drawn[y, x].any()
    assert not drawn[110:140, 110:190].any()


def test_draws_a_polygon_and_a_class():
    triangle = np.array([[50, 150], [250, 150], [150, 190]], np.float32)
    area = Segmentation(np.zeros(1, np.int32), np.ones(1, np.float32), (triangle,))
    kind = Classification(np.array([1, 0], np.int32), np.array([0.9, 0.1], np.float32))
    drawn = annotate(frame(area=area, kind=kind), LABELS)
    assert drawn[150, 150].any()
    assert drawn[:20, :60].any()


def test_draws_an_oriented_box_a_mask_and_a_text():
    corners = np.array([[[100, 60], [140, 100], [100, 140], [60, 100]]], np.float32)
    triangle = np.array([[200, 50], [280, 50], [240, 90]], np.float32)
    boxes = np.array([[60, 60, 140, 140], [200, 50, 280, 90]], np.float32)
    found = Detections(boxes, np.ones(2, np.float32), np.zeros(2, np.int32), corners=np.concatenate([corners] * 2))
    drawn = annotate(frame(objects=found), LABELS)
    assert drawn[80, 120].any()
    assert not drawn[138, 138].any()
    masked = annotate(frame(objects=replace(found, corners=None, polygons=(triangle[:0], triangle))), LABELS)
    assert masked[70, 240].any()
    assert not drawn[70, 240].any()
    assert annotate(frame(plate=Text("AB 12", 0.9)), {**LABELS, "plate": []})[:20, :60].any()


def test_does_not_change_the_frame():
    given = frame(
        objects=Detections(np.array([[1, 1, 9, 9]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32))
    )
    annotate(given, LABELS)
    assert not given.pixels.any()


def test_draws_boxes_at_the_edge_of_the_frame():
    boxes = np.array([[290, 0, 300, 5], [0, 195, 5, 200]], np.float32)
    annotate(frame(objects=Detections(boxes, np.ones(2, np.float32), np.zeros(2, np.int32))), LABELS)


def test_shortens_a_label_that_would_cover_its_neighbor():
    def inked(*lefts: int) -> int:
        """Number of columns that labels cover in the strip above the boxes."""
        boxes = np.array([[x, 80, x + 20, 120] for x in lefts], np.float32)
        n = len(lefts)
        drawn = annotate(frame(objects=Detections(boxes, np.ones(n, np.float32), np.zeros(n, np.int32))), LABELS)
        return int(drawn[72].any(axis=1).sum())

    alone, apart, together = inked(20), inked(20, 160), inked(20, 60)
    assert apart == 2 * alone  # name and score, twice
    assert together < apart - 20  # the left label has no score
