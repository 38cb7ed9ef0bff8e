"""Fixtures and helpers of the MQTT tests: sinks on a broker, and a subscriber."""

import time

import paho.mqtt.client as paho

from edge_app.sinks.mqtt import Sink


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
