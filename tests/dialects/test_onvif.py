"""ONVIF's JSON: the grammar of the Core Specification (onvif-ej) and the rules of the Analytics Service (onvif-mj).

Checked against onvif/specs, doc/Core.xml at 003b65c10b90 ("Topic Structure", "JSON Event Payload", "Property events")
and doc/Analytics.xml at 007b89a01af8 (Annex A; "ONVIF Metadata in JSON over MQTT").
"""

import json

import jsonschema
import pytest

from tests.dialects.conftest import make, recorded, seen

ITEM = {"type": ["string", "number", "boolean"]}
ITEMS = {"type": "object", "additionalProperties": ITEM}
TIME = {"type": "string", "pattern": r"^[0-9-]{10}T[0-9:]{8}\.[0-9]{3}Z$"}
EJ = jsonschema.Draft202012Validator(
    {
        "type": "object",
        "properties": {"UtcTime": TIME, "Source": {**ITEMS, "minProperties": 1}, "Data": ITEMS},
        "required": ["UtcTime", "Source"],
        "additionalProperties": False,
    }
)
UNIT = {"type": "number", "minimum": -1, "maximum": 1}


def closed(**properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


POINT = closed(**{"@x": UNIT, "@y": UNIT})
SHAPE = closed(
    BoundingBox=closed(**{f"@{side}": UNIT for side in ("left", "top", "right", "bottom")}), CenterOfGravity=POINT
)
SHAPE["properties"]["Polygon"] = {
    "type": "array",
    "items": closed(Point={"type": "array", "items": POINT, "minItems": 3}),
}
LIKELIHOOD = closed(**{"@Likelihood": {"type": "number", "minimum": 0, "maximum": 1}, "#text": {"type": "string"}})
APPEARANCE = closed(Shape=SHAPE, Class=closed(Type={"type": "array", "items": LIKELIHOOD, "minItems": 1}))
OBJECT = closed(Appearance=APPEARANCE)
OBJECT["properties"]["@ObjectId"] = {"type": "integer", "minimum": 1}
FRAME = closed(**{"@UtcTime": TIME, "@Source": {"type": "string"}})
FRAME["properties"]["Object"] = {"type": "array", "items": OBJECT, "minItems": 1}
MJ = jsonschema.Draft202012Validator(closed(Frame={"type": "array", "items": FRAME, "minItems": 1}))


def one(dialect, message):
    (published,) = dialect.convert(message)
    return published


def test_recorded_messages_follow_the_rules_of_onvif():
    dialect, kinds = make("onvif"), set()
    for message in recorded():
        for each in dialect.convert(message):
            prefix = each.topic.split("/")[0]
            kinds.add(prefix)
            if each.payload:
                body = json.loads(each.payload)
                (EJ if prefix == "onvif-ej" else MJ).validate(body)
            if prefix == "onvif-ej":
                topic, sources = each.topic.split("/&")
                assert topic.count("&") == 0
                if each.payload:
                    assert sources.split("/") == [str(value) for value in body["Source"].values()]
            else:
                assert not each.retain
    assert kinds == {"onvif-ej", "onvif-mj"}


def test_a_crossed_line_and_its_counters(script):
    crossed, count, inside = make("onvif").convert(
        script.event("new", "line", "a", seen(**{"in": 5, "out": 2}), "fence")
    )
    assert crossed.topic == "onvif-ej/RuleEngine/LineDetector/Crossed/&gate/edge-app/fence"
    assert json.loads(crossed.payload) == {
        "UtcTime": "2026-11-26T12:00:01.500Z",
        "Source": {"VideoSource": "gate", "AnalyticsConfiguration": "edge-app", "Rule": "fence"},
        "Data": {"ObjectId": "7"},
    }
    assert not crossed.retain, "an event, not a property"
    assert count.topic == "onvif-ej/RuleEngine/CountAggregation/Counter/&gate/edge-app/fence"
    assert (json.loads(count.payload)["Data"], count.retain) == ({"Count": 7}, True)
    assert json.loads(inside.payload)["Data"] == {"Count": 3}


def test_the_end_of_a_crossing_is_not_a_second_one(script):
    assert make("onvif").convert(script.event("end", "line", "a", seen(**{"in": 5, "out": 2}))) == []


def test_a_zone_lists_the_objects_inside(script):
    dialect = make("onvif")
    steps = [
        ("new", "a", 7, {"ObjectId": "7", "IsInside": True}),
        ("new", "b", 8, {"ObjectId": "7 8", "IsInside": True}),
        ("end", "a", 7, {"ObjectId": "8", "IsInside": True}),
        ("end", "b", 8, {"ObjectId": "", "IsInside": False}),
    ]
    for type_, id_, track, expected in steps:
        published = one(dialect, script.event(type_, "zone", id_, seen(track_id=track)))
        assert published.topic == "onvif-ej/RuleEngine/FieldDetector/ObjectsInside/&gate/edge-app/door"
        assert (json.loads(published.payload)["Data"], published.retain) == (expected, True)
    assert dialect.convert(script.event("update", "zone", "a", seen())) == []


def test_a_loitering_property_is_deleted_by_an_empty_payload(script):
    dialect = make("onvif")
    begun = one(dialect, script.event("new", "stationary", "a", seen()))
    assert json.loads(begun.payload)["Data"] == {"ObjectId": "7", "Since": "2026-11-26T12:00:01.000Z"}
    ended = one(dialect, script.event("end", "stationary", "a", seen()))
    assert (ended.topic, ended.payload, ended.retain) == (begun.topic, b"", True)


@pytest.mark.parametrize(
    ("kind", "value", "topic"),
    [
        ("scene", {"state": "dark", "score": 0.9}, "VideoSource/ImageTooDark/ImagingService"),
        ("scene", {"state": "blurred", "score": 0.9}, "VideoSource/ImageTooBlurry/ImagingService"),
        ("scene", {"state": "covered", "score": 0.9}, "VideoSource/GlobalSceneChange/ImagingService"),
        ("runtime", {"fault": "camera", "state": "lost"}, "VideoSource/SignalLoss"),
    ],
)
def test_faults_of_the_camera(kind, value, topic, script):
    dialect = make("onvif")
    for type_, state in (("new", True), ("end", False)):
        published = one(dialect, script.event(type_, kind, "a", value))
        assert published.topic == f"onvif-ej/{topic}/&gate"
        body = json.loads(published.payload)
        assert (body["Source"], body["Data"]) == ({"Source": "gate"}, {"State": state})


def test_what_onvif_has_no_topic_for_is_in_our_namespace(script):
    published = one(make("onvif"), script.event("new", "reading", "a", {"text": "4071", "box": [0, 0, 1, 1]}, "meter"))
    assert published.topic == "onvif-ej/RuleEngine/edge-app:reading/&gate/edge-app/meter"
    assert json.loads(published.payload)["Data"] == {"State": True, "text": "4071"}


def test_a_scene_description_has_coordinates_from_minus_one_to_one_upwards(script):
    published = one(make("onvif"), script.result([seen(), {"label": "teapot", "score": 0.5, "box": [0, 0, 1, 0.25]}]))
    assert published.topic == "onvif-mj/VideoAnalytics/gate/people"
    (frame,) = json.loads(published.payload)["Frame"]
    assert (frame["@UtcTime"], frame["@Source"]) == ("2026-11-26T12:00:01.500Z", "people")
    person, teapot = frame["Object"]
    assert person["@ObjectId"] == 7
    assert person["Appearance"]["Shape"] == {
        "BoundingBox": {"@left": -0.5, "@top": 0.0, "@right": 0.0, "@bottom": -1.0},
        "CenterOfGravity": {"@x": -0.25, "@y": -0.5},
    }
    assert person["Appearance"]["Class"]["Type"] == [
        {"@Likelihood": 0.9, "#text": "Human"},
        {"@Likelihood": 0.9, "#text": "person"},
    ]
    assert "@ObjectId" not in teapot, "it has no track"
    assert teapot["Appearance"]["Class"]["Type"] == [{"@Likelihood": 0.5, "#text": "teapot"}]


def test_a_scene_without_objects_is_described_too(script):
    assert json.loads(one(make("onvif"), script.result([])).payload)["Frame"] == [
        {"@UtcTime": "2026-11-26T12:00:01.500Z", "@Source": "people"}
    ]
