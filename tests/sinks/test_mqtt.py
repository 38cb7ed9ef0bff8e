"""The MQTT sink, with a broker that misbehaves and (system) with a real Mosquitto."""

import json
import random
import subprocess
import time
import tracemalloc

import paho.mqtt.client as paho
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_app.backoff import Backoff
from edge_app.clock import SystemClock
from edge_app.config import OutboxConfig as Limits
from edge_app.errors import ConfigError, SinkError
from edge_app.messages import Encoder, Stamp
from edge_app.options.secret import Secret
from edge_app.outbox import Outbox, view
from edge_app.publish.delivery import Delivery
from edge_app.sinks import SinkContext
from edge_app.sinks.mqtt import Sink
from tests.sinks.fake_broker import FakeBroker


@pytest.fixture
def fake():
    made = []

    def start(**options):
        made.append(FakeBroker(**options))
        return made[-1]

    yield start
    for each in made:
        each.close()


def sink_on(broker, context, **options):
    return Sink(context, **{"host": "127.0.0.1", "port": broker.port, "ack_timeout_s": 0.3, **options})


class Subscriber:
    """Records everything that a broker delivers, in order: (topic, payload, retained)."""

    def __init__(self, port, topic="#"):
        versions = getattr(paho, "CallbackAPIVersion", None)
        self.client = paho.Client(*([versions.VERSION2] if versions else []))
        self.got = []
        self.client.on_message = lambda c, u, m: self.got.append((m.topic, m.payload, bool(m.retain)))
        self.client.connect("127.0.0.1", port)
        self.subscribed = False
        self.client.on_subscribe = lambda *arguments: setattr(self, "subscribed", True)
        self.client.subscribe(topic, 1)
        self.client.loop_start()
        until(lambda: self.subscribed)

    def publish(self, topic, payload):
        self.client.publish(topic, payload, 1).wait_for_publish(2)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def until(condition, timeout_s=5.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


def test_times_out_without_acknowledgments(context, message, fake):
    broker = fake()
    sink = sink_on(broker, context, window=10)
    batch = [message(n) for n in range(50)]
    with pytest.raises(SinkError, match=r"no acknowledgment in 0.3 s") as error:
        sink.send(batch)
    assert error.value.retry
    assert len(broker.published) == 10, "no more than the window"


def test_returns_only_acknowledged_messages(context, message, fake):
    broker = fake(acks=4)  # the first is for `available`
    sink = sink_on(broker, context)
    assert sink.send([message(n) for n in range(9)]) == {"cam-1-0", "cam-1-1", "cam-1-2"}
    broker.acks = 100
    assert len(sink.send([message(n) for n in range(3, 9)])) == 6
    assert len(broker.connects) == 2, "a new connection, without leftovers of the last one"
    sink.close()


def test_a_broker_that_does_not_respond(context, message, fake):
    with pytest.raises(SinkError, match="the broker does not answer") as error:
        sink_on(fake(code=None), context).send([message(1)])
    assert error.value.retry


@pytest.mark.parametrize(("code", "reason"), [(5, "not authori"), (4, "user ?name or password"), (3, "unavailable")])
def test_a_refused_login_has_the_broker_s_reason(context, message, fake, code, reason):
    with pytest.raises(SinkError, match=f"(?i)the broker refused: .*{reason}") as error:
        sink_on(fake(code=code), context).send([message(1)])
    assert error.value.retry


def test_connection_refused(context, message):
    sink = Sink(context, host="127.0.0.1", port=9)
    for attempt in (sink.idle, lambda: sink.send([message(1)])):
        with pytest.raises(SinkError, match=r"127\.0\.0\.1:9: Connection refused"):
            attempt()
    sink.close()


def test_a_server_that_is_not_a_broker(context, message, fake):
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(SinkError):
            Sink(context, host="127.0.0.1", port=server.server_address[1], ack_timeout_s=0.3).send([message(1)])
        thread.join()


@pytest.mark.parametrize("prefix", ["a/+/b", "a#", "", "/a", "a/", "$SYS/a", "a\0b"])
def test_rejects_a_prefix_that_is_not_a_topic(context, prefix):
    with pytest.raises(ConfigError, match="prefix: found"):
        Sink(context, host="h", prefix=prefix)


def test_rejects_a_rule_name_that_is_not_a_topic_level(context, message, fake):
    with pytest.raises(ConfigError, match=r"rule 'a/b': expected a name without"):
        Sink(SinkContext("cam-1", "sink", SystemClock(), {"a/b": "zone"}), host="h")
    sink = sink_on(fake(acks=100), context)
    with pytest.raises(SinkError, match="cannot be part of a topic") as error:
        sink.send([message(1, "event", rule="a#b")])
    assert not error.value.retry
    sink.close()


def test_rejects_certificates_without_tls(context, tmp_path):
    with pytest.raises(ConfigError, match="expected tls: true"):
        Sink(context, host="h", ca=tmp_path)


def test_the_password_is_sent_and_never_printed(context, message, fake, tmp_path, caplog):
    (tmp_path / "word").write_text("hunter2\n")
    broker = fake(code=5)
    sink = sink_on(broker, context, username="cam", password=Secret("file", str(tmp_path / "word")))
    with pytest.raises(SinkError) as error:
        sink.send([message(1)])
    assert broker.connects[0].endswith(b"\x00\x03cam\x00\x07hunter2")
    assert "hunter2" not in str(error.value) + caplog.text


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
def test_messages_reach_a_real_broker(context, message, broker):
    watcher = Subscriber(broker.port)
    sink = sink_on(broker, context, ack_timeout_s=5)
    batch = [message(1), message(2, "event", rule="door"), message(3)]
    assert sink.send(batch) == {"cam-1-1", "cam-1-2", "cam-1-3"}
    until(lambda: len(watcher.got) == 4)
    assert [topic for topic, _, _ in watcher.got] == [
        "edge-app/cam-1/available",
        "edge-app/cam-1/status",
        "edge-app/cam-1/event/door",
        "edge-app/cam-1/status",
    ]
    assert [payload for _, payload, _ in watcher.got[1:]] == [m.payload for m in batch]
    sink.close()
    until(lambda: watcher.got[-1] == ("edge-app/cam-1/available", b"offline", False))
    watcher.close()


@pytest.mark.system
def test_the_last_will_and_a_reconnect(context, message, broker):
    sink = sink_on(broker, context, ack_timeout_s=5)
    sink.idle()
    watcher = Subscriber(broker.port, "edge-app/+/available")
    until(lambda: watcher.got == [("edge-app/cam-1/available", b"online", True)])
    sink._client.socket().shutdown(2)  # like a cable that is cut
    until(lambda: watcher.got[-1][1] == b"offline")
    with pytest.raises(SinkError, match="the connection was lost"):
        until(sink.idle)
    sink.idle()
    until(lambda: watcher.got[-1][1] == b"online")
    sink.close()
    watcher.close()


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
def test_reconnects_after_a_broker_restart(context, message, broker):
    sink = sink_on(broker, context, ack_timeout_s=5)
    sink.send([message(1)])
    broker.stop()
    with pytest.raises(SinkError):
        sink.send([message(2)])
    with pytest.raises(SinkError, match="Connection refused"):
        sink.send([message(2)])
    broker.start()
    assert sink.send([message(2)]) == {"cam-1-2"}
    sink.close()


@pytest.mark.system
def test_tls_with_a_client_certificate(context, message, tmp_path, broker):
    def run(*arguments):
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run("req", "-x509", *key, "-days", "30", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    for name in ("server", "client"):
        run("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (tmp_path / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
        run(
            "x509",
            "-req",
            "-in",
            f"{name}.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            "ext",
            "-out",
            f"{name}.pem",
        )
        (tmp_path / f"{name}.key").chmod(0o644)
    tmp_path.chmod(0o755)
    broker.stop()
    broker.config.write_text(
        f"listener {broker.port} 127.0.0.1\nallow_anonymous true\nrequire_certificate true\n"
        f"cafile {tmp_path}/ca.pem\ncertfile {tmp_path}/server.pem\nkeyfile {tmp_path}/server.key\nuser root\n"
    )
    broker.start()
    ours = {"cert": tmp_path / "client.pem", "key": tmp_path / "client.key"}
    sink = sink_on(broker, context, tls=True, ca=tmp_path / "ca.pem", ack_timeout_s=5, **ours)
    assert sink.send([message(1)]) == {"cam-1-1"}
    sink.close()
    with pytest.raises(SinkError):
        sink_on(broker, context, tls=True, ca=tmp_path / "ca.pem", ack_timeout_s=5).send([message(1)])


def start_delivery(sink, context, folder):
    """An outbox that delivers to the sink `mqtt`. Returns it, its delivery, a function that puts, and the gaps."""
    clock, gaps = context.clock, []
    encoder = Encoder("cam-1", clock.boot_id, {})

    def status(seq, n, size=10):
        return encoder.status(seq, Stamp(n, n, True), {"n": n, "pad": "x" * size})

    box = Outbox(folder, ["mqtt"], Limits(), clock, lambda seq, gap: gaps.append(gap) or status(seq, -1))
    delivery = Delivery("mqtt", sink, box, clock, backoff=Backoff(0.02, 0.05), rng=random.Random(1))
    delivery.start()
    return box, delivery, lambda n, size=10: box.put(lambda seq: status(seq, n, size)), gaps


def stop_delivery(box, delivery):
    delivery.stop()
    box.stop_waiting()
    delivery.join(5)
    box.close()


def test_a_message_that_always_closes_the_connection_is_refused(context, message, fake):
    broker = fake(acks=1 << 30, max_bytes=1000)
    sink = sink_on(broker, context)
    batch, delivered, refusals = [message(n, size=3000 if n == 3 else 10) for n in range(7)], [], []
    for _ in range(20):
        try:
            delivered += sorted(sink.send(batch))
        except SinkError as exc:
            refusals.append(exc)
            if not exc.retry:
                break
        batch = [m for m in batch if m.id not in delivered]
    *retried, refused = [error.retry for error in refusals]
    assert not refused
    assert all(retried)
    assert 4 <= len(retried) <= 6, "the first losses may be those of a whole batch"
    assert "the broker closed the connection 5 times on a message of 3" in str(refusals[-1])
    assert delivered == ["cam-1-0", "cam-1-1", "cam-1-2"]
    connects = len(broker.connects)
    with pytest.raises(SinkError) as error:
        sink.send(batch[:2])
    assert not error.value.retry
    assert len(broker.connects) == connects, "decided without another attempt"
    assert sorted(sink.send(batch[1:])) == ["cam-1-4", "cam-1-5", "cam-1-6"]
    sink.close()


@pytest.mark.system
def test_a_message_over_the_size_limit_is_set_aside_with_its_size(context, broker, tmp_path):
    broker.stop()
    with broker.config.open("a") as config:
        config.write("max_packet_size 2000\n")
    broker.start()
    watcher = Subscriber(broker.port, "edge-app/+/status")
    box, delivery, put, gaps = start_delivery(sink_on(broker, context, ack_timeout_s=5), context, tmp_path / "state")
    for n in range(60):
        put(n, 5000 if n in (0, 31, 32) else 10)
    until(lambda: box.stats().queued["mqtt"] == 0 and gaps, 20)
    stop_delivery(box, delivery)
    watcher.close()
    numbers = list(dict.fromkeys(json.loads(payload)["status"]["n"] for _, payload, _ in watcher.got))
    assert [n for n in numbers if n >= 0] == [n for n in range(60) if n not in (0, 31, 32)], "all others, in order"
    assert delivery.refused == 3
    refused = [json.loads(line) for line in view.messages(tmp_path / "state", refused=True)]
    assert [each["message"]["status"]["n"] for each in refused] == [0, 31, 32]
    assert all("closed the connection 5 times on a message of 52" in each["reason"] for each in refused)
    assert sum(gap["lost"]["status"] for gap in gaps) == 3 or len(gaps) == 1  # at most one gap record a minute
    assert "on a message of 52" in gaps[0]["reasons"][0]


def test_a_message_is_not_set_aside_because_the_broker_is_away(context, message, fake):
    """The connection is lost before anything is in flight, or while different messages are."""
    broker = fake(code=0, acks=1)
    sink = sink_on(broker, context)
    for _ in range(8):
        broker.acks = 1  # for `available`
        with pytest.raises(SinkError) as error:
            sink.send([message(1)])
        assert error.value.retry, "no acknowledgment: the connection was not closed"
    broker.close()
    for _ in range(8):
        with pytest.raises(SinkError) as error:
            sink.send([message(1)])
        assert error.value.retry


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
    sink._on_message(None, None, packet)
    assert sink._announce == (payload == b"online")


def test_unacknowledged_messages_stay_on_disk_not_in_memory(context, fake, tmp_path):
    clock = context.clock
    encoder = Encoder("cam-1", clock.boot_id, {})

    def status(seq, n):
        return encoder.status(seq, Stamp(n, n, True), {"n": n, "pad": "x" * 300})

    broker = fake(acks=1)  # for `available`
    box = Outbox(tmp_path, ["mqtt"], Limits(), clock, lambda seq, gap: status(seq, -1))
    sink = sink_on(broker, context, window=20)
    delivery = Delivery("mqtt", sink, box, clock, backoff=Backoff(0.05, 0.1), rng=random.Random(1))
    delivery.start()
    for n in range(4000):
        box.put(lambda seq, n=n: status(seq, n))
        if n % 50 == 49:
            time.sleep(0.002)
    until(lambda: delivery.failed >= 2)
    until(lambda: box.stats().in_memory == 0)
    assert box.stats().queued["mqtt"] == box.stats().stored == 4000
    assert "no acknowledgment" in delivery.last_error
    broker.acks = 1 << 30
    until(lambda: box.stats().queued["mqtt"] == 0, 20)
    delivery.stop()
    box.stop_waiting()
    delivery.join(5)
    box.close()
    numbers = [json.loads(p)["status"]["n"] for topic, p in broker.published if topic.endswith("/status")]
    assert list(dict.fromkeys(numbers)) == list(range(4000))
