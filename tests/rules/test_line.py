"""line: every crossing counts once, by direction; jitter, wrong boxes and objects that come into view count nothing."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.rules.line import Rule

from .frames import HEIGHT, SECOND, WIDTH, check_events, context, finish, frame, objects, run

UPRIGHT = ((0.5, 0.9), (0.5, 0.1))  # points up, so that `in` is from left to right


def line(**options):
    return Rule(context("line"), head="objects", line=options.pop("line", UPRIGHT), **options)


def walk(points, track=1, start_s=0.0):
    return [frame(start_s + k / 10, objects=objects((track, x, y))) for k, (x, y) in enumerate(points)]


def steps(*stops, n=10):
    """Points from stop to stop, n for each leg."""
    legs = [np.linspace(a, b, n, endpoint=False) for a, b in pairwise(stops)]
    return [*np.concatenate(legs), np.array(stops[-1])]


def test_in_is_from_left_to_right_along_the_line():
    rule = line()
    events = run(rule, walk(steps((0.3, 0.5), (0.7, 0.5), (0.3, 0.5))))
    assert [(e.type, e.value["direction"]) for e in events] == [
        ("new", "in"),
        ("end", "in"),
        ("new", "out"),
        ("end", "out"),
    ]
    assert (events[-1].value["in"], events[-1].value["out"]) == (1, 1)
    check_events(events)


def test_reversing_the_line_reverses_the_directions():
    events = run(line(line=(UPRIGHT[1], UPRIGHT[0])), walk(steps((0.3, 0.5), (0.7, 0.5))))
    assert events[0].value["direction"] == "out"


@given(st.integers(0, 12), st.floats(0.06, 0.3), st.integers(10, 30))
def test_n_crossings_count_n(n, reach, pace):
    stops = [(0.5 + (reach if k % 2 else -reach), 0.5) for k in range(n + 1)]
    events = run(line(), walk(steps(*stops, n=pace) if n else stops))
    assert sum(e.type == "new" for e in events) == n
    check_events(events)


@given(st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=2, max_size=100), st.floats(0, np.pi))
def test_jitter_of_two_pixels_on_the_line_counts_nothing(offsets, angle):
    along = np.array([np.cos(angle), np.sin(angle)]) * 0.3
    ends = (tuple((0.5 - along).tolist()), tuple((0.5 + along).tolist()))
    points = [(0.5 + dx / WIDTH, 0.5 + dy / HEIGHT) for dx, dy in offsets]
    assert run(line(line=ends), walk(points)) == []


@given(st.lists(st.floats(-2, 2), min_size=5, max_size=50))
def test_jitter_while_crossing_counts_once(offsets):
    steady = steps((0.4, 0.5), (0.5, 0.5)) + [(0.5 + dx / WIDTH, 0.5) for dx in offsets] + steps((0.5, 0.5), (0.6, 0.5))
    assert sum(e.type == "new" for e in run(line(), walk(steady))) == 1


def test_passing_the_end_of_the_line_is_not_a_crossing():
    assert run(line(), walk(steps((0.4, 0.5), (0.4, 0.05), (0.6, 0.05), (0.6, 0.5)))) == []


def test_two_objects_are_counted_separately():
    there = steps((0.3, 0.4), (0.7, 0.4))
    frames = [frame(k / 10, objects=objects((1, x, y), (2, 1 - x, y + 0.3))) for k, (x, y) in enumerate(there)]
    rule = line()
    run(rule, frames)
    assert rule.overlay()[0].text == "rule: in 1, out 1"


@pytest.mark.parametrize(("direction", "expected"), [("both", 2), ("in", 1), ("out", 1)])
def test_only_the_configured_direction_is_published(direction, expected):
    events = run(line(direction=direction), walk(steps((0.3, 0.5), (0.7, 0.5), (0.3, 0.5))))
    assert sum(e.type == "new" for e in events) == expected


def test_counts_survive_a_lost_camera_but_paths_do_not():
    rule = line()
    run(rule, walk(steps((0.3, 0.5), (0.7, 0.5))))
    assert finish(rule, "source_lost") == []
    events = run(rule, walk([(0.3, 0.5)], start_s=60)) + run(rule, walk(steps((0.3, 0.5), (0.7, 0.5)), start_s=61))
    assert [e.value["in"] for e in events if e.type == "new"] == [2]


def test_paths_of_absent_objects_are_dropped():
    rule = line()
    for k in range(2_000):
        run(rule, [frame(k / 10, objects=objects((k + 1, 0.3, 0.5)))])
    assert len(rule._paths) <= 102


def crossings(rule, frames):
    """The directions of all crossings, and their times in seconds."""
    return [(e.value["direction"], e.start_ns / SECOND) for e in run(rule, frames) if e.type == "new"]


def at(*xs, y=0.5, size=(0.05, 0.1), fps=10):
    """One object at these x, one frame each; None: not detected."""
    return [frame(k / fps, objects=objects() if x is None else objects((1, x, y), size=size)) for k, x in enumerate(xs)]


def test_the_time_of_a_crossing_is_that_of_the_first_frame_beyond_the_line():
    assert crossings(line(), at(0.3, 0.4, 0.49, 0.51, 0.55, 0.6, 0.65, 0.7)) == [("in", 0.3)]


def test_one_wrong_box_is_not_a_crossing():
    assert crossings(line(), at(*[0.4] * 10, 0.6, *[0.4] * 10, 0.8, *[0.4] * 10)) == []


def test_a_wrong_box_before_the_crossing_counts_once():
    assert crossings(line(), at(0.4, 0.4, 0.6, 0.4, 0.45, *[0.55] * 5)) == [("in", 0.5)]


def test_a_visit_shorter_than_confirm_s_is_not_a_crossing():
    visit = at(*[0.4] * 5, 0.55, 0.55, *[0.4] * 5)
    assert crossings(line(), visit) == []
    assert crossings(line(confirm_s=0.1), visit) == [("in", 0.5), ("out", 0.7)]


def test_turning_back_beyond_the_line_counts_both_ways():
    assert crossings(line(), at(*[0.4] * 5, *[0.56] * 5, *[0.4] * 5)) == [("in", 0.5), ("out", 1.0)]


def test_the_margin_grows_with_the_object():
    near_line = [*[0.4] * 5, *[0.52] * 20]  # 13 pixels beyond it
    assert crossings(line(), at(*near_line, y=0.9, size=(0.2, 0.8))) == []  # 384 pixels high
    assert crossings(line(), at(*near_line, size=(0.05, 0.1))) == [("in", 0.5)]
    assert crossings(line(margin=0.03), at(*near_line, y=0.9, size=(0.2, 0.8))) == [("in", 0.5)]


@given(st.lists(st.floats(-0.06, 0.06), min_size=20, max_size=60))
def test_an_object_that_stands_on_the_line_and_sways_within_the_margin_has_not_crossed(offsets):
    sway = [0.5 + share * 0.3 * HEIGHT / WIDTH for share in offsets]  # shares of its height
    assert crossings(line(), at(*[0.4] * 5, *sway, size=(0.1, 0.3))) == []


def test_an_object_that_appears_on_the_line_has_not_crossed():
    assert crossings(line(), at(0.5, 0.5, 0.5, 0.55, *[0.6] * 10)) == []


def test_an_object_that_is_hidden_while_it_crosses_has_crossed():
    assert crossings(line(), at(0.4, 0.42, 0.44, *[None] * 8, 0.58, 0.6, 0.62, 0.64)) == [("in", 1.1)]


@pytest.mark.parametrize("fps", [0.5, 1, 2, 5])
def test_two_frames_beyond_the_line_are_enough_at_a_low_rate(fps):
    events = crossings(line(), at(0.3, 0.45, 0.55, 0.7, 0.8, fps=fps))
    assert events == [("in", 2 / fps)]


def test_an_object_that_was_half_hidden_has_not_crossed_when_it_is_seen_whole():
    across = ((0.1, 0.6), (0.9, 0.6))
    hidden = [frame(k / 10, objects=objects((1, 0.5, 0.5), size=(0.1, 0.2))) for k in range(10)]
    whole = [frame(1 + k / 10, objects=objects((1, 0.5, 0.75), size=(0.12, 0.45))) for k in range(20)]
    assert crossings(line(line=across), hidden + whole) == []
    walks = [frame(k / 10, objects=objects((1, 0.5, 0.5 + k / 100), size=(0.12, 0.45))) for k in range(30)]
    assert len(crossings(line(line=across), walks)) == 1


def test_a_box_that_contains_a_second_object_for_a_moment_delays_the_crossing():
    sizes = [(0.05, 0.2)] * 6 + [(0.15, 0.2)] * 4 + [(0.05, 0.2)] * 6
    frames = [frame(k / 10, objects=objects((1, 0.4 + k / 50, 0.5), size=size)) for k, size in enumerate(sizes)]
    assert crossings(line(), frames) == [("in", 0.5)]


def test_an_object_that_leaves_the_image_right_after_the_line_has_crossed():
    leaving = at(0.4, 0.44, 0.48, 0.52, 0.56, *[None] * 12)
    assert crossings(line(), leaving) == [("in", 0.3)]
    rule = line()
    assert run(rule, leaving[:5]) == []
    ended = finish(rule, "end_of_clip", 0.4)
    assert [(e.type, e.value["in"]) for e in ended] == [("new", 1), ("end", 1)]


def pair(t_s, *rows):
    """People 0.08 wide and 0.3 high."""
    return frame(t_s, objects=objects(*rows, size=(0.08, 0.3)))


def test_two_people_who_cross_as_one_box_are_two_crossings():
    together = [pair(k / 10, (1, 0.3 + k / 50, 0.6)) for k in range(13)]
    apart = [pair(k / 10, (1, 0.28 + k / 50, 0.6), (2, 0.34 + k / 50, 0.6)) for k in range(13, 25)]
    assert [direction for direction, _ in crossings(line(), together + apart)] == ["in", "in"]


def test_a_person_behind_whom_another_one_walks_past_has_not_crossed():
    walk = [pair(k / 10, (1, 0.3 + k / 50, 0.6)) for k in range(13)]
    standing = [pair(k / 10, (1, 0.3 + k / 50, 0.6), (2, 0.58, 0.6)) for k in range(13, 30)]
    assert crossings(line(), walk + standing) == [("in", 1.0)]


def test_a_second_box_of_the_same_person_is_not_a_crossing():
    walk = [pair(k / 10, (1, 0.3 + k / 50, 0.6)) for k in range(13)]
    double = [pair(k / 10, (1, 0.3 + k / 50, 0.6), (2, 0.31 + k / 50, 0.6)) for k in range(13, 30)]
    assert crossings(line(), walk + double) == [("in", 1.0)]


def test_a_new_track_id_beyond_the_line_is_not_a_second_crossing():
    walk = [pair(k / 10, (1, 0.3 + k / 50, 0.6)) for k in range(14)]
    renamed = [pair(k / 10, (2, 0.3 + k / 50, 0.6)) for k in range(14, 30)]
    assert crossings(line(), walk + renamed) == [("in", 1.0)]
