"""Home Assistant over MQTT: discovery, its templates, and its status topic."""

import json
import tracemalloc

import paho.mqtt.client as paho
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_app.clock import SystemClock
from edge_app.errors import SinkError
from edge_app.sinks import SinkContext, Surface
from edge_app.sinks._announced import Announcement
from edge_app.sinks._home_assistant import Discovery
from edge_app.sinks._home_assistant_entities import entities, safe
from edge_app.sinks.mqtt import Sink
from edge_app.state import StateBoard
from tests.sinks.mqtt_broker import Subscriber, sink_on, until

TOPIC = "homeassistant/device/cam-1/config"


def sample_component():
    """Written by hand after the documentation of device discovery and of the platform binary_sensor."""
    topic = "edge-app/cam-1/state/camera/rules/camera"
    return {
        "platform": "binary_sensor",
        "device_class": "problem",
        "name": "camera",
        "unique_id": "cam-1_rule_camera",
        "state_topic": topic,
        "value_template": "{{ 'ON' if value_json.problem else 'OFF' }}",
        "availability": [
            {"topic": "edge-app/cam-1/available"},
            {"topic": topic, "value_template": "{{ 'online' if value_json.active else 'offline' }}"},
        ],
        "availability_mode": "all",
    }


def context_of(rules=None, heads=None, **more):
    return SinkContext("cam-1", "sink", SystemClock(), rules or {}, heads or {}, **more)


def messages_of(discovery, *, until_s):
    """The messages that are due until a time, as parsed JSON."""
    found = []
    for now_s in range(until_s + 1):
        while (payload := discovery.next(now_s)) is not None:
            found.append(json.loads(payload))
    return found


def test_discovery_matches_the_documentation(message, fake):
    broker = fake(acks=100)
    sink = sink_on(broker, context_of({"meter": "reading", "camera": "scene"}), home_assistant=True)
    sink.send([message(1, "event", rule="meter")])
    sink.close()
    (payload,) = [payload for topic, payload in broker.published if topic == TOPIC]
    found = json.loads(payload)
    version = found["origin"]["sw_version"]
    assert found["device"] == {
        "identifiers": ["cam-1"],
        "name": "cam-1",
        "manufacturer": "edge_app",
        "model": "vision module",
        "sw_version": version,
    }
    assert found["availability"] == [{"topic": "edge-app/cam-1/available"}]
    assert found["components"]["rule_camera"] == sample_component()
    assert {"rule_meter", "camera_lost", "temperature", "release"} <= found["components"].keys()
    assert not any("result" in json.dumps(each) for each in found["components"].values()), "results are not subscribed"


def test_templates_render_states():
    jinja2 = pytest.importorskip("jinja2", reason="renders Home Assistant's templates")
    rules = {"yard": "zone", "gate": "line", "meter": "reading", "crowd": "count"}
    surface = Surface(
        labels={"rules/yard": ("person", "straße 🚗 '}}")}, scores={"people": 0.4}, precisions=("float", "int8")
    )
    context = context_of(rules, {"people": "nanodet", "scene": "classify"}, surface=surface)
    found = entities(context, "edge-app/cam-1", commands=True)

    def render(key, value_json, template="value_template"):
        return jinja2.Template(found[key][template]).render(value_json=value_json)

    assert render("head_people", {"count": 2}) == "2"
    assert render("head_people", {}) == "None"  # unknown
    assert render("head_scene", {"label": "dark"}) == "dark"
    line = {"in": 1, "out": 0, "totals": {"in": {"total": 40, "day": 1, "hour": 0}}}
    assert (render("rule_gate_in", line), render("rule_gate_out", line)) == ("40", "0")
    assert [render("rule_yard", {"occupancy": n}) for n in (0, 2)] == ["OFF", "ON"]
    label = next(key for key in found if key.startswith("rule_yard_label_stra"))
    assert render(label, {"labels": {"straße 🚗 '}}": 3}}) == "3"
    assert render("rule_meter", {"text": "12\n34"}) == "12 / 34"
    assert render("rule_meter", {"text": None}) == "None"
    assert (render("rule_crowd", {"count": 7}), render("rule_crowd_reached", {"reached": True})) == ("7", "ON")
    assert render("precision", {"precision": "auto"}) == "None"
    assert json.loads(render("rule_yard", {"labels": {"person": 2}}, "json_attributes_template")) == {
        "labels": {"person": 2}
    }


@given(st.lists(st.text(min_size=1, max_size=70), unique=True, max_size=5))
def test_ids_are_safe_and_differ(names):
    ids = [safe(name) for name in names]
    assert len(set(ids)) == len(names)
    assert all(set(each) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for each in ids)


def test_commands_have_entities_only_if_they_are_accepted():
    context = context_of({"yard": "zone"}, {"people": "nanodet"}, surface=Surface(scores={"people": 0.4}))
    with_commands = entities(context, "edge-app/cam-1", commands=True)
    extra = with_commands.keys() - entities(context, "edge-app/cam-1", commands=False).keys()
    topics = {key: with_commands[key]["command_topic"].removeprefix("edge-app/cam-1/set/camera/") for key in extra}
    assert topics == {
        "switch_rule_yard": "rules/yard",
        "switch_head_people": "heads/people",
        "score_people": "heads/people/score",
        "reuse": "reuse",
        "snapshot": "snapshot",
        "restart": "restart",
    }


def test_an_entity_that_has_gone_is_removed_in_a_later_start():
    announced = Announcement()
    Discovery(context_of({"a": "zone", "b": "scene"}), "e/cam-1", "homeassistant", announced, commands=False).announce(
        0, ""
    )
    discovery = Discovery(context_of({"a": "zone"}), "e/cam-1", "homeassistant", announced, commands=False)
    discovery.announce(0, "")
    (found,) = messages_of(discovery, until_s=1)
    assert found["components"]["rule_b"] == {"platform": "binary_sensor"}
    assert len(found["components"]["rule_a"]) > 1


def test_what_was_removed_while_home_assistant_was_away_is_announced_once_more_and_removed():
    announced = Announcement()
    Discovery(context_of({"b": "scene"}), "e/cam-1", "homeassistant", announced, commands=False).announce(0, "")
    discovery = Discovery(context_of(), "e/cam-1", "homeassistant", announced, commands=False)
    discovery.announce(0, "")
    messages_of(discovery, until_s=1)
    discovery.repeat(10)
    again, removed = messages_of(discovery, until_s=20)
    assert again["components"]["rule_b"]["unique_id"] == "cam-1_rule_b"
    assert removed["components"]["rule_b"] == {"platform": "binary_sensor"}
    assert not announced.removed
    discovery.repeat(30)
    (plain,) = messages_of(discovery, until_s=40)
    assert "rule_b" not in plain["components"]


def test_an_entity_of_another_platform_is_removed_first():
    announced = Announcement()
    Discovery(context_of({"b": "scene"}), "e/cam-1", "homeassistant", announced, commands=False).announce(0, "")
    discovery = Discovery(context_of({"b": "count"}), "e/cam-1", "homeassistant", announced, commands=False)
    discovery.announce(0, "")
    first, second = messages_of(discovery, until_s=5)
    assert first["components"]["rule_b"] == {"platform": "binary_sensor"}
    assert second["components"]["rule_b"]["platform"] == "sensor"


def test_the_page_has_the_address_by_which_the_broker_sees_the_device():
    surface = Surface(page=("0.0.0.0", 8080, "/cam"))
    discovery = Discovery(context_of(surface=surface), "e/cam-1", "homeassistant", Announcement(), commands=False)
    discovery.announce(0, "fd00::7")
    (found,) = messages_of(discovery, until_s=1)
    assert found["device"]["configuration_url"] == "http://[fd00::7]:8080/cam/"


def test_keepalive_is_short_with_home_assistant(fake):
    for options, expected in (({}, 30), ({"keepalive_s": 60}, 60), ({"home_assistant": True}, 5)):
        broker = fake(acks=100)
        sink = sink_on(broker, context_of(), **options)
        sink.idle()
        sink.close()
        assert int.from_bytes(broker.connects[0][8:10], "big") == expected


def test_entities_and_topics_that_have_gone_are_removed_from_the_broker(fake, tmp_path):
    broker = fake(acks=1000)
    surface = Surface(state_dir=tmp_path)
    for rules in ({"a": "zone", "b": "scene"}, {"a": "zone"}):
        board = StateBoard()
        board.set({f"rules/{rule}": {"active": True} for rule in rules})
        sink = sink_on(broker, context_of(rules, state=board, surface=surface), home_assistant=True)
        broker.published.clear()
        until(lambda sink=sink, rules=rules: sink.idle() or len(broker.published) >= 2 + len(rules))
        until(lambda sink=sink: sink.idle() or not sink._connection.waiting)
        sink.close()
    assert ("edge-app/cam-1/state/camera/rules/b", b"") in broker.published
    sink = sink_on(broker, context_of({}, state=StateBoard(), surface=surface), home_assistant=False)
    broker.published.clear()
    sink.idle()
    sink.close()
    assert (TOPIC, b"") in broker.published


def test_a_damaged_file_of_announcements_removes_nothing(fake, tmp_path, caplog):
    folder = tmp_path / "announced"
    folder.mkdir()
    for content in (b"{", b"[]", b'{"components": 3}', b"\xff", b'{"broker":"","discovery":"","topics":[3]}'):
        (folder / "sink.json").write_bytes(content)
        caplog.clear()
        sink_on(fake(), context_of(surface=Surface(state_dir=tmp_path)), home_assistant=True).close()
        assert "nothing is removed" in caplog.text


@pytest.mark.system
def test_discovery_is_published_again_when_home_assistant_starts_under_traffic(context, message, broker):
    sink = sink_on(broker, context, home_assistant=True, ack_timeout_s=5)
    sink.send([message(0)])
    watcher = Subscriber(broker.port, "homeassistant/device/#")
    until(lambda: sink.send([message(1)]) and len(watcher.got) == 1)
    assert watcher.got[0][2], "retained: Home Assistant may start later"
    watcher.publish("homeassistant/status", "online")
    until(lambda: sink.send([message(2)]) and len(watcher.got) == 2, timeout_s=10)
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
    packet = paho.MQTTMessage(topic=b"homeassistant/status")
    packet.payload = payload
    sink._receive(packet)
    assert bool(sink._retained._discovery._steps) == (payload == b"online")
