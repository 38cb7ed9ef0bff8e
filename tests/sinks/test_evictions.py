"""Two devices with one client id: the sink names the likely cause, and takes no other lost connection for it."""

import time

import pytest

from edge_app.errors import SinkError
from edge_app.sinks._evictions import EvictionDetector
from tests.sinks.mqtt_broker import sink_on, until


def lives(*spans, explained=False):
    """A detector after connections with these times of login and loss."""
    detector = EvictionDetector()
    for start_s, end_s in spans:
        detector.connected(start_s)
        detector.lost(end_s, explained=explained)
    return detector


def test_three_short_connections_within_a_minute():
    assert not lives((0, 1), (2, 3)).is_likely(3)
    assert lives((0, 1), (2, 3), (4, 5)).is_likely(5)
    assert not lives((0, 1), (2, 3), (4, 5)).is_likely(62), "a minute later"


def test_connections_that_last_or_are_lost_rarely_or_with_a_known_cause_do_not_count():
    assert not lives((0, 100), (101, 201), (202, 302)).is_likely(302)
    assert not lives((0, 1), (100, 101), (200, 201)).is_likely(201)
    assert not lives((0, 1), (2, 3), (4, 5), explained=True).is_likely(5)


def lose(fake, sink, times, act):
    """Let the broker close the connection, `times` times, and return the errors of the sink."""
    errors = []
    for _ in range(times):
        act()
        fake.peers()[-1].shutdown(2)
        with pytest.raises(SinkError) as error:
            until(lambda: act() or False)
        errors.append(str(error.value))
    return errors


@pytest.mark.parametrize("traffic", [False, True])
def test_connections_that_are_lost_soon_after_each_login_name_the_likely_cause(context, fake, message, traffic):
    broker = fake(acks=10_000)
    sink = sink_on(broker, context, ack_timeout_s=2)
    errors = lose(broker, sink, 4, (lambda: sink.send([message(1)])) if traffic else sink.idle)
    assert all("the connection was lost" in each for each in errors[:2])
    for each in errors[2:]:
        assert "probably another client uses the client id 'edge-app-cam-1-sink'" in each
        assert "expected a different device.id on each device" in each
    sink.close()


def test_a_message_that_the_broker_refuses_is_not_taken_for_another_client(context, fake, message):
    sink = sink_on(fake(acks=10_000, max_bytes=500), context, ack_timeout_s=2)
    errors = []
    for _ in range(6):
        with pytest.raises(SinkError) as error:
            sink.send([message(1, size=2000)])
        errors.append(str(error.value))
    assert not any("client id" in each for each in errors)
    assert "closed the connection 5 times on a message" in errors[-1]
    sink.close()


@pytest.mark.system
def test_two_devices_with_one_client_id_on_a_real_broker(context, broker):
    """Mosquitto closes the connection of the older one: both see it, and name the cause within seconds."""
    sinks = [sink_on(broker, context, ack_timeout_s=5) for _ in range(2)]
    errors, end = [], time.monotonic() + 20
    while not any("client id" in each for each in errors):
        assert time.monotonic() < end, errors
        for sink in sinks:
            try:
                sink.idle()
            except SinkError as exc:
                errors.append(str(exc))
            time.sleep(0.05)
    assert all("connection was lost" in each for each in errors[:4])
    for sink in sinks:
        sink.close()
