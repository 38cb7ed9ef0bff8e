"""Frigate's events, counts, snapshots and switches.

Fields: TrackedObject.to_dict of blakeblackshear/frigate, 0.16. Consumers: the sensors, binary sensors, switches and
images of blakeblackshear/frigate-hass-integration, at 8b49db24a183, db561bc32140, 387af4d37f9a and 0e900934e183.
"""

import json
import re

import jsonschema
import pytest

from tests.dialects.conftest import make, recorded, seen

NUMBER, TEXT, FLAG = {"type": "number"}, {"type": "string"}, {"type": "boolean"}
NULLABLE = {"type": ["number", "null"]}
NAMES = {"type": "array", "items": TEXT, "uniqueItems": True}
CORNERS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 4, "maxItems": 4}
OBJECT = {
    "id": {"type": "string", "pattern": r"^[0-9]+\.[0-9]{1,6}-[a-z0-9]{6}$"},
    "camera": {"type": "string", "pattern": "^[a-zA-Z0-9_-]+$"},
    "frame_time": NUMBER,
    "snapshot": {"type": ["object", "null"]},
    "label": TEXT,
    "sub_label": {"type": ["string", "array", "null"]},
    "top_score": {"type": "number", "minimum": 0, "maximum": 1},
    "false_positive": {"const": False},
    "start_time": NUMBER,
    "end_time": NULLABLE,
    "score": {"type": "number", "minimum": 0, "maximum": 1},
    "box": CORNERS,
    "area": {"type": "integer", "minimum": 0},
    "ratio": {"type": "number", "minimum": 0},
    "region": CORNERS,
    "active": FLAG,
    "stationary": FLAG,
    "motionless_count": {"type": "integer", "minimum": 0},
    "position_changes": {"type": "integer", "minimum": 0},
    "current_zones": NAMES,
    "entered_zones": NAMES,
    "has_clip": FLAG,
    "has_snapshot": FLAG,
    "attributes": {"type": "object"},
    "current_attributes": {"type": "array"},
    "pending_loitering": FLAG,
    "max_severity": {"enum": ["alert", "detection", None]},
    "current_estimated_speed": NUMBER,
    "average_estimated_speed": NUMBER,
    "velocity_angle": NUMBER,
    "path_data": {"type": "array"},
    "recognized_license_plate": {"type": ["string", "null"]},
}
STATE = {"type": "object", "properties": OBJECT, "required": list(OBJECT), "additionalProperties": False}
EVENT = jsonschema.Draft202012Validator(
    {
        "type": "object",
        "properties": {"type": {"enum": ["new", "update", "end"]}, "before": STATE, "after": STATE},
        "required": ["type", "before", "after"],
        "additionalProperties": False,
    }
)


def events(published):
    return [json.loads(each.payload) for each in published if each.topic == "events"]


def counts(published):
    return {each.topic: each.payload.decode() for each in published if re.fullmatch(rb"[0-9]+", each.payload)}


def converted(dialect, *messages):
    return [each for message in messages for each in dialect.convert(message)]


def test_recorded_events_follow_the_schema():
    dialect = make("frigate")
    found = events(converted(dialect, *recorded()))
    assert {"new", "update", "end"} <= {each["type"] for each in found}
    for each in found:
        EVENT.validate(each)
        assert (each["after"]["end_time"] is not None) == (each["type"] == "end")
        assert each["before"]["id"] == each["after"]["id"]
        assert each["before"]["end_time"] is None


def test_each_object_has_one_new_and_then_at_most_one_end():
    began, ended = set(), set()
    for each in events(converted(make("frigate"), *recorded())):
        id_ = each["after"]["id"]
        assert not (each["type"] == "new" and id_ in began)
        assert not (id_ in began and id_ in ended)
        (ended if each["type"] == "end" else began).add(id_)
    assert len(began & ended) >= 3


def test_an_object_in_two_zones_is_one_event_until_it_has_left_both(script):
    dialect = make("frigate")
    published = converted(
        dialect,
        script.event("new", "zone", "a", seen(), "yard"),
        script.event("new", "zone", "b", seen(score=0.95), "drive way"),
        script.event("end", "zone", "a", seen(), "yard"),
        script.event("end", "zone", "b", seen(), "drive way"),
    )
    found = events(published)
    assert [each["type"] for each in found] == ["new", "update", "update", "end"]
    assert [each["after"]["current_zones"] for each in found] == [
        ["yard"],
        ["yard", "drive_way"],
        ["drive_way"],
        [],
    ]
    assert found[3]["after"]["entered_zones"] == ["yard", "drive_way"]
    assert [each["after"]["top_score"] for each in found] == [0.9, 0.95, 0.95, 0.95]
    assert len({each["after"]["id"] for each in found}) == 1
    assert [found[i + 1]["before"] == found[i]["after"] for i in range(3)] == [True] * 3


def test_the_box_is_in_pixels_of_the_last_result(script):
    dialect = make("frigate")
    (event,) = events(converted(dialect, script.result([]), script.event("new", "stationary", "a", seen())))
    after = event["after"]
    assert after["box"] == [160, 240, 320, 480]
    assert (after["area"], after["ratio"], after["region"]) == (160 * 240, 0.67, [0, 0, 640, 480])
    assert after["stationary"]
    assert not after["active"]


def test_a_crossed_line_is_an_entered_zone(script):
    dialect = make("frigate")
    messages = [script.event(type_, "line", "a", seen(), "gate") for type_ in ("new", "end")]
    new, end = events(converted(dialect, *messages))
    assert (new["type"], end["type"]) == ("new", "end")
    assert new["after"]["entered_zones"] == ["gate"]
    assert new["after"]["current_zones"] == []


@pytest.mark.parametrize("type_", ["update", "end"])
def test_an_event_that_began_before_a_restart_keeps_its_id(type_, script):
    (new,) = events(converted(make("frigate"), script.event("new", "zone", "a", seen())))
    restarted = converted(make("frigate"), script.event(type_, "zone", "a", seen()))
    (found,) = events(restarted)
    EVENT.validate(found)
    assert (found["type"], found["after"]["id"]) == (type_, new["after"]["id"])
    inside = "0" if type_ == "end" else "1"
    assert counts(restarted) == {"door/person": inside, "door/all": inside}


def test_counts_of_a_camera_are_published_when_they_change(script):
    dialect, dog = make("frigate"), {"label": "dog", "score": 0.8, "box": [0, 0, 1, 1]}
    person = {**dog, "label": "person"}
    steps = [
        ([person, person], {"gate/person": "2", "gate/all": "2"}),
        ([person, person], {}),
        ([person, dog], {"gate/person": "1", "gate/dog": "1"}),
        ([], {"gate/person": "0", "gate/dog": "0", "gate/all": "0"}),
    ]
    for detections, expected in steps:
        assert counts(converted(dialect, script.result(detections))) == expected
    assert counts(dialect.state()) == {"gate/person": "0", "gate/dog": "0", "gate/all": "0"}


def test_a_tracked_head_counts_only_objects_with_a_track(script):
    dialect, loose = make("frigate"), {"label": "person", "score": 0.5, "box": [0, 0, 1, 1]}
    assert counts(converted(dialect, script.result([seen(), loose])))["gate/person"] == "1"
    assert counts(converted(dialect, script.result([loose])))["gate/person"] == "0"


def test_counts_of_a_zone_follow_its_events(script):
    dialect = make("frigate")
    steps = [
        ("new", "a", "person", {"door/person": "1", "door/all": "1"}),
        ("new", "b", "dog", {"door/dog": "1", "door/all": "2"}),
        ("update", "a", "person", {}),
        ("end", "a", "person", {"door/person": "0", "door/all": "1"}),
        ("end", "b", "dog", {"door/dog": "0", "door/all": "0"}),
    ]
    for track, (type_, id_, label, expected) in enumerate(steps):
        message = script.event(type_, "zone", id_, seen(track_id=track + 1, label=label))
        assert counts(converted(dialect, message)) == expected


def test_a_snapshot_is_published_once_when_its_file_is_there(script):
    images = {}
    dialect = make("frigate", images)
    assert all(
        each.topic != "gate/person/snapshot" for each in dialect.convert(script.event("new", "zone", "a", seen()))
    )
    images["a"] = b"\xff\xd8jpeg"
    (snapshot,) = [
        each for each in dialect.convert(script.event("update", "zone", "a", seen())) if each.topic.endswith("snapshot")
    ]
    assert (snapshot.topic, snapshot.payload, snapshot.retain) == ("gate/person/snapshot", b"\xff\xd8jpeg", True)
    assert all(each.topic == "events" for each in dialect.convert(script.event("update", "zone", "a", seen())))


def test_switches_show_what_runs():
    state = {each.topic: (each.payload, each.retain) for each in make("frigate").state()}
    assert state["gate/detect/state"] == (b"ON", True)
    assert state["gate/recordings/state"] == (b"OFF", True)
    assert make("frigate").commands == ("gate/+/set",)


@pytest.mark.parametrize("kind", ["count", "reading", "scene", "runtime"])
def test_events_without_an_object_are_not_frigate_s(kind, script):
    assert converted(make("frigate"), script.event("new", kind, "a", {"count": 2})) == []


def test_detect_is_switched_by_a_command_and_its_state_is_the_one_in_effect(script):
    dialect = make("frigate")
    assert dialect.command("cam_era/detect/set", b"OFF") is None
    assert dialect.command(f"{dialect.commands[0].split('/')[0]}/detect/set", b"OFF") == ("detect", b"OFF")
    for value in ("OFF", "ON"):
        (published,) = dialect.convert(script.event("new", "runtime", value, {"command": "detect", "value": value}))
        assert published.topic.endswith("/detect/state")
        assert (published.payload, published.retain) == (value.encode(), True)
        assert published in dialect.state()
    assert dialect.convert(script.event("new", "runtime", "x", {"command": "rules/a", "value": "OFF"})) == []
