"""Track ids survive gaps, dropped frames, held results and crossings."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.bench.crowd import Crowd
from edge_app.config.rules import TrackConfig
from edge_app.frame import Detections, Frame, HeadOutput
from edge_app.tracking.tracker import UNTRACKED, Tracker
from tests.conftest import resident_bytes

SECOND = 1_000_000_000
TRACK = TrackConfig(head="objects")


def boxes(*rows, score=0.9, class_id=0):
    """Detections, 40 wide and 80 high, around (x, y) centers."""
    centers = np.array(rows, np.float32).reshape(-1, 2)
    half = np.array([20, 40], np.float32)
    n = len(centers)
    return Detections(
        np.hstack([centers - half, centers + half]),
        np.full(n, score, np.float32),
        np.full(n, class_id, np.int32),
    )


def ids(tracker, t_s, *rows, **kind):
    return tracker.update(boxes(*rows, **kind), round(t_s * SECOND)).track_id.tolist()


def test_an_object_gets_an_id_with_its_second_detection_and_keeps_it():
    tracker = Tracker(TRACK)
    found = [ids(tracker, k / 25, (100 + 2 * k, 100)) for k in range(50)]
    assert found[0] == [UNTRACKED]
    assert found[1:] == [[1]] * 49


def test_a_single_detection_gets_no_id():
    tracker = Tracker(TRACK)
    ids(tracker, 0.0, (100, 100))
    for k in range(1, 5):
        assert ids(tracker, k / 25, (400 + 100 * k, 300)) == [UNTRACKED]


@pytest.mark.parametrize("interval_s", [0.04, 0.2, 1.0])
def test_tracking_does_not_depend_on_the_frame_rate(interval_s):
    """Constant motion is one track at 25, 5 and 1 frames a second."""
    tracker = Tracker(TRACK)
    found = [ids(tracker, k * interval_s, (100 + 30 * k * interval_s, 100)) for k in range(20)]
    assert found[1:] == [[1]] * 19


@given(st.lists(st.booleans(), min_size=30, max_size=30), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_dropped_frames_do_not_break_a_track(kept, seed):
    tracker, rng = Tracker(TRACK), np.random.default_rng(seed)
    found = []
    for k in [0, 1, 2] + [3 + i for i, keep in enumerate(kept) if keep]:
        x, y = np.array([100 + 3 * k, 200 - 2 * k]) + rng.normal(0, 1.5, 2)
        found += ids(tracker, k / 25, (x, y))
    assert set(found[1:]) <= {1}


def test_an_object_hidden_for_less_than_lost_s_keeps_its_id():
    tracker = Tracker(TRACK)
    for k in range(25):
        ids(tracker, k / 25, (100 + 2 * k, 100))
    for k in range(25, 45):
        ids(tracker, k / 25)
    assert ids(tracker, 45 / 25, (100 + 2 * 45, 100)) == [1]


def test_an_object_lost_for_longer_gets_a_new_id():
    tracker = Tracker(TRACK)
    for k in range(25):
        ids(tracker, k / 25, (100, 100))
    for k in range(25, 60):
        ids(tracker, k / 25)
    assert len(tracker) == 0
    assert [ids(tracker, (60 + k) / 25, (100, 100)) for k in range(3)] == [[UNTRACKED], [2], [2]]


def test_low_scores_continue_a_track_but_do_not_start_one():
    tracker = Tracker(TRACK)
    ids(tracker, 0.00, (100, 100))
    ids(tracker, 0.04, (102, 100))
    assert ids(tracker, 0.08, (104, 100), (300, 300), score=0.2) == [1, UNTRACKED]
    assert ids(tracker, 0.12, (106, 100), (300, 300), score=0.2) == [1, UNTRACKED]


def test_crossing_objects_keep_their_ids():
    tracker = Tracker(TRACK)
    for k in range(60):
        found = ids(tracker, k / 25, (100 + 5 * k, 100), (395 - 5 * k, 130))
    assert found == [1, 2]


def walked(tracker, *, speed):
    """An object that starts at (100, 100) and walks to the right for a second, pixels per second."""
    for k in range(26):
        ids(tracker, k / 25, (100 + speed * k / 25, 100))
    for k in range(26, 41):
        ids(tracker, k / 25)


def test_an_object_that_walks_faster_while_it_is_hidden_keeps_its_id():
    tracker = Tracker(TRACK)
    walked(tracker, speed=40)  # it would be at 164
    assert ids(tracker, 41 / 25, (205, 100)) == [1]


@pytest.mark.parametrize(
    ("speed", "place"), [(40, (100, 140)), (40, (120, 190)), (0, (141, 100))], ids=["back", "aside", "at rest"]
)
def test_an_object_that_appears_elsewhere_than_onward_gets_an_id_of_its_own(speed, place):
    tracker = Tracker(TRACK)
    walked(tracker, speed=speed)
    ids(tracker, 41 / 25, place)
    assert ids(tracker, 42 / 25, place) == [2]


def test_classes_are_mixed_only_if_configured():
    apart, mixed = Tracker(TRACK), Tracker(replace(TRACK, mix_classes=True))
    for tracker, expected in ((apart, [UNTRACKED]), (mixed, [1])):
        ids(tracker, 0.00, (100, 100), class_id=1)
        ids(tracker, 0.04, (100, 100), class_id=1)
        assert ids(tracker, 0.08, (100, 100), class_id=2) == expected


def test_a_held_result_keeps_its_ids_and_does_not_change_the_state():
    """A head that runs once a second: in between, its boxes are repeated, and the track neither moves nor ages."""
    tracker = Tracker(TRACK)
    pixels = np.zeros((480, 640, 3), np.uint8)
    seen = []
    for k in range(100):
        late = k % 25
        found = boxes((100 + k // 25, 100))
        frame = Frame("camera", k, k * SECOND // 25, 0, pixels)
        frame.heads = {"objects": HeadOutput(found, late * SECOND // 25)}
        tracker.track(frame)
        seen.append(frame.outputs["objects"].result.track_id.tolist())
    assert seen == [[UNTRACKED]] * 25 + [[1]] * 75


def test_a_static_object_keeps_its_id_across_a_long_gap():
    tracker = Tracker(TRACK)
    for k in range(10):
        ids(tracker, k / 25, (100, 100))
    assert ids(tracker, 300.0, (101, 100)) == [1]


def test_other_heads_are_unchanged():
    frame = Frame("camera", 0, 0, 0, np.zeros((48, 64, 3), np.uint8))
    other = HeadOutput(boxes((10, 10)))
    frame.heads = {"other": other}
    assert Tracker(TRACK).track(frame).outputs == {"other": other}


def test_predict_extrapolates_without_changing_the_state():
    tracker = Tracker(TRACK)
    for k in range(25):
        ids(tracker, k / 25, (100 + 4 * k, 100))
    now = round(24 / 25 * SECOND)
    ahead = tracker.predict(now + SECOND // 5)
    again = tracker.predict(now + SECOND // 5)
    center = ahead.xyxy[0, :2] + (20, 40)
    np.testing.assert_allclose(center, [196 + 20, 100], atol=2.0)
    np.testing.assert_array_equal(ahead.xyxy, again.xyxy)
    assert ahead.track_id.tolist() == [1]
    assert ids(tracker, 1.0, (200, 100)) == [1]


def test_max_tracks_limits_the_number_of_tracks():
    tracker = Tracker(replace(TRACK, max_tracks=5))
    rng = np.random.default_rng(0)
    for k in range(50):
        tracker.update(boxes(*rng.uniform(50, 900, (20, 2))), k * SECOND // 25)
        assert len(tracker) <= 5


@given(st.lists(st.integers(-2 * SECOND, 5 * SECOND), min_size=2, max_size=40), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_ids_are_unique_with_timestamps_in_any_order(steps, seed):
    tracker, rng = Tracker(TRACK), np.random.default_rng(seed)
    now = 10 * SECOND
    for step in steps:
        now = max(0, now + step)
        found = tracker.update(boxes(*rng.uniform(50, 400, (rng.integers(0, 6), 2))), now)
        known = found.track_id[found.track_id > 0].tolist()
        assert len(known) == len(set(known))
        assert np.isfinite(tracker.predict(now).xyxy).all()


def test_handles_empty_frames_and_boxes_without_area():
    tracker = Tracker(TRACK)
    point = Detections(np.full((1, 4), 7, np.float32), np.ones(1, np.float32), np.zeros(1, np.int32))
    for k in range(10):
        tracker.update(Detections.empty() if k % 3 == 0 else point, k * SECOND // 25)
    assert np.isfinite(tracker.predict(SECOND).xyxy).all()


def test_memory_does_not_grow_with_uptime():
    """Resident memory between frame 1,000 and 10,000: within 1 MB, with people entering and leaving."""
    film = Crowd(people=8, seconds=10).simulate(0)
    tracker = Tracker(TRACK)
    for k in range(10_000):
        tracker.update(film[k % len(film)].detections, k * SECOND // 25)
        if k == 1_000:
            before = resident_bytes()
    assert resident_bytes() - before < 1_000_000


def test_predicted_boxes_are_clipped_to_the_image():
    tracker, pixels = Tracker(TRACK), np.zeros((200, 400, 3), np.uint8)
    seen = []
    for k in range(12):  # moves left by 100 px a second; detected in the first second only
        found = boxes((140 - 10 * min(k, 9), 100))
        output = HeadOutput(found) if k < 10 else HeadOutput(found, (k - 9) * SECOND // 2, "held")
        at_ns = k * SECOND // 10 if k < 10 else (9 + 5 * (k - 9)) * SECOND // 10
        frame = tracker.track(Frame("camera", k, at_ns, 0, pixels, heads={"objects": output}))
        seen.append(frame.outputs["objects"])
    assert [output.reused for output in seen[10:]] == ["track", "track"]
    left, _, right, _ = seen[10].result.xyxy[0]
    assert left == 0
    assert 10 < right < 30
    assert len(seen[11].result) == 0
