"""count: an event while there are enough objects; a flickering number changes nothing."""

from edge_app.rules.count import Rule

from .frames import SECOND, check_events, context, finish, frame, objects, run


def count(**options):
    return Rule(context("count", tracked=None), head="objects", **options)


def people(t_s, n, class_id=0):
    return frame(t_s, objects=objects(*((0, 0.1 + 0.1 * i, 0.5, class_id) for i in range(n))))


def test_an_event_lasts_while_there_are_enough_objects():
    rule = count(at_least=2, stable_s=0.3)
    numbers = [1] * 10 + [3] * 20 + [0] * 10
    events = run(rule, [people(k / 10, n) for k, n in enumerate(numbers)])
    assert [(e.type, e.value["count"]) for e in events] == [("new", 3), ("end", 0)]
    assert (events[0].start_ns, events[1].end_ns) == (1 * SECOND, 3 * SECOND)
    assert events[0].value["labels"] == {"person": 3}
    check_events(events)


def test_a_flickering_number_changes_nothing():
    rule = count(at_least=2, stable_s=0.5)
    events = run(rule, [people(k / 10, 2 if k < 20 else 2 + k % 2) for k in range(60)])
    assert [e.type for e in events] == ["new"]


def test_missed_detections_do_not_end_the_event():
    rule = count(at_least=3, stable_s=0.5)
    events = run(rule, [people(k / 10, 2 if k % 4 == 3 else 3) for k in range(60)])
    assert [(e.type, e.value["count"]) for e in events] == [("new", 3)]


def test_update_every_s_limits_updates():
    rule = count(stable_s=0.1, update_every_s=2.0)
    events = run(rule, [people(k / 10, 1 + (k // 10) % 3) for k in range(100)])
    assert events[0].type == "new"
    updates = [e for e in events if e.type == "update"]
    assert 3 <= len(updates) <= 5


def test_only_objects_in_the_polygon_count():
    left = ((0.0, 0.0), (0.25, 0.0), (0.25, 1.0), (0.0, 1.0))
    rule = count(polygon=left, stable_s=0.0)
    events = run(rule, [people(0, 5)])
    assert [e.value["count"] for e in events] == [2]


def test_objects_that_touch_the_lower_border_count():
    whole = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    standing = frame(0, objects=objects((0, 0.3, 1.0), (0, 0.6, 1.0), (0, 0.9, 0.5)))
    assert run(count(polygon=whole, stable_s=0.0), [standing])[0].value["count"] == 3
    assert run(count(ignore=(whole,), stable_s=0.0), [standing]) == []


def test_only_the_configured_labels_count():
    rule = count(labels=("car",), stable_s=0.0)
    assert run(rule, [people(0, 3)]) == []
    assert run(rule, [people(1, 2, class_id=1)])[0].value["labels"] == {"car": 2}


def test_a_shutdown_ends_the_event():
    rule = count(stable_s=0.0)
    events = run(rule, [people(0, 1)]) + finish(rule, "shutdown", 5)
    assert events[-1].value == {"count": 1, "labels": {"person": 1}, "reason": "shutdown"}
    check_events(events)
