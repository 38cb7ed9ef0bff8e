"""Faults of the runtime: one event from the start of a fault to its end."""

from __future__ import annotations

from edge_app.capture import CaptureStats
from edge_app.pipeline.faults import Faults
from edge_app.rules import Moment

NOW = Moment(10, 10)


def capture(state: str) -> CaptureStats:
    return CaptureStats(state, 0, 0, 0, 0, 0, 0, "camera: no frame", None)


def test_a_fault_is_published_only_when_it_changes():
    faults = Faults()
    values = (None, {"does": "a"}, {"does": "a"}, {"does": "b"}, None)
    published = [faults.update("load", value, Moment(i, i)) for i, value in enumerate(values)]
    assert [[(event.type, event.value.get("does")) for event in events] for events in published] == [
        [],
        [("new", "a")],
        [],
        [("update", "b")],
        [("end", "b")],
    ]
    assert published[-1][0].value["reason"] == "recovered"
    assert not faults


def test_a_lost_camera_a_failed_backend_and_a_failed_head_are_separate_faults():
    faults = Faults()
    events = faults.update_all(capture("frozen"), "made to fail", {"panel": "ValueError: x"}, NOW)
    assert [event.value["fault"] for event in events] == ["camera", "backend", "head"]
    assert faults.open()["head:panel"] == {
        "fault": "head",
        "code": "head_failed",
        "severity": "error",
        "text": "The head 'panel' failed and is switched off (ValueError: x).",
        "head": "panel",
        "error": "ValueError: x",
    }
    assert {event.rule for event in events} == {"runtime"}
    ends = faults.update_all(capture("running"), None, {}, NOW)
    assert [(event.type, event.value["fault"]) for event in ends] == [
        ("end", "camera"),
        ("end", "backend"),
        ("end", "head"),
    ]


def test_finish_ends_all_open_faults():
    faults = Faults()
    faults.update("load", {"does": "a"}, NOW)
    assert [event.value["reason"] for event in faults.finish("shutdown", NOW)] == ["shutdown"]
    assert faults.open() == {}


def test_a_failed_update_is_an_event_without_duration():
    faults = Faults()
    events = faults.update("update", {"release": "r2", "error": "no frames"}, NOW)
    assert [(event.type, event.value["code"]) for event in events] == [
        ("new", "update_failed"),
        ("end", "update_failed"),
    ]
    assert not faults, "the release before runs: nothing is wrong now"
