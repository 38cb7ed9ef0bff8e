"""scene: each camera fault is one event, even if the head flickers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.errors import OptionError
from edge_app.rules.scene import Rule

from .frames import SECOND, check_events, context, finish, frame, run, scene


def camera(**options):
    return Rule(context("scene"), head="scene", **options)


def film(*spells, interval_s=0.1):
    labels = [label for label, count in spells for _ in range(count)]
    return [frame(k * interval_s, scene=scene(label)) for k, label in enumerate(labels)]


def test_each_fault_is_one_event():
    events = run(camera(), film(("ok", 20), ("dark", 20), ("ok", 20), ("covered", 15), ("blurred", 15), ("ok", 20)))
    found = [(e.type, e.value["state"], e.value.get("reason")) for e in events]
    assert found == [
        ("new", "dark", None),
        ("end", "dark", "cleared"),
        ("new", "covered", None),
        ("end", "covered", "changed"),
        ("new", "blurred", None),
        ("end", "blurred", "cleared"),
    ]
    assert (events[0].start_ns, events[1].end_ns) == (2 * SECOND, 4 * SECOND)
    check_events(events)


def test_a_single_result_is_not_a_fault_even_if_the_head_is_slow():
    rule = camera(after_s=0.5)
    assert run(rule, film(("ok", 5), ("covered", 1), ("ok", 5), interval_s=5.0)) == []


def test_two_results_of_a_slow_head_are_a_fault():
    rule = camera(after_s=0.5)
    events = run(rule, film(("ok", 5), ("covered", 2), interval_s=5.0))
    assert [e.value["state"] for e in events] == ["covered"]


def test_held_results_do_not_count():
    rule = camera(after_s=0.5)
    run(rule, [frame(0, scene=scene("covered"))])
    assert run(rule, [frame(k / 10, age_s=k / 10, scene=scene("covered")) for k in range(1, 50)]) == []


def test_results_below_min_score_do_not_count():
    rule = camera(min_score=0.6)
    assert run(rule, [frame(k / 10, scene=scene("dark", 0.5)) for k in range(50)]) == []


def test_a_lost_camera_ends_the_event_and_a_lasting_fault_starts_another():
    rule = camera()
    events = run(rule, film(("dark", 20)))
    events += finish(rule, "source_lost", 2)
    events += run(rule, [frame(10 + k / 10, scene=scene("dark")) for k in range(20)])
    events += finish(rule, "shutdown", 20)
    assert [(e.type, e.value.get("reason")) for e in events] == [
        ("new", None),
        ("end", "source_lost"),
        ("new", None),
        ("end", "shutdown"),
    ]
    check_events(events)


def test_ok_must_be_a_label_of_the_head():
    with pytest.raises(OptionError, match="no class 'okay'; did you mean 'ok'"):
        camera(ok="okay")


@given(st.lists(st.sampled_from(["ok", "dark", "blurred", "covered"]), max_size=80))
def test_every_new_has_one_end(labels):
    rule = camera(after_s=0.2, clear_s=0.2)
    check_events(run(rule, film(*((label, 1) for label in labels))) + finish(rule))
