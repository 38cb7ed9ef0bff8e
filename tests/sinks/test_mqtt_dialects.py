"""The MQTT sink with dialects, with a broker that acknowledges late and (system) with a real Mosquitto."""

import json

import pytest

from edge_app import dialects
from edge_app.errors import ConfigError, SinkError
from edge_app.sinks.mqtt import Sink
from tests.dialects.conftest import Script, recorded, seen
from tests.sinks.mqtt_broker import Subscriber, sink_on, until

OTHERS = [name for name in dialects.names() if name != "edge-app"]


def sent(fake):
    return [(topic, payload) for topic, payload in fake.published if not topic.endswith("/available")]


def test_a_message_is_delivered_when_all_its_publications_are_acknowledged(context, fake):
    script = Script()
    broker = fake(acks=1 + 5 + 2)  # available, five switches, and two of the three publications
    sink = sink_on(broker, context, dialect="frigate")
    message = script.event("new", "zone", "a", seen())
    with pytest.raises(SinkError, match="no acknowledgment"):
        sink.send([message])
    broker.acks = 100
    assert sink.send([message]) == {message.id}
    events = [json.loads(payload) for topic, payload in broker.published if topic == "frigate/events"]
    assert [each["type"] for each in events] == ["new", "new"], "the same publications again"
    assert events[0] == events[1]
    sink.close()


@pytest.mark.parametrize("name", OTHERS)
def test_a_message_without_a_counterpart_is_delivered(name, context, fake, message):
    sink = sink_on(fake(acks=100), context, dialect=name)
    assert sink.send([message(1), message(2)]) == {"cam-1-1", "cam-1-2"}
    sink.close()


@pytest.mark.parametrize("name", OTHERS)
def test_every_recorded_message_is_acknowledged(name, context, fake):
    broker = fake(acks=10_000)
    sink = sink_on(broker, context, dialect=name, window=7, ack_timeout_s=5)
    messages = recorded()
    assert sink.send(messages) == {each.id for each in messages}
    assert len(sent(broker)) > 50
    sink.close()


def test_home_assistant_needs_our_own_topics(context):
    with pytest.raises(ConfigError, match="home_assistant: found it with dialect: frigate; expected dialect: edge-app"):
        Sink(context, host="h", dialect="frigate", home_assistant=True)


def test_the_prefix_is_that_of_the_dialect_unless_it_is_given(context, fake):
    for options, topic in (
        ({"dialect": "frigate"}, "frigate/available"),
        ({"dialect": "frigate", "prefix": "yard/frigate"}, "yard/frigate/available"),
        ({"dialect": "onvif"}, "edge-app/cam-1/available"),
        ({}, "edge-app/cam-1/available"),
    ):
        broker = fake(acks=100)
        sink = sink_on(broker, context, **options)
        sink.idle()
        until(lambda broker=broker: broker.published)
        assert broker.published[0][0] == topic
        sink.close()


@pytest.mark.system
@pytest.mark.parametrize("name", OTHERS)
def test_recorded_messages_reach_subscribers_of_a_real_broker(name, context, broker):
    watcher = Subscriber(broker.port)
    sink = sink_on(broker, context, dialect=name, ack_timeout_s=5)
    messages = recorded()
    assert sink.send(messages) == {each.id for each in messages}
    prefix = {"frigate": "frigate", "onvif": "edge-app/cam-1"}[name]
    dialect = dialects.build(name, dialects.DialectContext("cam-1", "camera", {}.get))
    expected = [f"{prefix}/{each.topic}" for message in messages for each in dialect.convert(message)]
    until(lambda: [topic for topic, _, _ in watcher.got][-len(expected) :] == expected)  # in order
    assert all(topic.startswith(f"{prefix}/") for topic, _, _ in watcher.got)
    late = Subscriber(broker.port)
    until(lambda: (f"{prefix}/available", b"online", True) in late.got)
    late.publish("end", "")  # after the retained messages
    until(lambda: late.got[-1][0] == "end")
    retained = {topic.removeprefix(f"{prefix}/") for topic, _, is_retained in late.got if is_retained}
    if name == "frigate":
        assert {"camera/detect/state", "camera/recordings/state"} <= retained
    else:
        assert any(each.startswith("onvif-ej/RuleEngine/FieldDetector/ObjectsInside") for each in retained)
        assert not any("ObjectIsLoitering" in each for each in retained), "an empty payload removes it"
        assert not any(each.startswith("onvif-mj") or "Crossed" in each for each in retained)
    sink.close()
    for each in (watcher, late):
        each.close()


@pytest.mark.system
def test_a_switch_that_is_turned_off_shows_that_detection_still_runs(context, broker):
    watcher = Subscriber(broker.port, "frigate/camera/detect/state")
    sink = sink_on(broker, context, dialect="frigate", ack_timeout_s=5)
    sink.idle()
    until(lambda: len(watcher.got) == 1)
    watcher.publish("frigate/camera/detect/set", "OFF")
    until(lambda: sink.idle() or len(watcher.got) == 2)
    assert [payload for _, payload, _ in watcher.got] == [b"ON", b"ON"]
    sink.close()
    watcher.close()
