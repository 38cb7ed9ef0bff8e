"""Fixtures for sinks: a context, messages, a real broker."""

import pytest

from edge_app.bench import mosquitto
from edge_app.clock import SystemClock
from edge_app.messages import Encoder, Stamp, decode
from edge_app.sinks import SinkContext
from tests.sinks.fake_broker import FakeBroker


@pytest.fixture
def context():
    return SinkContext("cam-1", "sink", SystemClock())


@pytest.fixture
def message():
    """Build a message: message(5), message(6, "event", rule="door")."""
    clock = SystemClock()
    encoder = Encoder("cam-1", clock.boot_id, {})

    def make(seq, kind="status", size=100, rule=None):
        stamp = Stamp(clock.monotonic_ns(), clock.utc_ns(), clock.synced())
        payload = encoder.status(seq, stamp, {"pad": "x" * size}).payload
        if kind == "event":
            payload = payload.replace(b'"kind":"status"', b'"kind":"event","rule":"%s"' % rule.encode())
        return decode(payload)

    return make


@pytest.fixture
def broker(tmp_path):
    if mosquitto.program() is None:
        pytest.skip("no mosquitto here: apt-get install mosquitto")
    with mosquitto.Mosquitto(tmp_path) as running:
        yield running


@pytest.fixture
def fake():
    """Starts fake brokers, and closes them after the test."""
    brokers = []

    def start(**options):
        brokers.append(FakeBroker(**options))
        return brokers[-1]

    yield start
    for broker in brokers:
        broker.close()
