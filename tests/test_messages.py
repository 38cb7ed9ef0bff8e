"""Published messages match the schema, today's and those that an earlier version published."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from edge_app.frame import Classification, Detections, Embedding, Event, Frame, HeadOutput, Segmentation, Text
from edge_app.messages import Encoder, Stamp, rfc3339
from tests.schema import PUBLISHED, strict

VALIDATOR = strict()
CONSUMER = jsonschema.Draft202012Validator(PUBLISHED)
RECORDED = Path(__file__).parent / "messages" / "recorded-678fe16.jsonl"
ENCODER = Encoder("cam-1", "boot", {"objects": ["cat"], "kind": ["a", "b"], "area": ["x"], "face": [], "plate": []})


def frame() -> Frame:
    found = Detections(
        np.array([[16, 0, 32, 24]], np.float32),
        np.array([0.4], np.float32),
        np.array([0], np.int32),
        np.array([7]),
        np.array([[[32, 12, 0.5]]], np.float32),
        np.array([[[16, -8], [32, 0], [32, 24], [16, 24]]], np.float32),
        (np.array([[16, 0], [32, 0], [32, 24]], np.float32),),
        ("7",),
    )
    return Frame(
        "camera",
        3,
        1_500_000_000,
        1_700_000_000_123_456_789,
        np.zeros((48, 64, 3), np.uint8),
        heads={
            "objects": HeadOutput(found),
            "kind": HeadOutput(
                Classification(np.array([1, 0], np.int32), np.array([0.75, 0.25], np.float32)), 2_500_000
            ),
            "area": HeadOutput(
                Segmentation(
                    np.zeros(1, np.int32), np.ones(1, np.float32), (np.array([[0, 0], [64, 0], [0, 48]], np.float32),)
                )
            ),
            "face": HeadOutput(Embedding(np.array([0.6, 0.8], np.float32))),
            "plate": HeadOutput(Text("AB 12", 0.87654)),
        },
    )


def body(message) -> dict:
    decoded = json.loads(message.payload)
    VALIDATOR.validate(decoded)
    return decoded


def test_a_result_has_every_kind_of_head_in_normalized_coordinates():
    result = body(ENCODER.result(5, frame(), clock_synced=True))
    assert result["id"] == "cam-1-5"
    assert (result["frame"], result["resolution"]) == (3, [64, 48])
    assert result["utc"] == "2023-11-14T22:13:20.123Z"
    assert result["heads"] == {
        "objects": {
            "detections": [
                {
                    "label": "cat",
                    "score": 0.4,
                    "box": [0.25, 0, 0.5, 0.5],
                    "track_id": 7,
                    "keypoints": [[0.5, 0.25, 0.5]],
                    "corners": [[0.25, 0], [0.5, 0], [0.5, 0.5], [0.25, 0.5]],
                    "polygon": [[0.25, 0], [0.5, 0], [0.5, 0.5]],
                    "text": "7",
                }
            ]
        },
        "kind": {"classification": [{"label": "b", "score": 0.75}, {"label": "a", "score": 0.25}], "age_ms": 2.5},
        "area": {"segments": [{"label": "x", "score": 1.0, "polygon": [[0, 0], [1, 0], [0, 1]]}]},
        "face": {"embedding": [0.6, 0.8]},
        "plate": {"text": {"text": "AB 12", "score": 0.8765}},
    }


def test_a_class_without_a_label_is_published_as_its_number():
    plain = Encoder("d", "b", {"objects": [], "kind": [], "area": [], "face": [], "plate": []})
    assert body(plain.result(0, frame(), clock_synced=False))["heads"]["objects"]["detections"][0]["label"] == "0"


def test_events_and_statuses_have_the_same_envelope():
    event = Event("end", "e1", "meter", "reading", 1, 0, 2, 1_000_000, {"text": "4071"})
    stamp = Stamp(2, 1_000_000, False)
    ended = body(ENCODER.event(0, event, stamp, "gate"))
    assert (ended["type"], ended["start"], ended["end"]) == (
        "end", "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.001Z",
    )  # fmt: skip
    status = body(ENCODER.status(1, stamp, {"frames": 3}, "gate"))
    assert status["status"] == {"frames": 3}
    assert ended["source"] == status["source"] == "gate"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"seq": -1},
        {"utc": "2023-11-14 22:13:20"},
        {"extra": 1},
        {"heads": {"a": {}}},
        {"heads": {"a": {"detections": [{"label": "x", "score": 2, "box": [0, 0, 1, 1]}]}}},
        {"heads": {"a": {"detections": [{"label": "x", "score": 1, "box": [0, 0, 1, 2]}]}}},
        {"heads": {"a": {"segments": [{"label": "x", "score": 1, "polygon": [[0, 0], [1, 1]]}]}}},
    ],
)
def test_the_strict_schema_rejects_a_wrong_message(change: dict):
    right = body(ENCODER.result(0, frame(), clock_synced=True))
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**right, **change})


@pytest.mark.parametrize(
    "path", [(), ("heads", "objects"), ("heads", "objects", "detections", 0), ("heads", "area", "segments", 0)]
)
def test_a_consumer_accepts_a_field_that_a_later_version_adds(path):
    later = body(ENCODER.result(0, frame(), clock_synced=True))
    part = later
    for key in path:
        part = part[key]
    part["added_later"] = 1
    CONSUMER.validate(later)
    assert not VALIDATOR.is_valid(later)


def recorded() -> list[dict]:
    """Messages that commit 678fe16 published: every kind of head and of reuse, every rule type, faults, a gap."""
    return [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]


def test_messages_of_commit_678fe16_are_valid():
    for message in recorded():
        VALIDATOR.validate(message)


def test_the_recording_has_every_kind_of_message():
    messages = recorded()
    heads = [head for m in messages if m["kind"] == "result" for head in m["heads"].values()]
    detections = [found for head in heads for found in head.get("detections", ())]
    assert {"detections", "classification", "segments", "embedding", "age_ms", "reused"} <= {
        k for h in heads for k in h
    }
    assert {head["reused"] for head in heads if "reused" in head} == {"features", "result", "held", "track"}
    assert {"track_id", "keypoints", "heads"} <= {key for found in detections for key in found}
    events = [m for m in messages if m["kind"] == "event"]
    rules = {"zone", "line", "count", "stationary", "reading", "scene", "runtime"}
    for type_, expected in {"new": rules, "update": {"zone", "count", "reading", "scene"}, "end": rules}.items():
        assert {event["rule_type"] for event in events if event["type"] == type_} == expected
    assert {"gap" in m["status"] for m in messages if m["kind"] == "status"} == {True, False}
    assert any("utc_corrected" in m for m in messages)


def test_a_value_that_json_does_not_have_is_never_published():
    with pytest.raises(ValueError, match="JSON compliant"):
        ENCODER.status(0, Stamp(0, 0, False), {"load": float("nan")})


def test_times_are_rfc_3339_with_milliseconds():
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_700_000_000_999_999_999) == "2023-11-14T22:13:20.999Z"
