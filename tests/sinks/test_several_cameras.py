"""One sink for several cameras: topics, commands, entities and dialects of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

from edge_app.clock import SystemClock
from edge_app.dialects.frigate import Dialect as Frigate
from edge_app.sinks import SinkContext, Surface
from edge_app.sinks._dialect import dialect_of
from edge_app.sinks._home_assistant_entities import entities
from edge_app.sinks._mqtt_commands import CommandTopics
from edge_app.sinks._state_topics import StateTopics
from edge_app.state import StateBoard

RULES = {"door": "zone"}


def context(*cameras: str) -> SinkContext:
    surface = Surface({}, {"people": 0.4}, ("float", "int8"), True)
    first, *others = (
        SinkContext("box", "mqtt", SystemClock(), RULES, {"people": "nanodet"}, camera, None, StateBoard(), surface)
        for camera in cameras
    )
    return replace(first, others=tuple(others))


def commanded(found: SinkContext) -> list[tuple[str, str, bytes]]:
    """Records the commands that each camera gets."""
    received: list[tuple[str, str, bytes]] = []

    def receiver(camera: str) -> Callable[..., None]:
        return lambda name, payload, _answered: received.append((camera, name, payload))

    for each in found.each:
        assert each.state is not None
        each.state.receiver = receiver(each.source)
    return received


def message(topic: str, payload: bytes) -> SimpleNamespace:
    return SimpleNamespace(topic=topic, payload=payload, retain=False)


def test_a_command_reaches_the_camera_of_its_topic():
    found = context("front", "yard")
    received = commanded(found)
    topics = CommandTopics(found, "edge-app/box", dialect_of("edge-app", found), enabled=True)
    assert topics.subscriptions == ["edge-app/box/set/front/#", "edge-app/box/set/yard/#"]
    for camera in ("front", "yard", "other"):
        topics.receive(message(f"edge-app/box/set/{camera}/rules/door", b"OFF"))
    assert received == [("front", "rules/door", b"OFF"), ("yard", "rules/door", b"OFF")]


def test_a_command_of_a_dialect_reaches_its_camera():
    found = context("front", "yard")
    received = commanded(found)
    dialect = dialect_of("frigate", found)
    topics = CommandTopics(found, "frigate", dialect, enabled=True)
    topics.receive(message("frigate/yard/detect/set", b"OFF"))
    assert received == [("yard", "detect", b"OFF")]
    assert {each.topic.partition("/")[0] for each in dialect.state()} == {"front", "yard"}


def test_one_camera_has_the_dialect_itself():
    assert type(dialect_of("frigate", context("front"))) is Frigate


def test_the_first_camera_keeps_the_entities_of_a_single_one():
    alone = entities(context("front"), "edge-app/box", commands=True)
    both = entities(context("front", "yard"), "edge-app/box", commands=True)
    assert {key: both[key] for key in alone} == alone
    added = both.keys() - alone.keys()
    assert all(key.startswith("yard_") for key in added)
    assert "yard_rule_door" in added
    assert "yard_restart" not in both
    assert both["yard_rule_door"]["name"] == "yard door"
    assert both["yard_rule_door"]["state_topic"] == "edge-app/box/state/yard/rules/door"
    assert len({entity["unique_id"] for entity in both.values()}) == len(both)


def test_the_state_of_each_camera_has_its_own_topics():
    found = context("front", "yard")
    published: dict[str, bytes] = {}
    for each in found.each:
        assert each.state is not None
        topics = StateTopics(each.state, "edge-app/box", each.source)
        each.state.set({"camera": {"state": each.source}})
        topics.publish(published.__setitem__, lambda: True)
    assert published == {
        "edge-app/box/state/front/camera": b'{"state":"front"}',
        "edge-app/box/state/yard/camera": b'{"state":"yard"}',
    }
