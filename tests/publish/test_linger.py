"""`linger_s` of a sink: batches are filled, never later than that, in order, and the cursor advances as without it."""

import random
import time

import pytest

from edge_app.backoff import Backoff
from edge_app.errors import SinkError
from edge_app.publish.delivery import Delivery
from edge_app.sinks import SinkContext
from edge_app.sinks.http import Sink as HttpSink
from tests.outbox.boxes import until
from tests.sinks.http_server import Server


class Recording:
    """A sink with a batch limit of 8. plan: errors to raise first. sent: (time, ids) of each request."""

    batch_limit = 8

    def __init__(self, linger_s, plan=()):
        self.linger_s, self.plan, self.sent = linger_s, list(plan), []

    def send(self, batch):
        self.sent.append((time.monotonic(), [message.id for message in batch]))
        if self.plan:
            raise self.plan.pop(0)
        return [message.id for message in batch]

    def idle(self):
        pass

    def close(self):
        pass


@pytest.fixture
def deliver(open_box, factory):
    started = []

    def start(sink):
        box = open_box()
        delivery = Delivery("a", sink, box, factory.clock, backoff=Backoff(0.01, 0.02), rng=random.Random(1))
        delivery.start()
        started.append((box, delivery))
        return box, delivery

    yield start
    for box, delivery in started:
        delivery.stop()
        box.stop_waiting()
        delivery.join(5)


def test_messages_within_linger_s_are_one_batch(deliver, factory):
    sink = Recording(0.6)
    box, _ = deliver(sink)
    for n in range(5):
        box.put(factory.status(n=n))
        time.sleep(0.02)
    until(lambda: box.stats().queued["a"] == 0)
    assert [len(ids) for _, ids in sink.sent] == [5]


def test_without_it_a_message_is_sent_at_once(deliver, factory):
    sink = Recording(0.0)
    box, _ = deliver(sink)
    for n in range(3):
        box.put(factory.status(n=n))
        until(lambda: box.stats().queued["a"] == 0)
    assert [len(ids) for _, ids in sink.sent] == [1, 1, 1]


def test_a_full_batch_does_not_wait(deliver, factory):
    sink = Recording(30.0)
    box, _ = deliver(sink)
    for n in range(16):
        box.put(factory.status(n=n))
    until(lambda: box.stats().queued["a"] == 0)
    assert [len(ids) for _, ids in sink.sent] == [8, 8]
    assert [id_ for _, ids in sink.sent for id_ in ids] == sorted(id_ for _, ids in sink.sent for id_ in ids)


def test_a_batch_that_failed_does_not_wait_again_and_nothing_is_lost(deliver, factory):
    sink = Recording(0.3, [SinkError("503", retry=True)] * 3)
    box, delivery = deliver(sink)
    for n in range(3):
        box.put(factory.status(n=n))
    until(lambda: box.stats().queued["a"] == 0)
    assert len({tuple(ids) for _, ids in sink.sent}) == 1
    assert len(sink.sent[0][1]) == 3
    assert delivery.sent == 3


def test_a_stop_ends_the_wait_and_sends(deliver, factory):
    sink = Recording(30.0)
    box, delivery = deliver(sink)
    box.put(factory.status())
    time.sleep(0.2)
    assert sink.sent == []
    delivery.stop()
    box.stop_waiting()
    delivery.join(5)
    assert [len(ids) for _, ids in sink.sent] == [1]
    assert box.stats().queued["a"] == 0


def test_linger_s_of_the_http_sink_is_used(deliver, factory):
    server = Server()
    try:
        sink = HttpSink(
            SinkContext("cam-1", "sink", factory.clock), url=f"http://127.0.0.1:{server.port}/", linger_s=0.6
        )
        box, _ = deliver(sink)
        for n in range(20):
            box.put(factory.status(n=n))
            time.sleep(0.01)
        until(lambda: box.stats().queued["a"] == 0)
        assert len(server.requests) == 1
    finally:
        server.close()
