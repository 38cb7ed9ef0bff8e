"""Agreement, compared with counts made by hand."""

import numpy as np
import pytest

from edge_app.bench.reuse import agreement, runs
from edge_app.bench.reuse.objects import Objects
from edge_app.bench.reuse.trajectories import find_trajectories, moving_masks

SECOND = 1_000_000_000


def objects(*boxes: tuple[float, ...], confident: bool = True) -> Objects:
    """Boxes of 20 x 40 pixels at x, y; a third number is the class."""
    xyxy = np.array([[x, y, x + 20, y + 40] for x, y, *_ in boxes], np.float32).reshape(-1, 4)
    classes = np.array([int(rest[0]) if rest else 0 for _, _, *rest in boxes], np.int64)
    n = len(boxes)
    return Objects(xyxy, classes, np.full(n, 0.9 if confident else 0.35, np.float32), np.full(n, confident))


def reference(*frames: Objects):
    return runs.build_reference(frames, [i * SECOND // 10 for i in range(len(frames))])


def test_equal_objects_agree():
    seen = [objects((10, 10), (100, 50))] * 5
    found = agreement.score(reference(*seen), seen)
    assert (found.overall, found.mean_iou, found.worst_frame) == (1.0, 1.0, 1.0)


def test_f1_counts_missed_and_false_objects():
    true = [objects((10, 10), (100, 50))] * 4
    seen = [objects((10, 10), (100, 50)), objects((10, 10)), objects((10, 10), (200, 50)), objects()]
    found = agreement.score(reference(*true), seen)
    # agreeing of all, both sides together: 4 of 4, 2 of 3, 2 of 4, 0 of 2
    assert found.overall == pytest.approx((4 + 2 + 2 + 0) / (4 + 3 + 4 + 2))
    np.testing.assert_allclose(found.frames, [1, 2 / 3, 0.5, 0], rtol=1e-6)
    assert found.worst_frame == 0


def test_another_class_or_a_low_iou_does_not_agree():
    true = reference(objects((10, 10)))
    assert agreement.score(true, [objects((10, 10, 1))]).overall == 0
    assert agreement.score(true, [objects((17, 10))]).overall == 0  # IoU 13 / 27
    assert agreement.score(true, [objects((16, 10))]).overall == 1  # IoU 14 / 26


def test_a_score_just_below_its_threshold_agrees_with_a_confident_one():
    true = reference(objects((10, 10)))
    below = objects((10, 10), confident=False)
    assert agreement.score(true, [below]).overall == 1
    assert agreement.score(reference(below), [objects((10, 10))]).overall == 1
    assert agreement.score(reference(below), [objects()]).overall == 1  # neither side is confident
    assert agreement.score(true, [objects()]).overall == 0


def walking(frames: int = 20, step: int = 6) -> list[Objects]:
    return [objects((10 + step * i, 10), (200, 100)) for i in range(frames)]


def test_moving_objects_are_distinguished_from_static_ones():
    seen = walking()
    masks = moving_masks(seen, find_trajectories(seen, [i * SECOND // 10 for i in range(20)]))
    assert all(mask.tolist() == [True, False] for mask in masks)


def test_a_stale_box_counts_against_the_agreement_on_moving_objects():
    true = walking()
    stale = [true[0]] * 20  # never computed again
    found = agreement.score(reference(*true), stale)
    # the static box always agrees; the moving one in the first two frames (IoU 14 / 26 after one step)
    assert found.moving == pytest.approx(4 / 40)
    assert found.overall == pytest.approx((40 + 4) / 80)
    assert agreement.score(reference(*true), true).moving == 1


def test_dwell_is_the_delay_beyond_full_inference():
    nothing, there = objects(), objects((10, 10))
    true = reference(*[nothing] * 3, *[there] * 12)
    full = agreement.score(true, [nothing] * 4 + [there] * 11)
    late = agreement.score(true, [nothing] * 8 + [there] * 7)
    assert full.delays.tolist() == [1]
    assert late.delays.tolist() == [5]
    assert agreement.dwell_p99(late, full) == 4
    assert agreement.dwell_p99(full, late) == 0
    never = agreement.score(true, [nothing] * 15)
    assert never.delays.tolist() == [12]


def test_an_object_of_the_first_frame_is_not_new():
    assert reference(*[objects((10, 10))] * 10).new == []


def test_an_object_that_is_detected_intermittently_is_not_new():
    there, nothing = objects((10, 10)), objects()
    again = [there] * 5 + [nothing] * 15 + [there] * 10  # longer than a track survives
    assert reference(*again).new == []
    below = [nothing, *[objects((10, 10), confident=False)] * 6, *[there] * 5]
    assert reference(*below).new == []


def test_agreement_is_reported_by_age():
    true = [objects((10, 10))] * 4
    seen = [true[0], true[0], objects(), objects()]
    found = agreement.score(reference(*true), seen, [0, 0, 3 * SECOND, 3 * SECOND])
    assert found.by_age == {"0": 1.0, "2": 0.0}


def test_a_clip_without_objects_agrees():
    found = agreement.score(reference(objects(), objects()), [objects(), objects()])
    assert (found.overall, found.moving, found.worst_frame, found.first_percentile) == (1, 1, 1, 1)
