"""line: every crossing counts once, by direction; jitter counts nothing."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.rules.line import Rule

from .frames import HEIGHT, WIDTH, check_events, context, finish, frame, objects, run

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


@given(st.integers(0, 12), st.floats(0.06, 0.3), st.integers(1, 30))
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
