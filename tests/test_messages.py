"""What is published fits its own schema, and what does not is found by it."""

from __future__ import annotations

import json

import jsonschema
import numpy as np
import pytest

from edge_app.frame import Classification, Detections, Embedding, Event, Frame, HeadOutput, Segmentation
from edge_app.messages import SCHEMA_FILE, Encoder, Stamp, rfc3339

SCHEMA = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
ENCODER = Encoder("cam-1", "boot", {"objects": ["cat"], "kind": ["a", "b"], "area": ["x"], "face": []})


def frame() -> Frame:
    found = Detections(
        np.array([[16, 0, 32, 24]], np.float32),
        np.array([0.4], np.float32),
        np.array([0], np.int32),
        np.array([7]),
        np.array([[[32, 12, 0.5]]], np.float32),
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
        },
    )


def body(message) -> dict:
    decoded = json.loads(message.payload)
    VALIDATOR.validate(decoded)
    return decoded


def test_a_result_carries_every_kind_of_head_normalised():
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
                }
            ]
        },
        "kind": {"classification": [{"label": "b", "score": 0.75}, {"label": "a", "score": 0.25}], "age_ms": 2.5},
        "area": {"segments": [{"label": "x", "score": 1.0, "polygon": [[0, 0], [1, 0], [0, 1]]}]},
        "face": {"embedding": [0.6, 0.8]},
    }


def test_a_class_without_a_label_is_its_number():
    plain = Encoder("d", "b", {"objects": [], "kind": [], "area": [], "face": []})
    assert body(plain.result(0, frame(), clock_synced=False))["heads"]["objects"]["detections"][0]["label"] == "0"


def test_events_and_status_share_the_envelope():
    event = Event("end", "e1", "meter", "reading", 1, 0, 2, 1_000_000, {"text": "4071"})
    stamp = Stamp(2, 1_000_000, False)
    told = body(ENCODER.event(0, event, stamp, "camera"))
    assert (told["type"], told["start"], told["end"]) == ("end", "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.001Z")
    assert body(ENCODER.status(1, stamp, {"frames": 3}))["status"] == {"frames": 3}


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
def test_the_schema_refuses_what_is_wrong(change: dict):
    right = body(ENCODER.result(0, frame(), clock_synced=True))
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**right, **change})


def test_no_value_that_json_does_not_know_is_ever_published():
    with pytest.raises(ValueError, match="JSON compliant"):
        ENCODER.status(0, Stamp(0, 0, False), {"load": float("nan")})


def test_times_are_rfc_3339_with_milliseconds():
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_700_000_000_999_999_999) == "2023-11-14T22:13:20.999Z"
