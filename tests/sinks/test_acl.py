"""The access list of the README, in a real Mosquitto: a camera reaches its own topics and no others."""

import json
import time
from dataclasses import replace

import paho.mqtt.client as paho
import pytest

from edge_app.bench import mosquitto
from tests.sinks.mqtt_broker import sink_on, until
from tests.sinks.test_mqtt_commands import Receiver
from tests.sinks.test_readme import README

ACL = README.split("Mosquitto's `acl_file`")[1].split("```")[1].strip("\n")


@pytest.fixture
def broker(tmp_path):
    if mosquitto.program() is None:
        pytest.skip("no mosquitto here: apt-get install mosquitto")
    (tmp_path / "acl").write_text(ACL + "\n", encoding="ascii")
    running = mosquitto.Mosquitto(tmp_path)
    text = running.config.read_text(encoding="ascii")
    # Without a limit, Mosquitto 2.0.11 disconnects a client that publishes what it may not.
    running.config.write_text(text.replace("max_queued_messages 0\n", ""), encoding="ascii")
    with running.config.open("a", encoding="ascii") as file:
        file.write(f"acl_file {tmp_path}/acl\nuser root\n")
    with running:
        yield running


class User:
    """A client of the broker under a name, which records what it gets."""

    def __init__(self, broker, name, *topics):
        versions = getattr(paho, "CallbackAPIVersion", None)
        self.client = paho.Client(*([versions.VERSION2] if versions else []))
        self.client.username_pw_set(name)
        self.got = {}
        self.client.on_message = lambda client, userdata, message: self.got.update({message.topic: message.payload})
        self.client.connect("127.0.0.1", broker.port)
        granted = []
        self.client.on_subscribe = lambda *arguments: granted.append(arguments)
        for topic in topics:
            self.client.subscribe(topic, 1)
        self.client.loop_start()
        until(lambda: len(granted) == len(topics))

    def publish(self, topic, payload):
        self.client.publish(topic, payload, 1).wait_for_publish(2)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def test_a_camera_may_publish_discovery_and_take_commands_and_nothing_of_others(broker, context):
    receiver = Receiver()
    home = User(broker, "home-assistant", "edge-app/#", "homeassistant/#")
    pipeline = User(broker, "pipeline", "edge-app/#", "homeassistant/#")
    other = User(broker, "cam-2", "edge-app/cam-1/#")
    ours = replace(context, state=receiver.board, source="yard")
    sink = sink_on(broker, ours, username="cam-1", home_assistant=True, commands=True, ack_timeout_s=5)
    try:
        for topic in ("edge-app/cam-1/status", "edge-app/cam-1/set/yard/restart", "homeassistant/device/cam-1/config"):
            other.publish(topic, b"forged")
        pipeline.publish("edge-app/cam-1/set/yard/restart", b"")
        end = time.monotonic() + 5
        while "homeassistant/device/cam-1/config" not in home.got and time.monotonic() < end:
            sink.idle()
            time.sleep(0.02)
        assert json.loads(home.got["homeassistant/device/cam-1/config"])["device"]["name"]
        home.publish("edge-app/cam-1/set/yard/reload", b'{"id": "7"}')
        while "edge-app/cam-1/answer" not in home.got and time.monotonic() < end:
            sink.idle()
            time.sleep(0.02)
        assert [name for name, _ in receiver.commands] == ["reload"]  # neither the pipeline's nor the other camera's
        assert json.loads(home.got["edge-app/cam-1/answer"])["id"] == "7"
        assert pipeline.got["edge-app/cam-1/available"] == b"online"
        assert b"forged" not in {*home.got.values(), *pipeline.got.values()}
        assert other.got == {}
    finally:
        sink.close()
        for user in (home, pipeline, other):
            user.close()
