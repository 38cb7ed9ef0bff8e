"""`publish.results: on_change`: which results count as different from the last published ones."""

import numpy as np
import pytest

from edge_app.frame import Classification, Crops, Detections, Embedding, HeadOutput, Segmentation
from edge_app.publish.changes import differ


def boxes(*rows, track=None):
    """Rows of x1, y1, x2, y2, class, score."""
    data = np.array(rows, np.float32).reshape(-1, 6)
    ids = None if track is None else np.array(track, np.int64)
    return Detections(data[:, :4].copy(), data[:, 5].copy(), data[:, 4].astype(np.int32), ids)


def heads(result, age_ns=0):
    return {"head": HeadOutput(result, age_ns)}


A = (100, 100, 200, 180, 0, 0.9)
B = (300, 100, 340, 120, 1, 0.8)
READ_7 = Classification(np.array([7], np.int32), np.array([0.9], np.float32))
READ_8 = Classification(np.array([8], np.int32), np.array([0.9], np.float32))
SAME = {
    "a result of a second-stage head": (Crops("head", (0,), (READ_7,)), Crops("head", (0,), (READ_7,))),
    "a score": (boxes(A, B), boxes((*A[:5], 0.5), B)),
    "the order": (boxes(A, B), boxes(B, A)),
    "a small shift": (boxes(A), boxes((103, 103, 203, 182, 0, 0.9))),
    "2 pixels of a small box": (boxes(B), boxes((302, 102, 342, 122, 1, 0.8))),
    "the order of tracks": (boxes(A, B, track=[7, 9]), boxes(B, A, track=[9, 7])),
    "no boxes": (boxes(), boxes()),
    "the second-best class": (
        Classification(np.array([2, 1], np.int32), np.array([0.7, 0.2], np.float32)),
        Classification(np.array([2, 3], np.int32), np.array([0.6, 0.3], np.float32)),
    ),
    "nearly the same vector": (
        Embedding(np.array([1, 0], np.float32)),
        Embedding(np.array([0.995, 0.0999], np.float32)),
    ),
}
DIFFERENT = {
    "a result of a second-stage head": (Crops("head", (0,), (READ_7,)), Crops("head", (0,), (READ_8,))),
    "the number of second-stage results": (Crops("head", (0,), (READ_7,)), Crops("head", (0, 1), (READ_7, READ_7))),
    "a label": (boxes(A), boxes((*A[:4], 1, 0.9))),
    "a count": (boxes(A), boxes(A, B)),
    "a count down to none": (boxes(A), boxes()),
    "a large move": (boxes(A), boxes((106, 100, 206, 180, 0, 0.9))),
    "a large growth": (boxes(A), boxes((100, 100, 200, 190, 0, 0.9))),
    "3 pixels of a small box": (boxes(B), boxes((303, 100, 343, 120, 1, 0.8))),
    "a track": (boxes(A, track=[7]), boxes(A, track=[8])),
    "swapped tracks": (boxes(A, (*B[:4], 0, 0.8), track=[7, 9]), boxes(A, (*B[:4], 0, 0.8), track=[9, 7])),
    "tracks that were added": (boxes(A), boxes(A, track=[7])),
    "swapped classes": (boxes(A, B), boxes((*A[:4], 1, 0.9), (*B[:4], 0, 0.8))),
    "the best class": (
        Classification(np.array([2, 1], np.int32), np.array([0.6, 0.4], np.float32)),
        Classification(np.array([1, 2], np.int32), np.array([0.6, 0.4], np.float32)),
    ),
    "another vector": (Embedding(np.array([1, 0], np.float32)), Embedding(np.array([0.8, 0.6], np.float32))),
    "another kind of result": (boxes(), Embedding(np.array([1, 0], np.float32))),
}


@pytest.mark.parametrize(("before", "after"), SAME.values(), ids=SAME)
def test_similar_results_are_the_same(before, after):
    assert not differ(heads(before), heads(after))


@pytest.mark.parametrize(("before", "after"), DIFFERENT.values(), ids=DIFFERENT)
def test_other_results_differ(before, after):
    assert differ(heads(before), heads(after))


def test_a_head_that_appears_or_disappears_differs():
    assert differ({}, heads(boxes()))
    assert differ(heads(boxes()), {})


def test_the_age_of_a_result_does_not_count():
    result = boxes(A)
    assert not differ(heads(result), heads(result, age_ns=10**9))


def test_regions_are_compared_by_their_bounding_boxes():
    def region(shift):
        corner = np.array([[10, 10], [60, 10], [60, 90]], np.float32) + shift
        return heads(Segmentation(np.array([1], np.int32), np.array([0.5], np.float32), (corner,)))

    assert not differ(region(0), region(2))
    assert differ(region(0), region(5))


def test_two_boxes_do_not_match_the_same_box():
    pair = boxes(A, (101, 101, 201, 181, 0, 0.7))
    apart = boxes(A, (400, 101, 500, 181, 0, 0.7))
    assert differ(heads(pair), heads(apart))
    assert differ(heads(apart), heads(pair))


def test_slow_drift_is_published():
    published, changes = heads(boxes(A)), 0
    for shift in range(1, 61):
        now = heads(boxes((100 + shift, 100, 200 + shift, 180, 0, 0.9)))
        if differ(published, now):
            published, changes = now, changes + 1
    assert changes == 10, "every 6 pixels, for a box 100 wide"
