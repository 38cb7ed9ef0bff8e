"""Filters of the block `heads`."""

from __future__ import annotations

import numpy as np

from edge_app.config import BoxConfig, HeadCommon, HeadConfig
from edge_app.frame import Classification, Detections
from edge_app.inference.filters import DetectionFilter

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
SIZE = (400, 200)
LABELS = ("person", "dog", "car")


def detections(*left: float, class_id: tuple[int, ...] | None = None) -> Detections:
    xyxy = np.array([[x, 10, x + 20, 30] for x in left], np.float32)
    ids = np.zeros(len(left), np.int32) if class_id is None else np.array(class_id, np.int32)
    return Detections(xyxy, np.ones(len(left), np.float32), ids)


def boxes(*sizes: tuple[float, float]) -> Detections:
    """Boxes of these widths and heights."""
    xyxy = np.array([[0, 0, *size] for size in sizes], np.float32)
    return Detections(xyxy, np.ones(len(sizes), np.float32), np.zeros(len(sizes), np.int32))


def filtered(found, ignore=(), **options):
    return DetectionFilter(HeadConfig(HeadCommon(ignore=ignore), {}, BoxConfig(**options)), LABELS).apply(found, SIZE)


def test_detections_with_their_center_in_an_ignored_polygon_are_dropped():
    assert filtered(detections(10, 195, 300), ignore=(LEFT,)).xyxy[:, 0].tolist() == [195, 300]


def test_a_box_whose_center_is_beyond_the_border_is_in_the_ignored_polygon_there():
    below = Detections(np.array([[10, 190, 30, 230]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32))
    assert len(filtered(below, ignore=(LEFT,))) == 0


def test_only_the_configured_labels_are_kept():
    found = detections(10, 100, 200, 300, class_id=(0, 1, 2, 1))
    assert filtered(found, labels=("car", "person")).class_id.tolist() == [0, 2]


def test_boxes_that_are_too_small_or_too_large_are_dropped():
    found = boxes((20, 20), (40, 40), (200, 200))  # 0.005, 0.02 and 0.5 of the image
    assert filtered(found, min_area=0.01).xyxy[:, 2].tolist() == [40, 200]
    assert filtered(found, max_area=0.02).xyxy[:, 2].tolist() == [20, 40]


def test_boxes_of_another_aspect_are_dropped():
    found = boxes((20, 60), (40, 40), (60, 20), (20, 0))
    assert filtered(found, aspect=(0.2, 1.0)).xyxy[:, 2:].tolist() == [[20, 60], [40, 40]]


def test_without_filters_a_result_is_unchanged():
    found = detections(10, 300)
    assert filtered(found) is found


def test_results_of_other_types_are_unchanged():
    found = Classification(np.zeros(1, np.int32), np.ones(1, np.float32))
    assert filtered(found, ignore=(LEFT,), labels=("car",), min_area=0.5) is found
