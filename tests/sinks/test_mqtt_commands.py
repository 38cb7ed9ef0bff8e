"""Commands over MQTT: received only if enabled, never if retained, answered, and bounded."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from edge_app.errors import SinkError
from edge_app.state import StateBoard
from tests.sinks.mqtt_broker import Subscriber, sink_on, until


class Receiver:
    """Takes commands as the daemon does, and answers each at once."""

    def __init__(self) -> None:
        self.board = StateBoard()
        self.board.receiver = self._receive
        self.commands: list[tuple[str, bytes]] = []

    def _receive(self, name: str, payload: bytes, answered: Callable[..., None]) -> None:
        self.commands.append((name, payload))
        answered({"id": "7", "command": name, "ok": True, "error": None}, 200)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


def packet(topic: str, payload: bytes, *, retain: bool = False) -> bytes:
    """A PUBLISH packet with QoS 0, as a broker sends it."""
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + payload
    length, size = b"", len(body)
    while True:
        size, byte = divmod(size, 128)
        length += bytes([byte | (128 if size else 0)])
        if not size:
            return bytes([0x30 | retain]) + length + body


def run(sink, broker, *packets: bytes) -> None:
    """Connect, let the broker send, and let the sink look for it until it has published what it wants."""
    sink.idle()
    for each in packets:
        broker.peers()[-1].sendall(each)
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        sink.idle()
        time.sleep(0.01)


def answers(broker) -> list[dict[str, object]]:
    return [json.loads(payload) for topic, payload in broker.published if topic == "edge-app/cam-1/answer"]


@pytest.fixture
def connected(context, fake, receiver):
    """A sink with commands, and its broker."""
    broker = fake(acks=10_000)
    sink = sink_on(broker, replace(context, state=receiver.board, source="yard"), commands=True, prefix="edge-app")
    yield sink, broker
    sink.close()


def test_a_command_is_passed_on_and_answered(connected, receiver):
    sink, broker = connected
    run(sink, broker, packet("edge-app/cam-1/set/yard/rules/plaza", b'{"value": "OFF", "id": "7"}'))
    assert receiver.commands == [("rules/plaza", b'{"value": "OFF", "id": "7"}')]
    assert answers(broker) == [{"id": "7", "command": "rules/plaza", "ok": True, "error": None}]


def test_commands_are_off_unless_enabled(context, fake, receiver):
    broker = fake(acks=10_000)
    sink = sink_on(broker, replace(context, state=receiver.board), prefix="edge-app")
    run(sink, broker, packet("edge-app/cam-1/set/camera/restart", b""))
    sink.close()
    assert receiver.commands == []
    assert answers(broker) == []


def test_a_retained_command_is_ignored_and_reported_once(connected, receiver, caplog: pytest.LogCaptureFixture):
    sink, broker = connected
    topic = "edge-app/cam-1/set/yard/restart"
    with caplog.at_level(logging.WARNING):
        run(sink, broker, *[packet(topic, b"", retain=True)] * 3, packet("edge-app/cam-1/set/yard/reload", b""))
    assert receiver.commands == [("reload", b"")]
    (record,) = [each for each in caplog.records if "retained" in each.getMessage()]
    assert record.getMessage() == f"{topic}: ignored: a retained command; expected it without retain"


@pytest.mark.parametrize(
    "topic",
    [
        "edge-app/cam-1/set/other/restart",
        "edge-app/cam-2/set/yard/restart",
        "edge-app/cam-1/set/yard",
        "edge-app/cam-1/state/yard/camera",
        "homeassistant/status",
    ],
)
def test_other_topics_are_no_commands(connected, receiver, topic: str):
    sink, broker = connected
    run(sink, broker, packet(topic, b"ON"))
    assert receiver.commands == []


def test_a_flood_ends_the_subscription_for_a_minute_but_not_the_delivery(connected, receiver, message):
    sink, broker = connected
    sink.idle()
    flood = packet("edge-app/cam-1/set/yard/rules/plaza", b"OFF" + b" " * 500) * 100
    broker.peers()[-1].sendall(flood)
    with pytest.raises(SinkError, match=r"expected at most 1024 bytes per second.*; ignoring .* for 60 s"):
        run(sink, broker)
    assert sink.send([message(1)]) == {"cam-1-1"}
    assert len(receiver.commands) < 60


def test_frigate_detect_set_is_a_command_and_its_state_follows(context, fake, receiver):
    broker = fake(acks=10_000)
    own = replace(context, state=receiver.board, source="yard")
    sink = sink_on(broker, own, dialect="frigate", commands=True)
    run(
        sink,
        broker,
        packet("frigate/yard/detect/set", b"OFF"),
        packet("frigate/yard/recordings/set", b"ON"),
        packet("frigate/yard/detect/set", b"ON", retain=True),
    )
    sink.close()
    assert receiver.commands == [("detect", b"OFF")]


@pytest.mark.system
def test_a_real_broker_delivers_commands_and_answers(broker, context, receiver):
    sink = sink_on(broker, replace(context, state=receiver.board), commands=True, prefix="edge-app", ack_timeout_s=3)
    client = Subscriber(broker.port, "edge-app/cam-1/answer")
    client.client.publish("edge-app/cam-1/set/camera/restart", b"", 1, retain=True).wait_for_publish(2)
    sink.idle()
    client.publish("edge-app/cam-1/set/camera/rules/plaza", b"ON")

    def looked() -> bool:
        sink.idle()
        return bool(client.got)

    until(looked)
    assert receiver.commands == [("rules/plaza", b"ON")]  # the retained one was not executed
    assert json.loads(client.got[0][1])["ok"] is True
    client.close()
    sink.close()
