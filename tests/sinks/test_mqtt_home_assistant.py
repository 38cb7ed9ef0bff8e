"""Home Assistant over MQTT: discovery, its templates, and its status topic."""

import json
import tracemalloc

import paho.mqtt.client as paho
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_app.clock import SystemClock
from edge_app.errors import SinkError
from edge_app.sinks import SinkContext
from edge_app.sinks.mqtt import Sink
from tests.sinks.mqtt_broker import Subscriber, sink_on, until


def sample_discovery():
    """Written by hand after the documentation's example of a device discovery payload."""
    return {
        "device": {
            "identifiers": ["cam-1"],
            "name": "cam-1",
            "manufacturer": "edge_app",
            "model": "vision module",
            "sw_version": "0.1",
        },
        "origin": {"name": "edge_app", "sw_version": "0.1"},
        "availability": [{"topic": "edge-app/cam-1/available"}],
        "components": {
            "rule_meter": {
                "platform": "sensor",
                "name": "meter",
                "unique_id": "cam-1_rule_meter",
                "state_topic": "edge-app/cam-1/event/meter",
                "value_template": "{{ value_json.value.get('text') }}",
                "json_attributes_topic": "edge-app/cam-1/event/meter",
                "json_attributes_template": "{{ value_json.value | tojson }}",
            },
            "rule_camera": {
                "platform": "binary_sensor",
                "device_class": "problem",
                "name": "camera",
                "unique_id": "cam-1_rule_camera",
                "state_topic": "edge-app/cam-1/event/camera",
                "value_template": "{{ 'OFF' if value_json.type == 'end' else 'ON' }}",
                "json_attributes_topic": "edge-app/cam-1/event/camera",
                "json_attributes_template": "{{ value_json.value | tojson }}",
            },
        },
        "qos": 1,
    }


def test_home_assistant_discovery_matches_the_documentation(message, fake):
    broker = fake(acks=100)
    context = SinkContext("cam-1", "sink", SystemClock(), {"meter": "reading", "camera": "scene"}, {})
    sink = sink_on(broker, context, home_assistant=True)
    sink.send([message(1, "event", rule="meter")])
    sink.close()
    (payload,) = [payload for topic, payload in broker.published if topic == "homeassistant/device/cam-1/config"]
    found, sample = json.loads(payload), sample_discovery()
    sample["device"]["sw_version"] = sample["origin"]["sw_version"] = found["origin"]["sw_version"]
    assert found == sample


def test_home_assistant_templates_render_results_and_events():
    jinja2 = pytest.importorskip("jinja2", reason="renders Home Assistant's templates")
    from edge_app.sinks._home_assistant import discovery

    rules = {"yard": "zone", "gate": "line"}
    context = SinkContext("cam-1", "sink", SystemClock(), rules, {"people": "nanodet", "scene": "classify"})
    _, payload = discovery(context, "edge-app/cam-1", "homeassistant")
    components = json.loads(payload)["components"]

    def render(key, value_json):
        template = jinja2.Template(components[key]["value_template"])
        return template.render(value_json=value_json, this={"state": "before"})

    result = {"heads": {"people": {"detections": [{}, {}]}, "scene": {"classification": [{"label": "dark"}]}}}
    assert render("head_people", result) == "2"
    assert render("head_scene", result) == "dark"
    assert render("head_people", {"heads": {}}) == "before"
    crossed = {"type": "new", "value": {"direction": "in", "in": 4, "out": 2}}
    assert (render("rule_gate_in", crossed), render("rule_gate_out", crossed)) == ("4", "2")
    for type_, reason, occupancy, expected in [
        ("new", None, 1, "ON"),
        ("end", "left", 1, "ON"),  # another object is still inside
        ("end", "left", 0, "OFF"),
        ("end", "shutdown", 2, "OFF"),
    ]:
        assert render("rule_yard", {"type": type_, "value": {"reason": reason, "occupancy": occupancy}}) == expected


@pytest.mark.system
def test_discovery_is_published_again_when_home_assistant_starts(context, broker):
    sink = sink_on(broker, context, home_assistant=True, ack_timeout_s=5)
    sink.idle()
    watcher = Subscriber(broker.port, "homeassistant/device/#")
    until(lambda: len(watcher.got) == 1)
    assert watcher.got[0][2], "retained: Home Assistant may start later"
    watcher.publish("homeassistant/status", "online")
    until(lambda: sink.idle() or len(watcher.got) == 2)
    sink.close()
    watcher.close()


@pytest.mark.system
def test_a_huge_retained_status_of_home_assistant_stops_nothing(context, message, broker):
    publisher = Subscriber(broker.port, "none")
    publisher.client.publish("homeassistant/status", b"x" * 20_000_000, 1, retain=True).wait_for_publish(10)
    publisher.close()
    del publisher
    sink = sink_on(broker, context, home_assistant=True, ack_timeout_s=5)
    tracemalloc.start()
    with pytest.raises(SinkError, match=r"sent a packet of 200000[0-9]+ bytes; expected at most 4096; ignoring"):
        until(sink.idle)
    for n in range(5):
        assert sink.send([message(n)]) == {f"cam-1-{n}"}, "not subscribed again"
        sink.idle()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sink.close()
    assert peak < 1 << 20


@given(st.binary(max_size=5000))
@example(b"online")
@example(b"online\0")
def test_any_status_of_home_assistant_is_online_or_ignored(payload):
    sink = Sink(SinkContext("cam-1", "sink", SystemClock()), host="127.0.0.1", home_assistant=True)
    packet = paho.MQTTMessage()
    packet.payload = payload
    sink._receive(packet)
    assert sink._announce == (payload == b"online")
