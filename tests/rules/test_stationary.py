"""stationary: one event for each stationary object, even if its track id changes."""

from hypothesis import given
from hypothesis import strategies as st

from edge_app.rules.stationary import Rule

from .frames import SECOND, check_events, context, finish, frame, objects, run


def stationary(**options):
    return Rule(context("stationary"), head="objects", **options)


def stay(track, k, x=0.5, y=0.5):
    return frame(k / 2, objects=objects((track, x, y), size=(0.2, 0.3)))


def test_a_stationary_object_is_one_event():
    rule = stationary(after_s=10)
    events = run(rule, [frame(k / 2) if k < 20 else stay(1, k) for k in range(1_000)])
    assert [e.type for e in events] == ["new"]
    assert events[0].start_ns == 10 * SECOND
    assert events[0].value["stayed_s"] == 10.0


def test_objects_present_at_the_start_are_marked():
    rule = stationary(after_s=5)
    frames = [
        frame(k / 2, objects=objects((1, 0.3, 0.5), *([(2, 0.7, 0.5)] if k > 20 else []), size=(0.2, 0.3)))
        for k in range(60)
    ]
    events = run(rule, frames)
    assert [(e.value["track_id"], e.value["from_start"]) for e in events] == [(1, True), (2, False)]


def test_a_walking_object_is_not_stationary():
    rule = stationary(after_s=3)
    assert run(rule, [stay(1, k, x=0.1 + 0.01 * k) for k in range(80)]) == []


def test_moving_away_ends_the_event_at_the_last_detection():
    rule = stationary(after_s=5)
    events = run(rule, [stay(1, k, x=0.3 if k < 30 else 0.7) for k in range(35)])
    assert [(e.type, e.value.get("reason")) for e in events] == [("new", None), ("end", "moved")]
    assert events[-1].end_ns == 14.5 * SECOND
    check_events(events)


def test_an_absent_object_ends_the_event_after_grace_s():
    rule = stationary(after_s=5, grace_s=4)
    events = run(rule, [stay(1, k) if k < 20 else frame(k / 2, objects=objects()) for k in range(40)])
    assert events[-1].value["reason"] == "gone"
    assert events[-1].end_ns == 9.5 * SECOND


def test_a_flickering_false_positive_with_new_ids_is_one_event():
    rule = stationary(after_s=5)
    frames = [stay(1 + k // 6, k) if k % 6 < 3 else frame(k / 2, objects=objects()) for k in range(400)]
    events = run(rule, frames)
    assert [e.type for e in events] == ["new"]


def test_jittering_boxes_stay():
    rule = stationary(after_s=5)
    events = run(rule, [stay(1, k, x=0.5 + 0.01 * (-1) ** k) for k in range(40)])
    assert [e.type for e in events] == ["new"]


@given(st.lists(st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0.2, 0.5, 0.8])), max_size=3), max_size=60))
def test_every_new_has_one_end(crowds):
    rule = stationary(after_s=1, grace_s=1)
    frames = []
    for k, crowd in enumerate(crowds):
        rows = {track: (track, x, 0.5) for track, x in crowd}
        frames.append(frame(k / 2, objects=objects(*rows.values(), size=(0.2, 0.3))))
    check_events(run(rule, frames) + finish(rule))
