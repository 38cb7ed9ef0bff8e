"""zone: which objects are inside, since when, and how many."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.errors import OptionError
from edge_app.rules.zone import Rule

from .frames import HEIGHT, SECOND, WIDTH, check_events, context, finish, frame, objects, run

SQUARE = ((0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6))


def zone(**options):
    return Rule(context("zone"), head="objects", polygon=SQUARE, **options)


def walk(track, t_s, x, y=0.5):
    return frame(t_s, objects=objects((track, x, y)))


def test_an_object_that_walks_through_is_one_event_from_entering_to_leaving():
    rule = zone()
    events = run(rule, [walk(7, k / 10, k / 100) for k in range(100)])
    new, end = events[0], events[-1]
    assert (new.type, end.type, end.value["reason"]) == ("new", "end", "left")
    assert new.value["track_id"] == 7
    assert new.value["occupancy"] == 1
    assert 4.0 <= new.start_ns / SECOND <= 4.2
    assert 5.8 <= end.end_ns / SECOND <= 6.0
    assert end.value["dwell_s"] == pytest.approx((end.end_ns - new.start_ns) / SECOND, abs=1e-3)
    check_events(events)


def test_a_stay_shorter_than_dwell_s_is_not_an_event():
    rule = zone(dwell_s=3.0)
    assert run(rule, [walk(7, k / 10, k / 100) for k in range(100)]) == []
    assert finish(rule) == []


def test_the_event_starts_at_entering_and_is_published_after_dwell_s():
    rule = zone(dwell_s=3.0)
    events = run(rule, [walk(7, k / 10, 0.5) for k in range(40)])
    assert [e.type for e in events] == ["new"]
    assert events[0].start_ns == 0
    assert events[0].value["dwell_s"] == pytest.approx(3.0)


def test_update_every_s_limits_updates():
    rule = zone(update_every_s=2.0)
    events = run(rule, [walk(7, k / 10, 0.5) for k in range(100)])
    assert [e.type for e in events] == ["new"] + ["update"] * 4


def test_a_gap_shorter_than_grace_s_does_not_end_the_event():
    rule = zone(grace_s=1.0)
    frames = [frame(k / 10, objects=objects((7, 0.5, 0.5)) if k % 8 < 4 else objects()) for k in range(80)]
    events = run(rule, frames) + finish(rule)
    assert [e.type for e in events if e.type != "update"] == ["new", "end"]
    assert events[-1].value["reason"] == "shutdown"
    assert events[-1].value["dwell_s"] >= 7.0


def test_occupancy_counts_all_objects_inside():
    rule = zone()
    run(rule, [frame(0, objects=objects((1, 0.45, 0.5), (2, 0.55, 0.5), (3, 0.9, 0.9)))])
    assert rule.overlay()[0].text == "rule: 2"


def test_occupancy_counts_only_objects_that_have_stayed_dwell_s():
    rule = zone(dwell_s=2.0, update_every_s=0.1)
    rows = [(1, 0.45, 0.5)], [(1, 0.45, 0.5), (2, 0.55, 0.5)]  # the second one enters after 3 seconds
    events = run(rule, [frame(k / 10, objects=objects(*rows[k >= 30])) for k in range(60)])
    seen = {(e.value["track_id"], e.value["occupancy"]) for e in events if e.start_ns == 0 and e.type != "end"}
    assert seen == {(1, 1), (1, 2)}
    assert [e.value["occupancy"] for e in events if e.type == "new"] == [1, 2]
    assert rule.overlay()[0].text == "rule: 2"


def test_occupancy_of_an_end_is_the_number_of_objects_that_stay():
    rule = zone(dwell_s=1.0, grace_s=0.5)
    both, one = objects((1, 0.45, 0.5), (2, 0.55, 0.5)), objects((2, 0.55, 0.5))
    events = run(rule, [frame(k / 10, objects=both if k < 20 else one) for k in range(40)])
    assert [(e.type, e.value["track_id"], e.value["occupancy"]) for e in events if e.type != "update"] == [
        ("new", 1, 2),
        ("new", 2, 2),
        ("end", 1, 1),
    ]


def test_a_box_that_touches_the_lower_border_is_in_a_zone_that_covers_the_image():
    whole = Rule(context("zone"), head="objects", polygon=((0, 0), (1, 0), (1, 1), (0, 1)))
    boxes = objects((1, 0.5, 1.0), (2, 0.3, 1.2), (3, 1.0, 0.5), (4, 0.0, 0.1), size=(0.1, 0.3))
    assert sorted(e.value["track_id"] for e in run(whole, [frame(0, objects=boxes)])) == [1, 2, 3, 4]


@given(st.lists(st.tuples(st.floats(-0.1, 1.2), st.floats(-0.1, 1.2)), min_size=1, max_size=30), st.floats(0.05, 0.95))
def test_two_zones_that_share_an_edge_and_cover_the_image_have_each_object_once(points, slant):
    left = Rule(context("zone"), head="objects", polygon=((0, 0), (slant, 0), (1 - slant, 1), (0, 1)))
    right = Rule(context("zone"), head="objects", polygon=((slant, 0), (1, 0), (1, 1), (1 - slant, 1)))
    boxes = objects(*((i + 1, x, y) for i, (x, y) in enumerate([*points, (0.5, 0.5)])))
    events = run(left, [frame(0, objects=boxes)]) + run(right, [frame(0, objects=boxes)])
    assert sorted(e.value["track_id"] for e in events) == list(range(1, len(points) + 2))


@pytest.mark.parametrize(("anchor", "inside"), [("bottom", False), ("center", True), ("top", False)])
def test_the_anchor_decides_what_is_inside(anchor, inside):
    rule = zone(anchor=anchor)
    tall = objects((1, 0.5, 0.7), size=(0.05, 0.4))  # from 0.3 to 0.7
    assert bool(run(rule, [frame(0, objects=tall)])) is inside


def test_ignored_regions_other_labels_and_low_scores_are_skipped():
    masked = zone(ignore=(((0.45, 0.45), (0.55, 0.45), (0.55, 0.55), (0.45, 0.55)),))
    people = zone(labels=("person",))
    sure = zone(min_score=0.95)
    car = frame(0, objects=objects((1, 0.5, 0.5, 1)))
    assert run(masked, [car]) == run(people, [car]) == run(sure, [car]) == []
    assert len(run(zone(labels=("car",)), [car])) == 1


def test_detections_without_a_track_id_are_skipped():
    assert run(zone(), [walk(0, k / 10, 0.5) for k in range(10)]) == []


def test_a_frame_without_the_head_changes_nothing():
    rule = zone()
    run(rule, [walk(1, 0, 0.5)])
    assert run(rule, [frame(5.0)]) == []


def test_the_head_must_be_tracked():
    with pytest.raises(OptionError, match=r"'objects' is not tracked, no head is; expected track: \{head: objects\}"):
        Rule(context("zone", tracked=None), head="objects", polygon=SQUARE)


STEP = st.tuples(
    st.floats(-3, 5),  # seconds since the frame before; negative if the clock goes back
    st.integers(-(10**12), 10**12),  # offset of UTC, ns
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1), st.floats(0, 1)), max_size=4, unique_by=lambda row: row[0]),
)


@given(st.lists(STEP, max_size=40), st.floats(0, 3), st.floats(0, 3), st.floats(0, 3))
def test_every_new_has_one_end_and_dwell_is_never_negative_under_clock_steps(steps, dwell_s, grace_s, every_s):
    rule = zone(dwell_s=dwell_s, grace_s=grace_s, update_every_s=every_s)
    events, t_s = [], 100.0
    for step, utc_ns, rows in steps:
        t_s = max(0.0, t_s + step)
        events += run(rule, [frame(t_s, utc_ns=10**18 + utc_ns, objects=objects(*rows))])
    check_events(events + finish(rule, t_s=t_s))


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_occupancy_agrees_with_a_simple_count(points):
    points = np.round(points, 3)
    rule = zone()
    run(rule, [frame(0, objects=objects(*((i + 1, x, y) for i, (x, y) in enumerate(points))))])
    on_border = [(x in (0.4, 0.6) and 0.4 <= y <= 0.6) or (y in (0.4, 0.6) and 0.4 <= x <= 0.6) for x, y in points]
    inside = [0.4 < x < 0.6 and 0.4 < y < 0.6 for x, y in points]
    count = int(rule.overlay()[0].text.removeprefix("rule: "))
    assert sum(inside) <= count <= sum(inside) + sum(on_border)


def test_the_feet_of_a_pose_decide_where_it_is():
    """The box ends in the square, the ankles are left of it; without keypoints, its bottom counts."""
    keypoints = np.zeros((1, 17, 3), np.float32)
    keypoints[0, 15:] = [0.2 * WIDTH, 0.5 * HEIGHT, 0.9]
    pose = replace(objects((7, 0.5, 0.5)), keypoints=keypoints)
    for anchor, found, count in (("feet", pose, 0), ("bottom", pose, 1), ("feet", objects((7, 0.5, 0.5)), 1)):
        events = run(zone(anchor=anchor), [frame(k / 10, objects=found) for k in range(20)])
        assert sum(event.type == "new" for event in events) == count
